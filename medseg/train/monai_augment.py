"""Artefacts of MR images, simulated by MONAI's transforms with numbers that are drawn here by (seed, t).

They change grey values alone, of windows that are moved already; all channels (slices and modalities) of a
window change alike. MONAI is imported when the first window is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError

Floats = npt.NDArray[np.float64]

_STREAM = 4  # keeps these numbers apart from those of sampling, augmentation, dropout and permutations
_DEGREE = 3  # of the bias field's polynomial
_COEFFICIENTS = (_DEGREE + 1) * (_DEGREE + 2) // 2
_POINTS = 10  # control points of the curve of grey values
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

    def of(self, patch: int) -> ArtefactParams:
        """Select those of one patch, without the first axis."""
        return ArtefactParams(**{field.name: getattr(self, field.name)[patch] for field in fields(self)})


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
        numbers = range(self.batch)[rows]
        changed = [add(patch, params.of(n)) for patch, n in zip(patches, numbers, strict=True)]
        return torch.stack(changed), labels, *maps


def draw(artefacts: Artefacts, batch: int, generator: np.random.Generator) -> ArtefactParams:
    """Draw all numbers of a batch; as many are drawn whatever is off, and new kinds after all others."""
    reference = np.linspace(0, 1, _POINTS)
    half_gap = (reference[1] - reference[0]) / 2
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
        histogram_shift=reference + shifts,
        holes=np.stack([starts, sizes], axis=2),
    )


def add(patch: Tensor, params: ArtefactParams) -> Tensor:
    """Add the artefacts of one patch (C·D, h, w) float32, in the order in which a scanner makes them.

    What is zero, or changes nothing (a curve through equal grey values), is left out: with all off, the patch
    comes back as it is. Raises EXTRA_MISSING without MONAI.
    """
    if params.bias_field.any():
        patch = _bias_field(patch, params.bias_field)
    if params.gibbs > 0:
        patch = _plain(_monai().GibbsNoise(float(params.gibbs))(patch))
    if params.ghosting > 0:
        patch = _ghosts(patch, float(params.ghosting), int(params.ghost_spacing), int(params.ghost_axis))
    if params.low_resolution > 0:
        patch = _low_resolution(patch, 1 - float(params.low_resolution))
    if not np.array_equal(params.histogram_shift, np.linspace(0, 1, _POINTS)) and patch.min() < patch.max():
        patch = _histogram_shift(patch, params.histogram_shift)
    return _holes(patch, params.holes)


def _bias_field(patch: Tensor, coefficients: Floats) -> Tensor:
    """Multiply by exp(polynomial), counted from the patch's lowest value: scaled grey values have no zero."""
    transform = _monai().RandBiasField(degree=_DEGREE, prob=1.0)
    transform._do_transform, transform._coeff = True, coefficients.tolist()
    low = patch.min()
    return _plain(transform(patch - low, randomize=False)) + low


def _ghosts(patch: Tensor, strength: float, spacing: int, axis: int) -> Tensor:
    """Weaken every n-th line of the spectrum but the middle one, so that the mean stays."""
    fourier = _monai().utils.Fourier
    spectrum = fourier.shift_fourier(patch, 2)
    lines = torch.arange(patch.shape[1 + axis], device=patch.device) - patch.shape[1 + axis] // 2
    weights = torch.where((lines % spacing == 0) & (lines != 0), 1 - strength, 1.0).to(patch.dtype)
    weights = weights.unsqueeze(1 - axis)  # (h, 1) or (1, w)
    return _plain(fourier.inv_shift_fourier(spectrum * weights, 2))


def _low_resolution(patch: Tensor, zoom: float) -> Tensor:
    """Shrink the patch by ``zoom`` (nearest neighbour) and bring it back to its size (bilinear)."""
    transform = _monai().RandSimulateLowResolution(prob=1.0, upsample_mode="bilinear")
    transform._do_transform, transform.zoom_factor = True, zoom
    return _plain(transform(patch, randomize=False))


def _histogram_shift(patch: Tensor, points: Floats) -> Tensor:
    """Send grey values through the curve from equally spaced control points to ``points``.

    They are brought to 0…1 before: control points of a window that is almost flat would coincide.
    """
    low, high = patch.min(), patch.max()
    transform = _monai().RandHistogramShift(num_control_points=_POINTS, prob=1.0)
    transform._do_transform = True
    transform.reference_control_points = np.linspace(0, 1, _POINTS)
    transform.floating_control_points = points
    return _plain(transform((patch - low) / (high - low), randomize=False)) * (high - low) + low


def _holes(patch: Tensor, holes: Floats) -> Tensor:
    """Fill rectangles with the patch's mean; those of less than half a pixel are none."""
    shape = np.array(patch.shape[1:])
    starts, sizes = (np.rint(holes[:, n] * shape).astype(int) for n in (0, 1))
    boxes = [
        (slice(None), *(slice(first, first + n) for first, n in zip(start, size, strict=True)))
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        if min(size) > 0
    ]
    if not boxes:
        return patch
    transform = _monai().RandCoarseDropout(1, 1, fill_value=float(patch.mean()), prob=1.0)
    transform._do_transform, transform.hole_coords = True, boxes
    return _plain(transform(patch.clone(), randomize=False))


def _plain(patch: Any) -> Tensor:
    """Make a tensor of MONAI's tensor with metadata, float32."""
    return torch.as_tensor(patch.as_tensor() if hasattr(patch, "as_tensor") else patch).float()


def _monai() -> ModuleType:
    """Import ``monai.transforms``. Raises EXTRA_MISSING without MONAI."""
    # MONAI imports MLflow where it is installed, and MLflow would report that to its makers
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    try:
        import monai.transforms
    except ImportError:
        how_to_fix = "install medseg[train], or leave these keys of train.augment out"
        raise MedsegError(Code.EXTRA_MISSING, "train.augment", "MONAI is not installed", how_to_fix) from None
    module: ModuleType = monai.transforms
    return module
