"""The command `medseg init`: look at a folder that nobody described and write a commented recipe for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg import files
from medseg.config import load, yaml_text
from medseg.config.fitted import plan
from medseg.errors import Code, MedsegError
from medseg.ingest import layouts
from medseg.ingest.layouts import Guess
from medseg.ingest.patterns import CLASS
from pipelines.commands import init_classes, init_dicom, init_duplicates, init_fit, init_reading, init_text
from pipelines.commands.init_reading import Given
from pipelines.fold.before_training import check_parts

MINUTES = 30.0
"""Time for training, where the command line gives none."""


def run(data: Path, out: Path, *, force: bool, given: Given | None = None, minutes: float = MINUTES) -> Guess:
    """Write `out`, a recipe for the scans or images in `data`; a skeleton of one where no case is labelled.

    `given` are patterns of the command line, which replace the guess of them. The recipe's training takes
    about so many `minutes` on this machine. Raises PATH_MISSING; USAGE if
    `out` is there and not `force`; NOTHING_USABLE where nothing can be read.
    """
    if not data.is_dir():
        raise MedsegError(Code.PATH_MISSING, data, files.why_no_folder(data), "name the folder of scans")
    if out.exists() and not force:
        raise MedsegError(Code.USAGE, out, "the file exists", "choose another --out, or --overwrite")
    given = given or Given({})
    if not (given.channels or given.label) and (export := init_dicom.read(data)):
        return _write(data, out, init_dicom.guess(data, export), minutes)
    given_folder = data
    data = data if given.channels or given.label else layouts.data_set_below(data)
    guess = init_duplicates.settled(data, init_reading.read(data, given))
    if data != given_folder:
        below = data.relative_to(given_folder).as_posix()
        guess = replace(guess, remarks=(f"the data set is the folder {below}", *guess.remarks))
    if guess.masks or CLASS in (guess.label or ""):
        guess = init_classes.of_masks(data, guess)
    if guess.unit == "px" and guess.n_cases:
        packaged = None if given.channels or given.label else init_classes.packaged_set(data, guess)
        guess = packaged or _without_labels_of_no_class(init_classes.of_images(data, guess))
    elif guess.classes is None:
        guess = _without_labels_of_no_class(init_classes.of_values(data, guess))
    if guess.layout != "decathlon" or not guess.regions:
        guess = init_classes.with_names(data, guess)
    if not guess.n_labelled:  # names that nothing pairs say little about subjects
        guess = replace(guess, subject=None)
    elif guess.subject_remark and guess.class_file is None:
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
        n_labelled = fitted.n_labelled if guess.layout == "dicom" else guess.n_labelled
        guess = replace(guess, n_labelled=n_labelled, remarks=(*guess.remarks, *fitted.remarks))
        if not fitted.is_usable:
            guess = replace(guess, n_labelled=0)
    if guess.roles == {"train", "test"}:
        remark = (
            "folders say train and test, but not val: splits are drawn from all; splits: listed keeps them"
        )
        guess = replace(guess, remarks=(*guess.remarks, remark))
    text = init_text.recipe_text(out, data, guess, choices)
    if guess.n_labelled:
        check_parts(load.validate(yaml_text.parse(text), out), out)
    files.write_text(out, text)
    return guess


def _without_labels_of_no_class(guess: Guess) -> Guess:
    """The guess with no labelled case, and a remark, where label files were read and hold no class."""
    if guess.label is None or guess.classes is not None:
        return guess
    reason = "the label files hold no class: nothing but 0, or no whole numbers"
    if not guess.n_labelled:
        reason = "no label map is called as one image alone: name both alike, or list them in a table (csv)"
    remarks = guess.remarks or (reason,)
    return replace(guess, n_labelled=0, remarks=remarks)
