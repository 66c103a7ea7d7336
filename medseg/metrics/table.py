"""The score table: one row per case and foreground class, as ``scores.csv`` holds it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from medseg.classes import OUTSIDE, VOID, ClassList
from medseg.files import read_csv, write_csv
from medseg.grid import Array, Grid
from medseg.mask_bits import unpack_masks
from medseg.metrics import boundary, confusion_matrix, surface

METRICS = (
    *("dice", "iou", "precision", "recall", "hd95", "assd", "nsd", "bf", "size_error_percent"),
    *("hd95_penalised", "assd_penalised"),
)
"""The columns that are summarised and compared."""

PENALISED = {"hd95": "hd95_penalised", "assd": "assd_penalised"}
"""Distance → the same distance in which a missed or invented class counts as the image's diagonal."""

_OF_IMAGES = {"bf"}

MISSING = "missing prediction"
"""The note of a row whose case has no prediction."""

INSIDE = "inside"
"""Name of the voxels that a mask holds."""

_MM3_PER_ML = 1000.0
_CONFUSION_KEYS = ("set", "mask", "truth")


@dataclass(frozen=True)
class Entry:
    """One case of the reference list; ``role`` is its set in that fold: train, val or test."""

    case: str
    subject: str
    fold: int = 0
    role: str = "test"


@dataclass(frozen=True)
class ScoreRow:
    """One class of one case; None where a number is undefined.

    Overlaps and ``nsd`` lie in 0 to 1, ``hd95`` and ``assd`` are in ``length_unit`` (mm or px), sizes in
    ``size_unit`` (ml or px) without void, and ``size_error_percent``, the relative volume difference, is
    100·(size − reference)/reference. ``bf`` is the boundary F1 of images, 0 to 1. ``hd95_penalised`` and
    ``assd_penalised`` are the distances, or the image's diagonal where the class is in only one of truth and
    prediction, or there is no prediction.
    """

    fold: int
    case: str
    subject: str
    role: str
    class_name: str
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95: float | None
    assd: float | None
    nsd: float | None
    bf: float | None = field(default=None, kw_only=True)
    length_unit: str
    size: float | None
    reference_size: float
    size_unit: str
    size_error_percent: float | None
    note: str = ""
    hd95_penalised: float | None = None
    assd_penalised: float | None = None


_RENAMED = {"role": "set", "class_name": "class"}
_TEXT = {"case", "subject", "role", "class_name", "length_unit", "size_unit", "note"}
_YOUNGER = {"bf", *PENALISED.values()}  # columns that older tables lack
COLUMNS = tuple(_RENAMED.get(f.name, f.name) for f in fields(ScoreRow))
"""Header of ``scores.csv``."""


def metrics_of(length_unit: str) -> tuple[str, ...]:
    """The metrics that scans (mm) or images (px) have, in the order of :data:`METRICS`."""
    return METRICS if length_unit == "px" else tuple(m for m in METRICS if m not in _OF_IMAGES)


def diagonal(grid: Grid) -> float:
    """Length of the image's diagonal in the grid's unit; an axis of one voxel adds nothing."""
    edges = [n * step for n, step in zip(grid.shape, grid.spacing, strict=True) if n > 1]
    return float(np.linalg.norm(edges))


def score(
    entry: Entry,
    truth: Array,
    prediction: Array | None,
    grid: Grid,
    classes: ClassList,
    tolerance: float = 1.0,
    bf_tolerance: float = boundary.SHARE,
) -> list[ScoreRow]:
    """Score one case: a row per class of the list, a background excluded.

    ``truth`` and ``prediction`` are class indices (X, Y, Z) on ``grid``. Void (255) in the truth is left out;
    where the prediction is void, nothing is predicted. ``tolerance`` of the NSD is in the grid's unit,
    ``bf_tolerance`` a share of the image's diagonal. Without a prediction (None) Dice, IoU and NSD are 0 and
    distances are penalised for every class, so that the case stays in every mean. Each of overlapping masks
    is scored by itself. Raises what :func:`confusion_matrix.confusion` raises.
    """
    if classes.multilabel:
        alone = zip(*(_alone(labels, classes) for labels in (truth, prediction)), strict=True)
        return [
            row
            for index, (mask, guess) in enumerate(alone)
            for row in score(entry, mask, guess, grid, classes.of_mask(index), tolerance, bf_tolerance)
        ]
    matrix = confusion_matrix.confusion(
        truth, prediction, len(classes), where=entry.case, background=classes.background
    )
    bf = _boundary_f1(truth, prediction, grid, bf_tolerance)
    if prediction is None:
        sizes = {index: int(matrix[index].sum()) for index in classes.foreground}
        return [_missing_row(entry, classes.names[i], n, grid, bf.get(i)) for i, n in sizes.items()]
    guess = np.where(truth == VOID, VOID, prediction)
    box = surface.bounding_box(_foreground(truth, classes) | _foreground(guess, classes), margin=1)
    overlaps = {
        "dice": confusion_matrix.dice(matrix),
        "iou": confusion_matrix.iou(matrix),
        "precision": confusion_matrix.precision(matrix),
        "recall": confusion_matrix.recall(matrix),
    }
    rows = []
    for index in classes.foreground:
        values = {metric: _plain(by_class[index]) for metric, by_class in overlaps.items()}
        values |= _surface_metrics(truth[box] == index, guess[box] == index, grid, tolerance)
        values |= {"bf": bf.get(index), **_sizes(matrix, index, grid)}
        rows.append(_row(entry, classes.names[index], grid, values))
    return rows


def _alone(labels: Array | None, classes: ClassList) -> Sequence[Array | None]:
    """Each mask of packed ones, or None for each."""
    return [None] * len(classes) if labels is None else list(unpack_masks(labels, len(classes)))


def _foreground(labels: Array, classes: ClassList) -> Array:
    """Mark the foreground in class indices (X, Y, Z)."""
    inside: Array = (labels >= classes.foreground.start) & (labels != VOID)
    return inside


def _surface_metrics(
    truth: Array, prediction: Array, grid: Grid, tolerance: float
) -> dict[str, float | None]:
    """Distances and NSD of two masks by the rules for empty sets."""
    distances = surface.distances(truth, prediction, grid.spacing)
    if distances is None:
        return _of_empty(grid, in_one=bool(truth.any() or prediction.any()))
    hd95, assd = distances.hd95, distances.assd
    penalised = {"hd95_penalised": hd95, "assd_penalised": assd}
    return {"hd95": hd95, "assd": assd, "nsd": distances.nsd(tolerance), **penalised}


def _of_empty(grid: Grid, *, in_one: bool) -> dict[str, float | None]:
    """Distances and NSD of a class that is missing in truth or prediction; ``in_one``: but not in both."""
    penalty = diagonal(grid) if in_one else None
    return {
        "hd95": None,
        "assd": None,
        "nsd": 0.0 if in_one else None,
        "hd95_penalised": penalty,
        "assd_penalised": penalty,
    }


def _boundary_f1(truth: Array, prediction: Array | None, grid: Grid, share: float) -> dict[int, float]:
    """Class index → BF of an image (one slice in px); empty for scans."""
    if grid.unit != "px" or grid.shape[2] != 1:
        return {}
    tolerance = boundary.tolerance_px(grid.shape[:2], share)
    guess = None if prediction is None else prediction[..., 0]
    by_class = boundary.scores(truth[..., 0], guess, tolerance)
    return {index: score.f1 for index, score in by_class.items()}


def _sizes(matrix: Array, index: int, grid: Grid) -> dict[str, float | None]:
    """Sizes of one class and their relative difference, which is undefined without a reference."""
    reference, predicted = int(matrix[index].sum()), int(matrix[:, index].sum())
    return {
        "size": predicted * _voxel(grid),
        "reference_size": reference * _voxel(grid),
        "size_error_percent": 100.0 * (predicted - reference) / reference if reference else None,
    }


def _voxel(grid: Grid) -> float:
    """A voxel's volume in ml, or a pixel's area in px."""
    return grid.voxel_size / (_MM3_PER_ML if grid.unit == "mm" else 1.0)


def _missing_row(entry: Entry, name: str, voxels: int, grid: Grid, bf: float | None) -> ScoreRow:
    values = {
        **dict.fromkeys(("precision", "size", "size_error_percent")),
        **_of_empty(grid, in_one=True),
        "dice": 0.0,
        "iou": 0.0,
        "recall": 0.0 if voxels else None,
        "bf": bf,
        "reference_size": voxels * _voxel(grid),
    }
    return _row(entry, name, grid, values, note=MISSING)


def _row(entry: Entry, name: str, grid: Grid, values: Mapping[str, Any], note: str = "") -> ScoreRow:
    return ScoreRow(
        fold=entry.fold,
        case=entry.case,
        subject=entry.subject,
        role=entry.role,
        class_name=name,
        length_unit=grid.unit,
        size_unit="ml" if grid.unit == "mm" else "px",
        note=note,
        **values,
    )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def write(path: Path, rows: Iterable[ScoreRow]) -> None:
    """Write ``scores.csv``; undefined numbers are empty cells."""
    write_csv(
        path, COLUMNS, ({_RENAMED.get(k, k): value for k, value in asdict(row).items()} for row in rows)
    )


def read(path: Path) -> list[ScoreRow]:
    """Read ``scores.csv`` as :func:`write` wrote it, numbers exactly; older tables lack some columns."""
    return [_from_cells(cells) for cells in read_csv(path)]


def _from_cells(cells: Mapping[str, str]) -> ScoreRow:
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(ScoreRow)):
        column = _RENAMED.get(name, name)
        cell = cells.get(column, "") if name in _YOUNGER else cells[column]
        values[name] = cell if name in _TEXT else (float(cell) if cell else None)
    return ScoreRow(**{**values, "fold": int(cells["fold"])})


def write_confusion(path: Path, matrices: Mapping[str, Array], classes: ClassList) -> None:
    """Write ``confusion.csv``: a row per set and true class, a column of voxels per predicted class.

    Overlapping masks, whose matrices are stacks (L, 2, 2), have rows and columns outside and inside each.
    A class named as one of the other columns has `class` before its name.
    """
    if classes.multilabel:
        _write_confusion_of_masks(path, matrices, classes.masks)
        return
    columns = _class_columns(classes.names)
    rows = [
        {"set": role, "truth": name, **dict(zip(columns, map(int, matrix[i]), strict=True))}
        for role, matrix in matrices.items()
        for i, name in enumerate(classes.names)
    ]
    write_csv(path, ("set", "truth", *columns), rows)


def _class_columns(names: Sequence[str]) -> list[str]:
    """Names of the classes' columns, all different and none of :data:`_CONFUSION_KEYS`."""
    columns: list[str] = []
    for name in names:
        column = name
        while column in _CONFUSION_KEYS or column in columns or (column != name and column in names):
            column = f"class {column}"
        columns.append(column)
    return columns


def _write_confusion_of_masks(path: Path, matrices: Mapping[str, Array], masks: Sequence[str]) -> None:
    sides = (OUTSIDE, INSIDE)
    rows = [
        {"set": role, "mask": mask, "truth": side, **dict(zip(sides, map(int, row), strict=True))}
        for role, stack in matrices.items()
        for mask, matrix in zip(masks, stack, strict=True)
        for side, row in zip(sides, matrix, strict=True)
    ]
    write_csv(path, ("set", "mask", "truth", *sides), rows)


def read_confusion(path: Path) -> dict[str, Array]:
    """Read ``confusion.csv``: set → (K, K) int64, rows = truth; of masks `set, mask` → (2, 2)."""
    counts: dict[str, list[list[int]]] = {}
    for cells in read_csv(path):
        names = [name for name in cells if name not in _CONFUSION_KEYS]
        key = ", ".join(cells[name] for name in ("set", "mask") if name in cells)
        counts.setdefault(key, []).append([int(cells[name]) for name in names])
    return {key: np.array(rows, dtype=np.int64) for key, rows in counts.items()}
