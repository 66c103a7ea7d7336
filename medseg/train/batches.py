"""Batches as the network takes them: drawn by threads, augmented on the device, and the time they are late.

On CUDA a thread does all of it, on a stream of its own: copies, resampling and noise run while the device
trains on earlier batches, and the thread that trains waits for none of it. On a CPU, where there is nothing
beside, threads draw and the one that trains augments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from medseg.resources import coded_out_of_memory
from medseg.train.faults import ADVICE
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


@dataclass
class BatchMaker:
    """Makes the parts of batches that this process trains on, ``rows`` saying which rows each part has."""

    source: Draw
    augment: Augment | None
    rows: Sequence[slice]
    device: torch.device
    channels_last: bool
    side: SideStream | None = field(init=False)
    _late: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.side = SideStream(self.device) if self.device.type == "cuda" else None

    def draw(self, number: int) -> Taken:
        """Draw a part of a batch, in a thread, and augment it too where that runs beside training.

        ``number`` counts the parts of all batches.
        """
        t, part = divmod(number, len(self.rows))
        rows = self.rows[part]
        with coded_out_of_memory(f"training, step {t}", ADVICE):
            if self.side is not None:
                return self.side.make(lambda: self._augmented(t, rows, self.source(t, rows)))
            arrays = self.source(t, rows)

        def augmented_by_the_trainer() -> Sequence[Tensor]:
            start = time.monotonic()
            batch = self._augmented(t, rows, arrays)
            self.add_wait(time.monotonic() - start)
            return batch

        return augmented_by_the_trainer

    def add_wait(self, seconds: float) -> None:
        """Count time in which nothing was trained, as the batch was not there."""
        self._late += seconds

    def take_wait(self) -> float:
        """Give the seconds since the last call in which training waited for batches."""
        seconds, self._late = self._late, 0.0
        return seconds

    def _augmented(self, t: int, rows: slice, arrays: Sequence[Any]) -> Sequence[Tensor]:
        patches, labels, *more = (upload(array, self.device) for array in arrays)
        if self.augment is not None:
            patches, labels, *more = self.augment(patches, labels, t, rows, *more)
        if self.channels_last:
            patches = patches.contiguous(memory_format=torch.channels_last)
        return [patches, labels, *more]
