"""Slices in pieces: overlap-tiles of networks of valid convolutions, and windows blended by Gaussian weights.

Overlap-tile (Ronneberger, Fischer, Brox 2015): the output lacks a border, so the slice is
mirrored by as much, without repeating the edge pixel, and further at its end up to a side that the network
takes. This canvas in one forward pass and in tiles give the same logits, provided that every tile starts on a
multiple of the network's step: only then do the poolings see the same pixels together. A stride is such a
multiple, and never exceeds what a tile gives, which itself need not be one: from depth 3 on U-Net's never is,
so that tiles of 572 px, which give 388, stand 384 apart. The last tile ends where the canvas does; canvas and
tile have sides of the same remainder, so that it too starts on a multiple.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer.inferers import GaussianWindow, OverlapTile, inputs_at_once
from medseg.infer.predictor import Predictor, Spec, checked
from medseg.infer.stitch import GaussianStitcher, TileStitcher
from medseg.patches.field import read_field
from medseg.patches.slabs import read_slab, slice_shape, slices
from medseg.patches.windows import Pair, Starts, blocks, covering_grid, covering_starts, cut, mirrored
from medseg.preprocess.intensity import NormalizedVolume
from medseg.transfer import upload


@dataclass(frozen=True, eq=False)
class Layout:
    """Tiles of a slice: sides (px) of its mirrored canvas and of a tile, and the tiles' starts (N, 2).

    A start is a tile's first row and column in the canvas, and those of its output in the slice.
    """

    canvas: Pair
    tile: Pair
    starts: Starts


def tiled(volume: NormalizedVolume, predictor: Predictor, inferer: OverlapTile) -> Iterator[Tensor]:
    """Logits (K, H, W) float32 of each slice along the predictor's plane, by overlap-tiles.

    Memory holds the tiles of one batch, and the logits of the slices that they belong to.
    """
    spec = predictor.spec
    shape = slice_shape(volume.grid.shape, spec.plane)
    layout = lay_out(shape, inferer, spec)
    of, slices_per_batch = slices(volume.grid.shape, spec.plane), max(1, inferer.batch // len(layout.starts))
    with checked(predictor) as logits_of:
        for first in range(0, of, slices_per_batch):
            indices = range(first, min(first + slices_per_batch, of))
            open_slices = {i: TileStitcher(shape, spec.classes, spec.device) for i in indices}
            places = [(i, start) for i in open_slices for start in layout.starts]
            for n in range(0, len(places), inferer.batch):
                batch = places[n : n + inferer.batch]
                tiles = [_read_tile(volume, spec, index, start, layout.tile) for index, start in batch]
                logits = logits_of(upload(np.stack(tiles), spec.device))
                for (index, start), one in zip(batch, logits, strict=True):
                    open_slices[index].add(one[None], start[None])
            yield from (stitcher.result() for stitcher in open_slices.values())


def blended(volume: NormalizedVolume, predictor: Predictor, inferer: GaussianWindow) -> Iterator[Tensor]:
    """Logits (K, H, W) float32 of each slice along the predictor's plane, blended from windows."""
    spec = predictor.spec
    shape = slice_shape(volume.grid.shape, spec.plane)
    half = (max(1, inferer.window[0] // 2), max(1, inferer.window[1] // 2))
    batch = inputs_at_once(inferer, inferer.window[0] * inferer.window[1], spec.device)
    grid = covering_grid(shape, inferer.window, inferer.stride or half)
    with checked(predictor) as logits_of:
        for index in range(slices(volume.grid.shape, spec.plane)):
            slab = mirrored(read_slab(volume, spec.plane, index, spec.depth), inferer.window)
            slabs = upload(slab[None], spec.device).contiguous(memory_format=spec.memory_format)
            masks = bool(spec.thresholds)
            blend = GaussianStitcher(
                shape, inferer.window, spec.classes, multilabel=masks, device=spec.device
            )
            for block in blocks(grid, batch):
                blend.add(logits_of(cut(slabs, block, inferer.window)), block.starts)
            yield blend.result()


def _read_tile(
    volume: NormalizedVolume, spec: Spec, index: int, start: npt.NDArray[np.intp], tile: Pair
) -> Array:
    first = int(start[0]) - spec.border, int(start[1]) - spec.border
    return read_field(volume, spec.plane, index, spec.depth, first, tile)


def lay_out(shape: Pair, inferer: OverlapTile, spec: Spec) -> Layout:
    """Lay out the tiles of slices of ``shape`` (H, W); raises what :func:`check_tiles` does."""
    check_tiles(inferer, spec)
    height, width = (spec.size_from(n + 2 * spec.border) for n in shape)
    canvas = height, width
    tile = _cheapest(canvas, inferer, spec) if inferer.tile is None else _sides(inferer.tile)
    rows, columns = (
        _starts(side, min(size, side), stride, spec)
        for side, size, stride in zip(canvas, tile, inferer.stride or (None, None), strict=True)
    )
    grid = np.meshgrid(np.array(rows, np.intp), np.array(columns, np.intp), indexing="ij")
    starts = np.stack(grid, axis=-1).reshape(-1, 2)
    return Layout(canvas, (min(tile[0], height), min(tile[1], width)), starts)


def check_tiles(inferer: OverlapTile, spec: Spec) -> None:
    """Raise unless the network can be tiled so.

    KEYWORD_INVALID for a network whose output has no border missing, and for too little memory;
    SIZE_IMPOSSIBLE for a tile that it does not take or a stride that would show, naming the one to use.
    """
    if not spec.border:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "mode",
            "tiles, but the network pads its convolutions: tiles would show their borders",
            "use dense, or gaussian where a slice is too large",
        )
    if inferer.tile is None:
        _check_memory(inferer, spec)
    for side in () if inferer.tile is None else _sides(inferer.tile):
        _check_side(side, spec)
    for axis, stride in enumerate(inferer.stride or ()):
        _check_stride(stride, None if inferer.tile is None else _sides(inferer.tile)[axis], spec)


def _check_side(side: int, spec: Spec) -> None:
    usable = spec.size_from(max(side, _least(spec)))
    if usable != side:
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "tile",
            f"{side} px; the network takes {spec.size_from(1)} px and {spec.size_divisor} more each time, "
            f"and a tile must give at least {spec.size_divisor} px",
            f"use {usable}",
        )


def _check_stride(stride: int, side: int | None, spec: Spec) -> None:
    most = stride if side is None else min(stride, side - 2 * spec.border)
    usable = max(spec.size_divisor, most - most % spec.size_divisor)
    if usable != stride:
        gives = "" if side is None else f", and a tile of {side} px gives {side - 2 * spec.border} px"
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "stride",
            f"{stride} px; tiles agree only on multiples of {spec.size_divisor} px{gives}",
            f"use {usable}, or leave the stride out",
        )


def _check_memory(inferer: OverlapTile, spec: Spec) -> None:
    sides = [_least(spec)] if inferer.stride is None else [_least(spec, stride) for stride in inferer.stride]
    least = sides[0] * sides[-1] * inferer.batch * spec.bytes_per_pixel / 2**20
    if least > inferer.memory_mb:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "memory_mb",
            f"{inferer.memory_mb} MiB; {inferer.batch} of the smallest tiles ({sides[0]}×{sides[-1]} px) "
            f"take {least:.0f} MiB",
            f"give at least {int(least) + 1}, or lower batch",
        )


def smallest_tile(inferer: OverlapTile, spec: Spec) -> int:
    """Pixels of the smallest tile that goes with the inferer's stride."""
    sides = [_least(spec)] if inferer.stride is None else [_least(spec, stride) for stride in inferer.stride]
    return sides[0] * sides[-1]


def _sides(tile: int | Pair) -> Pair:
    return (tile, tile) if isinstance(tile, int) else tile


def _least(spec: Spec, stride: int | None = None) -> int:
    """The smallest side of a tile that gives at least ``stride`` pixels, or one step."""
    return spec.size_from(2 * spec.border + (stride or spec.size_divisor))


def _stride(side: int, spec: Spec) -> int:
    """The most pixels between tiles of this side."""
    gives = side - 2 * spec.border
    return gives - gives % spec.size_divisor


def _starts(canvas: int, side: int, stride: int | None, spec: Spec) -> list[int]:
    """Starts of tiles along an axis; one is enough where it is as long as the canvas."""
    if side == canvas:
        return [0]
    border = 2 * spec.border
    return covering_starts(canvas - border, side - border, stride or _stride(side, spec))


def _cheapest(canvas: Pair, inferer: OverlapTile, spec: Spec) -> Pair:
    """The tile whose starts have the fewest pixels to compute, among those that fit in memory."""
    strides = inferer.stride or (None, None)
    (rows, row_work), (columns, column_work) = (
        _work(side, stride, spec) for side, stride in zip(canvas, strides, strict=True)
    )
    area = np.multiply.outer(rows, columns)
    work = np.multiply.outer(row_work, column_work).astype(float)
    work[area * inferer.batch * spec.bytes_per_pixel > inferer.memory_mb * 2**20] = np.inf
    row, column = np.unravel_index(work.argmin(), work.shape)
    return int(rows[row]), int(columns[column])


def _work(canvas: int, stride: int | None, spec: Spec) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sides that a tile can have along an axis, and pixels that all its tiles have together."""
    sides = np.array([*range(_least(spec, stride), canvas, spec.size_divisor), canvas])
    work = [len(_starts(canvas, int(side), stride, spec)) * side for side in sides]
    return sides, np.array(work)
