"""medseg: 2.5D segmentation of volumetric MRI.

The functions below are documented in docs/api.md. Each is loaded when it is first used, so that importing
medseg is quick.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_PLACES = {
    "load_model": "medseg.api.segmentation",
    "segment": "medseg.api.segmentation",
    "evaluate": "medseg.api.scores",
    "run": "medseg.api.runs",
    "Model": "medseg.infer.loading",
    "Segmentation": "medseg.api.segmentation",
    "Run": "medseg.api.runs",
    "MedsegError": "medseg.errors",
}
"""Public name → module; `__init__.pyi` tells type checkers the same."""

__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
