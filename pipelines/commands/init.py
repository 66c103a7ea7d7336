"""The command `medseg init`: look at a folder that nobody described and write a commented recipe for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg import files
from medseg.config import class_file, load, yaml_text
from medseg.config.fitted import plan
from medseg.errors import Code, MedsegError
from medseg.ingest import label_survey, layouts
from medseg.ingest.layouts import Guess
from medseg.io import images
from pipelines.commands import init_dicom, init_fit, init_reading, init_text
from pipelines.commands.init_reading import Given
from pipelines.fold.before_training import check_parts

LABELS_READ = 40
MOST_CLASSES = 64
MINUTES = 30.0
"""Time for training, where the command line gives none."""

COLOURED = (
    "the masks are in colours: write data.label_form: colours, and each class as"
    " {name: road, colour: [255, 0, 255]} (docs/datasets.md)"
)

HALF = 128.0
"""A mask with more values, or a JPEG, holds greys, which are told apart by half of white."""


def run(data: Path, out: Path, *, force: bool, given: Given | None = None, minutes: float = MINUTES) -> Guess:
    """Write `out`, a recipe for the scans or images in `data`; a skeleton of one where no case is labelled.

    `given` are patterns of the command line, which replace the guess of them. The recipe's training takes
    about so many `minutes` on this machine. Raises PATH_MISSING; USAGE if
    `out` is there and not `force`; NOTHING_USABLE where nothing can be read.
    """
    if not data.is_dir():
        raise MedsegError(Code.PATH_MISSING, data, "no such folder", "name the folder of scans")
    if out.exists() and not force:
        raise MedsegError(Code.USAGE, out, "the file exists", "choose another --out, or --overwrite")
    given = given or Given({})
    if not (given.channels or given.label) and (export := init_dicom.read(data)):
        return _write(data, out, init_dicom.guess(data, export), minutes)
    guess = init_reading.read(data, given)
    if guess.unit == "px" and guess.n_cases:
        packaged = None if given.channels or given.label else packaged_set(data, guess)
        guess = packaged or _without_labels_of_no_class(_of_images(data, guess))
    elif guess.classes is None:
        guess = _without_labels_of_no_class(_with_classes(data, guess))
    if guess.layout != "decathlon" or not guess.regions:
        guess = init_reading.with_names(data, guess)
    if guess.subject_remark and guess.class_file is None:
        guess = replace(guess, remarks=(*guess.remarks, guess.subject_remark))
    return _write(data, out, guess, minutes)


def _write(data: Path, out: Path, guess: Guess, minutes: float) -> Guess:
    """Write the recipe of a guess, fitted where there is something to train on; give the guess as written.

    What is written has been tried: a window, say, that the network cannot take would be refused here.
    """
    choices = plan.unfitted(guess.unit, multilabel=bool(guess.regions or guess.masks))
    if guess.n_labelled:
        loss = {"name": choices["loss.name"].value}
        draft = {"name": "draft", **yaml_text.parse(init_text.data_section(data, guess)), "loss": loss}
        splits: init_fit.Splits = "listed" if {"train", "val"} <= guess.roles else "drawn"
        fitted = init_fit.fit(load.validate(draft, out), minutes, splits)
        choices = fitted.choices
        guess = replace(guess, remarks=(*guess.remarks, *fitted.remarks))
    text = init_text.recipe_text(out, data, guess, choices)
    if guess.n_labelled:
        check_parts(load.validate(yaml_text.parse(text), out), out)
    files.write_text(out, text)
    return guess


def _without_labels_of_no_class(guess: Guess) -> Guess:
    """The guess with no labelled case, and a remark, where label files were read and hold no class."""
    if guess.label is None or guess.classes is not None:
        return guess
    remark = "the label files hold no class: nothing but 0, or no whole numbers"
    remarks = guess.remarks if COLOURED in guess.remarks else (*guess.remarks, remark)
    return replace(guess, n_labelled=0, remarks=remarks)


def packaged_set(data: Path, guess: Guess) -> Guess | None:
    """The class file of a known set, else the one whose patterns find most labelled cases, if any does."""
    known = {**{name: name for name in class_file.packaged_names()}, "voc_aug": "voc"}
    if guess.layout in known:
        in_colours = "LabeledApproved_full" in (guess.label or "")
        name = "camvid32" if in_colours else known[guess.layout]
        return replace(guess, class_file=name, subject=None)
    best: Guess | None = None
    for name in class_file.packaged_names():
        content = class_file.read(name)
        if content.get("layout") != "patterns":
            continue
        contents = layouts.find(data, "patterns", content["channels"], content["label"])
        labelled = sum(case.label is not None for case in contents.cases)
        if labelled > (best.n_labelled if best else 0):
            best = replace(
                guess,
                layout="patterns",
                channels=content["channels"],
                label=content["label"],
                n_cases=len(contents.cases),
                n_labelled=labelled,
                class_file=name,
                roles=frozenset(role for _, role in contents.roles),
                n_other=len(contents.ignored) + sum(len(stray.files) for stray in contents.strays),
                subject=None,
                masks={},
            )
    return best


def _of_images(data: Path, guess: Guess) -> Guess:
    """The values of the masks as classes; grey images as one channel."""
    contents = _contents(data, guess)
    first = [next(iter(case.channels.values())) for case in contents.cases[:LABELS_READ]]
    if first and len(set(guess.channels.values())) == 1 and all(images.is_grey(path) for path in first):
        guess = replace(guess, channels={"grey": next(iter(guess.channels.values()))})
    if guess.classes is not None:
        return guess
    surveyed = _with_classes(data, guess)
    classes = surveyed.classes
    labels = [case.label for case in contents.cases[:LABELS_READ] if case.label and case.label.is_file()]
    if classes is None and labels and not all(images.is_grey(path) for path in labels):
        return replace(guess, remarks=(*guess.remarks, COLOURED))
    jpeg = any(str(case.label).lower().endswith((".jpg", ".jpeg")) for case in contents.cases)
    if classes is not None and len(classes) == 2:
        classes = {value: name if value == 0 else "foreground" for value, name in classes.items()}
    if classes is None or (len(classes) <= MOST_CLASSES and not jpeg and surveyed.above is None):
        return replace(surveyed, classes=classes)
    remarks = guess.remarks if surveyed.above is None else surveyed.remarks
    two = {0: "background", 1: "foreground"}
    return replace(surveyed, classes=two, void=(), above=HALF, remarks=remarks)


def _with_classes(data: Path, guess: Guess) -> Guess:
    """Classes by the values of the first label files, and remarks on what is doubtful about these files."""
    if guess.label is None:
        return guess
    labels = [case.label for case in _contents(data, guess).cases if case.label is not None]
    labels = labels[:: max(1, -(-len(labels) // LABELS_READ))]
    result = label_survey.survey(labels, data)
    remarks = (*guess.remarks, *result.remarks)
    if len(labels) < guess.n_labelled:
        remarks += (f"classes are those of {len(labels)} of {guess.n_labelled} label files",)
    above = HALF if result.soft_edges else None
    return replace(guess, classes=result.classes, void=result.void, above=above, remarks=remarks)


def _contents(data: Path, guess: Guess) -> layouts.FolderContents:
    return init_reading.find(data, guess)
