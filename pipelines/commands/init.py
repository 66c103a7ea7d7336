"""The command `medseg init`: look at a folder that nobody described and write a commented recipe for it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from medseg import files
from medseg.config import class_file
from medseg.config.load import schema_line
from medseg.errors import Code, MedsegError
from medseg.ingest import label_survey, layouts
from medseg.ingest.layouts import Guess
from medseg.io import images
from medseg.io.dicom.rules import SeriesRules
from pipelines.commands import init_dicom, init_reading
from pipelines.commands.init_reading import Given

LABELS_READ = 40
MOST_CLASSES = 64
LARGEST, STEP = 256, 32
"""The longest side of a training window of images, and the step that its sides are multiples of."""

HALF = 128.0
"""A mask with more values, or a JPEG, holds greys, which are told apart by half of white."""


def run(data: Path, out: Path, *, force: bool, given: Given | None = None) -> Guess:
    """Write `out`, a recipe for the scans or images in `data`; a skeleton of one where no case is labelled.

    `given` are patterns of the command line, which replace the guess of them. Raises PATH_MISSING; USAGE if
    `out` is there and not `force`; NOTHING_USABLE where nothing can be read.
    """
    if not data.is_dir():
        raise MedsegError(Code.PATH_MISSING, data, "no such folder", "name the folder of scans")
    if out.exists() and not force:
        raise MedsegError(Code.USAGE, out, "the file exists", "choose another --out, or --force")
    given = given or Given({})
    if not (given.channels or given.label) and (export := init_dicom.read(data)):
        guess = init_dicom.guess(data, export)
        files.write_text(out, recipe_text(out, data, guess))
        return guess
    guess = init_reading.read(data, given)
    if guess.unit == "px" and guess.n_cases:
        packaged = None if given.channels or given.label else packaged_set(data, guess)
        guess = packaged or _of_images(data, guess)
    elif guess.classes is None:
        guess = _with_classes(data, guess)
        if guess.label and guess.classes is None:
            remark = "the label files hold no class: nothing but 0, or no whole numbers"
            guess = replace(guess, n_labelled=0, remarks=(*guess.remarks, remark))
    if guess.layout != "decathlon" or not guess.regions:
        guess = init_reading.with_names(data, guess)
    if guess.subject_remark and guess.class_file is None:
        guess = replace(guess, remarks=(*guess.remarks, guess.subject_remark))
    files.write_text(out, recipe_text(out, data, guess))
    return guess


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


@dataclass(frozen=True)
class _Template:
    """The parts of a recipe in which scans and images differ."""

    sampling: str
    steps: str
    roles: str = ""


_SCANS = _Template(
    """preprocess:
  foreground: auto       # auto | all | {above: x}, grey values above x
  # spacing_mm: [1.0, 1.0, 1.0]   # resample; leave out to keep each scan's own
  crop: true             # to the foreground, plus crop_margin voxels
  n4: false              # bias-field correction; a minute a scan

sampling:
  plane: axial           # axial | coronal | sagittal: choose the one with the finest pixels; or a list
  depth: 3               # input slices (2.5D): neighbours on both sides, the middle one is labelled
  window: [40, 40]       # pixels of a training patch""",
    "  steps_per_epoch: 100\n  batch: 64",
)


def _images(data: Path, guess: Guess) -> _Template:
    """Whole images, or windows of 256 pixels of larger ones, each image once an epoch."""
    rows, columns = _window(data, guess)
    sampling = f"""preprocess:
  foreground: all        # auto | all | {{above: x}}, grey values above x
  # spacing_px: [2.0, 2.0]   # resize, here to half; leave out to keep each image's own size
  crop: false            # to the foreground, plus crop_margin pixels

sampling:
  depth: 1
  window: [{rows}, {columns}]   # pixels of a training patch
  foreground_oversampling: 0
  order: shuffled       # an epoch takes every image once; random draws patches"""
    roles = "\n  roles: [val, test]" if {"train", "val"} <= guess.roles else ""
    return _Template(sampling, "  batch: 8", roles)


def _window(data: Path, guess: Guess) -> tuple[int, int]:
    """Rows and columns of a window that holds the first image, at most 256, in steps of 32."""
    case = _contents(data, guess).cases[0]
    try:
        grid = images.read(next(iter(case.channels.values()))).grid
    except MedsegError:
        return LARGEST, LARGEST
    rows, columns = (min(LARGEST, -(-size // STEP) * STEP) for size in grid.shape[:2])
    return rows, columns


def recipe_text(out: Path, data: Path, guess: Guess) -> str:
    """The recipe to be written to `out`, as commented YAML."""
    splits = "{folds: 1, val: 0.2, test: 0.2, seed: 0}   # or train: [..], val: [..], test: [..]"
    if {"train", "val"} <= guess.roles:
        splits = "listed         # the roles that the data set itself gives; or {folds: 1, val: 0.2, ..}"
    template = _SCANS if guess.unit == "mm" or not guess.n_cases else _images(data, guess)
    overlap = guess.regions or guess.masks
    loss = "bce_dice         # of masks that may overlap" if overlap else "ce_dice"
    weights = "or a list, one a mask" if overlap else "median_frequency | a list, background first"
    notes = "".join(f"# Note: {_one_line(remark)}\n" for remark in guess.remarks)
    return f"""{schema_line().strip()}
# Made by `{_command("init", data)}`: {guess.n_cases} cases, layout {guess.layout}.
{_next_step(out, guess)}{notes}name: {_scalar(recipe_name(out))}

data:
  path: {_scalar(str(data.absolute()))}
  layout: {guess.layout}          # plain | subjects | decathlon | bids | dicom | patterns, or an image set's
{_files_section(guess)}
{_classes_section(guess)}
  splits: {splits}

{template.sampling}

network:
  name: usegnet          # `medseg info --full` lists them

loss:
  name: {loss}
  class_weights: none    # none | {weights}

train:
  epochs: 20
{template.steps}
  precision: auto        # the fastest that the machine computes natively; or fp32, bf16, fp16
  augment: {{flip: [], rotate_degrees: 10, scale: 0.1, contrast: 0.2, brightness: 0.2, noise: 0.05}}

predict:{template.roles}
  mode: dense            # dense (fast) | vote (the U-SegNet paper's majority vote of windows) | gaussian
                         # (blended windows) | tiles (U-Net's overlap-tiles, for networks with padding: valid)
"""


def _next_step(out: Path, guess: Guess) -> str:
    """Comments that say how to go on: run it, or complete a skeleton that has no labelled case."""
    if guess.n_labelled:
        return f"# Read it once, then: {_command('run', out)}\n"
    check = _command("check", "DATA", "--recipe", out)
    advice = [
        "# Write data.channels and data.label below as patterns ({case}, {subject}, * for anything), and the",
        f"# classes; then try it: {check}",
    ]
    if guess.layout == "dicom":
        advice = [f"# Add DICOM SEG objects, or name files of label maps in data.label; then try it: {check}"]
    lines = [
        "# NOT COMPLETE: no label map was recognised that belongs to an image: nothing can be trained yet.",
        *advice,
        *(["# These files are there:"] if guess.seen else []),
        *(f"#   {_one_line(line)}" for line in guess.seen),
    ]
    return "".join(f"{line}\n" for line in lines)


def _files_section(guess: Guess) -> str:
    """The keys that say which files are channels and labels, and how subjects are read from names."""
    if guess.layout == "dicom":
        lines = ["  series:                # channel: pattern of the SeriesDescription, or several rules"]
        lines += [f"    {_scalar(name)}: {_rules(rules)}" for name, rules in guess.series.items()]
        return "\n".join(lines)
    lines = [
        "  channels:              # name: pattern below path; {case} and {subject} are read from the names"
    ]
    lines += [f"    {_scalar(name)}: {_scalar(pattern)}" for name, pattern in guess.channels.items()]
    if guess.masks:
        lines.append("  masks:                 # name: pattern; 1 inside and 0 outside, masks may overlap")
        lines += [f"    {_scalar(name)}: {_scalar(pattern)}" for name, pattern in guess.masks.items()]
    elif guess.label:
        lines.append(f"  label: {_scalar(guess.label)}")
    else:
        lines.append('  # label: "{case}_seg.nii.gz"   # no label files were found')
    if guess.subject:
        rule = _scalar(guess.subject)
        lines.append(f"  subject: {rule}   # read from a case's name; a subject's cases stay together")
    return "\n".join(lines)


def _rules(rules: SeriesRules) -> str:
    """Rules of a series as YAML: its pattern alone where the others are the usual ones."""
    given = rules.model_dump(mode="json", exclude_defaults=True)
    if given.keys() == {"description"} and len(rules.description) == 1:
        return _scalar(rules.description[0])
    return yaml.safe_dump(given, default_flow_style=True, allow_unicode=True, width=2**20).strip()


def _classes_section(guess: Guess) -> str:
    """The keys that say what the values of label files mean."""
    if guess.class_file:
        lines = [f"  class_file: {_scalar(guess.class_file)}"]
    elif guess.masks:
        lines = ["  # classes: none, for masks have names of their own"]
    else:
        names = guess.classes or {0: "background", 1: "label_1"}
        files_named = "label files: name" if guess.layout != "dicom" else "label map: label of the segment"
        lines = [f"  classes:               # value in the {files_named}"]
        lines += [f"    {value}: {_scalar(name)}" for value, name in sorted(names.items())]
    if guess.regions:
        lines.append("  regions:               # masks that may overlap: the values that make each up")
        lines += [f"    {_scalar(name)}: {list(values)}" for name, values in guess.regions.items()]
    if guess.void:
        lines.append(f"  void: {list(guess.void)}             # values that are ignored")
    if guess.above is not None:
        lines.append(
            f"  label_form: {{above: {guess.above:g}}}   # grey masks: what is brighter is the second class"
        )
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(ascii(word)[1:-1] if not word.isprintable() else word for word in text.split())


def recipe_name(out: Path) -> str:
    """A name that recipes may have, from the file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.stem).lstrip("_.-") or "recipe"


def _scalar(text: str) -> str:
    """A text as a YAML scalar, quoted where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=2**20).strip()[1:-1]


def _command(*words: object) -> str:
    """A command that can be typed as it stands, on one line."""
    return " ".join(shlex.join(["medseg", *map(str, words)]).splitlines())
