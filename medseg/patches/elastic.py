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
    # As (B, 2, h, w) in memory, so that every step runs along whole rows; nodes are few, places many.
    nodes_at = _node_weights(at.movedim(-1, 1).contiguous(), (shape - 1).view(-1, 2, 1, 1))
    along_rows, along_columns = (torch.stack([one[:, axis] for one in nodes_at], dim=1) for axis in (0, 1))
    rows = torch.einsum("bdij,bihw->bdjhw", nodes, along_rows)
    return (rows * along_columns[:, None]).sum(dim=2).movedim(1, -1)


def box(at: Tensor) -> tuple[npt.NDArray[np.intp], Pair]:
    """Bound what bilinear interpolation at places ``at`` (B, h, w, 2) reads: first pixels (B, 2), one size.

    A first pixel may be negative: slices are mirrored outside.
    """
    low, high = at.amin(dim=(1, 2)).floor(), at.amax(dim=(1, 2)).floor() + 1
    height, width = (high - low + 1).amax(dim=0).int().tolist()
    return low.cpu().numpy().astype(np.intp), (height, width)


def _node_weights(at: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the three nodes along an axis at ``at`` (…, h, w), each of that shape, their sum being 1.

    Nodes lie at 0, ``last``/2 and ``last``. Cubic convolution reaches one node further on both sides: there,
    the outer nodes are repeated.
    """
    in_nodes = at.clamp(min=torch.zeros_like(last), max=last).div_(last.clamp_min(1)).mul_(NODES - 1)
    # From 0 to 2: the nodes at -1 and 3 are never nearer than 1, the one at 1 never farther.
    first = _cubic(in_nodes).add_(_far(in_nodes + 1))
    middle = _near((in_nodes - 1).abs_())
    final = _cubic(2 - in_nodes).add_(_far(3 - in_nodes))
    return first, middle, final


def _cubic(d: Tensor) -> Tensor:
    """Keys' kernel at distances ``d`` >= 0, in nodes."""
    return torch.where(d <= 1, _near(d), _far(d))


# In place: fresh memory for every step of the polynomials takes longer than the arithmetic.
def _near(d: Tensor) -> Tensor:
    """Evaluate the kernel at distances up to 1."""
    return (d * (_A + 2)).sub_(_A + 3).mul_(d).mul_(d).add_(1)


def _far(d: Tensor) -> Tensor:
    """Evaluate the kernel at distances from 1 on; it is 0 from 2 on."""
    return (d - 5).mul_(d).add_(8).mul_(d).sub_(4).mul_(_A).masked_fill_(d >= 2, 0.0)
