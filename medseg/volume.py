"""Volumes and cases: arrays with their grid. Immutable, without input or output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from medseg.errors import Finding
from medseg.grid import Array, AxisOrder, Grid, reorder_axes, reorder_grid

Percentage = Annotated[float, Field(ge=0, le=100)]


class Window(BaseModel):
    """Grey values that are cut off at two fixed ends (HU in CT), which become -1 and 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window: tuple[FiniteFloat, FiniteFloat]
    """Lower and upper end. Typical: `[-200, 250]` for the liver, `[-1000, 400]` for the lungs."""

    @field_validator("window")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("give the lower end first, and another upper end")
        return value


class Percentiles(BaseModel):
    """Grey values that are cut off at two percentiles of each volume's foreground, which become -1 and 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    percentiles: tuple[Percentage, Percentage]
    """Lower and upper end. Typical: `[0.5, 99.5]`."""

    @field_validator("percentiles")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("give the lower end first, and another upper end")
        return value


Intensity = Literal["zscore", "imagenet", "none"] | Window | Percentiles
"""Scaling of grey values: by each volume's own foreground, by ImageNet's colours, not at all, or cut off."""

_WHITE = {"uint8": 255.0, "uint16": 65535.0}


@dataclass(frozen=True, eq=False)
class Volume:
    """An array (C, X, Y, Z) of any real dtype on a grid; ``source`` is what a writer needs of its file.

    ``white`` is the value of full white where the array's dtype no longer tells it: see :func:`white_level`.
    """

    array: Array
    grid: Grid
    source: Any = None
    notes: tuple[Finding, ...] = ()
    white: float | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            raise ValueError(f"array {self.array.shape} is not (C, X, Y, Z) on a grid of {self.grid.shape}")

    def with_array(self, array: Array, grid: Grid | None = None) -> Volume:
        """Give a volume of other voxels (C, X, Y, Z), on the same grid or on another; the rest is kept."""
        white = _WHITE.get(self.array.dtype.name) if self.white is None else self.white
        return Volume(array, grid or self.grid, self.source, self.notes, white)

    def reordered(self, order: AxisOrder) -> Volume:
        """Give a view of the same voxels at the same places with the axes in another order and sense."""
        return self.with_array(reorder_axes(self.array, order), reorder_grid(self.grid, order))


@dataclass(frozen=True, eq=False)
class Case:
    """A subject's channels on one grid, and a label map of indices if there is one; segmented at once."""

    name: str
    subject: str
    image: Volume
    label: Volume | None = None
    notes: tuple[Finding, ...] = field(default=())


def white_level(volume: Volume) -> float | None:
    """Give the value of full white in a volume of grey values or colours; None where it cannot be known.

    255 for uint8, 65535 for 16-bit images, 1 for floats that all lie from 0 to 1. Other integers, those of
    scans among them, may use any part of their range, and floats of another range any scale.
    """
    array = volume.array
    white = _WHITE.get(array.dtype.name) if volume.white is None else volume.white
    if white is None and array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return 1.0
    return None if white == _WHITE["uint16"] and volume.grid.unit == "mm" else white


def survives_float32(array: Array) -> bool:
    """Tell whether float32 keeps the grey levels of an array (X, Y, Z) apart.

    It does not where values lie so far from zero that a quarter of a slice's levels become equal to others.
    """
    if array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2):
        return True
    levels = kept = 0
    for z in range(array.shape[2]):
        values = np.unique(array[:, :, z])
        levels += len(values)
        kept += len(np.unique(values.astype(np.float32)))
    return 4 * kept > 3 * levels
