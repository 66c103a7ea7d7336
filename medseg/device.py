"""Devices and precision: which device `auto` means on this machine, and what a precision key means on it."""

from __future__ import annotations

import platform

import torch

from medseg.errors import Code, MedsegError


def choose(device: str) -> str:
    """`auto` → the first device at hand, another → itself. USAGE, naming those at hand, if it is none."""
    here = at_hand()
    if device == "auto":
        return here[0]
    if device not in here:
        raise MedsegError(
            Code.USAGE, "device", f"there is no {device!r} on this machine", f"use auto or {', '.join(here)}"
        )
    return device


def at_hand() -> list[str]:
    """Names of the devices of this machine, the fastest first; `cuda` is the first GPU."""
    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return [*(["cuda"] if gpus else []), *gpus, *apple, "cpu"]


def in_words(device: str) -> str:
    """`cuda (NVIDIA H100)`."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return f"{device} ({platform.processor() or platform.machine()})"


def resolved(precision: str, kind: str) -> str:
    """fp32, bf16 or fp16: `auto` is bf16 on a GPU of CUDA, fp16 on one that lacks it, and fp32 elsewhere.

    `kind` is a device's without its number: cpu, cuda, mps.
    """
    if precision != "auto":
        return precision
    if kind != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
