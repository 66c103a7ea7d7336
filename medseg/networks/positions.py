"""Positions of maxima in 2×2 windows, in 2 bits each (SegNet, section 3.1), four to a byte along the rows.

torch gives a position as a number of 64 bits in the whole image. Which of the four pixels of its window it is
says as much: bit 0 for the right column, bit 1 for the lower row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BITS = 2
"""What a position takes."""

_PER_BYTE = 8 // BITS


def packed(index: Tensor, width: int) -> Tensor:
    """Pack flat positions (B, C, h, w) int64 in images of ``width`` px into (B, C, h, ⌈w / 4⌉) uint8."""
    offset = index - _corners(index.shape[-2], index.shape[-1], width, index.device)
    corner = torch.where(offset >= width, offset - (width - 2), offset).to(torch.uint8)
    corner = F.pad(corner, (0, -corner.shape[-1] % _PER_BYTE))
    codes = corner[..., 0::_PER_BYTE]
    for place in range(1, _PER_BYTE):
        codes = codes | corner[..., place::_PER_BYTE] << BITS * place
    return codes


def flat(index: Tensor, values: Tensor, width: int) -> Tensor:
    """Give the flat positions of ``values`` (B, C, h, w) in images of ``width`` px, int64, packed or not."""
    if index.dtype != torch.uint8:
        return index
    height, columns = values.shape[-2:]
    shifts = torch.arange(0, 8, BITS, dtype=torch.uint8, device=index.device)
    corner = ((index.unsqueeze(-1) >> shifts) & 3).flatten(-2)[..., :columns].long()
    within = torch.where(corner > 1, corner + (width - 2), corner)
    positions = within + _corners(height, columns, width, index.device)
    is_last = values.is_contiguous(memory_format=torch.channels_last)
    return positions.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def _corners(height: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Flat positions (height, columns) of the windows' upper left pixels, int64."""
    rows = torch.arange(height, device=device).unsqueeze(1)
    return rows * (2 * width) + 2 * torch.arange(columns, device=device)
