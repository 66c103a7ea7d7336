"""The background between touching objects, made anew on patches whose geometry has changed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from medseg.classes import VOID

_BEYOND = 65_536.0  # every number of an object is smaller


def separated(labels: Tensor, numbers: Tensor) -> Tensor:
    """Labels (B, h, w) uint8 with 0 where objects touch; ``numbers`` (B, h, w) float32 are the objects'.

    The same as :func:`medseg.preprocess.instances.separated` of each patch: the objects' pixels that have one
    of another object among their eight neighbours in the patch. Void (255) stays.
    """
    highest = F.max_pool2d(numbers[:, None], 3, 1, 1)[:, 0]
    lowest = -F.max_pool2d(-numbers.masked_fill(numbers == 0, _BEYOND)[:, None], 3, 1, 1)[:, 0]
    border = (numbers > 0) & (highest != lowest) & (labels != VOID)
    return labels.masked_fill(border, 0)
