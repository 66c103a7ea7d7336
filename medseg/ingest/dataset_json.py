"""The `dataset.json` of Decathlon and nnU-Net folders: what it says of channels and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError

NAME = "dataset.json"


def read(root: Path) -> dict[str, Any]:
    """The content of dataset.json, or nothing where there is none; RECIPE_INVALID if it is no JSON object."""
    path = root / NAME
    try:
        content = files.read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise MedsegError(Code.RECIPE_INVALID, path, str(error), "correct the JSON") from error
    if not isinstance(content, dict):
        raise MedsegError(Code.RECIPE_INVALID, path, type(content).__name__, "write a JSON object")
    return content


def modalities(dataset: dict[str, Any]) -> list[str]:
    """Names of the channels in the order of their numbers: ``{"0": "FLAIR", "1": "T1"}``."""
    named = dataset.get("channel_names") or dataset.get("modality") or {"0": "image"}
    names = [str(named[key]) for key in sorted(named, key=int)]
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def classes(dataset: dict[str, Any]) -> dict[int, str] | None:
    """Value → name from ``{"0": "background"}`` (Decathlon) or ``{"background": 0}`` (nnU-Net)."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        return None
    if all(str(key).isdigit() for key in labels):
        return {int(key): str(name) for key, name in labels.items()}
    if all(isinstance(value, int) for value in labels.values()):
        return {value: str(name) for name, value in labels.items()}
    return None
