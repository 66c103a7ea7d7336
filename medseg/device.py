"""Devices and precision: which device `auto` means on this machine, and what a precision key means on it."""

from __future__ import annotations

import math
import platform
from typing import Any, Literal, cast

import torch

from medseg import process
from medseg.errors import Code, MedsegError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Resolved = Literal["fp32", "bf16", "fp16"]

EMULATED_BF16_FACTOR = 7.4
"""Time of a training step in emulated bf16 over that in fp32: a U-Net on a CPU with AVX2 alone."""

_X86_BF16 = ("avx512_bf16", "amx_bf16", "avx10_2")
"""Instruction sets of x86 that multiply in bf16. torch's oneDNN takes bf16 from AVX-512 alone on, and
converts where none of these is there."""


_INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512_f",),
    "AMX": ("amx_tile",),
    "bf16": (*_X86_BF16, "bf16"),
    "int8 dot products": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"),
}
"""Instruction sets by the name that people know them by, and torch's names of which one must be there."""


def choose(device: str) -> str:
    """Name the first device at hand for `auto`, and any other device as it is.

    Raises USAGE, naming the devices at hand, if there is no such device.
    """
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
    """Name a device with its model: `cuda (NVIDIA H100)`."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return f"{device} ({platform.processor() or platform.machine()})"


def resolve_precision(precision: str, device: str | torch.device) -> Resolved:
    """Decide what a precision key means on a device: `cpu`, `cuda`, `cuda:1`, `mps`, or torch's own.

    `auto` is bf16 where the device computes it natively, otherwise fp16 on a GPU of CUDA and fp32 on a CPU.
    On Apple's GPUs it is fp32: mixed precision has not been tried there. Any other key stays what it is.

    Raises KEYWORD_INVALID for fp16 on a CPU, where torch neither trains nor is fast in it.
    """
    kind = torch.device(device).type
    if precision == "fp16" and kind == "cpu":
        raise MedsegError(Code.KEYWORD_INVALID, "precision", "fp16 on a cpu", "use fp32 or bf16, or auto")
    if precision != "auto":
        return cast("Resolved", precision)
    if has_native_bf16(device):
        return "bf16"
    return "fp16" if kind == "cuda" else "fp32"


def threads(asked: int = 0) -> int:
    """Threads for torch on a CPU: so many as asked for, or torch's own number; never more than the quota."""
    count, quota = asked or torch.get_num_threads(), process.cpu_quota()
    return count if quota is None else max(1, min(count, math.floor(quota)))


def processor() -> str:
    """This CPU in words: its name, cores, quota, and the instructions that matter to networks."""
    capabilities = _cpu_capabilities()
    names = [name for name, keys in _INSTRUCTIONS.items() if any(capabilities.get(key) for key in keys)]
    cores, quota = capabilities.get("num_physical_cores"), process.cpu_quota()
    parts = [
        str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
        f"{process.cpus_allowed()} CPUs" + (f" of {cores} physical cores" if cores else ""),
        "no quota" if quota is None else f"a quota of {quota:g}",
        ", ".join(names) or "no AVX2",
    ]
    return "; ".join(parts)


def has_native_bf16(device: str | torch.device) -> bool:
    """Report true if a device multiplies in bf16 itself instead of converting to float32 and back.

    Among NVIDIA's GPUs these are the ones of compute capability 8.0 and above.
    """
    chosen = torch.device(device)
    if chosen.type == "cuda":
        with torch.cuda.device(chosen):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return chosen.type == "cpu" and _cpu_has_native_bf16()


def emulation_warning(precision: str, device: str) -> str | None:
    """Say that a fixed bf16 is slow on a device that only emulates it; None where it is not."""
    if precision != "bf16" or device == "mps" or has_native_bf16(device):
        return None
    faster = resolve_precision("auto", device)
    return (
        f"precision bf16 is emulated on this {device}: about {EMULATED_BF16_FACTOR} times slower than fp32 "
        f"was measured on a CPU; set train.precision to auto, which is {faster} here"
    )


def _cpu_has_native_bf16() -> bool:
    """Ask oneDNN, and on x86 the processor itself; an answer that torch no longer gives counts as no."""
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
    except (AttributeError, RuntimeError):  # a private function of torch, absent in some builds
        return False
    capabilities = _cpu_capabilities()
    if capabilities.get("architecture") not in ("x86", "x86_64"):
        return bool(capabilities)
    return any(capabilities.get(name) for name in _X86_BF16)


def _cpu_capabilities() -> dict[str, Any]:
    """Ask torch for the features of this CPU; nothing in builds that do not tell them."""
    try:
        return dict(torch.cpu.get_capabilities())
    except (AttributeError, RuntimeError):
        return {}
