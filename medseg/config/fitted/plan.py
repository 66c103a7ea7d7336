"""All rules in their order: from a fingerprint and a time budget to keys of a recipe, with reasons."""

from __future__ import annotations

from medseg.config.fitted import geometry, training
from medseg.config.fitted.choice import Choice, Choices
from medseg.config.fitted.geometry import Slices
from medseg.config.fitted.training import Budget, Candidate, Length, Measure
from medseg.preprocess.fingerprint import Fingerprint

_PROBE = (128, 128)


def splits(n_subjects: int, *, listed: bool) -> Choice:
    """Split by subjects: the data set's own lists, or at random, as far as there are enough."""
    if listed:
        return Choice("listed", "the roles that the data set itself gives; or {folds: 1, val: 0.2, ..}")
    val, test = (0.2 if n_subjects >= 3 else 0), (0.2 if n_subjects >= 2 else 0)
    reasons = {
        1: "one subject: nothing can be tested",
        2: "two subjects: one to train on, one to test; none is left to validate with",
    }
    reason = reasons.get(n_subjects, "or train: [..], val: [..], test: [..]")
    return Choice({"folds": 1, "val": val, "test": test, "seed": 0}, reason)


def unfitted(unit: str, *, multilabel: bool) -> Choices:
    """The usual values, where nothing could be measured yet."""
    images = unit == "px"
    usual = "usual; fitted as soon as there are labelled cases"
    return {
        "data.splits": splits(3, listed=False),
        "preprocess.foreground": Choice("all" if images else "auto", usual),
        "preprocess.crop": Choice(value=not images, reason=usual),
        "sampling.depth": Choice(1 if images else 3, usual),
        "sampling.window": Choice([128, 128] if images else [64, 64], usual),
        "network.name": Choice("unet", usual),
        "network.keywords.width": Choice(16, usual),
        "network.keywords.depth": Choice(4, usual),
        "loss.name": Choice("bce_dice" if multilabel else "ce_dice", usual),
        "train.epochs": Choice(20, usual),
        "train.batch": Choice(16, usual),
    }


def choose(fingerprint: Fingerprint, budget: Budget, measure: Measure) -> Choices:
    """Choose everything but the data section; ``measure`` gives the seconds of a training step."""
    images = fingerprint.unit == "px"
    if images:
        chosen, slices = geometry.of_images(fingerprint, _pixels_in_time(budget, measure))
        depth = Choice(1, "an image has no neighbours")
    else:
        chosen, slices = geometry.of_scans(fingerprint)
        resampled = chosen.get("preprocess.spacing_mm")
        depth = geometry.depth(resampled.value if resampled else fingerprint.spacing, slices)
    first = _narrowest(fingerprint, slices, depth.value, budget)
    best, seconds, reasons = training.network(first, budget, measure)
    oversampled = training.oversampling(fingerprint, best.window, slices)
    return {
        **chosen,
        **_sampling(slices, depth, best, oversampled, images=images),
        **_network(best, reasons["width"]),
        **training.loss(fingerprint, oversampled.value),
        **_training(fingerprint, slices, best, seconds, budget, reasons["batch"]),
        "predict.mode": Choice("dense", "whole slices; or vote, gaussian, tiles"),
    }


def _sampling(
    slices: Slices, depth: Choice, best: Candidate, oversampled: Choice, *, images: bool
) -> Choices:
    names = list(slices.planes) if len(slices.planes) > 1 else slices.planes[0]
    chosen = {} if images else {"sampling.plane": Choice(names, slices.reason)}
    chosen |= {
        "sampling.depth": depth,
        "sampling.window": Choice(list(best.window), _why_window(slices, best)),
        "sampling.foreground_oversampling": oversampled,
    }
    if images:
        chosen["sampling.order"] = Choice("shuffled", "an epoch takes every image once")
    return chosen


def _network(best: Candidate, why_width: str) -> Choices:
    smallest = min(best.window) // 2**best.poolings
    return {
        "network.name": Choice("unet", "as nnU-Net plans: quick to train and to predict"),
        "network.keywords.width": Choice(best.width, why_width),
        "network.keywords.depth": Choice(best.poolings, f"poolings, from the window to {smallest} px"),
    }


def _pixels_in_time(budget: Budget, measure: Measure) -> float:
    """Pixels that the narrowest network is trained on in the time."""
    size = training.batch(_PROBE, training.WIDTHS[0], budget)
    probe = Candidate(training.WIDTHS[0], geometry.DEEPEST[budget.device], _PROBE, 1, size)
    return budget.seconds / measure(probe) * probe.pixels


def _narrowest(fingerprint: Fingerprint, slices: Slices, depth: int, budget: Budget) -> Candidate:
    """Start from the narrowest network and the window that fits a slice and its poolings."""
    longest = geometry.longest_side(fingerprint, budget.device)
    poolings = geometry.poolings(slices.shortest, budget.device)
    window = geometry.window(slices.size, 2**poolings, longest)
    width = training.WIDTHS[0]
    return Candidate(width, poolings, window, depth, training.batch(window, width, budget))


def _why_window(slices: Slices, best: Candidate) -> str:
    height, width = slices.size
    whole = all(side >= n - 2**best.poolings / 2 for side, n in zip(best.window, slices.size, strict=True))
    part = "a whole slice" if whole else "a part of a slice"
    up_to = "up to " if len(slices.planes) > 1 else ""
    return f"{part}; typical slices have {up_to}{height} × {width} px"


def _training(
    fingerprint: Fingerprint, slices: Slices, best: Candidate, seconds: float, budget: Budget, why_batch: str
) -> Choices:
    images = fingerprint.unit == "px"
    of_epoch = -(-fingerprint.n_train // best.batch) if images else None
    of_case = seconds / best.pixels * training.FORWARD_SHARE * slices.voxels * len(slices.planes)
    length = training.length(budget.seconds, seconds, (fingerprint.n_val, of_case), of_epoch)
    drawn = length.epochs * length.steps_per_epoch * best.pixels
    passes = drawn / (fingerprint.n_train * slices.voxels)
    return {
        **_length(length, seconds, budget, images=images),
        "train.batch": Choice(best.batch, why_batch),
        "train.lr": Choice(0.001, "usual for AdamW with batch normalisation"),
        "train.schedule": Choice("poly", "falls to 0 at the end of the time"),
        "train.precision": Choice(
            "auto", "the fastest that the machine computes natively; or fp32, bf16, fp16"
        ),
        **training.augmentation(fingerprint, slices.planes, passes),
    }


def _length(length: Length, seconds: float, budget: Budget, *, images: bool) -> Choices:
    steps = length.epochs * length.steps_per_epoch
    minutes = budget.seconds / 60
    why = (
        f"{steps} steps of {seconds * 1000:.0f} ms, as measured here, and validations: {minutes:.2g} min; "
        f"`minutes: {minutes:.3g}` in place of this and the next keys keeps the time on other machines"
    )
    chosen = {"train.epochs": Choice(length.epochs, why)}
    if not images:
        chosen["train.steps_per_epoch"] = Choice(
            length.steps_per_epoch, "any number: patches are drawn at random"
        )
    chosen["train.validate_every"] = Choice(
        length.validate_every, "validations take about a tenth of the time"
    )
    if length.validate_cases:
        chosen["train.validate_cases"] = Choice(length.validate_cases, "as many as that allows")
    return chosen
