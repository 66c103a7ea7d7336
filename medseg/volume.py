"""Volumes and cases: arrays that carry their grid with them. Immutable, without input or output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medseg.errors import Finding
from medseg.grid import Array, Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """An array (C, X, Y, Z) of any real dtype on a grid; ``source`` is what a writer needs of its file."""

    array: Array
    grid: Grid
    source: Any = None
    notes: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            raise ValueError(f"array {self.array.shape} is not (C, X, Y, Z) on a grid of {self.grid.shape}")

    def with_array(self, array: Array) -> Volume:
        """The same place with other voxels, (C, X, Y, Z)."""
        return Volume(array, self.grid, self.source, self.notes)


@dataclass(frozen=True, eq=False)
class Case:
    """What is segmented at once: channels on one grid, and a label map of indices if there is one."""

    name: str
    subject: str
    image: Volume
    label: Volume | None = None
    notes: tuple[Finding, ...] = field(default=())
