"""`medseg init`: looks at a folder that nobody described and writes a commented recipe for it."""

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
from medseg.ingest import checks, layouts, mask_files, quarantine
from medseg.ingest.layouts import Guess
from medseg.ingest.patterns import measured_alike
from medseg.io import images

LABELS_READ = 10
MOST_CLASSES = 64
LARGEST, STEP = 256, 32
"""Of a training window of images: the longest side, and what its sides are multiples of."""

HALF = 128.0
"""A mask with more values, or a JPEG, holds greys, which are told apart by half of white."""


def run(data: Path, out: Path, *, force: bool) -> Guess:
    """Write `out`, a recipe for the scans or images in `data`.

    Raises PATH_MISSING; USAGE if `out` is there and not `force`; NOTHING_USABLE where no case is found.
    """
    if not data.is_dir():
        raise MedsegError(Code.PATH_MISSING, data, "no such folder", "name the folder of scans")
    if out.exists() and not force:
        raise MedsegError(Code.USAGE, out, "the file exists", "choose another --out, or --force")
    guess = layouts.guess(data)
    if guess.unit == "px":
        guess = _of_pictures(data, guess)
    elif guess.classes is None:
        guess = replace(guess, classes=_classes(data, guess))
    if not guess.n_cases:
        raise _nothing(data, guess)
    files.write_text(out, recipe_text(out, data, guess))
    return guess


def _nothing(data: Path, guess: Guess) -> MedsegError:
    """No case: what was seen, and how it can be told by hand."""
    unit, tree = measured_alike(data)
    folders = list(dict.fromkeys(path.rpartition("/")[0] or "." for path in tree))
    what = "scans" if unit == "mm" else "images"
    found = f"no case among {len(tree)} {what} (layout {guess.layout}) in {quarantine.some(folders)}"
    how_to_fix = "write a recipe with data.channels and data.label as patterns, or a table (layout csv)"
    return MedsegError(Code.NOTHING_USABLE, data, found, how_to_fix)


def _packaged(data: Path, guess: Guess) -> Guess | None:
    """The packaged class file whose patterns find most labelled cases, if any finds one."""
    best: Guess | None = None
    for name in class_file.packaged_names():
        held = class_file.read(name)
        if held.get("layout") != "patterns":
            continue
        found = layouts.find(data, "patterns", held["channels"], held["label"])
        labelled = sum(case.label is not None for case in found.cases)
        if labelled > (best.n_labelled if best else 0):
            best = replace(
                guess,
                layout="patterns",
                channels=held["channels"],
                label=held["label"],
                n_cases=len(found.cases),
                n_labelled=labelled,
                class_file=name,
                roles=frozenset(role for _, role in found.roles),
                n_other=len(found.ignored) + sum(len(stray.files) for stray in found.strays),
            )
    return best


def _of_pictures(data: Path, guess: Guess) -> Guess:
    """The class list of a known set, or the values of the masks; grey pictures as one channel."""
    known = {**{name: name for name in class_file.packaged_names()}, "voc_aug": "voc"}
    if guess.layout in known:
        in_colours = "LabeledApproved_full" in (guess.label or "")
        return replace(guess, class_file="camvid32" if in_colours else known[guess.layout])
    if packaged := _packaged(data, guess):
        return packaged
    found = layouts.find(data, "patterns", guess.channels, guess.label)
    first = [next(iter(case.channels.values())) for case in found.cases[:LABELS_READ]]
    if first and len(set(guess.channels.values())) == 1 and all(images.is_grey(path) for path in first):
        guess = replace(guess, channels={"grey": next(iter(guess.channels.values()))})
    classes = _classes(data, guess)
    lossy = any(str(case.label).lower().endswith((".jpg", ".jpeg")) for case in found.cases)
    if classes is not None and len(classes) == 2:
        classes = {value: name if value == 0 else "foreground" for value, name in classes.items()}
    if classes is None or (len(classes) <= MOST_CLASSES and not lossy):
        return replace(guess, classes=classes)
    return replace(guess, classes={0: "background", 1: "foreground"}, above=HALF)


def _classes(data: Path, guess: Guess) -> dict[int, str] | None:
    """Values found in the first label files, named by their numbers; None where there are no labels."""
    if guess.label is None:
        return None
    found = layouts.find(data, "patterns", guess.channels, guess.label)
    labels = [case.label for case in found.cases if case.label is not None][:LABELS_READ]
    values = {0, *checks.label_values(path for label in labels for path in mask_files.files_of(label))}
    return {v: "background" if v == 0 else f"label_{v}" for v in sorted(values)} if len(values) > 1 else None


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
  depth: 3               # slices a slab: the middle one is labelled
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
    case = layouts.find(data, "patterns", guess.channels, guess.label).cases[0]
    try:
        grid = images.read(next(iter(case.channels.values()))).grid
    except MedsegError:
        return LARGEST, LARGEST
    rows, columns = (min(LARGEST, -(-size // STEP) * STEP) for size in grid.shape[:2])
    return rows, columns


def recipe_text(out: Path, data: Path, guess: Guess) -> str:
    """The recipe to be written to `out`, as commented YAML."""
    channels = "\n".join(f"    {_scalar(k)}: {_scalar(v)}" for k, v in guess.channels.items())
    label = f"  label: {_scalar(guess.label)}" if guess.label else "  # label: no label files were found"
    names = guess.classes or {0: "background", 1: "label_1"}
    classes = "  classes:               # value in the label files: name\n"
    classes += "\n".join(f"    {value}: {_scalar(text)}" for value, text in sorted(names.items()))
    if guess.class_file:
        classes = f"  class_file: {_scalar(guess.class_file)}"
    if guess.above is not None:
        classes += (
            f"\n  label_form: {{above: {guess.above:g}}}   # grey masks: what is brighter is the second class"
        )
    splits = "{folds: 1, val: 0.2, test: 0.2, seed: 0}   # or train: [..], val: [..], test: [..]"
    if {"train", "val"} <= guess.roles:
        splits = "listed         # the roles that the data set itself gives; or {folds: 1, val: 0.2, ..}"
    made = _SCANS if guess.unit == "mm" else _images(data, guess)
    return f"""{schema_line().strip()}
# Made by `{_command("init", data)}`: {guess.n_cases} cases, layout {guess.layout}.
# Read it once, then: {_command("run", out)}
name: {_scalar(recipe_name(out))}

data:
  path: {_scalar(str(data.absolute()))}
  layout: {guess.layout}          # auto | plain | subjects | decathlon | bids | patterns, or an image set's
  channels:              # name: pattern below path; {{case}} and {{subject}} are read from the names
{channels}
{label}
{classes}
  splits: {splits}

{made.sampling}

network:
  name: usegnet          # `medseg info --full` lists them

loss:
  name: ce_dice
  class_weights: none    # none | median_frequency | a list, background first

train:
  epochs: 20
{made.steps}
  augment: {{flip: [], rotate_degrees: 10, scale: 0.1, contrast: 0.2, brightness: 0.2, noise: 0.05}}

predict:{made.roles}
  mode: dense            # dense (fast) | vote (the U-SegNet paper's majority vote of windows) | gaussian
                         # (blended windows) | tiles (U-Net's overlap-tiles, for networks with padding: valid)
"""


def recipe_name(out: Path) -> str:
    """A name that recipes may have, from the file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.stem).lstrip("_.-") or "recipe"


def _scalar(text: str) -> str:
    """A text as a YAML scalar, quoted where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=2**20).strip()[1:-1]


def _command(*words: object) -> str:
    """A command that can be typed as it stands, on one line."""
    return " ".join(shlex.join(["medseg", *map(str, words)]).splitlines())
