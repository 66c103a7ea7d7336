"""`make model`: trains the tissue model that ships with medseg, on synthetic people alone.

No scan of a real person is read but the average of 152 that the anatomy is drawn from. Stopped and called
again, it goes on where it was; the weights that score best on people that were held out are exported.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg import losses, networks
from medseg.console import Reporter
from medseg.device import resolve_precision
from medseg.grid import PLANE_AXIS, Plane
from medseg.infer.predictor import autocast_dtype
from medseg.metrics import confusion_matrix
from medseg.model import packaged
from medseg.synth import anatomy, atlas, stream
from medseg.synth.anatomy import CLASSES
from medseg.synth.atlas import Atlas
from medseg.synth.scanner import Scan
from medseg.train.fit import fit
from medseg.train.plan import FitPlan
from medseg.train.stop import Stopped
from pipelines.commands.brain_tissue_model import DEPTH, KEYWORDS, NETWORK, SEED, SIDE, export

HELD_OUT_SEED = 2
EVERY = 12
"""Every n-th slice of the people held out is validated, along each plane."""


@dataclass(frozen=True)
class Training:
    """Length and sizes of the training: batches of ``rows`` patches of ``side``² pixels.

    Every second epoch ends with a validation on ``held_out`` people. People are drawn on a grid of ``shape``.
    """

    epochs: int = 14
    steps: int = 400
    rows: int = 8
    side: int = SIDE
    held_out: int = 8
    shape: anatomy.Shape = anatomy.SHAPE

    def plan(self) -> FitPlan:
        """The plan for the training loop."""
        return FitPlan(
            epochs=self.epochs,
            steps_per_epoch=self.steps,
            lr=1.5e-3,
            warmup_steps=100,
            schedule="cosine",
            clip=5.0,
            channels_last=True,
            validate_every=2,
            seed=SEED,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on one thread, so that weights do not depend on the number of processors, and export."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.commands.brain_tissue", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work/brain-tissue"))
    parser.add_argument("--out", type=Path, default=packaged.MODELS / packaged.DEFAULT)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    say, maps = Reporter(), atlas.load()
    try:
        train(maps, asked.work, Training(), say)
    except Stopped as stop:
        say.line(f"{stop}; the same command goes on from there")
        sys.exit(stop.exit_code)
    export(maps, asked.work, asked.out, say)


def train(maps: Atlas, work: Path, training: Training, say: Reporter) -> None:
    """Train in the folder ``work``, or go on with a training there."""
    say.line("making the people that are held out")
    held_out = stream.held_out(maps, HELD_OUT_SEED, training.held_out, training.shape)
    validate = validation(list(held_out))
    network = networks.build(NETWORK, DEPTH, len(CLASSES), seed=SEED, **KEYWORDS)
    batches = stream.Stream(
        maps, SEED, rows=training.rows, depth=DEPTH, side=training.side, shape=training.shape
    )
    started, loss = time.monotonic(), losses.build("ce_dice")
    with closing(batches):
        for epoch in fit(network, batches, loss, training.plan(), folder=work, validate=validate):
            scores = ", ".join(f"{name} {value:.4f}" for name, value in (epoch.val or {}).items())
            minutes = (time.monotonic() - started) / 60
            done = f"epoch {epoch.number}/{training.epochs} after {minutes:.1f} min"
            say.line(f"{done}: loss {epoch.train_loss:.4f} {scores}")


def validation(scans: Sequence[Scan]) -> Callable[[nn.Module], dict[str, float]]:
    """Make a function that gives a network's Dice per class, the mean over scans, and the mean of those."""

    def validate(network: nn.Module) -> dict[str, float]:
        matrices = [sum(_matrices(network, scan)) for scan in scans]
        dice = np.nanmean([confusion_matrix.dice(matrix)[1:] for matrix in matrices], axis=0)
        scores = {f"dice_{n}": float(d) for n, d in zip(CLASSES[1:], dice, strict=True)}
        return {**scores, "dice_mean": float(dice.mean())}

    return validate


def _matrices(network: nn.Module, scan: Scan) -> Iterator[Any]:
    """The confusion matrices of slices of a scan along each plane."""
    low = autocast_dtype(resolve_precision("auto", "cpu"), torch.device("cpu"))
    for plane in stream.PLANES:
        for slab, labels in _slabs(scan, plane):
            with torch.autocast("cpu", low, enabled=low is not None):
                logits = network(torch.from_numpy(slab)[None])
            predicted = logits[0].argmax(dim=0).numpy()[: labels.shape[0], : labels.shape[1]]
            yield confusion_matrix.confusion(labels, predicted.astype(np.uint8), len(CLASSES))


def _slabs(scan: Scan, plane: Plane) -> Iterator[tuple[Any, Any]]:
    """Slabs (D, H, W) float32, mirrored to a size that the network takes, and labels (h, w)."""
    image, labels = (np.moveaxis(array, PLANE_AXIS[plane], 0) for array in (scan.image, scan.labels))
    divisor = 2 ** KEYWORDS["depth"]
    padding = [(0, 0), *((0, -n % divisor) for n in image.shape[1:])]
    for index in range(EVERY // 2, len(image), EVERY):
        near = np.clip(np.arange(DEPTH) + index - DEPTH // 2, 0, len(image) - 1)
        yield np.pad(image[near].astype(np.float32), padding, mode="reflect"), labels[index]


if __name__ == "__main__":
    main()
