"""`medseg info`: versions, device, extras, recipes; with --full every network, built and counted.

Torch is imported only where it is needed: the command answers at once.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

import yaml

import medseg
from medseg import files, hardware, networks
from medseg.config.class_file import packaged

CORE = ("torch", "numpy", "nibabel", "SimpleITK", "scipy", "pydantic", "safetensors")
TRAIN = (
    "mlflow",
    "monai",
    "einops",
    "lightning-fabric",
    "matplotlib",
    "jinja2",
    "psutil",
    "nilearn",
    "scikit-image",
)
EXPORT = ("onnx", "onnxscript", "onnxruntime")


DRAWN = {"U-Net": "unet", "UNet++": "unetpp", "SegNet, small": "segnet_small", "U-SegNet": "usegnet"}
"""Networks of the figure, by their papers' names."""

WINDOW = 40
"""Side length (px) that the figure's networks see, or the next that they take."""


def draw(path: Path) -> None:
    """Write the figure of the 2.5D networks' stages, from 3 channels to 4 classes, as PNG."""
    import torch

    from medseg.report.architecture import architectures

    with torch.device("meta"):
        built = [(title, networks.build(name, 3, 4)) for title, name in DRAWN.items()]
    files.write_bytes(path, architectures(built, WINDOW))


def run(*, full: bool, as_json: bool) -> None:
    """Print the installation's description as lines or as JSON."""
    report = gather(full=full)
    text = json.dumps(report, indent=2) if as_json else "\n".join(_lines(report))
    sys.stdout.write(text + "\n")


def gather(*, full: bool) -> dict[str, Any]:
    """Describe the installation in plain values: versions (None: absent), device, recipes, networks."""
    here = hardware.without_torch() or _by_torch()
    report: dict[str, Any] = {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "device": here.device,
        "precision": here.precision,
        "threads": here.threads,
        "packages": {name: version(name) for name in (*CORE, *TRAIN, *EXPORT)},
        "recipes": {path.stem: _description(path) for path in sorted(packaged().glob("*.yaml"))},
    }
    if full:
        report["networks"] = [networks.describe(name) for name in sorted(networks.NETWORKS)]
    else:
        report["networks"] = sorted(networks.NETWORKS)
    return report


def _by_torch() -> hardware.Hardware:
    import torch

    from medseg.device import choose, in_words, resolve_precision

    device = choose("auto")
    return hardware.Hardware(in_words(device), resolve_precision("auto", device), torch.get_num_threads())


def version(name: str) -> str | None:
    """Look up an installed package's version; None if it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _description(path: Any) -> str:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent in some builds; ten times as fast
    tree = yaml.load(path.read_text(encoding="utf-8"), loader)
    return str(tree.get("description", ""))


def _lines(report: dict[str, Any]) -> list[str]:
    absent = [name for name in TRAIN if report["packages"][name] is None]
    lines = [
        f"medseg {report['medseg']}, Python {report['python']}",
        f"device {report['device']}, {report['threads']} threads; precision auto is {report['precision']}",
        "packages: " + ", ".join(f"{k} {v}" for k, v in report["packages"].items() if v),
    ]
    if absent:
        lines.append(f"extra [train] incomplete, without {', '.join(absent)}: pip install 'medseg[train]'")
    lines.append("recipes:")
    lines += [f"  {name:<28} {text}" for name, text in report["recipes"].items()]
    lines.append("networks:")
    for row in report["networks"]:
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
