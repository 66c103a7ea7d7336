"""What a recipe's precision key means on a kind of device, in training and in use alike."""

from __future__ import annotations

import torch


def resolved(precision: str, kind: str) -> str:
    """fp32, bf16 or fp16: `auto` is bf16 on a GPU of CUDA, fp16 on one that lacks it, and fp32 elsewhere.

    `kind` is a device's without its number: cpu, cuda, mps.
    """
    if precision != "auto":
        return precision
    if kind != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
