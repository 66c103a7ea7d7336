"""Options that every row gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """``cache`` keeps data and trained models between runs; ``rates`` are the machine's, measured before.

    With ``quick`` a row works on less, to try whether it runs: its figures mean nothing.
    """

    cache: Path
    quick: bool = False
    device: str = "cpu"
    rates: Mapping[str, float] = field(default_factory=dict)

    def pick(self, whole: _T, quick: _T) -> _T:
        """The value for a whole run, or for a quick one."""
        return quick if self.quick else whole

    def matrix_floor(self, flop: float) -> float:
        """Seconds that so many operations take at the rate of a product of matrices in fp32."""
        return flop / (self.rates["matrix product, fp32, GFLOP/s"] * 1e9)

    def copy_floor(self, size: float) -> float:
        """Seconds that reading and writing so many bytes take at the rate of a copy in memory."""
        return size / (self.rates["copy in memory, GB/s"] * 1e9)
