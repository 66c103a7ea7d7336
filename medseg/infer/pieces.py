"""Pieces in which a volume goes through a network, as large as a given memory allows: batches and tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.errors import Code, MedsegError
from medseg.infer import slice_tiles
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import (
    GaussianWindow,
    Inferer,
    MajorityVote,
    OverlapTile,
    WholeSlice,
    inputs_at_once,
)
from medseg.infer.loading import Model
from medseg.infer.predictor import Spec
from medseg.infer.tiles import lay_out, smallest_tile
from medseg.patches.slabs import slice_shape, slices
from medseg.patches.windows import covering_grid

_FLOAT = 4
_COPIES_IN, _COPIES_OUT = 2, 6
"""Float32 copies of a slice's channels, and of its classes, that are there at once around a forward pass."""

HOW_TO_FIX = "give it more memory, or predict this scan on a larger machine"


@dataclass(frozen=True)
class Allowance:
    """Memory for the pieces of one volume: ``available`` bytes, each pixel of input taking ``per_pixel``."""

    available: int
    per_pixel: float


@dataclass(frozen=True)
class Pieces:
    """The part that goes through the network at once: an inferer with its batch, the side (px) of tiles.

    ``bytes`` is the memory that they take.
    """

    inferer: Inferer
    tile: int | None
    bytes: int

    @property
    def words(self) -> str:
        """The pieces in a few words."""
        batch = self.inferer.batch
        if self.tile is not None:
            return f"one slice at a time in tiles of {self.tile} × {self.tile} px"
        if isinstance(self.inferer, WholeSlice):
            return f"{batch} whole slice{'' if batch == 1 else 's'} at a time"
        noun = "tile" if isinstance(self.inferer, OverlapTile) else "window"
        return f"{batch} {noun}{'' if batch == 1 else 's'} at a time"


def choose(model: Model, inferer: Inferer, shape: tuple[int, int, int], allowance: Allowance) -> Pieces:
    """Choose the largest pieces of a volume of ``shape`` that fit, never larger ones than the inferer's own.

    Raises OUT_OF_MEMORY where not even the smallest fit.
    """
    fitting = [
        one for one in _candidates(model, inferer, shape, allowance) if one.bytes <= allowance.available
    ]
    if fitting:
        return fitting[0]
    needed, there = (
        f"{math.ceil(n / 1e6):,} MB" for n in (least(model, inferer, shape, allowance), allowance.available)
    )
    details = f"the smallest pieces of its slices take {needed}, and {there} are left for them"
    raise MedsegError(Code.OUT_OF_MEMORY, "image", details, HOW_TO_FIX)


def least(model: Model, inferer: Inferer, shape: tuple[int, int, int], allowance: Allowance) -> int:
    """Bytes that the smallest pieces take."""
    return min(one.bytes for one in _candidates(model, inferer, shape, replace(allowance, available=0)))


def pixels(model: Model, inferer: Inferer, shape: tuple[int, int, int]) -> int:
    """Pixels of input that the network computes for a volume, those of overlapping windows each time."""
    total = 0
    for spec in _specs(model):
        sides, of = _padded(shape, spec, inferer), slices(shape, spec.plane)
        if isinstance(inferer, OverlapTile):
            layout = lay_out(slice_shape(shape, spec.plane), inferer, spec)
            total += of * len(layout.starts) * math.prod(layout.tile)
        elif isinstance(inferer, WholeSlice):
            total += of * math.prod(sides)
        else:
            windows = _windows(inferer, slice_shape(shape, spec.plane))
            total += of * windows * math.prod(inferer.window)
    return total


def _windows(inferer: MajorityVote | GaussianWindow, of_slice: tuple[int, int]) -> int:
    """Windows of a slice."""
    stride = inferer.stride or (max(1, inferer.window[0] // 2), max(1, inferer.window[1] // 2))
    return len(covering_grid(of_slice, inferer.window, stride))


def _candidates(
    model: Model, inferer: Inferer, shape: tuple[int, int, int], allowance: Allowance
) -> list[Pieces]:
    """Pieces from the largest to the smallest."""
    specs = _specs(model)
    slice_pixels = max(math.prod(_padded(shape, spec, inferer)) for spec in specs)
    around = _around(specs[0], slice_pixels)
    pixel = allowance.per_pixel
    if isinstance(inferer, OverlapTile):
        return _overlap_tiles(inferer, specs[0], around, allowance)
    of_one = slice_pixels if isinstance(inferer, WholeSlice) else math.prod(inferer.window)
    in_a_slice = (
        1 if isinstance(inferer, WholeSlice) else _windows(inferer, slice_shape(shape, specs[0].plane))
    )
    batched = [
        Pieces(replace(inferer, batch=n), None, round(n * of_one * pixel + max(1, n // in_a_slice) * around))
        for n in _batches(inputs_at_once(inferer, of_one, specs[0].device))
    ]
    if not isinstance(inferer, WholeSlice):
        return batched
    return batched + _slice_tiles(model, replace(inferer, batch=1), slice_pixels, around, allowance)


def _slice_tiles(
    model: Model, inferer: WholeSlice, slice_pixels: int, around: float, allowance: Allowance
) -> list[Pieces]:
    """The largest tiles that fit, and the smallest; none for networks that look at a whole slice."""
    reach, spec = model.reach, _specs(model)[0]
    smallest = None if reach is None else slice_tiles.smallest(reach, spec)
    if reach is None or smallest is None:
        return []
    left = max(0.0, allowance.available - around) / allowance.per_pixel
    side = math.isqrt(int(left)) // reach.period * reach.period
    sides = sorted({side, smallest}, reverse=True) if side > smallest else [smallest]
    return [
        Pieces(inferer, one, round(one**2 * allowance.per_pixel + around))
        for one in sides
        if one**2 < slice_pixels
    ]


def _overlap_tiles(inferer: OverlapTile, spec: Spec, around: float, allowance: Allowance) -> list[Pieces]:
    """Overlap-tiles: their sides follow from their memory, unless they are stated."""
    per_pixel = max(allowance.per_pixel, spec.bytes_per_pixel)
    candidates = []
    for batch in _batches(inferer.batch):
        of_slices = batch * around
        if inferer.tile is not None:
            sides = (inferer.tile, inferer.tile) if isinstance(inferer.tile, int) else inferer.tile
            needed = batch * math.prod(sides) * per_pixel
            candidates.append(Pieces(replace(inferer, batch=batch), None, round(needed + of_slices)))
            continue
        smallest = batch * smallest_tile(inferer, spec) * per_pixel
        most = max(smallest, min(inferer.memory_mb * 2**20, allowance.available - of_slices))
        memory_mb = math.ceil(most / per_pixel * spec.bytes_per_pixel / 2**20)
        candidates.append(
            Pieces(replace(inferer, batch=batch, memory_mb=memory_mb), None, round(most + of_slices))
        )
    return candidates


def _batches(most: int) -> Sequence[int]:
    """Sizes of batches to try: all down to one."""
    return range(most, 0, -1)


def _around(spec: Spec, slice_pixels: int) -> float:
    """Bytes of a slice's channels and scores, beside what the network itself takes."""
    return _FLOAT * slice_pixels * (_COPIES_IN * spec.channels * spec.depth + _COPIES_OUT * spec.classes)


def _specs(model: Model) -> list[Spec]:
    predictor = model.predictor
    along = predictor.predictors if isinstance(predictor, MultiPlaneEnsemble) else (predictor,)
    return [one.spec for one in along]


def _padded(shape: tuple[int, int, int], spec: Spec, inferer: Inferer) -> tuple[int, int]:
    """Sides of a slice as it goes through the network, or is put together."""
    height, width = slice_shape(shape, spec.plane)
    if isinstance(inferer, WholeSlice | OverlapTile):
        return spec.size_from(height), spec.size_from(width)
    return max(height, inferer.window[0]), max(width, inferer.window[1])
