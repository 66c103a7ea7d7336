"""A look at files that nobody described: images and label maps, told by their content and not by their names.

A label map holds whole numbers, few of them, in areas: neighbours are mostly equal; a mask in colours holds
few colours. One whose voxels are all 0 is empty, and counts as a label map where its sisters do. Of many
files with the same words in their names a few are read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.ingest import mask_colours, mask_files
from medseg.ingest.file_facts import value_counts
from medseg.ingest.label_names import label_rank
from medseg.ingest.path_words import has_number, words_of
from medseg.ingest.tree import without_suffix
from medseg.ingest.voxels import LABEL_TOLERANCE
from medseg.io import images, scans
from medseg.volume import Volume

Kind = Literal["image", "label", "empty", "unread"]

_SURELY_FEW = 12
_FEW = 512
_AREAS = 0.6
"""Share of equal neighbours, of those that are not both 0, from which on whole numbers lie in areas."""

_NEIGHBOURS = 2**20
"""Voxels from which on some slices tell whether values lie in areas."""

_GREY_EDGES = 0.9
_SAMPLE = 3
_MOST_READ = 150
_ALL_READ = 30
"""Files up to which each is read: of so few, as one subject's, no word is frequent."""

_COMMON, _COMMON_NUMBER = 0.05, 0.2
"""Shares of all files from which on a word, or one with a number, tells sorts of files apart."""


@dataclass(frozen=True)
class Look:
    """A file's kind, its grid where it could be read, and the values of a label map, sorted.

    Of a mask ``in_colours`` the values are colours: 65536 red + 256 green + blue. An image ``is_fraction`` if
    its values are from 0 to 1. A file that is unread ``is_series`` if it holds several volumes; as an image
    these are its ``volumes``.
    """

    kind: Kind
    grid: Grid | None = None
    values: tuple[int, ...] = ()
    in_colours: bool = False
    is_fraction: bool = False
    is_series: bool = False
    volumes: int = 1


class Looks:
    """Looks at files below ``root``, each file read once."""

    def __init__(self, root: Path, known: Mapping[str, Look] | None = None) -> None:
        """Take looks at files that were read already as ``known``."""
        self._root = root
        self._known = dict(known or {})
        self._several: dict[str, Look] = {}

    def at(self, path: str) -> Look:
        """The look at one file, given by its relative path."""
        if path not in self._known:
            self._known[path] = look(self._root / path)
        return self._known[path]

    def image_at(self, path: str) -> Look:
        """The look at a file that may hold several volumes, as at an image with so many channels."""
        if not self.at(path).is_series:
            return self.at(path)
        if path not in self._several:
            self._several[path] = _look_at_volumes(self._root / path)
        return self._several[path]

    def share_voxels(self, first: str, second: str) -> bool | None:
        """True if both label maps have a voxel that is not 0; None where one is empty, or shapes differ."""
        try:
            a, b = (mask_files.read_values(self._root / path).array != 0 for path in (first, second))
        except MedsegError:
            return None
        return bool((a & b).any()) if a.shape == b.shape and a.any() and b.any() else None

    def kinds(self, paths: Sequence[str]) -> dict[str, Kind]:
        """The kind of each file; files with the same frequent words in their paths count as alike.

        Where files that are alike differ, all are read, up to a limit; beyond it their names decide. Those
        that are named like label maps among images are read, too. Few files are all read.
        """
        left = _MOST_READ
        kinds: dict[str, Kind] = {}
        for group in _alike(paths):
            spread = (group[i * (len(group) - 1) // (_SAMPLE - 1)] for i in range(_SAMPLE))
            chosen = group if len(paths) <= _ALL_READ else list(dict.fromkeys(spread))
            seen = {self.at(path).kind for path in chosen} - {"empty"} if left > 0 else set()
            left -= len(chosen)
            doubtful = group
            if len(seen) == 1:
                kinds |= dict.fromkeys(group, *seen)
                doubtful = [path for path in group if seen == {"image"} and _by_name(path) == "label"]
            for path in doubtful:
                left -= path not in self._known
                kinds[path] = self.at(path).kind if left > 0 else _by_name(path)
        return {path: kinds[path] for path in paths}


def look(path: Path) -> Look:
    """Read a file and tell what it is."""
    try:
        volume = mask_files.read_values(path)
    except MedsegError as error:
        if error.code is Code.NOT_SCALAR and path.is_file():
            return _in_colours(path)
        return Look("unread", is_series=error.code is Code.FOUR_D)
    return look_at(volume)


def _look_at_volumes(path: Path) -> Look:
    try:
        volume = scans.read(path, channels_last=True)
    except MedsegError:
        return Look("unread")
    return Look("image", volume.grid, volumes=len(volume.array))


def look_at(volume: Volume, counts: Mapping[int, int] | None = None) -> Look:
    """Tell what a volume is, by its first channel; ``counts`` are those of :func:`few_values`, if known."""
    array = volume.array[0]
    counts = few_values(volume) if counts is None else counts
    if counts is None:
        is_fraction = array.dtype.kind == "f" and bool(array.min() >= 0 and array.max() <= 1)
        return Look("image", volume.grid, is_fraction=is_fraction)
    values = tuple(sorted(counts))
    if len(values) == 1:
        return Look("empty" if values[0] == 0 else "image", volume.grid, values)
    black_white = counts.get(0, 0) + counts.get(255, 0)
    grey_edges = volume.grid.unit == "px" and black_white >= _GREY_EDGES * array.size
    is_label = len(values) <= _SURELY_FEW or grey_edges or (len(values) <= _FEW and _in_areas(array))
    return Look("label" if is_label else "image", volume.grid, values if is_label else ())


def few_values(volume: Volume) -> dict[int, int] | None:
    """Count the values of the first channel (voxels by value) if all are whole numbers and few, else None."""
    array = volume.array[0]
    middle = np.unique(array[:, :, array.shape[2] // 2])  # most images are told by one slice
    if (
        len(middle) > _FEW
        or not np.isfinite(middle).all()
        or (np.abs(middle - np.rint(middle)) > LABEL_TOLERANCE).any()
    ):
        return None
    counts = value_counts(array)
    return counts if counts is not None and len(counts) <= _FEW else None


def _in_colours(path: Path) -> Look:
    """An image in colours, or a mask in which each class has one; a scan with colours is not read.

    A mask whose colours run into each other at its edges counts as one if it is named like one.
    """
    if not images.can_read(path):
        return Look("unread")
    volume = images.read_values(path)
    if volume.array.dtype != np.uint8 or len(volume.array) != 3:
        return Look("image", volume.grid)
    colours = mask_colours.packed(volume.array)
    values = np.unique(colours)
    if len(values) <= mask_colours.MOST_COLOURS:
        is_mask = _in_areas(colours)
    else:
        is_named = label_rank(without_suffix(f"{path.parent.name}/{path.name}")) is not None
        is_mask = is_named and mask_colours.are_smoothed(colours)
    if not is_mask:
        return Look("image", volume.grid)
    return Look("label", volume.grid, tuple(values[: mask_colours.MOST_COLOURS].tolist()), in_colours=True)


def _in_areas(array: Array) -> bool:
    """True if most neighbours in slices are equal, pairs of 0 left out; of a large volume in some slices."""
    array = array[:, :, :: max(1, array.size // _NEIGHBOURS)]
    equal = total = 0
    for axis in range(2):
        first, second = np.swapaxes(array, 0, axis)[:-1], np.swapaxes(array, 0, axis)[1:]
        inside = (first != 0) | (second != 0)
        equal += int((first == second)[inside].sum())
        total += int(inside.sum())
    return total > 0 and equal >= _AREAS * total


def _alike(paths: Sequence[str]) -> Iterable[list[str]]:
    """Groups of files whose paths hold the same frequent words."""
    words = {path: [text.lower() for text in words_of(without_suffix(path))] for path in paths}
    counts = Counter(word for own in words.values() for word in set(own))
    groups: Mapping[tuple[str, ...], list[str]] = defaultdict(list)
    for path, own in words.items():
        shares = ((word, _COMMON_NUMBER if has_number(word) else _COMMON) for word in own)
        common = (word for word, share in shares if counts[word] >= max(2, share * len(paths)))
        groups[tuple(common)].append(path)
    return groups.values()


def _by_name(path: str) -> Kind:
    return "image" if label_rank(without_suffix(path)) is None else "label"
