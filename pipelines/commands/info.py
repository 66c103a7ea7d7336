"""`medseg info`: versions, device, extras, recipes; with --full every network, built and counted."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import medseg
from medseg import files, networks
from medseg.config.load import packaged
from medseg.device import choose, in_words

CORE = ("torch", "numpy", "nibabel", "SimpleITK", "scipy", "scikit-image", "pydantic", "safetensors")
TRAIN = ("mlflow", "monai", "lightning-fabric", "matplotlib", "jinja2", "psutil", "nilearn")
EXPORT = ("onnx", "onnxscript", "onnxruntime")


DRAWN = {"U-Net": "unet", "UNet++": "unetpp", "SegNet, small": "segnet_small", "U-SegNet": "usegnet"}
"""Networks of the figure, by their papers' names."""

WINDOW = 40
"""Side length (px) that the figure's networks see, or the next that they take."""


def draw(path: Path) -> None:
    """Write the figure of the 2.5D networks' stages, from 3 channels to 4 classes, as PNG."""
    from medseg.report.architecture import architectures

    with torch.device("meta"):
        built = [(title, networks.build(name, 3, 4)) for title, name in DRAWN.items()]
    files.write_bytes(path, architectures(built, WINDOW))


def run(*, full: bool, as_json: bool) -> None:
    """Print what `gather` finds, as lines or as JSON."""
    told = gather(full=full)
    text = json.dumps(told, indent=2) if as_json else "\n".join(_lines(told))
    sys.stdout.write(text + "\n")


def gather(*, full: bool) -> dict[str, Any]:
    """Plain values: versions (None where a package is absent), device, recipes, networks."""
    told: dict[str, Any] = {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "device": in_words(choose("auto")),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in (*CORE, *TRAIN, *EXPORT)},
        "recipes": {path.stem: _description(path) for path in sorted(packaged().glob("*.yaml"))},
    }
    if full:
        told["networks"] = [networks.describe(name) for name in sorted(networks.NETWORKS)]
    else:
        told["networks"] = sorted(networks.NETWORKS)
    return told


def version(name: str) -> str | None:
    """An installed package's version, None if it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _description(path: Any) -> str:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str(tree.get("description", ""))


def _lines(told: dict[str, Any]) -> list[str]:
    absent = [name for name in TRAIN if told["packages"][name] is None]
    lines = [
        f"medseg {told['medseg']}, Python {told['python']}, {told['device']}, {told['threads']} threads",
        "packages: " + ", ".join(f"{k} {v}" for k, v in told["packages"].items() if v),
    ]
    if absent:
        lines.append(f"extra [train] incomplete, without {', '.join(absent)}: pip install 'medseg[train]'")
    lines.append("recipes:")
    lines += [f"  {name:<28} {text}" for name, text in told["recipes"].items()]
    lines.append("networks:")
    for row in told["networks"]:
        if isinstance(row, str):
            lines.append(f"  {row}")
        else:
            lines.append(
                f"  {row['name']:<24} {row['parameters']:>12,} parameters ({row['channels']} channels, "
                f"{row['classes']} classes), receptive field {row['receptive_field']}, {row['paper']}"
            )
            if row["keywords"]:
                lines.append("    " + ", ".join(f"{k}={v!r}" for k, v in row["keywords"].items()))
    return lines
