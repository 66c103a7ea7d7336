"""Batches as the network takes them: drawn by threads, augmented on the device, and the time they are late.

On CUDA a thread does all of it, on a stream of its own: copies, resampling and noise run while the device
trains on earlier batches, and the thread that trains waits for none of it. So do threads on a CPU that has
processors to spare. Where the network takes all of them, threads draw and the one that trains augments.
A training that waits nevertheless has processes help (:mod:`medseg.train.draw_helpers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from medseg.resources import coded_out_of_memory
from medseg.train.draw_helpers import DrawHelpers, Make, can_travel
from medseg.train.faults import ADVICE
from medseg.train.prefetch import spare_processors
from medseg.transfer import SideStream, upload

Draw = Callable[[int, slice], tuple[Any, ...]]
"""(t, rows) -> rows of batch t: patches (B, C·D, h', w') float32, labels (B, h', w') uint8, and what else
``augment`` takes, all arrays or tensors. Without ``augment``, what else the loss takes: a weight map
(B, h', w')."""

Augment = Callable[..., tuple[Tensor, ...]]
"""(patches, labels, t, rows, *more) -> patches, labels and what else the loss takes, (…, h, w), on the device
they are on."""

Taken = Callable[[], Sequence[Tensor]]
"""Gives a batch to the thread that trains: patches, labels, and what else the loss takes."""


_WORTH_S, _WORTH = 10.0, 0.1
"""Seconds that a training waits for batches, and their share of its time, before processes help to draw."""


@dataclass(frozen=True, eq=False)
class Augmented:
    """Draws rows of a batch by ``source`` and augments them on the CPU."""

    source: Draw
    augment: Augment

    def __call__(self, t: int, rows: slice) -> Sequence[Tensor]:
        """Give what ``augment`` gives for these rows of batch ``t``."""
        patches, labels, *more = (torch.as_tensor(array) for array in self.source(t, rows))
        return self.augment(patches, labels, t, rows, *more)


@dataclass
class BatchMaker:
    """Makes the parts of batches that this process trains on, ``rows`` saying which rows each part has.

    Up to ``helpers`` processes take part once the training has waited for batches, if ``source`` can travel
    to them.
    """

    source: Draw
    augment: Augment | None
    rows: Sequence[slice]
    device: torch.device
    channels_last: bool
    helpers: int = 0
    side: SideStream | None = field(init=False)
    draw_helpers: DrawHelpers | None = field(default=None, init=False)
    _make: Make = field(init=False)
    _left: Augment | None = field(init=False)
    """What is done to the tensors that `_make` gives, on the device."""
    _late: float = field(default=0.0, init=False)
    _waited: float = field(default=0.0, init=False)
    _since: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        self.side = SideStream(self.device) if self.device.type == "cuda" else None
        self._make, self._left = self.source, self.augment
        if self.augment is not None and self.device.type == "cpu" and spare_processors(self.device) > 0:
            self._make, self._left = Augmented(self.source, self.augment), None
        if self.helpers > 0 and can_travel(self.source):
            self._make = self.draw_helpers = DrawHelpers(self._make, self.helpers)

    def draw(self, number: int) -> Taken:
        """Draw a part of a batch, in a thread, and augment it too where that runs beside the training.

        ``number`` counts the parts of all batches.
        """
        t, part = divmod(number, len(self.rows))
        rows = self.rows[part]
        with coded_out_of_memory(f"training, step {t}", ADVICE):
            if self.side is not None:
                return self.side.make(lambda: self._finished(t, rows, self._make(t, rows)))
            arrays = self._make(t, rows)
            if self._left is None:
                batch_made = self._finished(t, rows, arrays)
                return lambda: batch_made

        def augmented_by_the_trainer() -> Sequence[Tensor]:
            start = time.monotonic()
            batch = self._finished(t, rows, arrays)
            self.add_wait(time.monotonic() - start)
            return batch

        return augmented_by_the_trainer

    def add_wait(self, seconds: float) -> None:
        """Count time in which nothing was trained, as the batch was not there."""
        self._late += seconds

    def take_wait(self) -> float:
        """Give the seconds that training waited for batches since the last call; if many, call helpers."""
        seconds, self._late = self._late, 0.0
        self._waited += seconds
        if self._waited > max(_WORTH_S, _WORTH * (time.monotonic() - self._since)) and self.draw_helpers:
            self.draw_helpers.start()
        return seconds

    def close(self) -> None:
        """End the helpers; nobody may be drawing."""
        if self.draw_helpers is not None:
            self.draw_helpers.close()

    def _finished(self, t: int, rows: slice, arrays: Sequence[Any]) -> Sequence[Tensor]:
        """Bring a batch to the device, and do there what is left to do."""
        patches, labels, *more = (upload(array, self.device) for array in arrays)
        if self._left is not None:
            patches, labels, *more = self._left(patches, labels, t, rows, *more)
        if self.channels_last:
            patches = patches.contiguous(memory_format=torch.channels_last)
        return [patches, labels, *more]
