"""Which device and precision a recipe's `auto` means on this machine."""

from __future__ import annotations

import torch


def choose(device: str) -> str:
    """`auto` → `cuda` where there is one, else `cpu`; anything else as given."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(wanted: str, device: str) -> str:
    """`auto` → bf16 on a GPU that has it, fp16 on one that has not, fp32 on a CPU."""
    if wanted != "auto":
        return wanted
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
