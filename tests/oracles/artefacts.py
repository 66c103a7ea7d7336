"""Artefacts of one patch by MONAI's own transforms."""

from __future__ import annotations

from typing import Any

import monai.transforms as transforms
import numpy as np
import torch
from torch import Tensor

from medseg.patches.artefacts import ArtefactParams, Floats

DEGREE, POINTS = 3, 10


def add(patch: Tensor, params: ArtefactParams) -> Tensor:
    """Add the artefacts of one patch (C·D, h, w); ``params`` are those of a batch of one."""
    params = ArtefactParams(**{name: values[0] for name, values in vars(params).items()})
    if params.bias_field.any():
        patch = _bias_field(patch, params.bias_field)
    if params.gibbs > 0:
        patch = _plain(transforms.GibbsNoise(float(params.gibbs))(patch))
    if params.ghosting > 0:
        patch = _ghosts(patch, float(params.ghosting), int(params.ghost_spacing), int(params.ghost_axis))
    if params.low_resolution > 0:
        patch = _low_resolution(patch, 1 - float(params.low_resolution))
    if not np.array_equal(params.histogram_shift, np.linspace(0, 1, POINTS)) and patch.min() < patch.max():
        patch = _histogram_shift(patch, params.histogram_shift)
    return _holes(patch, params.holes)


def _bias_field(patch: Tensor, coefficients: Floats) -> Tensor:
    """Multiply by exp(polynomial), counted from the patch's lowest value: scaled grey values have no zero."""
    transform = transforms.RandBiasField(degree=DEGREE, prob=1.0)
    transform._do_transform, transform._coeff = True, coefficients.tolist()
    low = patch.min()
    return _plain(transform(patch - low, randomize=False)) + low


def _ghosts(patch: Tensor, strength: float, spacing: int, axis: int) -> Tensor:
    """Weaken every n-th line of the spectrum but the middle one, so that the mean stays."""
    fourier = transforms.utils.Fourier
    spectrum = fourier.shift_fourier(patch, 2)
    lines = torch.arange(patch.shape[1 + axis], device=patch.device) - patch.shape[1 + axis] // 2
    weights = torch.where((lines % spacing == 0) & (lines != 0), 1 - strength, 1.0).to(patch.dtype)
    weights = weights.unsqueeze(1 - axis)  # (h, 1) or (1, w)
    return _plain(fourier.inv_shift_fourier(spectrum * weights, 2))


def _low_resolution(patch: Tensor, zoom: float) -> Tensor:
    """Shrink the patch by ``zoom`` (nearest neighbour) and bring it back to its size (bilinear)."""
    transform = transforms.RandSimulateLowResolution(prob=1.0, upsample_mode="bilinear")
    transform._do_transform, transform.zoom_factor = True, zoom
    return _plain(transform(patch, randomize=False))


def _histogram_shift(patch: Tensor, points: Floats) -> Tensor:
    """Send grey values through the curve from equally spaced control points to ``points``.

    They are brought to 0…1 before: control points of a window that is almost flat would coincide.
    """
    low, high = patch.min(), patch.max()
    transform = transforms.RandHistogramShift(num_control_points=POINTS, prob=1.0)
    transform._do_transform = True
    transform.reference_control_points = np.linspace(0, 1, POINTS)
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
    transform = transforms.RandCoarseDropout(1, 1, fill_value=float(patch.mean()), prob=1.0)
    transform._do_transform, transform.hole_coords = True, boxes
    return _plain(transform(patch.clone(), randomize=False))


def _plain(patch: Any) -> Tensor:
    """Make a tensor of MONAI's tensor with metadata, float32."""
    return torch.as_tensor(patch.as_tensor() if hasattr(patch, "as_tensor") else patch).float()
