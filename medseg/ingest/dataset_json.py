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
from medseg.names import check_name

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
    """Names of the channels in the order of their numbers: ``{"0": "FLAIR", "1": "T1"}``.

    ``{"FLAIR": 0, "T1": 1}`` and a list say the same. Raises RECIPE_INVALID for any other form, NAME_INVALID.
    """
    key = "channel_names" if dataset.get("channel_names") else "modality"
    named = dataset.get(key) or ["image"]
    by_number = _names_by_number(named)
    if by_number is None:
        how_to_fix = 'number the channels: {"0": "FLAIR", "1": "T1"}'
        raise MedsegError(Code.RECIPE_INVALID, NAME, f"{key}: {named!r}", how_to_fix)
    names = [check_name(by_number[number], NAME) for number in sorted(by_number)]
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
    """The cases that the file lists under training and test, in Unicode's NFC form.

    Raises RECIPE_INVALID for what is no list of files.
    """
    lists = {key: dataset.get(key) or [] for key in ("training", "test")}
    for key, content in lists.items():
        if not isinstance(content, list) or not all(isinstance(entry, str | dict) for entry in content):
            how_to_fix = "list files there, or leave it out"
            raise MedsegError(Code.RECIPE_INVALID, NAME, f"{key}: {str(content)[:40]}", how_to_fix)
    for entry in [*lists["training"], *lists["test"]]:
        paths = entry if isinstance(entry, dict) else {"image": entry}
        label = PurePosixPath(nfc(str(paths["label"]))) if "label" in paths else None
        yield Listed(PurePosixPath(nfc(str(paths.get("image", "")))), label)


def labels(dataset: Mapping[str, Any]) -> Labels:
    """Read ``{"0": "background"}`` (Decathlon), ``{"background": 0}``, or nnU-Net's regions and ignore label.

    A name with several values is a region, and so are names that share a value; ``ignore`` and ``void`` are
    ignored. Nothing but a remark comes of any other form.
    """
    content = dataset.get("labels")
    by_name = _values_by_name(content)
    if not by_name:
        remark = f"{NAME}: its labels are not understood, so that classes come from the label files alone"
        return Labels(remarks=(remark,) if content else ())
    void = tuple(sorted(v for name, values in by_name.items() if name.lower() in _IGNORED for v in values))
    by_name = {name: values for name, values in by_name.items() if name.lower() not in _IGNORED}
    remarks = (f"{NAME}: the label {', '.join(map(str, void))} is ignored: data.void",) if void else ()
    if all(len(values) == 1 for values in by_name.values()) and len({*by_name.values()}) == len(by_name):
        return Labels({values[0]: name for name, values in by_name.items()}, void, None, remarks)
    return _with_regions(by_name, void, remarks)


def _names_by_number(content: Any) -> dict[int, str] | None:
    """Number → name of ``{"0": "a"}``, ``{"a": 0}`` or ``["a"]``; None for other forms."""
    pairs = list(enumerate(content) if isinstance(content, list) else _items(content))
    if any(_whole(number) is None for number, _ in pairs):
        pairs = [(number, name) for name, number in pairs]
    by_number = {value: str(name) for number, name in pairs if (value := _whole(number)) is not None}
    return by_number if by_number and len(by_number) == len(pairs) else None


def _values_by_name(content: Any) -> dict[str, tuple[int, ...]] | None:
    if isinstance(content, list):
        content = dict(enumerate(content))
    values_first = all(_whole(key) is not None for key, _ in _items(content))
    by_name: dict[str, tuple[int, ...]] = {}
    for key, entry in _items(content):
        name, value = (entry, key) if values_first else (key, entry)
        values = tuple(_whole(v) for v in (value if isinstance(value, list) else [value]))
        whole = tuple(v for v in values if v is not None)
        if not whole or len(whole) < len(values):
            return None
        by_name[str(name)] = tuple(dict.fromkeys((*by_name.get(str(name), ()), *whole)))
    return by_name


def _items(content: Any) -> list[tuple[Any, Any]]:
    return list(content.items()) if isinstance(content, dict) else []


def _whole(value: Any) -> int | None:
    """A whole number, also one written as text or with a point; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        return int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and float(value).is_integer() else None


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
        while safe in regions:
            safe += "-2"
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
