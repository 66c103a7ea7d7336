"""`make model`: trains the tissue model that ships with medseg, on synthetic people alone.

No scan of a real person is read but the average of 152 that the anatomy is drawn from. Stopped and called
again, it goes on where it was; the weights that score best on people that were held out are exported.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg import files, losses, networks
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.device import resolve_precision
from medseg.grid import PLANE_AXIS, Grid, Plane
from medseg.infer.predictor import autocast_dtype
from medseg.metrics import confusion_matrix
from medseg.model import domain
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.preprocess.prepare import prepare
from medseg.synth import atlas, stream
from medseg.synth.anatomy import CLASSES
from medseg.synth.scanner import Scan
from medseg.train.fit import fit
from medseg.train.plan import FitPlan
from medseg.train.state import BEST, read_network
from medseg.volume import Volume

NAME = "brain-tissue"
NETWORK = "unet"
KEYWORDS = {"width": 16, "depth": 4}
DEPTH = 5
SIDE = 128
ROWS = 8
STEPS = 400
"""Steps of an epoch; each epoch ends with a validation."""

LR = 1.5e-3
SEED, HELD_OUT_SEED = 1, 2
HELD_OUT = 8
EVERY = 12
"""Every n-th slice of the people held out is validated, along each plane."""

MEASURED = 40
"""Synthetic scans whose grey values and volumes the domain is made of."""

FINEST_MM, COARSEST_MM = 0.7, 6.0
"""Resolutions of the synthetic scans along each axis."""

USED_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
TRAINED = "synthetic people, drawn from the ICBM152 maps"

_BACKGROUND = {"value": 0, "name": "background", "colour": (0, 0, 0)}
_GM = {"value": 2, "name": "GM", "colour": (90, 160, 90)}
_WM = {"value": 3, "name": "WM", "colour": (240, 240, 200)}
_BLUE, _VIOLET = (60, 120, 220), (150, 90, 200)

CLASS_ROWS: tuple[dict[str, Any], ...] = (
    _BACKGROUND,
    {"value": 1, "name": "ventricles", "colour": _BLUE},
    _GM,
    _WM,
    {"value": 4, "name": "sulcal CSF", "colour": _VIOLET},
)
"""Classes of the model, in the order of :data:`CLASSES`."""

_CSF = {"value": 1, "name": "CSF", "colour": _BLUE}
CONVENTIONS: dict[str, tuple[tuple[dict[str, Any], ...], tuple[int, ...]]] = {
    "ibsr": ((_BACKGROUND, _CSF, _GM, _WM), (0, 1, 2, 3, 2)),
    "all-csf": ((_BACKGROUND, _CSF, _GM, _WM), (0, 1, 2, 3, 1)),
}
"""Other classes of the same network: IBSR's, where CSF is the ventricles' and sulci are grey matter, and all CSF
as one class."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.commands.brain_tissue", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work/brain-tissue"))
    parser.add_argument("--out", type=Path, default=Path("medseg/models/brain-tissue"))
    parser.add_argument("--epochs", type=int, default=30)
    asked = parser.parse_args(arguments)
    say = Reporter()
    train(asked.work, asked.epochs, say)
    export(asked.work, asked.out, say)


def train(work: Path, epochs: int, say: Reporter) -> None:
    """Train in ``work`` for so many epochs, or go on with a training there."""
    anatomies = atlas.load()
    say.line("making the people that are held out")
    validate = validation(list(stream.held_out(anatomies, HELD_OUT_SEED, HELD_OUT)))
    network = networks.build(NETWORK, DEPTH, len(CLASSES), seed=SEED, **KEYWORDS)
    batches = stream.Stream(anatomies, SEED, rows=ROWS, depth=DEPTH, side=SIDE)
    plan = FitPlan(
        epochs=epochs,
        steps_per_epoch=STEPS,
        lr=LR,
        warmup_steps=100,
        schedule="cosine",
        clip=5.0,
        channels_last=True,
        seed=SEED,
    )
    started = time.monotonic()
    for epoch in fit(network, batches, losses.build("ce_dice"), plan, folder=work, validate=validate):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in (epoch.val or {}).items())
        minutes = (time.monotonic() - started) / 60
        say.line(f"epoch {epoch.number}/{epochs} loss {epoch.train_loss:.4f} {scores} after {minutes:.1f} min")
    batches.close()


def validation(scans: Sequence[Scan]) -> Callable[[nn.Module], dict[str, float]]:
    """Make a function that gives a network's Dice per class, the mean over scans, and the mean of those."""
    classes = ClassList.from_json([{"value": k, "name": n, "colour": (k, k, k)} for k, n in enumerate(CLASSES)])

    def validate(network: nn.Module) -> dict[str, float]:
        matrices = [sum(_matrices(network, scan, classes)) for scan in scans]
        dice = np.nanmean([confusion_matrix.dice(matrix)[1:] for matrix in matrices], axis=0)
        scores = {f"dice_{n}": float(d) for n, d in zip(CLASSES[1:], dice, strict=True)}
        return {**scores, "dice_mean": float(dice.mean())}

    return validate


def _matrices(network: nn.Module, scan: Scan, classes: ClassList) -> Iterator[Any]:
    """The confusion matrices of slices of a scan along each plane."""
    low = autocast_dtype(resolve_precision("auto", "cpu"), torch.device("cpu"))
    for plane in stream.PLANES:
        for slab, labels in _slabs(scan, plane):
            with torch.autocast("cpu", low, enabled=low is not None):
                logits = network(torch.from_numpy(slab)[None])
            predicted = logits[0].argmax(dim=0).numpy()[: labels.shape[0], : labels.shape[1]]
            yield confusion_matrix.confusion(labels, predicted.astype(np.uint8), len(CLASSES))


def _slabs(scan: Scan, plane: Plane) -> Iterator[tuple[Any, Any]]:
    image, labels = (np.moveaxis(array, PLANE_AXIS[plane], 0) for array in (scan.image, scan.labels))
    divisor = 2 ** KEYWORDS["depth"]
    padding = [(0, 0), *((0, -n % divisor) for n in image.shape[1:])]
    for index in range(EVERY // 2, len(image), EVERY):
        near = np.clip(np.arange(DEPTH) + index - DEPTH // 2, 0, len(image) - 1)
        yield np.pad(image[near].astype(np.float32), padding, mode="reflect"), labels[index]


def export(work: Path, out: Path, say: Reporter) -> None:
    """Write the best weights of a training as the model folder ``out``, and its conventions below it."""
    state = {name: _half(values) for name, values in read_network(work / BEST).items()}
    trained_on = measured_domain(say)
    model_folder.export(out, {NAME: state}, described(CLASS_ROWS, (), trained_on))
    tree = files.read_json(out / model_folder.MODEL_JSON)
    for convention, (rows, outputs) in CONVENTIONS.items():
        joined = described(rows, outputs, trained_on).model_dump(mode="json")
        members = [{**member, "shared": True} for member in tree["members"]]
        files.write_json(
            out / convention / model_folder.MODEL_JSON, {**tree, "members": members, "description": joined}
        )


def _half(values: torch.Tensor) -> torch.Tensor:
    """Weights of convolutions at half precision; statistics, whose range is wider, and counters as they are."""
    return values.half() if values.ndim > 1 else values


def described(rows: Sequence[dict[str, Any]], outputs: tuple[int, ...], trained_on: dict[str, Any]) -> Description:
    """Describe the model with these classes."""
    return Description(
        name=NAME,
        network=NETWORK,
        keywords=KEYWORDS,
        channels=("t1",),
        plane=USED_PLANES,
        depth=DEPTH,
        classes=tuple(rows),
        outputs=outputs,
        foreground="auto",
        spacing_mm=(1.0, 1.0, 1.0),
        crop=True,
        crop_margin=8,
        n4=False,
        intensity="zscore",
        mode="dense",
        window=(SIDE, SIDE),
        stride=None,
        batch=4,
        ensemble="mean",
        domain=trained_on,
        trained={NAME: {"data": TRAINED}},
    )


def measured_domain(say: Reporter) -> dict[str, Any]:
    """The domain of scans as they are drawn for the training, at the resolutions that they are given."""
    plan = described(CLASS_ROWS, (), {}).preprocessing()
    measured = []
    with say.progress("measuring synthetic scans", MEASURED) as bar:
        for number, scan in enumerate(stream.scans(atlas.load(), SEED, MEASURED), 1):
            grid = Grid(scan.image.shape, np.eye(4))
            volume, record = prepare(Volume(scan.image.astype(np.float32)[None], grid), plan)
            measured.append(domain.measure(volume, record, plan.geometry.foreground))
            bar.to(number)
    return {
        **domain.of_cases(measured),
        "spacing_min_mm": (FINEST_MM,) * 3,
        "spacing_max_mm": (COARSEST_MM,) * 3,
        "skull_stripped": True,
    }


if __name__ == "__main__":
    main()
