"""The share of a training step that waits for data: drawn batches against one batch that is there already."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import drawing
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import in_turn
from medseg import networks
from medseg.infer.predictor import autocast_dtype
from medseg.patches.augment import Augmenter
from medseg.patches.sampler import PatchSampler
from medseg.preprocess.store import PreprocessedCase
from medseg.train.prefetch import ahead, draw_threads

Batch = tuple[Tensor, Tensor]


def run(options: Options) -> Measured:
    """Train full U-SegNet for some steps on batches as training draws them, and on one resident batch."""
    device, steps = torch.device(options.device), options.pick(100, 2)
    with tempfile.TemporaryDirectory() as name:
        cases = drawing.make(Path(name))
        train = Training(device, width=options.pick(64, 4))
        resident = next(drawn_batches(cases, device, 1))
        calls = {
            "batches drawn as they come": lambda: train.steps(drawn_batches(cases, device, steps)),
            "one batch, resident": lambda: train.steps(itertools.repeat(resident, steps)),
        }
        ways = {
            n: Way(tuple(s / steps for s in way.runs))
            for n, way in in_turn(calls, options.pick(5, 1)).items()
        }
    drawn, there = ways.values()
    shares = [1 - b / a for a, b in zip(drawn.runs, there.runs, strict=True)]
    return Measured(
        f"batches of {drawing.BATCH} patches of 40×40 px and 3 slices, full U-SegNet, {options.device}",
        ways,
        {"share of the step that waits for data": sorted(shares)[len(shares) // 2]},
    )


class Training:
    """A network and its optimiser, trained with autocast as the precision `auto` has it."""

    def __init__(self, device: torch.device, width: int) -> None:
        network = networks.build("usegnet", drawing.DEPTH, 3, seed=0, width=width)
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._optimiser = torch.optim.AdamW(self._network.parameters())
        self._device, self._low = device, autocast_dtype("auto", device)

    def steps(self, batches: Iterator[Batch]) -> None:
        """One step for each batch; the device has ended the last one when this returns."""
        for patches, labels in batches:
            self._optimiser.zero_grad()
            with torch.autocast(self._device.type, self._low, enabled=self._low is not None):
                logits = self._network(patches.contiguous(memory_format=torch.channels_last))
            torch.nn.functional.cross_entropy(logits.float(), labels.long()).backward()
            self._optimiser.step()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def drawn_batches(cases: list[PreprocessedCase], device: torch.device, steps: int) -> Iterator[Batch]:
    """Batches as the training loop has them: drawn by threads, moved, augmented on the device."""
    augmenter = Augmenter(drawing.AUGMENTATION, drawing.WINDOW, drawing.BATCH, seed=0)
    sampler = PatchSampler(
        cases,
        "axial",
        drawing.DEPTH,
        drawing.WINDOW,
        drawing.BATCH,
        0,
        0.5,
        augmenter.field,
        boxes=augmenter.boxes,
        placed=True,
    )

    def draw(t: int) -> list[Tensor]:
        return [torch.from_numpy(array) for array in sampler(t)]

    with closing(ahead(draw, range(steps), draw_threads(device))) as batches:
        for t, arrays in batches:
            patches, labels, *more = (array.to(device) for array in arrays)
            changed, changed_labels, *_ = augmenter(patches, labels, t, slice(None), *more)
            yield changed, changed_labels
