"""Progressive resizing: training windows that are small in the first epochs, resized on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]
Change = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Resizer:
    """Resizes what ``change`` gives for batch t to the window size of its epoch.

    ``stages`` are epochs and the scale of their windows, ``steps`` those of an epoch; the last stage goes on.
    A side is rounded, then raised to the next that the network takes (``size_from``); a window that would not
    become smaller is left as it is. Patches and maps are read bilinearly (anti-aliased), labels by nearest
    neighbour, so that void stays void.
    """

    change: Change
    stages: Sequence[tuple[int, float]]
    steps: int
    size_from: Callable[[int], int]

    def __call__(
        self, patches: Tensor, labels: Tensor, t: int, rows: slice = slice(None), *more: Tensor
    ) -> tuple[Tensor, ...]:
        """Change and resize patches (B, C, h, w), labels and maps (B, h, w), as ``Augmenter`` does."""
        patches, labels, *maps = self.change(patches, labels, t, rows, *more)
        window = patches.shape[-2], patches.shape[-1]
        size = self.size(window, t // self.steps)
        if size == window:
            return patches, labels, *maps
        chosen = F.interpolate(labels.unsqueeze(1), size, mode="nearest-exact").squeeze(1)
        return _smaller(patches, size), chosen, *(_smaller(m.unsqueeze(1), size).squeeze(1) for m in maps)

    def size(self, window: Pair, epoch: int) -> Pair:
        """Size (px) of windows in an epoch (0-based)."""
        scale = self.scale(epoch)
        height, width = (min(side, self.size_from(max(1, round(side * scale)))) for side in window)
        return height, width

    def scale(self, epoch: int) -> float:
        """Scale of an epoch (0-based)."""
        for epochs, scale in self.stages:
            if epoch < epochs:
                return scale
            epoch -= epochs
        return self.stages[-1][1]


def _smaller(array: Tensor, size: Pair) -> Tensor:
    """Resize an array (B, C, h, w) float32 to ``size``."""
    return F.interpolate(array, size, mode="bilinear", align_corners=False, antialias=True)
