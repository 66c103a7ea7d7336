"""Memory of one case beside the network: its scan, what is made of it, and its results, by its size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medseg.infer.pieces import Allowance
from medseg.model.description import Description

_LABELS = 6
"""Bytes a voxel: foreground, label map, its way back to the scan's grid, and writing."""
_CONFIDENCE = 10
"""Bytes a voxel: float16 where it is made, float32 to write it."""
_SCALED = 4
"""Bytes a voxel and channel of a copy in float32, where the scan is resampled or corrected."""


@dataclass(frozen=True)
class CaseMemory:
    """The bytes that one process may take for a case, beside the loaded model: ``available``.

    ``per_pixel`` are bytes of the network for each pixel of its input; ``scaled`` says that scans become
    float32, ``confidence`` that there is a confidence map; ``probabilities`` is the number of classes whose
    probabilities are kept, a byte of each a voxel, although the system may write them to their file.
    """

    available: int
    per_pixel: float
    scaled: bool = False
    confidence: bool = False
    probabilities: int = 0

    def of_arrays(self, shape: tuple[int, int, int], itemsize: int, channels: int) -> int:
        """Bytes of a scan's arrays and results: the scan twice, its copy in float32, its labels."""
        of_scan = 2 * itemsize + (2 * _SCALED if self.scaled else 0)
        of_voxel = channels * of_scan + _LABELS + (_CONFIDENCE if self.confidence else 0) + self.probabilities
        return math.prod(shape) * of_voxel

    def for_pieces(self, shape: tuple[int, int, int], itemsize: int, channels: int) -> Allowance:
        """The memory that is left for the pieces that go through the network."""
        left = self.available - self.of_arrays(shape, itemsize, channels)
        return Allowance(max(0, left), self.per_pixel)


def is_scaled(description: Description) -> bool:
    """True where preparing a scan makes float32 of it."""
    resamples = description.spacing_mm is not None or description.spacing_px is not None
    return resamples or description.n4
