"""`medseg init`: looks at a folder that nobody described and writes a commented recipe for it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import yaml

from medseg import files
from medseg.config import classfile
from medseg.errors import Code, MedsegError
from medseg.ingest import checks, layouts, masks
from medseg.ingest.layouts import Guess
from medseg.io import images

LABELS_READ = 10
MOST_CLASSES = 64
HALF = 128.0
"""A mask with more values, or a JPEG, holds greys, which are told apart by half of white."""


def run(data: Path, out: Path, *, force: bool) -> Guess:
    """Write `out`, a recipe for the scans in `data`. Raises USAGE if `out` is there and not `force`."""
    if not data.is_dir():
        raise MedsegError(Code.PATH_MISSING, data, "no such folder", "name the folder of scans")
    if out.exists() and not force:
        raise MedsegError(Code.USAGE, out, "the file exists", "choose another --out, or --force")
    guess = layouts.guess(data)
    if guess.unit == "px":
        guess = _of_pictures(data, guess)
    elif guess.classes is None:
        guess = replace(guess, classes=_classes(data, guess))
    files.write_text(out, recipe_text(out, data, guess))
    return guess


def _of_pictures(data: Path, guess: Guess) -> Guess:
    """The class list of a known set, or the values of the masks; grey pictures as one channel."""
    known = {**{name: name for name in classfile.packaged_names()}, "voc_aug": "voc"}
    if guess.layout in known:
        in_colours = "LabeledApproved_full" in (guess.label or "")
        return replace(guess, class_file="camvid32" if in_colours else known[guess.layout])
    found = layouts.find(data, "patterns", guess.channels, guess.label)
    first = [next(iter(case.channels.values())) for case in found.cases[:LABELS_READ]]
    if first and len(set(guess.channels.values())) == 1 and all(images.is_grey(path) for path in first):
        guess = replace(guess, channels={"grey": next(iter(guess.channels.values()))})
    classes = _classes(data, guess)
    lossy = any(str(case.label).lower().endswith((".jpg", ".jpeg")) for case in found.cases)
    if classes is None or (len(classes) <= MOST_CLASSES and not lossy):
        return replace(guess, classes=classes)
    return replace(guess, classes={0: "background", 1: "object"}, above=HALF)


def _classes(data: Path, guess: Guess) -> dict[int, str] | None:
    """Values found in the first label files, named by their numbers; None where there are no labels."""
    if guess.label is None:
        return None
    found = layouts.find(data, "patterns", guess.channels, guess.label)
    labels = [case.label for case in found.cases if case.label is not None][:LABELS_READ]
    values = {0, *checks.label_values(path for label in labels for path in masks.files_of(label))}
    return {v: "background" if v == 0 else f"label_{v}" for v in sorted(values)} if len(values) > 1 else None


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
    if guess.unit == "px":
        splits += ", or listed"
    foreground, crop, depth = ("auto", "true", 3) if guess.unit == "mm" else ("all", "false", 1)
    return f"""# Made by `{_command("init", data)}`: {guess.n_cases} cases, layout {guess.layout}.
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

preprocess:
  foreground: {foreground:<10} # auto | all | {{above: x}}, grey values above x
  # spacing_mm: [1.0, 1.0, 1.0]   # resample; leave out to keep each scan's own
  crop: {crop:<16} # to the foreground, plus crop_margin voxels
  n4: false              # bias-field correction; a minute a scan

sampling:
  plane: axial           # axial | coronal | sagittal: choose the one with the finest pixels; or a list
  depth: {depth:<15} # slices a slab: the middle one is labelled
  window: [40, 40]       # pixels of a training patch

network:
  name: usegnet          # `medseg info --full` lists them

loss:
  name: ce_dice
  class_weights: none    # none | median_frequency | a list, background first

train:
  epochs: 20
  steps_per_epoch: 100
  batch: 64
  augment: {{flip: [], rotate_degrees: 10, scale: 0.1, contrast: 0.2, brightness: 0.2, noise: 0.05}}

predict:
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
