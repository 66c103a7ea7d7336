"""Class lists: values of label files, their names and colours. Immutable."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg.coding import ClassCodes
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.run_lengths import RunLengths

Colour = tuple[int, int, int]

LabelForm = Literal["values", "colours", "above"]

ListPart = Literal["classes", "void", "merge", "label_form", "void_colours", "codes"]

VOID = 255
"""Class index of voxels that loss, sampling, weights and metrics ignore."""

BACKGROUND = "background"
"""Name, in any case, of the class that is the background; where no class has it, value 0 is."""

OUTSIDE = "outside"
"""Name of the voxels that a mask does not hold."""

RESERVED_NAMES = frozenset({"mean", "mean (foreground)"})
"""Names that no class may have, in any case of letters: tables, charts and metrics use them for the mean."""

VOID_COLOUR = (224, 224, 192)
"""Colour of void where a class list names none, as in PASCAL VOC's masks."""

MOST_MASKS = 7
"""Overlapping masks of one class list: with eight bits set a byte would be void."""


@dataclass(frozen=True)
class Class:
    """One row of a class list: the ``value`` in label files, its name, its colour (RGB, 0-255), its codes."""

    value: int
    name: str
    colour: Colour
    codes: ClassCodes | None = None


# Hues that stay apart for colour-blind readers (after Okabe & Ito, 2008), then others; background is black.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)

_GOLDEN_ANGLE = 0.381966
_LIMIT = 2**31


class ClassListError(ValueError):
    """An impossible class list: the ``part`` that is wrong, the ``details``, and ``how_to_fix`` it."""

    def __init__(self, part: ListPart, details: str, how_to_fix: str) -> None:
        super().__init__(f"{details}: {how_to_fix}")
        self.part, self.details, self.how_to_fix = part, details, how_to_fix


@dataclass(frozen=True)
class ClassList:
    """Value → name and colour. Index i of the program is row i; row 0 is the background if there is one.

    The other rows stand in the order of their values. Sets of street scenes and the like have no
    ``background``: every class is then foreground. Pixels of a value in ``void_values`` are void. ``merged``
    holds pairs: a value of label files and the class's value that it counts as.

    With ``multilabel`` the rows are masks that may share voxels, each 1 in a file of its own; there is no
    background, and an index of the program is a byte whose bit i says whether mask i holds the voxel (see
    ``medseg.mask_bits``). ``file_values`` are (value, byte) pairs of the one label map of which masks are
    regions, where they are.

    ``label_form`` says how label files write classes: by their ``values``, by their ``colours`` (RGB; those
    of ``void_colours`` are void), or as a grey mask, ``above`` the ``threshold`` the class of the higher
    value, else the other. With ``own_files`` each class but the background has a mask file of its own; where
    two hold a voxel the class of the later row has it if ``later_wins``, and it is an error otherwise.
    """

    classes: tuple[Class, ...]
    void_values: tuple[int, ...] = ()
    background: bool = True
    multilabel: bool = False
    file_values: tuple[tuple[int, int], ...] = ()
    label_form: LabelForm = "values"
    threshold: float = 0.0
    void_colours: tuple[Colour, ...] = ()
    merged: tuple[tuple[int, int], ...] = ()
    own_files: bool = False
    later_wins: bool = False

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        if reserved := [name for name in names if name.strip().casefold() in RESERVED_NAMES]:
            how_to_fix = "rename it: tables and charts have a row of that name for the mean over classes"
            raise ClassListError("classes", f"a class named {reserved[0]!r}", how_to_fix)
        if unclear := [name for name in names if not name.strip() or not name.isprintable()]:
            how_to_fix = "give it a name of printable characters"
            raise ClassListError("classes", f"a class named {unclear[0]!r}", how_to_fix)
        if self.multilabel:
            _check_mask_names(names)
        else:
            _check_values(self, names)
        known = _by_value(self)
        if both := sorted(set(self.void_values) & set(known)):
            raise ClassListError("void", f"the void value {both[0]} is also a class", "use another value")
        used = {*known, *self.void_values}
        if wrong := [pair for pair in self.merged if pair[0] in used or pair[1] not in known]:
            details = f"value {wrong[0][0]} cannot be merged into {wrong[0][1]}"
            raise ClassListError("merge", details, "merge a value that is no class's into one that is")

    @classmethod
    def from_names(
        cls,
        names: Mapping[int, str],
        colours: Mapping[int, tuple[int, int, int]] | None = None,
        void_values: tuple[int, ...] = (),
        *,
        background: bool = True,
    ) -> ClassList:
        """Build from value → name; classes without a colour get one of a fixed series.

        The background is the class of that name, otherwise the one of value 0; it gets index 0, the others
        follow in the order of their values. Raises ClassListError where a list has none.
        """
        given = colours or {}
        in_order = sorted(names)
        if background and names:
            first = _background_value(names)
            if first is None:
                details = "no class is the background: none has the value 0 or the name background"
                how_to_fix = "add 0: background, name the class that is it so, or set background: false"
                raise ClassListError("classes", details, how_to_fix)
            in_order = [first, *(value for value in in_order if value != first)]
        rows = []
        for i, value in enumerate(in_order, start=0 if background else 1):
            rows.append(Class(value, names[value], given.get(value, _colour(i))))
        return cls(tuple(rows), void_values, background)

    @classmethod
    def of_masks(
        cls,
        regions: Mapping[str, Iterable[int]],
        void_values: tuple[int, ...] = (),
        file_values: Iterable[int] = (),
    ) -> ClassList:
        """Build a list of overlapping masks: name → the values of a label map that make it up.

        ``file_values`` are all values of that label map.

        Masks that have files of their own have no values here.
        """
        values_of = {name: set(values) for name, values in regions.items()}
        bits = {v: sum(1 << i for i, own in enumerate(values_of.values()) if v in own) for v in file_values}
        rows = tuple(Class(1, name, _colour(i)) for i, name in enumerate(values_of, start=1))
        return cls(rows, void_values, background=False, multilabel=True, file_values=tuple(bits.items()))

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names by index, background first."""
        return tuple(c.name for c in self.classes)

    @property
    def foreground(self) -> range:
        """Indices of the classes that are sampled, scored and measured: all but the background."""
        return range(int(self.background), len(self))

    @property
    def foreground_names(self) -> tuple[str, ...]:
        """Names of :attr:`foreground`."""
        return self.names[int(self.background) :]

    @property
    def values(self) -> tuple[int, ...]:
        """File values by index."""
        return tuple(c.value for c in self.classes)

    @property
    def masks(self) -> tuple[str, ...]:
        """Names of overlapping masks, by bit; none where classes exclude each other."""
        return self.names if self.multilabel else ()

    @property
    def zero_is_outside(self) -> bool:
        """True where index 0 is no foreground: the background, or outside of all masks."""
        return self.background or self.multilabel

    def holds(self, indices: Array, index: int) -> Array:
        """Mark (bool, same shape) the indices of a class, or those inside a mask; void is in neither."""
        if not self.multilabel:
            same: Array = indices == index
            return same
        inside: Array = (indices >> index & 1 == 1) & (indices != VOID)
        return inside

    def of_mask(self, index: int) -> ClassList:
        """Give the list of one mask by itself: outside, and inside."""
        return ClassList((Class(0, OUTSIDE, (0, 0, 0)), replace(self.classes[index], value=1)))

    def with_codes(self, codes: Mapping[str, ClassCodes]) -> ClassList:
        """Give the list whose classes have these codes by name; raises ClassListError for an unknown name."""
        if unknown := sorted(codes.keys() - set(self.foreground_names)):
            how_to_fix = f"name one of {', '.join(self.foreground_names)}"
            raise ClassListError("codes", f"{unknown[0]!r} is no class of the foreground", how_to_fix)
        return replace(self, classes=tuple(replace(c, codes=codes.get(c.name)) for c in self.classes))

    def as_written(self) -> ClassList:
        """Give the list that reads label maps which medseg wrote: they hold the classes' values."""
        return replace(self, label_form="values", threshold=0.0, void_colours=(), merged=(), own_files=False)

    def to_indices(self, values: Array, where: str) -> Array:
        """Turn file values (any shape, integer dtype) into indices uint8, void into 255.

        Raises LABEL_VALUE_UNKNOWN naming the values that are not in the list.
        """
        runs = RunLengths.of(values)
        return runs.replaced(_looked_up(self, runs.values, where))

    def to_values(self, indices: Array) -> Array:
        """Turn indices uint8 into file values of the smallest integer type that holds all; 255 into void."""
        values = np.zeros(256, dtype=np.int64)
        values[: len(self)] = self.values
        values[VOID] = self.void_values[0] if self.void_values else 0
        dtype = smallest_integer([*self.values, *self.void_values[:1]])
        return values.astype(dtype)[indices]

    def to_json(self, *, codes: bool = False) -> list[dict[str, Any]]:
        """Give rows of ``labels.json``: value, name, colour; without a background, the first is foreground.

        Masks are marked as overlapping, each with its value in its own file. Void values are left out: a
        label map that was predicted holds none. ``codes`` adds those of classes that have some.
        """
        rows: list[dict[str, Any]] = [
            {"value": c.value, "name": c.name, "colour": list(c.colour)}
            | ({"codes": c.codes.to_json()} if codes and c.codes else {})
            for c in self.classes
        ]
        if self.multilabel:
            return [{**row, "multilabel": True} for row in rows]
        return rows if self.background else [{**rows[0], "foreground": True}, *rows[1:]]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]], void_values: tuple[int, ...] = ()) -> ClassList:
        """Undo :meth:`to_json`."""
        listed = list(rows)
        classes = tuple(
            Class(
                int(r["value"]),
                str(r["name"]),
                tuple(r["colour"]),
                ClassCodes.from_json(r["codes"]) if "codes" in r else None,
            )
            for r in listed
        )
        if any(r.get("multilabel", False) for r in listed):
            return cls(classes, void_values, background=False, multilabel=True)
        return cls(classes, void_values, background=not any(r.get("foreground", False) for r in listed))


def _check_values(classes: ClassList, names: list[str]) -> None:
    """Raise ClassListError unless values, names and colours tell classes that exclude each other apart."""
    values = [c.value for c in classes.classes]
    colours = [*(c.colour for c in classes.classes), *classes.void_colours]
    if twice := _twice(values) or _twice(names):
        raise ClassListError("classes", f"two classes are {twice[0]!r}", "keep one, or rename it")
    if not 2 <= len(values) <= VOID:
        details = f"{len(values)} class{'' if len(values) == 1 else 'es'}"
        raise ClassListError("classes", details, f"list 2 to {VOID}, the background among them")
    if beyond := [v for v in (*values, *classes.void_values) if not -_LIMIT <= v < _LIMIT]:
        part: ListPart = "classes" if beyond[0] in values else "void"
        raise ClassListError(part, f"value {beyond[0]} is beyond 32 bits", "use smaller label values")
    if classes.label_form == "colours" and (shared := _twice(colours)):
        details = f"two classes, or one and void, share the colour {list(shared[0])}"
        raise ClassListError("classes", details, "classes written by their colours need one each")
    if classes.void_colours and not classes.void_values:
        raise ClassListError("void_colours", "no void value", "name the value that stands for them in void")
    if classes.label_form == "above" and len(values) != 2 and not classes.own_files:
        details = f"a threshold tells two classes apart, the list has {len(values)}"
        raise ClassListError("label_form", details, "list two classes, or write labels by values")


def _looked_up(classes: ClassList, values: Array, where: str) -> npt.NDArray[np.uint8]:
    """Look up values (N,) as :meth:`ClassList.to_indices` does."""
    present = np.unique(values)
    known = _by_value(classes)
    known |= dict.fromkeys(classes.void_values, VOID)
    known |= {value: known[into] for value, into in classes.merged}
    unknown = [int(v) for v in present if int(v) not in known]
    if unknown:
        raise MedsegError(
            Code.LABEL_VALUE_UNKNOWN,
            where,
            f"value {', '.join(map(str, unknown[:8]))} beside the class list's {sorted(known)}",
            _how_to_fix_values(classes, unknown),
        )
    lookup = np.array([known[int(v)] for v in present], dtype=np.uint8)
    return lookup[np.searchsorted(present, values)]


def _by_value(classes: ClassList) -> dict[int, int]:
    """Map file value → index, void left out; a mask's own file has 0 and 1."""
    if classes.multilabel:
        return dict(classes.file_values or ((0, 0), (1, 1)))
    return {c.value: i for i, c in enumerate(classes.classes)}


def _how_to_fix_values(classes: ClassList, unknown: Sequence[int]) -> str:
    if classes.multilabel and not classes.file_values:
        return "make it 1 inside the mask and 0 outside, or name the value in data.void"
    if all(value < 0 for value in unknown):
        return "name the value in data.void if it is to be ignored, or add it to data.classes"
    return "correct the label map or add the value to data.classes"


def _background_value(names: Mapping[int, str]) -> int | None:
    """Give the background's value among value → name: the class so named, otherwise 0; None if neither."""
    named = [value for value in sorted(names) if names[value].strip().lower() == BACKGROUND]
    return named[0] if named else 0 if 0 in names else None


_MASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _check_mask_names(names: list[str]) -> None:
    """Raise ClassListError unless every case's masks, and maps beside them, can have own files."""
    if not 1 <= len(names) <= MOST_MASKS:
        raise ClassListError("classes", f"{len(names)} masks", f"keep at least 1 and at most {MOST_MASKS}")
    endings = [f"_{name.lower()}" for name in (*names, "confidence", "probabilities", "instances")]
    for i, name in enumerate(names):
        others = endings[:i] + endings[i + 1 :]
        if name == OUTSIDE:
            how_to_fix = f"rename it: {OUTSIDE!r} is what lies in no mask"
            raise ClassListError("classes", f"a mask named {name!r}", how_to_fix)
        if not _MASK_NAME.fullmatch(name):
            how_to_fix = "use letters, digits, _, . and -: it is part of a file's name"
            raise ClassListError("classes", f"a mask named {name!r}", how_to_fix)
        if endings[i].endswith(tuple(others)):
            how_to_fix = "rename it: its files would end as those of another mask, or of a map beside them"
            raise ClassListError("classes", f"a mask named {name!r}", how_to_fix)


def _twice(values: Sequence[Any]) -> list[Any]:
    """Give the values that are there more than once."""
    return [value for i, value in enumerate(values) if value in values[:i]]


def _colour(i: int) -> tuple[int, int, int]:
    """Give the i-th colour of the fixed series: black, the table's, then hues a golden angle apart."""
    if i <= len(_COLOURS):
        return _COLOURS[i - 1] if i else (0, 0, 0)
    rgb = colorsys.hsv_to_rgb(i * _GOLDEN_ANGLE % 1, 0.55 + 0.15 * (i % 3), 0.95 - 0.2 * (i % 2))
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def classes_of_values(values: Iterable[int]) -> ClassList:
    """Build the list of label values that nobody has named: `label 3`; 0 is the background, if it is there.

    Raises ClassListError where they are no class list.
    """
    names = {value: f"label {value}" if value else BACKGROUND for value in sorted(values)}
    return ClassList.from_names(names, background=0 in names)


def smallest_integer(values: Iterable[int]) -> np.dtype[Any]:
    """Give the smallest of uint8, int16, int32 (NIfTI viewers read all three) that holds every value."""
    listed = list(values)
    low, high = min(listed), max(listed)
    for dtype in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return np.dtype(dtype)
    raise ValueError(f"label values {low} to {high} do not fit 32 bits")
