"""U-Net's elastic deformation (Ronneberger et al. 2015): a smooth field of displacements over a whole slice.

The field is bicubic between 3×3 displacements: at the slice's corners, the middles of its sides and its
centre. Only the part under a window is ever evaluated, and only the pixels that this part points at are read.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pair = tuple[int, int]

NODES = 3
_A = -0.75  # the free parameter of cubic convolution (Keys 1981), as torch's own bicubic resizing has it


def draw_nodes(sigma_px: float, batch: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw Gaussian displacements of deviation ``sigma_px``: (B, 2, 3, 3), rows before columns, px."""
    return generator.standard_normal((batch, 2, NODES, NODES)) * sigma_px


def displacement(nodes: Tensor, at: Tensor, shape: Tensor) -> Tensor:
    """Evaluate the field at places ``at`` of slices of ``shape``: (B, h, w, 2), rows before columns, px.

    :param nodes: displacements (B, 2, 3, 3). :param at: places (B, h, w, 2), px from each slice's first
    pixel; beyond the slice the field goes on as at its edge. :param shape: (B, 2), rows and columns.
    """
    last = (shape - 1).view(-1, 1, 1, 2)
    along_rows, along_columns = (_node_weights(at[..., axis], last[..., axis]) for axis in (0, 1))
    rows = torch.einsum("bhwi,bdij->bhwdj", along_rows, nodes)
    return torch.einsum("bhwdj,bhwj->bhwd", rows, along_columns)


def box(at: Tensor) -> tuple[npt.NDArray[np.intp], Pair]:
    """Bound what bilinear interpolation at places ``at`` (B, h, w, 2) reads: first pixels (B, 2), one size.

    A first pixel may be negative: slices are mirrored outside.
    """
    low, high = at.amin(dim=(1, 2)).floor(), at.amax(dim=(1, 2)).floor() + 1
    height, width = (high - low + 1).amax(dim=0).int().tolist()
    return low.cpu().numpy().astype(np.intp), (height, width)


def _node_weights(at: Tensor, last: Tensor) -> Tensor:
    """Weights of the three nodes along an axis at ``at``: (B, h, w, 3), sums being 1.

    Nodes lie at 0, ``last``/2 and ``last``. Cubic convolution reaches one node further on both sides: there,
    the outer nodes are repeated.
    """
    in_nodes = at.clamp(min=torch.zeros_like(last), max=last).div_(last.clamp_min(1)).mul_(NODES - 1)
    k = [_cubic((in_nodes - node).abs_()) for node in range(-1, NODES + 1)]
    return torch.stack([k[0] + k[1], k[2], k[3] + k[4]], dim=-1)


def _cubic(d: Tensor) -> Tensor:
    """Keys' kernel at distances ``d`` >= 0, in nodes."""
    # In place: fresh memory for every step of the polynomials takes longer than the arithmetic.
    near = (d * (_A + 2)).sub_(_A + 3).mul_(d).mul_(d).add_(1)
    far = (d - 5).mul_(d).add_(8).mul_(d).sub_(4).mul_(_A).masked_fill_(d >= 2, 0.0)
    return torch.where(d <= 1, near, far)
