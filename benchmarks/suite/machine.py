"""The machine that a table was measured on: processor, memory, versions, and what it can do at most."""

from __future__ import annotations

import os
import platform
import statistics
from importlib import metadata
from typing import Any

import numpy as np
import torch

from benchmarks.suite.timing import timed
from medseg import device

PACKAGES = (
    "medseg",
    "torch",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "onnxruntime",
    "openvino",
    "monai",
    "torchio",
    "nnunetv2",
    "dicom2nifti",
    "dcm2niix",
    "pydicom",
)
_SIDE, _BYTES = 2048, 2**28


def conditions(chosen: str, *, quick: bool) -> dict[str, Any]:
    """What rows of one table have in common: the machine, the versions, the settings."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "machine": {
            "processor": device.processor(),
            "memory_gb": round(memory_gb),
            "system": f"{platform.system()} {platform.release()}",
            "device": device.in_words(chosen) if chosen != "cpu" else "cpu",
        },
        "versions": {"python": platform.python_version(), **versions()},
        "settings": {"threads": 1, "quick": quick},
    }


def versions() -> dict[str, str]:
    """Versions of what is compared, without those that are not installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def rates() -> dict[str, float]:
    """What one thread can do at most: products of matrices in GFLOP/s, copies (read and write) in GB/s."""
    torch.set_num_threads(1)
    measured = {"matrix product, fp32, GFLOP/s": _matrix_rate(torch.float32)}
    if device.has_native_bf16("cpu"):
        measured["matrix product, bf16, GFLOP/s"] = _matrix_rate(torch.bfloat16)
    source = np.ones(_BYTES, np.uint8)
    target = np.empty_like(source)
    seconds = statistics.median(timed(lambda: np.copyto(target, source)) for _ in range(7))
    measured["copy in memory, GB/s"] = 2 * _BYTES / seconds / 1e9
    return {name: float(f"{value:.3g}") for name, value in measured.items()}


def _matrix_rate(dtype: torch.dtype) -> float:
    one = torch.randn(_SIDE, _SIDE).to(dtype)
    seconds = statistics.median(timed(lambda: one @ one) for _ in range(7))
    return float(2 * _SIDE**3 / seconds / 1e9)
