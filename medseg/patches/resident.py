"""Training patches cut on the device, from arrays that lie in its memory: all patches of a batch at once.

Places are drawn on the host, as :class:`medseg.patches.sampler.PatchSampler` draws them. Its patches, which
are read one by one from memory maps, are the same bit for bit on a CPU; a GPU may round otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.classes import VOID
from medseg.grid import PLANE_AXIS, Array
from medseg.patches.cutting import label_map
from medseg.patches.sampler import EVERY, Index, Pair, PatchLocation, PatchSampler
from medseg.patches.slabs import slice_axes
from medseg.preprocess.intensity import NormalizedVolume
from medseg.transfer import upload

DrawFrom = Literal["auto", "host", "device"]

_SHARE_OF_FREE_MEMORY = 0.5
"""Arrays that take more of a GPU's free memory stay on the host; the rest is for the network."""

_SIGNED = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64, np.dtype(np.uint64): np.float64}
"""Types that torch hardly computes with, and those that hold their values."""


def sampler_on(device: torch.device, draw: Any, where: DrawFrom) -> Any:
    """Give ``draw``, or where it is a sampler whose cases are to be kept on the device, one that does so.

    By ``auto`` they are on CUDA, if they take at most half of the memory that is free.
    """
    if where == "host" or not isinstance(draw, PatchSampler):
        return draw
    if where == "auto":
        fits = device.type == "cuda" and resident_bytes(draw) <= _SHARE_OF_FREE_MEMORY * _free_bytes(device)
        return ResidentSampler(draw, device) if fits else draw
    return ResidentSampler(draw, device)


def _free_bytes(device: torch.device) -> int:
    """Memory of a GPU that is free, with what torch keeps for later."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def resident_bytes(sampler: PatchSampler) -> int:
    """Bytes that a sampler's arrays take on a device."""
    return sum(
        sum(array.size for array in arrays) * _common_type(arrays).itemsize for arrays in _arrays(sampler)
    )


class ResidentSampler:
    """Draws what ``sampler`` draws, from copies of its cases' arrays on ``device``."""

    def __init__(self, sampler: PatchSampler, device: torch.device) -> None:
        self._sampler, self._device = sampler, device
        self._images, self._labels, *self._extras = (_Pool(arrays, device) for arrays in _arrays(sampler))
        volumes = [case.volume for case in sampler.cases]
        self._shapes = np.array([volume.grid.shape for volume in volumes])
        self._mean_std = np.array([(v.normalization.mean, v.normalization.std) for v in volumes], np.float64)
        self._ends = np.array([_ends(v) for v in volumes], np.float64)
        self._in_float32 = np.array([volume.fits_float32 for volume in volumes])

    def __call__(self, t: int, rows: slice = EVERY) -> tuple[Tensor, ...]:
        """Cut batch ``t``, or ``rows`` of it, as ``PatchSampler`` does; the placement stays on the host."""
        sampler = self._sampler
        places, placement, size = sampler.lay_out(t, rows, self._device)
        cases = np.array([place.case for place in places])
        pixels = _Pixels(places, self._shapes[cases], placement[:, -1], size, self._device)
        patches = self._normalised(self._images.gather(cases, pixels, sampler.depth), cases)
        labels, *extras = (pool.gather(cases, pixels, 1)[:, 0, 0] for pool in (self._labels, *self._extras))
        if sampler.outside == "void":
            labels = labels.masked_fill(~pixels.inside, VOID)
        batch = (patches.flatten(1, 2), labels, *(extra.float() for extra in extras))
        return (*batch, torch.from_numpy(placement)) if sampler.gives_placement else batch

    def _normalised(self, raw: Tensor, cases: Index) -> Tensor:
        """Scale patches (B, C, D, h', w') as ``NormalizedVolume.normalise`` does, to float32."""
        in_float32 = self._in_float32[cases]
        if np.isfinite(self._ends).any():
            low, high = upload(self._ends[cases], self._device)[..., None, None, None].unbind(dim=1)
            raw = raw.double().clamp(low, high)

        def scaled(dtype: torch.dtype) -> Tensor:
            mean_std = upload(self._mean_std[cases], self._device).to(dtype)[..., None, None, None]
            return ((raw.to(dtype) - mean_std[:, 0]) / mean_std[:, 1]).float()

        if in_float32.all():
            return scaled(torch.float32)
        chosen = upload(in_float32, self._device).view(-1, 1, 1, 1, 1)
        return torch.where(chosen, scaled(torch.float32), scaled(torch.float64))


class _Pixels:
    """Pixels of patches in their slices: ``rows`` (B, h') and ``columns`` (B, w'), mirrored outside.

    ``axes`` (B, 3) are those of (X, Y, Z) that run across the slices, along rows and along columns;
    ``inside`` (B, h', w') is true where no pixel had to be mirrored.
    """

    def __init__(
        self, places: Sequence[PatchLocation], shapes: Array, first: Array, size: Pair, device: torch.device
    ) -> None:
        planes = [place.plane for place in places]
        self.axes = np.array([(PLANE_AXIS[plane], *slice_axes(plane)) for plane in planes])
        sides = np.take_along_axis(shapes, self.axes, axis=1)
        slices = [place.slice for place in places]
        numbers = upload(np.column_stack([slices, first, sides]).astype(np.int64), device)
        self._slice, row, column, self._slices, *last = numbers.unbind(dim=1)
        self.rows, rows_inside = _mirrored(row, size[0], last[0])
        self.columns, columns_inside = _mirrored(column, size[1], last[1])
        self.inside = rows_inside[:, :, None] & columns_inside[:, None, :]

    def slab(self, depth: int) -> Tensor:
        """Slices (B, D) of slabs, the edge slice repeated beyond the volume's ends."""
        offsets = torch.arange(depth, device=self._slice.device) - depth // 2
        return (self._slice[:, None] + offsets).clamp_min(0).minimum(self._slices[:, None] - 1)


class _Pool:
    """Arrays (C, X, Y, Z) of all cases, one behind the other in one tensor of the device."""

    def __init__(self, arrays: Sequence[Array], device: torch.device) -> None:
        dtype = _common_type(arrays)
        *firsts, total = np.cumsum([0, *(array.size for array in arrays)]).tolist()
        self._flat = torch.empty(total, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=device)
        for first, array in zip(firsts, arrays, strict=True):
            copy = np.array(array, dtype, order="F").ravel(order="F")
            # Waited for: other streams will read it
            self._flat[first : first + array.size].copy_(torch.from_numpy(copy))
        steps = [np.cumprod([1, *array.shape[:3]]) for array in arrays]
        self._table = np.column_stack([firsts, steps])
        """(cases, 5): first element, and distances of neighbours along C, X, Y, Z."""
        self._channels = len(arrays[0])

    def gather(self, cases: Index, pixels: _Pixels, depth: int) -> Tensor:
        """Values (B, C, D, h', w') of slabs at the pixels of patches."""
        table, device = self._table[cases], self._flat.device
        along = np.take_along_axis(table[:, 2:], pixels.axes, axis=1)
        numbers = upload(np.column_stack([table[:, :2], along]), device)
        first, channel, across, row, column = numbers[:, :, None].unbind(dim=1)
        channels = first + channel * torch.arange(self._channels, device=device)
        slabs = channels[:, :, None] + (across * pixels.slab(depth))[:, None]  # (B, C, D)
        inside = (row * pixels.rows)[:, :, None] + (column * pixels.columns)[:, None]  # (B, h', w')
        return self._flat.take(slabs[..., None, None] + inside[:, None, None])


def _mirrored(first: Tensor, length: int, size: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, length) as :func:`medseg.patches.field.mirrored_index` gives them, and those inside."""
    at, size = first[:, None] + torch.arange(length, device=first.device), size[:, None]
    period = (2 * (size - 1)).clamp_min(1)
    there_and_back = at.remainder(period)
    return there_and_back.minimum(period - there_and_back).minimum(size - 1), (at >= 0) & (at < size)


def _arrays(sampler: PatchSampler) -> list[list[Array]]:
    """Images, labels and each of the extra arrays of all cases, each (C, X, Y, Z)."""
    labels = [label_map(case) for case in sampler.cases]
    extras = [[case.extras[name] for case in sampler.cases] for name in sampler.extras]
    singles = [[array[None] for array in arrays] for arrays in (labels, *extras)]
    return [[case.volume.array for case in sampler.cases], *singles]


def _ends(volume: NormalizedVolume) -> tuple[Sequence[float], Sequence[float]]:
    """The values (C,) at which each channel is cut off, infinite where it is not."""
    scaling, channels = volume.normalization, len(volume.array)
    return scaling.low or [-np.inf] * channels, scaling.high or [np.inf] * channels


def _common_type(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The type that holds the values of all arrays, of those that torch computes with."""
    common = np.result_type(*(array.dtype for array in arrays)).newbyteorder("=")
    return np.dtype(_SIGNED.get(common, common))
