"""Geometry of preprocessing: to RAS+, to another spacing, into a box; and all of it undone with one record.

    volume, record = apply(scan, plan)
    labels = undo(labels_on_the_volumes_grid, record)     # on the scan's own grid again

Reorienting and cropping are views. Resampling keeps the array's own axes (an oblique scan stays oblique)
and the centre of the volume; it makes a second array: linear for grey values, nearest for labels, where a
point half-way between two voxels takes the lower index. Images in px are resampled as
:mod:`medseg.preprocess.resize2d` says, and stay of their type. Class scores come back
axis by axis, by :func:`undo_taps`, and labels are decided on the scan's own grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid, corner_distance, same_grid
from medseg.preprocess import resize2d
from medseg.preprocess.intensity import Box, Foreground, box
from medseg.volume import Volume, survives_float32

Orientation = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""For each axis of the file: the RAS+ axis it runs along (0, 1, 2) and its sense (1 or -1)."""

# Spacings that agree to this part are one: over 256 voxels that is 1/80 of a voxel at either end.
_SAME_SPACING = 1e-4
# Rounding errors must not decide which of two equally near voxels is taken.
_HALF = 0.5 + 1e-6


@dataclass(frozen=True)
class GeometryPlan:
    """Plan for :func:`apply`: after reorienting, resample to ``spacing_mm`` and crop to the foreground.

    ``spacing_px`` (rows, columns) is for images, whose unit is px.

    ``crop_margin`` is in voxels of the resampled grid; ``foreground`` is the rule that finds the box.
    """

    spacing_mm: tuple[float, float, float] | None = None
    crop: bool = False
    crop_margin: int = 8
    foreground: Foreground = "auto"
    spacing_px: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and (len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0):
            raise MedsegError(
                Code.KEYWORD_INVALID, "spacing_mm", str(self.spacing_mm), "give three lengths above 0 mm"
            )
        if self.spacing_px is not None and (len(self.spacing_px) != 2 or min(self.spacing_px) <= 0):
            raise MedsegError(
                Code.KEYWORD_INVALID, "spacing_px", str(self.spacing_px), "give two lengths above 0 px"
            )
        if self.crop_margin < 0:
            raise MedsegError(
                Code.KEYWORD_INVALID, "crop_margin", str(self.crop_margin), "give 0 or more voxels"
            )


@dataclass(frozen=True, eq=False)
class Taps:
    """Voxels that scores are interpolated from along one axis, for each of the voxels ``onto``.

    ``taps`` (n, k) are their indices, ``shares`` (n, k) float64 their weights, which sum to 1.
    """

    onto: range
    taps: Array
    shares: Array


@dataclass(frozen=True, eq=False)
class Record:
    """Record for :func:`undo`: the scan's own grid and orientation, the grid in RAS+ at the new spacing.

    ``whole`` is that grid before cropping, ``box`` is cut out of it.
    """

    original: Grid
    orientation: Orientation
    whole: Grid
    box: Box

    @property
    def grid(self) -> Grid:
        """The grid of the volume that :func:`apply` gives."""
        return _cropped_grid(self.whole, self.box)

    @property
    def resampled(self) -> bool:
        """True if the volume has voxels of another size than the scan."""
        return not _is_same(self.whole, _ras_grid(self.original, self.orientation))

    def in_ras(self, array: Array) -> Array:
        """View an array (X, Y, Z) on the scan's own grid as (R, A, S); writing to it writes to the array."""
        view: Array = _to_ras(array[None], self.orientation)[0]
        return view

    def to_json(self) -> dict[str, Any]:
        """Give plain lists and exact floats."""
        return {
            "original": grid_to_json(self.original),
            "orientation": [list(pair) for pair in self.orientation],
            "whole": grid_to_json(self.whole),
            "box": [list(pair) for pair in self.box],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """Undo :meth:`to_json`."""
        return cls(
            grid_from_json(value["original"]),
            _three_pairs(value["orientation"]),
            grid_from_json(value["whole"]),
            _three_pairs(value["box"]),
        )


def grid_to_json(grid: Grid) -> dict[str, Any]:
    """Give shape, affine (rows) and unit; floats survive exactly."""
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), "unit": grid.unit}


def grid_from_json(value: Mapping[str, Any]) -> Grid:
    """Undo :func:`grid_to_json`."""
    x, y, z = (int(n) for n in value["shape"])
    return Grid((x, y, z), np.array(value["affine"], dtype=np.float64), value["unit"])


def ras_spacing(grid: Grid) -> tuple[float, float, float]:
    """Voxel edge lengths along R, A and S, each of the grid's own axis that is nearest to it, in its unit."""
    right, anterior, superior = (grid.spacing[axis] for axis in _file_axes(_orientation(grid)))
    return right, anterior, superior


def apply(volume: Volume, plan: GeometryPlan) -> tuple[Volume, Record]:
    """Bring a scan (C, X, Y, Z) to RAS+, then to the plan's spacing, then into its box.

    Resampled scans are float32, or float64 where float32 would lose grey levels. Without resampling the
    result is a view of ``volume.array``. Source and notes are kept. Raises KEYWORD_INVALID for a spacing in
    another unit than the volume's.
    """
    orientation = _orientation(volume.grid)
    ras = volume.with_array(_to_ras(volume.array, orientation), _ras_grid(volume.grid, orientation))
    whole = _at_spacing(ras, _spacing(volume.grid, plan))
    cut = _with_margin(box(whole, plan.foreground), plan.crop_margin, whole.grid) if plan.crop else None
    record = Record(volume.grid, orientation, whole.grid, cut or _everything(whole.grid))
    return volume.with_array(_cut(whole.array, record.box), record.grid), record


def apply_to_labels(labels: Volume, record: Record) -> Volume:
    """Bring a label map (L, X, Y, Z) from the scan's own grid to the record's, by nearest neighbour.

    Raises GRID_MISMATCH for a label map on another grid.
    """
    _require(labels.grid, record.original, "label map")
    ras = _to_ras(labels.array, record.orientation)
    whole = _nearest(ras, _ras_grid(record.original, record.orientation), record.whole)
    return labels.with_array(_cut(whole, record.box), record.grid)


def undo(labels: Volume, record: Record) -> Volume:
    """Bring labels or a confidence map (L, X, Y, Z) back onto exactly the scan's own grid, in their dtype.

    Zero outside the box; nearest neighbour where the scan was resampled. Raises GRID_MISMATCH for a map
    that does not lie on the grid that :func:`apply` arrived at.
    """
    _require(labels.grid, record.grid, "result")
    whole = _pasted(labels.array, record)
    ras = _nearest(whole, record.whole, _ras_grid(record.original, record.orientation))
    return labels.with_array(_from_ras(ras, record.orientation), record.original)


def undo_taps(record: Record) -> tuple[Taps, Taps, Taps]:
    """Give what takes class scores from the record's box to the scan's grid in RAS+, along R, A and S.

    Between two voxels scores are linear; an image's pixels that become larger are means, as in
    :mod:`medseg.preprocess.resize2d`. Taps are indices in the box, outside of which nothing is known: scores
    go to the voxels that :func:`undo` takes from the box, and those of its edge go on to its border.
    """
    target = _ras_grid(record.original, record.orientation)
    right, anterior, superior = (_taps_along(axis, record, target) for axis in range(3))
    return right, anterior, superior


def _taps_along(axis: int, record: Record, target: Grid) -> Taps:
    start, stop = record.box[axis]
    nearest = _nearest_along(axis, record.whole, target)
    first, last = np.searchsorted(nearest, (start, stop))
    position, factor = _position_along(axis, record.whole, target)
    means = record.original.unit == "px"
    taps = resize2d.taps(position[first:last] - start, factor if means else 1.0, stop - start)
    return Taps(range(int(first), int(last)), *taps)


def _require(grid: Grid, needed: Grid, what: str) -> None:
    if same_grid(grid, needed):
        return
    apart = "" if grid.shape != needed.shape else f", {corner_distance(grid, needed):.3g} apart at a corner"
    details = f"a grid of {grid.shape} {grid.unit} where {needed.shape} {needed.unit} is needed{apart}"
    raise MedsegError(Code.GRID_MISMATCH, what, details, "give a map on the image's grid")


def _three_pairs(rows: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    a, b, c = ((int(first), int(second)) for first, second in rows)
    return a, b, c


def _orientation(grid: Grid) -> Orientation:
    return _three_pairs(io_orientation(grid.affine))


def _ras_grid(grid: Grid, orientation: Orientation) -> Grid:
    x, y, z = (grid.shape[axis] for axis in _file_axes(orientation))
    return Grid((x, y, z), grid.affine @ inv_ornt_aff(np.array(orientation), grid.shape), grid.unit)


def _file_axes(orientation: Orientation) -> list[int]:
    """Give for R, A, S in turn the file's axis that runs along it."""
    ras_axes = [axis for axis, _ in orientation]
    return [ras_axes.index(axis) for axis in range(3)]


def _flips(orientation: Orientation) -> tuple[slice, ...]:
    return (slice(None), *(slice(None, None, sense) for _, sense in orientation))


def _to_ras(array: Array, orientation: Orientation) -> Array:
    """View an array (C, then the file's axes) as (C, R, A, S)."""
    return array[_flips(orientation)].transpose(0, *(axis + 1 for axis in _file_axes(orientation)))


def _from_ras(array: Array, orientation: Orientation) -> Array:
    """Undo :func:`_to_ras`."""
    return array.transpose(0, *(axis + 1 for axis, _ in orientation))[_flips(orientation)]


def _everything(grid: Grid) -> Box:
    x, y, z = grid.shape
    return (0, x), (0, y), (0, z)


def _with_margin(cut: Box, margin: int, grid: Grid) -> Box:
    sides = zip(cut, grid.shape, strict=True)
    x, y, z = ((max(0, start - margin), min(n, stop + margin)) for (start, stop), n in sides)
    return x, y, z


def _cut(array: Array, cut: Box) -> Array:
    return array[(slice(None), *(slice(start, stop) for start, stop in cut))]


def _cropped_grid(grid: Grid, cut: Box) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ np.array([start for start, _ in cut], dtype=np.float64)
    x, y, z = (stop - start for start, stop in cut)
    return Grid((x, y, z), affine, grid.unit)


def _pasted(array: Array, record: Record) -> Array:
    if record.box == _everything(record.whole):
        return array
    # Channel by channel with X fastest, as labels are predicted and files written.
    whole = np.moveaxis(np.zeros((*record.whole.shape, len(array)), array.dtype, order="F"), -1, 0)
    _cut(whole, record.box)[...] = array
    return whole


def _spacing(grid: Grid, plan: GeometryPlan) -> tuple[float, float, float] | None:
    """Give the plan's spacing for a volume of this unit."""
    other, how_to_fix = ("mm", "spacing_px: [rows, columns]") if grid.unit == "px" else ("px", "spacing_mm")
    if getattr(plan, f"spacing_{other}") is not None:
        where, details = f"preprocess.spacing_{other}", f"a volume in {grid.unit}"
        raise MedsegError(Code.KEYWORD_INVALID, where, details, f"use {how_to_fix}")
    if plan.spacing_px is not None:
        return (*plan.spacing_px, grid.spacing[2])
    return plan.spacing_mm


def _at_spacing(volume: Volume, spacing: tuple[float, float, float] | None) -> Volume:
    if spacing is None or np.allclose(spacing, volume.grid.spacing, rtol=_SAME_SPACING, atol=0):
        return volume
    grid = _grid_at_spacing(volume.grid, spacing)
    if grid.unit == "px":
        return volume.with_array(resize2d.resample(volume.array, volume.grid, grid), grid)
    dtype = np.float32 if all(survives_float32(channel) for channel in volume.array) else np.float64
    array = np.empty((len(volume.array), *grid.shape), dtype)
    for channel, out in zip(volume.array, array, strict=True):
        out[...] = _linear(channel.astype(dtype, copy=False), volume.grid, grid)
    return volume.with_array(array, grid)


def _grid_at_spacing(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """Give the grid of ``spacing`` with the same axes and centre, and as nearly the same extent as fits.

    Its outermost voxels' centres lie inside the old grid's outermost voxels: nothing is extrapolated.
    """
    old = np.array(grid.shape, dtype=np.float64)
    factor = np.array(spacing) / np.array(grid.spacing)
    new = np.maximum(1, np.rint(old / factor))
    affine = grid.affine.copy()
    affine[:3, :3] *= factor
    affine[:3, 3] += grid.affine[:3, :3] @ ((old - 1) / 2 - factor * (new - 1) / 2)
    x, y, z = (int(n) for n in new)
    return Grid((x, y, z), affine, grid.unit)


def _linear(channel: Array, source: Grid, target: Grid) -> Array:
    """Resample (X, Y, Z) float32 or float64 between two grids of one centre and the same axes; same dtype."""
    import SimpleITK as sitk  # noqa: N813 - its users' name for it

    values = np.ascontiguousarray(channel.transpose(2, 1, 0))
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(source.spacing)
    image.SetOrigin(_centred_origin(source))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.shape)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(_centred_origin(target))
    resampler.SetInterpolator(sitk.sitkLinear)
    result: Array = sitk.GetArrayFromImage(resampler.Execute(image))
    return result.transpose(2, 1, 0)


def _centred_origin(grid: Grid) -> list[float]:
    """Give the place of voxel (0, 0, 0) along the grid's own axes when its centre is the origin."""
    return [-(n - 1) / 2 * length for n, length in zip(grid.shape, grid.spacing, strict=True)]


def _nearest(array: Array, source: Grid, target: Grid) -> Array:
    """Resample (L, X, Y, Z) between two grids of one centre and the same axes; any dtype, values as they are.

    The axes are separate, so an index along each is all there is to compute. The result lies in memory in the
    order of ``array``: slice by slice of the slowest axis, this is ten times as fast as one index of all.
    """
    if _is_same(source, target):
        return array
    by_stride = sorted(range(3), key=lambda axis: -abs(array.strides[axis + 1]))
    slow, rows, columns = (_nearest_along(axis, source, target) for axis in by_stride)
    moved = array.transpose(0, *(axis + 1 for axis in by_stride))
    out = np.empty((len(array), len(slow), len(rows), len(columns)), array.dtype)
    for channel, resampled in zip(moved, out, strict=True):
        for index, at in enumerate(slow):
            if index and at == slow[index - 1]:
                resampled[index] = resampled[index - 1]
            else:
                resampled[index] = channel[at].take(columns, axis=1).take(rows, axis=0)
    nearest: Array = out.transpose(0, *(by_stride.index(axis) + 1 for axis in range(3)))
    return nearest


def _is_same(source: Grid, target: Grid) -> bool:
    """True for one size of two grids of one centre and the same axes."""
    same_spacing = np.allclose(source.spacing, target.spacing, rtol=_SAME_SPACING, atol=0)
    return source.shape == target.shape and same_spacing


def _nearest_along(axis: int, source: Grid, target: Grid) -> Array:
    position, _ = _position_along(axis, source, target)
    return np.asarray(np.ceil(position - _HALF).clip(0, source.shape[axis] - 1), np.intp)


def _position_along(axis: int, source: Grid, target: Grid) -> tuple[Array, float]:
    """Give the places of the target's voxels along an axis, in voxels of the source, and their distance."""
    old, new = source.shape[axis], target.shape[axis]
    factor = target.spacing[axis] / source.spacing[axis]
    return (np.arange(new) - (new - 1) / 2) * factor + (old - 1) / 2, factor
