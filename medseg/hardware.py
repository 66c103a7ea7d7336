"""Device, precision and threads that torch will choose here, without torch, whose import takes seconds.

Only for words about this machine: :mod:`medseg.device` decides. Both are compared in the tests. Where the
system does not tell enough (macOS, Windows, AMD's GPUs, other processors) the answer is None: ask torch.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import process

CPUINFO = Path("/proc/cpuinfo")

_FOR_AVX512 = {"avx512bw", "avx512vl", "avx512dq"}
"""Instructions without which torch's oneDNN takes no bf16."""
_BF16 = {"avx512_bf16", "amx_bf16", "avx10_2"}
_NATIVE_BF16 = 8
"""Compute capability from which on NVIDIA's GPUs compute in bf16."""
_MAJOR_OF_CAPABILITY = 75
"""CUDA's number of the attribute: major part of the compute capability."""


@dataclass(frozen=True)
class Hardware:
    """The device of `auto` in words, its precision, and torch's threads."""

    device: str
    precision: str
    threads: int


def without_torch() -> Hardware | None:
    """Tell the hardware as :mod:`medseg.device` would; None where only torch knows."""
    built_for = _torch_is_built_for()
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64" or built_for is None:
        return None
    threads = default_threads()
    if built_for:
        gpu = first_gpu(built_for)
        if gpu is None:
            return None
        if gpu:
            name, capability = gpu
            return Hardware(f"cuda ({name})", "bf16" if capability >= _NATIVE_BF16 else "fp16", threads)
    device = f"cpu ({platform.processor() or platform.machine()})"
    return Hardware(device, "bf16" if computes_bf16() else "fp32", threads)


def _torch_is_built_for() -> tuple[int, ...] | None:
    """The version of CUDA that torch was built with, () for CPUs alone; None for anything else."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    versions = dict(re.findall(r"^(cuda|hip|xpu)\b[^=]*= *(\S+)", text, re.MULTILINE))
    if versions.get("hip", "None") != "None" or versions.get("xpu", "None") != "None":
        return None
    cuda = versions.get("cuda")
    if cuda is None:
        return None
    return () if cuda == "None" else tuple(map(int, re.findall(r"\d+", cuda)))


def first_gpu(
    cuda: tuple[int, ...], load: Callable[[str], Any] = ctypes.CDLL
) -> tuple[str, int] | tuple[()] | None:
    """Name and major compute capability of the first GPU; () without one, None where torch must be asked.

    The latter is where the driver answers, but is older than the ``cuda`` of torch.
    """
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return ()
    version, count, device, major = (ctypes.c_int() for _ in range(4))
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return ()
    if driver.cuDriverGetVersion(ctypes.byref(version)) or version.value // 1000 < cuda[0]:
        return None
    name = ctypes.create_string_buffer(256)
    failed = (
        driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, len(name), device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR_OF_CAPABILITY, device)
    )
    return None if failed else (name.value.decode(errors="replace"), major.value)


def computes_bf16() -> bool:
    """True if this processor (x86) multiplies in bf16 itself, as torch's oneDNN uses it."""
    flags = {word for cpu in _processors()[:1] for word in cpu.get("flags", "").split()}
    return flags >= _FOR_AVX512 and bool(flags & _BF16)


def default_threads() -> int:
    """Threads that torch takes by itself: OMP_NUM_THREADS, or the physical cores that it may use."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if first.isdecimal() and int(first):
        return min(int(first), process.cpus_allowed())
    allowed = {str(n) for n in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    of_cores = [cpu for cpu in _processors() if not allowed or cpu.get("processor") in allowed]
    cores = {
        (cpu["physical id"], cpu["core id"]) for cpu in of_cores if {"physical id", "core id"} <= cpu.keys()
    }
    return len(cores) or process.cpus_allowed()


def _processors() -> list[dict[str, str]]:
    """The blocks of ``/proc/cpuinfo``, one for each processor; nothing where it cannot be read."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block)}
        for block in blocks
    ]
