"""A look at the label files of a folder that nobody described: values that are classes, and doubtful ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import some
from medseg.ingest import checks, mask_files

MOST_VALUES = 255
"""Classes that a class list can hold."""

_FEW = 10
_NAMED = 6
_FILES = 3
_MANY_TIMES = 4
_LONE_FILES = 3
_OFTEN_VOID = 255
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Survey:
    """``classes`` as value → name, None where only background was seen; ``void`` values, to be ignored.

    ``soft_edges``: some files hold greys between 0 and 255 where the others hold only these two.
    ``remarks`` are sentences about files and values that a person should look at.
    """

    classes: dict[int, str] | None
    void: tuple[int, ...] = ()
    soft_edges: bool = False
    remarks: tuple[str, ...] = ()


def survey(labels: Sequence[Path], root: Path) -> Survey:
    """Read label files, or folders of masks, and propose classes named by their numbers; 0 is background.

    A file with many more values than the others is taken for an image, and brings none. Negative values are
    void. Remarks name files below ``root``.
    """
    names = {label: label.relative_to(root).as_posix() for label in labels}
    read = {names[label]: set(checks.label_values(mask_files.files_of(label))) for label in labels}
    by_file = {name: values for name, values in read.items() if values}
    remarks = _no_label_maps(sorted(read.keys() - by_file.keys()))
    counts = sorted(len(values) for values in by_file.values())
    usual = counts[(len(counts) - 1) // 2] if counts else 0
    images = {name for name, values in by_file.items() if len(values) > max(_FEW, _MANY_TIMES * usual)}
    paths = {name: label for label, name in names.items()}
    two_values = 2 * sum(values <= {0, 255} for values in by_file.values()) > len(by_file)
    more = {name for name, values in by_file.items() if two_values and not values <= {0, 255}}
    soft = {name for name in more if 255 in by_file[name] and _is_nearly_two_values(paths[name])}
    for name in sorted(images | soft):
        values = by_file.pop(name)
        if name in soft:
            remarks.append(f"{name} holds greys between 0 and 255: values above 128 are taken for the class")
            continue
        remarks.append(
            f"{name} alone holds {len(values)} values, where others hold {usual}: it seems to be an image,"
            " and its values are no classes here"
        )
    remarks += _lone_values(by_file)
    values = set[int]().union(*by_file.values())
    void = tuple(sorted(value for value in values if value < 0))
    if void:
        remarks.append(
            f"the values {some(void, _NAMED)} are below 0 and taken for void (ignored labels): data.void"
        )
    values = {0} | values.difference(void)
    if len(values) > MOST_VALUES:
        remarks.append(f"the label files hold {len(values)} values, too many for classes: are they images?")
        return Survey(None, void, remarks=tuple(remarks))
    if _OFTEN_VOID in values and len(values) > 2:
        remarks.append("the value 255 often marks void (ignored labels): if so, move it to data.void")
    classes = {value: "background" if value == 0 else f"label_{value}" for value in sorted(values)}
    return Survey(classes if len(classes) > 1 else None, void, bool(soft), tuple(remarks))


def _no_label_maps(names: Sequence[str]) -> list[str]:
    """One sentence about all files that hold no values of classes; none where there are no such files."""
    reason = "cannot be read, hold several volumes, or {} values are no whole numbers"
    if len(names) == 1:
        return [f"{names[0]} is no label map: it {reason.format('its').replace('hold ', 'holds ')}"]
    return [f"{some(names, _FILES)} are no label maps: they {reason.format('their')}"] if names else []


def _is_nearly_two_values(path: Path) -> bool:
    """True for a mask in which nearly all pixels are 0 or 255, as where its edges were smoothed."""
    shares = [
        np.isin(mask_files.read_values(file).array, (0, 255)).mean() for file in mask_files.files_of(path)
    ]
    return min(shares, default=0.0) >= _NEARLY_ALL


def _lone_values(by_file: Mapping[str, set[int]]) -> list[str]:
    """Sentences about values that one file alone brings, unless many files bring some."""
    holders = Counter(value for values in by_file.values() for value in values)
    lone = {
        name: sorted(value for value in values if holders[value] == 1) for name, values in by_file.items()
    }
    lone = {name: values for name, values in lone.items() if values}
    if len(by_file) <= 2 or len(lone) > _LONE_FILES or 2 * len(lone) > len(by_file):
        return []
    return [
        f"of {len(by_file)} label files {name} alone holds {some(values, _NAMED)}: is that right?"
        for name, values in lone.items()
    ]
