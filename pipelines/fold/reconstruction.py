"""Validation of an auto-encoder: how well it gives held-out volumes again, and a figure of one slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from medseg import files
from medseg.grid import Array, Plane
from medseg.infer import loading, slice_scores
from medseg.infer.inferers import WholeSlice
from medseg.infer.predictor import NetworkPredictor
from medseg.patches.slabs import pixel_shape, read_slab, slices
from medseg.preprocess.store import PreprocessedCase
from medseg.report.reconstruction_figure import reconstruction_figure
from pipelines.fold.fold import FoldTraining
from pipelines.fold.validation import EXPLAINED, LOSS
from pipelines.fold.whole_volumes import overlay_path


def validator(training: FoldTraining) -> Callable[[nn.Module], dict[str, float]] | None:
    """Make the function that scores an auto-encoder on whole volumes; None without validation cases.

    It gives the loss, the mean squared difference over all voxels of all cases and slices of their slabs, and
    one minus its share of the grey values' variance, by which the best weights are chosen: the higher, the
    lower the loss. Nothing is augmented.
    """
    cases, recipe = training.cases.validation, training.recipe
    if not cases:
        return None

    def validate(network: nn.Module) -> dict[str, float]:
        tally, figure = Tally(), recipe.tracking.overlays
        for case in cases:
            for plane in recipe.sampling.planes:
                middle = slices(case.volume.grid.shape, plane) // 2
                for index, (slab, output) in enumerate(reconstructed(training, network, case, plane)):
                    tally.add(slab, output)
                    if figure and index == middle:
                        draw(training, plane, slab, output)
                        figure = False
        return {EXPLAINED: tally.explained, LOSS: tally.loss}

    return validate


@dataclass
class Tally:
    """Sums over values and their reconstructions."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    errors: float = 0.0

    def add(self, values: Array, outputs: Array) -> None:
        """Count values and outputs of one shape."""
        exact = values.astype(np.float64)
        self.count += exact.size
        self.total += float(exact.sum())
        self.squares += float(np.square(exact).sum())
        self.errors += float(np.square(exact - outputs).sum())

    @property
    def loss(self) -> float:
        """Mean squared difference."""
        return self.errors / self.count

    @property
    def explained(self) -> float:
        """One minus the loss over the variance of the values; NaN where these are all the same."""
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return 1 - self.loss / variance if variance > 0 else float("nan")


def reconstructed(
    training: FoldTraining, network: nn.Module, case: PreprocessedCase, plane: Plane
) -> Iterator[tuple[Array, Array]]:
    """Yield each slice of a plane as the network sees it, and as it gives it again: (C·D, H, W) float32."""
    recipe, device = training.recipe, next(network.parameters()).device
    spec = loading.spec(training.description(measured=False), training.shape)
    predictor = NetworkPredictor(
        network,
        replace(spec, plane=plane, classes=training.shape.classes),
        device,
        recipe.train.precision,
        channels_last=recipe.train.channels_last,
    )
    outputs = slice_scores.logits(case.volume, predictor, WholeSlice(recipe.predict.batch))
    for index, output in enumerate(outputs):
        yield read_slab(case.volume, plane, index, spec.depth), output.cpu().numpy()


def draw(training: FoldTraining, plane: Plane, slab: Array, output: Array) -> None:
    """Write a slice of the first validation case, channel 0, beside its reconstruction."""
    grid, middle = training.cases.validation[0].volume.grid, training.recipe.sampling.depth // 2
    figure = reconstruction_figure(
        slab[middle], output[middle], pixel_shape(grid, plane), is_scan=grid.unit == "mm"
    )
    files.write_bytes(overlay_path(training), figure)
