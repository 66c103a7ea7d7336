"""Artefacts of MR images, simulated as MONAI does with numbers that are drawn here by (seed, t).

They change grey values alone, of windows that are moved already; all channels (slices and modalities) of a
window change alike. MONAI's transforms change one window at a time; these change a batch, on its device, and
are compared with MONAI's in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import legendre
from torch import Tensor

from medseg.transfer import upload

Pair = tuple[int, int]
Floats = npt.NDArray[np.float64]

_STREAM = 4  # keeps these numbers apart from those of sampling, augmentation, dropout and permutations
_DEGREE = 3  # of the bias field's polynomial
_COEFFICIENTS = (_DEGREE + 1) * (_DEGREE + 2) // 2
_POINTS = 10  # control points of the curve of grey values
_REFERENCE = np.linspace(0, 1, _POINTS)
_HOLES = 4
_MOST_GHOSTS = 8


@dataclass(frozen=True)
class Artefacts:
    """Strengths of the artefacts; zero is off.

    The coefficients of a bias field's polynomial are uniform in ±``bias_field``. ``gibbs`` (part of the
    spectrum's radius that is cut off), ``ghosting`` (part taken from every n-th line of the spectrum, n from
    2 to 8, along rows or columns) and ``low_resolution`` (part by which sides are shortened) are uniform
    from 0 to that value. ``histogram_shift`` is the largest shift of ten control points of a curve of grey
    values, 1 being what just keeps it monotonic. Up to four rectangles with sides up to ``coarse_dropout``
    of the window's are filled with its mean.
    """

    bias_field: float = 0.0
    gibbs: float = 0.0
    ghosting: float = 0.0
    low_resolution: float = 0.0
    histogram_shift: float = 0.0
    coarse_dropout: float = 0.0

    @property
    def any(self) -> bool:
        """True if one of them is on."""
        return any(getattr(self, field.name) > 0 for field in fields(self))


@dataclass(frozen=True, eq=False)
class ArtefactParams:
    """Numbers of one batch, one row a patch.

    ``bias_field`` (B, 10) coefficients; ``gibbs``, ``ghosting`` and ``low_resolution`` (B,);
    ``ghost_spacing`` (B,) lines of the spectrum from 2 to 8; ``ghost_axis`` (B,) 0 for rows, 1 for columns;
    ``histogram_shift`` (B, 10) control points from 0 to 1; ``holes`` (B, 4, 2, 2) first pixel and size of
    each rectangle as parts of the window, along rows and columns.
    """

    bias_field: Floats
    gibbs: Floats
    ghosting: Floats
    ghost_spacing: npt.NDArray[np.int64]
    ghost_axis: npt.NDArray[np.int64]
    low_resolution: Floats
    histogram_shift: Floats
    holes: Floats

    def of(self, rows: slice) -> ArtefactParams:
        """Select those of some patches."""
        return ArtefactParams(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class ArtefactAugmenter:
    """Adds artefacts of batch t, drawn by (seed, t), to the windows that ``change`` gives."""

    change: Callable[..., tuple[Tensor, ...]]
    artefacts: Artefacts
    batch: int
    seed: int

    def __call__(
        self, patches: Tensor, labels: Tensor, t: int, rows: slice = slice(None), *more: Tensor
    ) -> tuple[Tensor, ...]:
        """Change patches (B, C·D, h, w), labels and maps (B, h, w) of batch ``t``, or of its ``rows``."""
        patches, labels, *maps = self.change(patches, labels, t, rows, *more)
        params = draw(self.artefacts, self.batch, np.random.default_rng((self.seed, t, _STREAM)))
        return add(patches, params.of(rows)), labels, *maps


def draw(artefacts: Artefacts, batch: int, generator: np.random.Generator) -> ArtefactParams:
    """Draw all numbers of a batch; as many are drawn whatever is off, and new kinds after all others."""
    half_gap = 1 / (_POINTS - 1) / 2
    bias_field = generator.uniform(-1, 1, (batch, _COEFFICIENTS)) * artefacts.bias_field
    gibbs, ghosting, low_resolution = generator.random((3, batch))
    ghost_spacing = generator.integers(2, _MOST_GHOSTS, batch, endpoint=True)
    ghost_axis = generator.integers(2, size=batch)
    shifts = generator.uniform(-1, 1, (batch, _POINTS)) * half_gap * artefacts.histogram_shift
    shifts[:, [0, -1]] = 0
    sizes = generator.random((batch, _HOLES, 2)) * artefacts.coarse_dropout
    sizes[np.arange(_HOLES) >= generator.integers(_HOLES, size=batch, endpoint=True)[:, None]] = 0
    starts = generator.random((batch, _HOLES, 2)) * (1 - sizes)
    return ArtefactParams(
        bias_field=bias_field,
        gibbs=gibbs * artefacts.gibbs,
        ghosting=ghosting * artefacts.ghosting,
        ghost_spacing=ghost_spacing,
        ghost_axis=ghost_axis,
        low_resolution=low_resolution * artefacts.low_resolution,
        histogram_shift=_REFERENCE + shifts,
        holes=np.stack([starts, sizes], axis=2),
    )


def add(patches: Tensor, params: ArtefactParams) -> Tensor:
    """Add the artefacts of patches (B, C·D, h, w) float32, in the order in which a scanner makes them.

    A kind that is zero for all of them is left out: with all off, they come back as they are. A curve through
    equal grey values changes nothing.
    """
    if params.bias_field.any():
        patches = _bias_field(patches, params.bias_field)
    if params.gibbs.any() or params.ghosting.any():
        patches = _filtered(patches, params)
    if params.low_resolution.any():
        patches = _low_resolution(patches, params.low_resolution)
    if (params.histogram_shift != _REFERENCE).any():
        patches = _histogram_shift(patches, params.histogram_shift)
    return _fill_holes(patches, params.holes)


def _bias_field(patches: Tensor, coefficients: Floats) -> Tensor:
    """Multiply by exp(polynomial), counted from the patch's lowest value: scaled grey values have no zero.

    The polynomial is that of products of Legendre polynomials whose degrees are MONAI's.
    """
    products = np.zeros((len(patches), _DEGREE + 1, _DEGREE + 1))
    products[:, *np.tril_indices(_DEGREE + 1)] = coefficients
    rows, columns = (legendre.legvander(np.linspace(-1, 1, n), _DEGREE) for n in patches.shape[-2:])
    factors = np.exp(rows @ products @ columns.T).astype(np.float32)
    low = patches.amin(dim=(1, 2, 3), keepdim=True)
    return (patches - low) * upload(factors, patches.device)[:, None] + low


def _filtered(patches: Tensor, params: ArtefactParams) -> Tensor:
    """Take away lines and rims of the spectrum.

    The real part of a patch whose spectrum is multiplied by a filter is what the filter's symmetric part
    gives: half a spectrum and one pass are enough for both artefacts.
    """
    height, width = patches.shape[-2:]
    filters = _without_rim(params.gibbs, (height, width)) * _without_lines(params, (height, width))
    half = upload(filters[..., : width // 2 + 1].astype(np.float32), patches.device)
    spectrum = torch.fft.rfft2(patches)
    filtered: Tensor = torch.fft.irfft2(spectrum * half[:, None], s=(height, width))
    return filtered


def _without_rim(gibbs: Floats, size: Pair) -> Floats:
    """Filters (B, h, w) that are 1 within a part of the spectrum's radius, made symmetric; lowest first."""
    squares = [(np.arange(n) - (n - 1) / 2) ** 2 for n in size]
    distance = np.sqrt(squares[0][:, None] + squares[1])
    radius = (1 - gibbs) * max(size) * math.sqrt(2) / 2
    inside = (distance <= radius[:, None, None]) | (gibbs[:, None, None] == 0)
    filters = np.fft.ifftshift(inside, axes=(1, 2)).astype(np.float64)
    opposite = [-np.arange(n) % n for n in size]
    return (filters + filters[:, opposite[0][:, None], opposite[1]]) / 2


def _without_lines(params: ArtefactParams, size: Pair) -> Floats:
    """Filters (B, h, w) that weaken every n-th line but the middle one: the mean stays. Lowest first."""
    weights = []
    for axis, n in enumerate(size):
        lines = np.fft.ifftshift(np.arange(n) - n // 2)
        weak = (lines % params.ghost_spacing[:, None] == 0) & (lines != 0)
        weak &= params.ghost_axis[:, None] == axis
        weights.append(np.where(weak, 1 - params.ghosting[:, None], 1))
    rows, columns = weights
    return rows[:, :, None] * columns[:, None, :]


def _low_resolution(patches: Tensor, parts: Floats) -> Tensor:
    """Shorten both sides by these parts (nearest neighbour) and bring them back (bilinear)."""
    rows, columns = (
        upload(
            np.stack([_coarse(n, max(1, round(n * (1 - part)))) for part in parts.tolist()]), patches.device
        )
        for n in patches.shape[-2:]
    )
    return rows[:, None] @ patches @ columns[:, None].mT


@lru_cache(1024)
def _coarse(size: int, fewer: int) -> npt.NDArray[np.float32]:
    """Matrix (size, size) that resamples an axis to ``fewer`` pixels and back, as torch does."""
    nearest = np.minimum(
        (np.arange(fewer, dtype=np.float32) * np.float32(size / fewer)).astype(np.intp), size - 1
    )
    at = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(fewer / size)) - np.float32(0.5)
    at = np.maximum(at, 0)
    lower = np.minimum(at.astype(np.intp), fewer - 1)
    upper = np.minimum(lower + 1, fewer - 1)
    matrix = np.zeros((size, size), np.float32)
    pixels, weight = np.arange(size), at - lower
    np.add.at(matrix, (pixels, nearest[lower]), 1 - weight)
    np.add.at(matrix, (pixels, nearest[upper]), weight)
    return matrix


def _histogram_shift(patches: Tensor, points: Floats) -> Tensor:
    """Send grey values through the curve from equally spaced control points to ``points``.

    They are brought to 0…1 before: control points of a window that is almost flat would coincide.
    """
    low, high = (extreme(dim=(1, 2, 3), keepdim=True) for extreme in (patches.amin, patches.amax))
    span = high - low
    values = (patches - low) / span.clamp_min(torch.finfo(patches.dtype).tiny)
    slopes = np.diff(points) * (_POINTS - 1)
    starts = points[:, :-1] - slopes * _REFERENCE[:-1]
    pieces = (values * (_POINTS - 1)).long().clamp_(max=_POINTS - 2).flatten(1)
    slope, start = (
        upload(numbers.astype(np.float32), patches.device).gather(1, pieces).view_as(patches)
        for numbers in (slopes, starts)
    )
    return torch.where(span > 0, (slope * values + start) * span + low, patches)


def _fill_holes(patches: Tensor, holes: Floats) -> Tensor:
    """Fill rectangles with the patch's mean; those of less than half a pixel are none."""
    size = np.array(patches.shape[-2:])
    first, length = (np.rint(holes[:, :, n] * size).astype(int) for n in (0, 1))
    inside = [
        (np.arange(n) >= first[..., axis, None]) & (np.arange(n) < (first + length)[..., axis, None])
        for axis, n in enumerate(size.tolist())
    ]
    filled = (inside[0][..., :, None] & inside[1][..., None, :]).any(axis=1)
    if not filled.any():
        return patches
    mean = patches.mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(upload(filled, patches.device)[:, None], mean, patches)
