"""Random changes of the grey values and colours of patches: functions of patches, which reach no label."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.transfer import upload

Floats = npt.NDArray[np.float64]

_YIQ_OF_RGB = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB_OF_YIQ = np.linalg.inv(_YIQ_OF_RGB)


class ValueParams(Protocol):
    """The numbers of one batch that change values, one a patch: (B,)."""

    @property
    def contrast(self) -> Floats:
        """Factor of the distance from the patch's mean."""

    @property
    def brightness(self) -> Floats:
        """Number that is added."""

    @property
    def gamma(self) -> Floats:
        """Exponent that bends the patch's range."""

    @property
    def noise(self) -> Floats:
        """Standard deviation of the noise."""

    @property
    def noise_seed(self) -> npt.NDArray[np.int64]:
        """Seed of the noise."""

    @property
    def saturation(self) -> Floats:
        """Factor of the distance from grey."""

    @property
    def hue_radians(self) -> Floats:
        """Turn of the hue."""


def change_colours(patches: Tensor, draws: ValueParams) -> Tensor:
    """Change saturation and hue of (B, 3, h, w) float32: red, green, blue.

    Raises KEYWORD_INVALID for another number of channels.
    """
    if not (draws.hue_radians.any() or (draws.saturation != 1).any()):
        return patches
    if patches.shape[1] != 3:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "train.augment",
            f"colour changes of patches of {patches.shape[1]} channels",
            "leave saturation and hue out, or give three colours",
        )
    changed = np.zeros((len(patches), 3, 3))
    changed[:, 0, 0] = 1
    changed[:, 1, 1] = changed[:, 2, 2] = draws.saturation * np.cos(draws.hue_radians)
    changed[:, 2, 1] = draws.saturation * np.sin(draws.hue_radians)
    changed[:, 1, 2] = -changed[:, 2, 1]
    matrices = upload((_RGB_OF_YIQ @ changed @ _YIQ_OF_RGB).astype(np.float32), patches.device)
    return torch.einsum("bij,bjhw->bihw", matrices, patches)


def change_grey(patches: Tensor, draws: ValueParams) -> Tensor:
    """Change contrast, brightness and gamma of (B, C·D, h, w) float32 and add noise, in this order."""
    if (draws.contrast != 1).any():
        mean = patches.mean(dim=(1, 2, 3), keepdim=True)
        patches = (patches - mean) * _per_patch(draws.contrast, patches) + mean
    if draws.brightness.any():
        patches = patches + _per_patch(draws.brightness, patches)
    if (draws.gamma != 1).any():
        patches = _bend(patches, _per_patch(draws.gamma, patches))
    if draws.noise.any():
        patches = patches + _per_patch(draws.noise, patches) * _white_noise(patches, draws.noise_seed)
    return patches


def _per_patch(values: npt.NDArray[Any], patches: Tensor) -> Tensor:
    """Shape one number a patch as (B, 1, 1, 1)."""
    return upload(values.astype(np.float32), patches.device).view(-1, 1, 1, 1)


def _bend(patches: Tensor, exponent: Tensor) -> Tensor:
    """Map each patch's range to 0…1, to the power of its exponent, and back; a flat patch stays."""
    low, high = patches.amin(dim=(1, 2, 3), keepdim=True), patches.amax(dim=(1, 2, 3), keepdim=True)
    span = (high - low).clamp_min(torch.finfo(patches.dtype).tiny)
    return ((patches - low) / span) ** exponent * span + low


def _white_noise(patches: Tensor, seeds: npt.NDArray[np.int64]) -> Tensor:
    """Standard normal noise shaped like the patches; each patch's own seed, so that no other matters."""
    generator, noise = torch.Generator(patches.device), torch.empty_like(patches)
    for one, seed in zip(noise, seeds.tolist(), strict=True):
        torch.randn(one.shape, generator=generator.manual_seed(seed), out=one)
    return noise
