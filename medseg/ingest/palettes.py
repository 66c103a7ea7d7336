"""Palette masks of a set: files whose palette has the set's colours at other indices than the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medseg.classes import ClassList, Colour
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import mask_files
from medseg.ingest.patterns import CaseFiles
from medseg.io import images

Palette = tuple[Colour, ...]


def palette_faults(paths: Iterable[Path], classes: ClassList | None = None) -> dict[Path, Finding]:
    """Find the palette masks that show the set's colours at other indices: PALETTE_DIFFERS, by file.

    A program that sorts colours anew has saved such a file; read by its indices, its classes would be
    exchanged. The set's palette is the one that shows the class list's own colours, otherwise the one of
    most files; where several are equally good, the files of all that contradict another are faulty.

    Palettes with other colours altogether (greys, say) contradict nothing: then indices alone have a meaning.
    Files that are no palette masks, cannot be read, or show a colour twice are left out; so are all where
    label files are not read by their values.
    """
    if classes is not None and classes.label_form != "values":
        return {}
    palettes = _palettes(paths)
    if len(set(palettes.values())) < 2:
        return {}
    shown = {path: colours for path in palettes if (colours := _shown(path, palettes[path]))}
    groups: dict[Palette, dict[int, Colour]] = {}
    counts: dict[Palette, int] = {}
    for path, colours in shown.items():
        groups.setdefault(palettes[path], {}).update(colours)
        counts[palettes[path]] = counts.get(palettes[path], 0) + 1
    own = {} if classes is None else {c.value: c.colour for c in classes.classes}
    ranks = {palette: _rank(colours, own, counts[palette]) for palette, colours in groups.items()}
    best = max(ranks.values(), default=None)
    indices: dict[Colour, dict[int, Path]] = {}  # of the set's palettes, with an example of each
    for path, colours in shown.items():
        if ranks[palettes[path]] == best:
            for index, colour in colours.items():
                indices.setdefault(colour, {}).setdefault(index, path)
    faults: dict[Path, Finding] = {}
    for path, colours in shown.items():
        for index, colour in colours.items():
            others = {i: example for i, example in indices.get(colour, {}).items() if i != index}
            for other, example in list(others.items())[:1]:
                faults.setdefault(path, _fault(path, (index, colour), other, example))
    return faults


def faults_by_case(cases: Iterable[CaseFiles], classes: ClassList) -> dict[str, Finding]:
    """Find the cases whose label files :func:`palette_faults` names, among all cases of a set, by name."""
    case_of = {
        path: case.name for case in cases for label in case.label_paths for path in mask_files.files_of(label)
    }
    faults: dict[str, Finding] = {}
    for path, fault in palette_faults(case_of, classes).items():
        faults.setdefault(case_of[path], fault)
    return faults


def _palettes(paths: Iterable[Path]) -> dict[Path, Palette]:
    """Read the palettes of those files that have one; equal palettes are one object."""
    palettes: dict[Path, Palette] = {}
    known: dict[Palette, Palette] = {}
    for path in paths:
        if not images.can_read(path):
            continue
        try:
            colours = images.read_palette(path)
        except MedsegError:
            continue
        if colours is not None:
            palettes[path] = known.setdefault(tuple(colours), tuple(colours))
    return palettes


def _shown(path: Path, palette: Palette) -> dict[int, Colour]:
    """Give the colours that a mask shows by the indices it uses; none if two indices share a colour."""
    try:
        used = np.unique(images.read_values(path).array).tolist()
    except MedsegError:
        return {}
    colours = {index: palette[index] for index in used if index < len(palette)}
    return colours if len(set(colours.values())) == len(colours) else {}


def _rank(colours: Mapping[int, Colour], own: Mapping[int, Colour], files: int) -> tuple[bool, int, int]:
    """Rank a palette: the class list's own colours and one not black; more files; more of its colours."""
    same = [index for index, colour in colours.items() if own.get(index) == colour]
    all_same = len(same) == len(colours.keys() & own.keys())
    return all_same and any(max(own[index]) for index in same), files, len(same)


def _fault(path: Path, shown: tuple[int, Colour], other: int, example: Path) -> Finding:
    details = f"colour {shown[1]} has index {shown[0]}, in {example.name} it has {other}"
    how_to_fix = "save it with the palette of the others, or give each class its colour and set"
    return Finding(Code.PALETTE_DIFFERS, str(path), details, f"{how_to_fix} data.label_form: colours")
