"""Rules for training: patches, loss, network, batch, augmentation, and a length that fills a time budget."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medseg.config.fitted.choice import Choice, Choices
from medseg.config.fitted.geometry import Slices
from medseg.grid import Plane
from medseg.patches.slabs import flip_axis
from medseg.preprocess.fingerprint import Fingerprint

WIDTHS = (16, 24, 32, 48, 64)
"""Channels of the network's first level, from the narrowest to the widest."""

STEPS_TO_WIDEN = 2000
"""Steps that a wider network must reach in the time. On the validation crops of the hippocampus 2,400 steps
of width 24 were better than 4,400 of width 16 in the same eight minutes: Dice 0.867 and 0.863."""

FEWEST_STEPS = 1000
PIXELS_OF_BATCH = {"cpu": 2**17, "gpu": 2**20}
MOST_PATCHES, FEWEST_PATCHES = 64, 4
BYTES_PER_ACTIVATION = 4
MAPS_PER_WIDTH = 24
"""Feature maps of the first level's size that a training step keeps, over the network's width: convolution,
normalisation and activation of four layers, and half as much at each level below."""

MEMORY_SHARE = 0.5
FEW_CASES = 10
FEW_PASSES = 3.0
"""Passes over all training pixels below which a training cannot learn its cases by heart."""

VALIDATION_SHARE = 0.1
MOST_VALIDATIONS, FEWEST_VALIDATIONS = 10, 3
EPOCHS = 20
FORWARD_SHARE = 1 / 3
"""Time of a prediction over that of a training step, for the same pixels."""

RARE = 20.0
"""Ratio of the commonest class to the rarest from which on a loss over whole images is weighted."""

_SIDE = re.compile(r"(?:^|[_\W])(?:left|right|l|r|lh|rh)(?:$|[_\W])", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """Time for training (seconds), kind of device (cpu or gpu), free memory (bytes; None: not known)."""

    seconds: float
    device: str
    memory: float | None


@dataclass(frozen=True)
class Candidate:
    """A training step: the network's width and poolings, window (px), input slices, patches of a batch."""

    width: int
    poolings: int
    window: tuple[int, int]
    depth: int
    batch: int

    @property
    def pixels(self) -> int:
        """Pixels of a batch."""
        return self.batch * math.prod(self.window)


Measure = Callable[[Candidate], float]
"""Seconds of a training step on this machine."""


def oversampling(fingerprint: Fingerprint, window: tuple[int, int], slices: Slices) -> Choice:
    """Share of patches around a voxel of a class drawn by chance, more where the rarest class is rarer."""
    covers = all(side >= n for side, n in zip(window, slices.size, strict=True))
    if fingerprint.unit == "px" and covers:
        return Choice(0, "a window shows a whole image")
    rarest = fingerprint.rarest
    share = 0.8 if rarest < 0.001 else 0.66 if rarest < 0.02 else 0.5
    return Choice(
        share, f"share of patches around a class drawn by chance; the rarest fills {100 * rarest:.2g} %"
    )


def batch(window: tuple[int, int], width: int, budget: Budget) -> int:
    """Patches of a batch: as many pixels as keep the device busy, within the memory."""
    count = PIXELS_OF_BATCH[budget.device] / math.prod(window)
    if budget.memory is not None:
        patch = math.prod(window) * width * MAPS_PER_WIDTH * BYTES_PER_ACTIVATION
        count = min(count, MEMORY_SHARE * budget.memory / patch)
    rounded = 1 << int(math.log2(max(1.0, count)))
    return max(2, min(MOST_PATCHES, rounded))


def network(first: Candidate, budget: Budget, measure: Measure) -> tuple[Candidate, float, dict[str, str]]:
    """Choose width and batch by what the machine does in the time: candidate, seconds of a step, reasons."""
    chosen, seconds = first, measure(first)
    while budget.seconds / seconds < FEWEST_STEPS and chosen.batch > FEWEST_PATCHES:
        chosen = replace(chosen, batch=chosen.batch // 2)
        seconds = measure(chosen)
    for width in WIDTHS[WIDTHS.index(first.width) + 1 :]:
        wider = replace(chosen, width=width, batch=min(chosen.batch, batch(first.window, width, budget)))
        slower = measure(wider)
        if budget.seconds / slower < STEPS_TO_WIDEN:
            break
        chosen, seconds = wider, slower
    steps = budget.seconds / seconds
    why_batch = (
        f"patches of {first.window[0]} × {first.window[1]} px, as many as fill the device or the memory"
    )
    if chosen.batch < batch(first.window, chosen.width, budget):
        why_batch = f"fewer than fill the device, for {steps:.0f} steps in the time"
    return chosen, seconds, {"batch": why_batch, "width": _why_width(chosen.width, steps)}


def _why_width(width: int, steps: float) -> str:
    what = "channels of the first level"
    if steps < STEPS_TO_WIDEN:
        return f"{what}: few, as the time is enough for {steps:.0f} steps only"
    if width == WIDTHS[-1]:
        return f"{what}: the most that are tried; {steps:.0f} steps fit into the time"
    wider = WIDTHS[WIDTHS.index(width) + 1]
    return f"{what}: with {wider}, fewer than {STEPS_TO_WIDEN} steps fit into the time"


def loss(fingerprint: Fingerprint, oversampled: float) -> Choices:
    """Choose the loss, weighted where whole images hold classes of very different sizes."""
    if fingerprint.classes.multilabel:
        return {"loss.name": Choice("bce_dice", "masks that may overlap")}
    chosen = {
        "loss.name": Choice("ce_dice", "cross-entropy, and Dice, which counts small classes like large ones")
    }
    shares = fingerprint.shares.values()
    if oversampled == 0 and shares and max(shares) > RARE * min(shares):
        ratio = max(shares) / min(shares)
        reason = (
            f"the commonest class is {ratio:.0f} times the rarest, and no patches are drawn around classes"
        )
        chosen["loss.class_weights"] = Choice("median_frequency", reason)
    return chosen


def augmentation(fingerprint: Fingerprint, planes: Sequence[Plane], passes: float) -> Choices:
    """Choose random changes of patches by the cases' number and differences, and by passes over them."""
    strong = passes >= FEW_PASSES
    few = fingerprint.n_train < FEW_CASES
    grey = round(min(0.3, max(0.1, fingerprint.grey_spread)), 2)
    why = "few cases" if few else f"{fingerprint.n_train} cases"
    seen = f"{why}, each seen {passes:.0f} times" if passes >= 10 else f"{why}, each seen {passes:.2g} times"
    degrees, scale = (15, 0.15) if few and strong else (10, 0.1) if strong else (5, 0.05)
    scale = round(max(scale, min(0.3, fingerprint.spacing_ratio - 1) if fingerprint.unit == "mm" else 0), 2)
    spread = f"classes differ by {fingerprint.grey_spread:.2g} SD of grey values between cases"
    flip, why_flip = _flip(fingerprint, planes)
    return {
        "train.augment.flip": Choice(flip, why_flip),
        "train.augment.rotate_degrees": Choice(degrees, seen),
        "train.augment.scale": Choice(scale, seen),
        "train.augment.contrast": Choice(grey, spread),
        "train.augment.brightness": Choice(grey, spread),
        "train.augment.gamma": Choice(0.2 if strong else 0.1, seen),
        "train.augment.noise": Choice(0.05, "in standard deviations of grey values"),
    }


def _flip(fingerprint: Fingerprint, planes: Sequence[Plane]) -> tuple[list[str], str]:
    if any(_SIDE.search(name) for name in fingerprint.classes.foreground_names):
        return [], "none: names of classes tell left from right"
    if fingerprint.unit == "px":
        return ["horizontal"], "no class is named left or right"
    if all(flip_axis("left_right", plane) is None for plane in planes):
        return [], "none: left and right lie in no slice of this plane"
    return ["left_right"], "no class is named left or right"


@dataclass(frozen=True)
class Length:
    """Epochs, steps of each, and how often how many cases are validated."""

    epochs: int
    steps_per_epoch: int
    validate_every: int
    validate_cases: int


def length(budget: float, seconds: float, validated: tuple[int, float], epoch_of: int | None) -> Length:
    """Fill the time, ``budget`` seconds, with steps and validations.

    ``seconds`` are those of a step; ``validated`` the number of validation cases and the seconds of each;
    ``epoch_of`` the steps of an epoch where it takes every image once.
    """
    n_cases, of_case = validated
    for_validation = VALIDATION_SHARE * budget
    cases = n_cases
    if n_cases:
        cases = max(1, min(n_cases, int(for_validation / FEWEST_VALIDATIONS / of_case)))
    count = (
        max(1, min(MOST_VALIDATIONS, int(for_validation / (of_case * cases)))) if cases else MOST_VALIDATIONS
    )
    steps = max(1, int((budget - (count * cases * of_case)) / seconds))
    epochs = max(1, round(steps / epoch_of)) if epoch_of else min(EPOCHS, steps)
    every = max(1, -(-epochs // count))
    return Length(epochs, epoch_of or max(1, steps // epochs), every, cases if cases < n_cases else 0)
