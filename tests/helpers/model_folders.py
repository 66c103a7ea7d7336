"""A description of a tiny model, for every test that needs a model folder."""

from __future__ import annotations

from typing import Any

from medseg.classes import ClassList
from medseg.model.description import Description

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})


def describe(**changes: Any) -> Description:
    """U-SegNet of width 2 on slabs of three axial slices; keywords change it."""
    values: dict[str, Any] = {
        "name": "tiny",
        "network": "usegnet",
        "keywords": {"width": 2},
        "channels": ("t1",),
        "plane": "axial",
        "depth": 3,
        "classes": tuple(CLASSES.to_json()),
        "foreground": "auto",
        "spacing_mm": None,
        "crop": True,
        "crop_margin": 2,
        "n4": False,
        "intensity": "zscore",
        "mode": "dense",
        "window": (16, 16),
        "stride": (8, 8),
        "batch": None,
        "ensemble": "mean",
        "domain": {},
        "trained": {},
    }
    return Description(**{**values, **changes})
