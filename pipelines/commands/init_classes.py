"""`medseg init`: the classes of a folder, by the values or colours of its label files, or a packaged list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.classes import VOID
from medseg.config import class_file
from medseg.ingest import checks, class_names, label_survey, layouts, legends, mask_colours, segment_names
from medseg.ingest.layouts import Guess
from medseg.ingest.tree import tree_of
from medseg.io import images
from pipelines.commands import init_reading

LABELS_READ = 40
MASKS_READ = 5
MOST_CLASSES = 64

ANYTHING = 0.5
"""Threshold of masks that hold 0 and one value more, whatever it is."""

HALF = 128.0
"""A mask with more values, or a JPEG, holds greys, which are told apart by half of white."""

_UNNAMED = re.compile(r"label_\d+|foreground")


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


def of_masks(data: Path, guess: Guess) -> Guess:
    """The guess with a threshold where masks of their own files hold another value than 1, as 255 or 3."""
    cases = [case for case in init_reading.find(data, guess).cases if case.masks][:MASKS_READ]
    values = {
        value for case in cases for path in case.masks.values() for value in checks.label_values([path])
    }
    return guess if values <= {0, 1} else replace(guess, above=ANYTHING)


def of_images(data: Path, guess: Guess) -> Guess:
    """The guess with the values or colours of the masks as classes; grey images as one channel."""
    contents = init_reading.find(data, guess)
    first = [next(iter(case.channels.values())) for case in contents.cases[:LABELS_READ]]
    if first and len(set(guess.channels.values())) == 1 and all(images.is_grey(path) for path in first):
        guess = replace(guess, channels={"grey": next(iter(guess.channels.values()))})
    if guess.classes is not None or guess.label is None:
        return guess
    labels = _some_labels(data, guess)
    if any(map(mask_colours.is_in_colours, labels)):
        return _of_colours(data, guess, labels)
    surveyed = of_values(data, guess)
    classes = surveyed.classes
    jpeg = any(path.name.lower().endswith((".jpg", ".jpeg")) for path in labels)
    if classes is not None and len(classes) == 2:
        classes = {value: name if value == 0 else "foreground" for value, name in classes.items()}
    if classes is None or (len(classes) <= MOST_CLASSES and not jpeg and surveyed.above is None):
        return _with_palette(data, replace(surveyed, classes=classes), labels)
    remarks = guess.remarks if surveyed.above is None else surveyed.remarks
    two = {0: "background", 1: "foreground"}
    return replace(surveyed, classes=two, void=(), above=HALF, remarks=remarks)


def of_values(data: Path, guess: Guess) -> Guess:
    """The guess with classes by the values of some label files, and remarks on what is doubtful in these."""
    if guess.label is None:
        return guess
    labels = _some_labels(data, guess)
    result = label_survey.survey(labels, data)
    remarks = (*guess.remarks, *result.remarks)
    if len(labels) < guess.n_labelled:
        remarks += (f"classes are those of {len(labels)} of {guess.n_labelled} label files",)
    above = HALF if result.soft_edges else None
    return replace(guess, classes=result.classes, void=result.void, above=above, remarks=remarks)


def _some_labels(data: Path, guess: Guess) -> list[Path]:
    """Label files, or folders of masks, spread over all cases."""
    labels = [case.label for case in init_reading.find(data, guess).cases if case.label is not None]
    return labels[:: max(1, -(-len(labels) // LABELS_READ))]


def _of_colours(data: Path, guess: Guess, labels: Sequence[Path]) -> Guess:
    """The guess with a class for each colour of the masks, called as a legend in the folder says."""
    shown = filter(None, map(mask_colours.shown, labels))
    seen = {colour for mask in shown for colour in mask.counts}
    legend = legends.best(data, tree_of(data).others, seen)
    all_read = len(labels) == guess.n_labelled
    result = mask_colours.survey(labels, data, legend.names if legend else {}, all_read=all_read)
    named = (f"names of classes come from {legend.path}",) if legend and result.classes else ()
    return replace(
        guess,
        classes=dict(result.classes) or None,
        colours=result.colours,
        in_colours=bool(result.classes),
        background=result.background,
        void=(VOID,) if result.void_colours else (),
        void_colours=result.void_colours,
        remarks=(*guess.remarks, *named, *result.remarks),
    )


def _with_palette(data: Path, guess: Guess, labels: Sequence[Path]) -> Guess:
    """Palette masks' classes with the colours that they show, and names of these where a legend has them."""
    palette = images.read_palette(labels[0]) if labels and labels[0].is_file() else None
    if guess.classes is None or palette is None or max(guess.classes) >= len(palette):
        return guess
    colours = {value: palette[value] for value in guess.classes}
    legend = legends.best(data, tree_of(data).others, colours.values())
    if legend is None or len(set(colours.values())) < len(colours):
        return guess
    names = {value: legend.names.get(colours[value], name) for value, name in guess.classes.items()}
    remarks = (*guess.remarks, f"names of classes come from {legend.path}, by the palette's colours")
    return replace(guess, classes=names | {0: "background"}, colours=colours, remarks=remarks)


def with_names(data: Path, guess: Guess) -> Guess:
    """Classes with names in place of ``label_1``: the label files' own, a table's, FreeSurfer's, a name's."""
    if guess.classes is None or guess.label is None or guess.class_file is not None:
        return guess
    unnamed = [value for value, name in guess.classes.items() if _UNNAMED.fullmatch(name)]
    if not unnamed:
        return guess
    others = tree_of(data).others
    names: Mapping[int, str]
    names, remarks = segment_names.of_files(_some_labels(data, guess), data)
    if names:
        remarks = ("names of classes come from the label files' headers", *remarks)
    elif not remarks:
        names, remarks = _names_beside(data, others, unnamed, guess)
    classes = {
        value: names.get(value, name) if value in unnamed else name for value, name in guess.classes.items()
    }
    return replace(guess, classes=class_names.usable(classes), remarks=(*guess.remarks, *remarks))


def _names_beside(
    data: Path, others: Sequence[str], unnamed: Sequence[int], guess: Guess
) -> tuple[Mapping[int, str], tuple[str, ...]]:
    """Names of values by a table in the folder, as FreeSurfer's, or of one by the files' name; remarks."""
    label = guess.label or ""
    table, remarks = class_names.best(class_names.tables(data, others), unnamed, label)
    if table:
        return table.names, (f"names of classes come from {table.path}", *remarks)
    if names := class_names.of_values(unnamed, label):
        return names, remarks
    if len(unnamed) > 1:
        return {}, remarks
    name = class_names.of_file_name(label, guess.channels.values())
    if name is None and (of_read_me := class_names.of_read_me(data, others)):
        name, path = of_read_me
        remarks = (*remarks, f"the class is called {name} after {path}: is that what is labelled?")
    return {unnamed[0]: name} if name else {}, remarks
