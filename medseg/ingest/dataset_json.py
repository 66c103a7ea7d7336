"""The `dataset.json` of Decathlon and nnU-Net folders: channels, classes, regions, ignored label, cases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medseg import files
from medseg.classes import ClassList, ClassListError
from medseg.errors import Code, MedsegError
from medseg.ingest.tree import nfc

NAME = "dataset.json"
_IGNORED = {"ignore", "void"}


@dataclass(frozen=True)
class Labels:
    """Classes as value → name, ``void`` values that are ignored, ``regions`` as name → values or None.

    ``remarks`` tell the user what was understood differently than it is written.
    """

    classes: dict[int, str] | None = None
    void: tuple[int, ...] = ()
    regions: dict[str, tuple[int, ...]] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listed:
    """A case of the file's lists, its paths relative to the folder."""

    image: PurePosixPath
    label: PurePosixPath | None


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


def modalities(dataset: Mapping[str, Any]) -> list[str]:
    """Names of the channels in the order of their numbers: ``{"0": "FLAIR", "1": "T1"}``."""
    named = dataset.get("channel_names") or dataset.get("modality") or {"0": "image"}
    names = [str(named[key]) for key in sorted(named, key=int)]
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def channel_endings(dataset: Mapping[str, Any], images: set[str], labels: set[str]) -> dict[str, str]:
    """Channel name → ending of its files' names: ``_0000``, ``_0001`` …, or nothing for a fourth axis.

    ``images`` and ``labels`` are the names of the files. Several channels in files that all end with
    ``_0000`` are the colours of each.
    """
    names = modalities(dataset)
    numbers = {stem[-5:] for stem in images if re.search(r"_\d{4}$", stem)}
    unnumbered = {stem[:-5] for stem in images if stem[-5:] in numbers}
    if not numbers or not ("channel_names" in dataset or (unnumbered & labels and not images & labels)):
        return dict.fromkeys(names, "")
    if numbers == {"_0000"}:
        return dict.fromkeys(names, "_0000")
    return {name: f"_{i:04d}" for i, name in enumerate(names)}


def listed(dataset: Mapping[str, Any]) -> Iterator[Listed]:
    """The cases that the file lists under training and test, in Unicode's NFC form."""
    for entry in [*dataset.get("training", []), *dataset.get("test", [])]:
        paths = entry if isinstance(entry, dict) else {"image": entry}
        label = PurePosixPath(nfc(str(paths["label"]))) if "label" in paths else None
        yield Listed(PurePosixPath(nfc(str(paths.get("image", "")))), label)


def labels(dataset: Mapping[str, Any]) -> Labels:
    """Read ``{"0": "background"}`` (Decathlon), ``{"background": 0}``, or nnU-Net's regions and ignore label.

    A name with several values is a region; ``ignore`` and ``void`` are ignored. Nothing is understood of
    any other form.
    """
    by_name = _values_by_name(dataset.get("labels"))
    if not by_name:
        return Labels()
    void = tuple(sorted(v for name, values in by_name.items() if name.lower() in _IGNORED for v in values))
    by_name = {name: values for name, values in by_name.items() if name.lower() not in _IGNORED}
    remarks = (f"{NAME}: the label {', '.join(map(str, void))} is ignored: data.void",) if void else ()
    if all(len(values) == 1 for values in by_name.values()):
        return Labels({values[0]: name for name, values in by_name.items()}, void, None, remarks)
    return _with_regions(by_name, void, remarks)


def _values_by_name(content: Any) -> dict[str, tuple[int, ...]] | None:
    if not isinstance(content, dict):
        return None
    if content and all(str(key).lstrip("-").isdigit() for key in content):
        return {str(name): (int(value),) for value, name in content.items()}
    by_name: dict[str, tuple[int, ...]] = {}
    for name, value in content.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            return None
        by_name[str(name)] = tuple(values)
    return by_name


def _with_regions(
    by_name: Mapping[str, tuple[int, ...]], void: tuple[int, ...], remarks: tuple[str, ...]
) -> Labels:
    """Classes named after the regions of one value, and regions whose names can be parts of files' names."""
    values = sorted({0}.union(*by_name.values()))
    alone = {values[0]: name for name, values in by_name.items() if len(values) == 1}
    classes = {v: alone.get(v, "background" if v == 0 else f"label_{v}") for v in values}
    regions: dict[str, tuple[int, ...]] = {}
    for name, numbers in by_name.items():
        if set(numbers) == {0}:
            continue
        safe = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "region"
        regions[safe] = numbers
        if safe != name:
            remarks += (f"{NAME}: the region {name!r} is called {safe}, for it is a part of files' names",)
    try:
        ClassList.of_masks(regions, void, classes)
    except ClassListError as error:
        remark = f"{NAME}: its regions {', '.join(regions)} cannot be used ({error}); its values are classes"
        return Labels(classes, void, None, (*remarks, remark))
    remark = f"{NAME}: regions {', '.join(regions)} are masks that may overlap: data.regions"
    return Labels(classes, void, regions, (*remarks, remark))
