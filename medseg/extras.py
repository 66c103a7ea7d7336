"""Extras of the installation: the packages that commands and functions beyond `medseg segment` need."""

from __future__ import annotations

import importlib.util

from medseg.errors import Code, MedsegError

_PACKAGES = {
    "train": (
        "mlflow",
        "monai",
        "einops",
        "lightning_fabric",
        "matplotlib",
        "jinja2",
        "psutil",
        "nilearn",
        "skimage",
    ),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx"),
    "dicom": ("pydicom", "highdicom", "gdcm"),
}


def is_installed(extra: str) -> bool:
    """Report true if all packages of the extra are installed."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES[extra])


def needs_extra(extra: str) -> None:
    """EXTRA_MISSING if a package of the extra is not installed."""
    missing = [name for name in _PACKAGES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MedsegError(
            Code.EXTRA_MISSING,
            "medseg",
            f"this command needs {', '.join(missing)}",
            f"pip install 'medseg[{extra}]'",
        )
