"""Scores from Python: two label maps in, the metrics of each class out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from medseg.api.arguments import ImageLike, PathLike, image_of, is_array, naming, path_of
from medseg.api.segmentation import Segmentation
from medseg.classes import BACKGROUND, ClassList, ClassListError, classes_of_values
from medseg.errors import Code, MedsegError, refusal
from medseg.extras import needs_extra
from medseg.grid import Grid
from medseg.ingest import checks
from medseg.io.memory import MemoryImage
from medseg.volume import Volume

Scores: TypeAlias = dict[str, dict[str, float | None]]
"""Class name → metric → value; None where it is undefined."""

_HOW_TO_PAIR = "name the label maps one by one, or run: medseg evaluate --truth A --pred B"


def evaluate(
    truth: ImageLike,
    prediction: ImageLike | Segmentation,
    classes: PathLike | Mapping[int, str] | None = None,
    *,
    affine: npt.ArrayLike | None = None,
    tolerance: float = 1.0,
    void: Iterable[int] = (),
) -> Scores:
    """Score a label map against its reference, by the metrics of `medseg evaluate`.

    `truth` and `prediction` are paths, nibabel images, or integer arrays (X, Y, Z); `prediction` may be the
    result of `medseg.segment`, too. An array has the `affine` (4, 4) from voxel indices to RAS+ in mm; a
    prediction without one lies on the grid of the truth. `classes` maps label values to names, or is the name
    of a packaged class list or the path of a YAML file of one; by default it is that of a segmentation,
    otherwise the values in the truth, named `label 1` and so on.

    Returns for each foreground class `dice`, `iou`, `precision`, `recall`, `nsd` (0 to 1, at `tolerance` in
    mm), `hd95` and `assd` (mm), `hd95_penalised` and `assd_penalised` (where a missed class counts as the
    image's diagonal), `size` and `reference_size` (ml), `size_error_percent`; of images lengths and sizes are
    in px, and there is `bf`. None stands where a metric is undefined. Voxels of the truth with a value of
    `void` are ignored.

    Raises MedsegError, whose `where` is the argument: USAGE, GRID_MISMATCH, LABEL_VALUE_UNKNOWN,
    LABEL_NOT_INTEGER, the readers' codes, and EXTRA_MISSING without the extra `[train]`.

    >>> import numpy as np
    >>> truth, guess = np.zeros((2, 4, 4, 4), int)
    >>> truth[1:3, 1:3, 1:3], guess[1:3, 1:3, 1] = 1, 1
    >>> scores = evaluate(truth, guess, {0: "background", 1: "lesion"}, affine=np.eye(4))
    >>> scores["lesion"]["dice"], scores["lesion"]["size_error_percent"]
    (0.6666666666666666, -50.0)
    """
    needs_extra("train")
    from medseg.metrics import table

    known = _of_segmentation(prediction) if isinstance(prediction, Segmentation) else None
    of_array = affine if is_array(truth) or not is_array(prediction) else None
    reference = _label_map("truth", truth, of_array)
    known = _class_list(classes, known, reference, tuple(void))
    labels = _indices("truth", reference, known, None)
    if is_array(prediction) and affine is None and labels.grid.unit == "mm":
        affine = labels.grid.affine
    if isinstance(prediction, Segmentation):
        guess: Path | MemoryImage = MemoryImage("prediction", prediction.result.labels)
    else:
        guess = _label_map("prediction", prediction, affine if is_array(prediction) else None)
    predicted = _indices("prediction", guess, known.as_written(), labels.grid)
    entry = table.Entry("truth", "truth")
    rows = table.score(entry, labels.array[0], predicted.array[0], labels.grid, known, tolerance)
    columns = (*table.metrics_of(labels.grid.unit), "size", "reference_size")
    return {row.class_name: {column: getattr(row, column) for column in columns} for row in rows}


def _of_segmentation(prediction: Segmentation) -> ClassList:
    """The class list of a segmentation; raises USAGE for masks that may overlap."""
    known = prediction.class_list
    if known.multilabel:
        how_to_fix = "save it and run: medseg evaluate --truth A --pred B"
        raise MedsegError(Code.USAGE, "prediction", "masks that may overlap", how_to_fix)
    return known


def _label_map(argument: str, value: Any, affine: npt.ArrayLike | None) -> Path | MemoryImage:
    """A label map's file or image; raises USAGE for a folder."""
    source = image_of(argument, value, affine)
    if isinstance(source, Path) and source.is_dir():
        raise MedsegError(Code.USAGE, argument, f"{source} is a folder", _HOW_TO_PAIR)
    return source


def _class_list(
    classes: PathLike | Mapping[int, str] | None,
    known: ClassList | None,
    truth: Path | MemoryImage,
    void: tuple[int, ...],
) -> ClassList:
    """The classes that are asked for, or those that are known, or the values in the truth."""
    from medseg.config import load
    from pipelines.commands.score_folders import with_void

    with naming("classes", also={"void": "--void", "truth": truth}):
        if isinstance(classes, Mapping):
            listed = _named(lambda: ClassList.from_names(dict(classes)))
        elif classes is not None:
            listed = load.class_list(str(path_of("classes", classes)))
        elif known is not None:
            listed = known
        else:
            values = {0, *checks.label_values([truth])} - set(void)
            if not values - {0}:
                raise _without_foreground(truth)
            listed = _named(lambda: classes_of_values(values))
        return with_void(listed, void)


def _without_foreground(truth: Path | MemoryImage) -> MedsegError:
    """The refusal of a truth in which no class is named by its value: the reason, if it cannot be read."""
    _, findings = checks.read_label(truth, ClassList.from_names({0: BACKGROUND, 1: "label 1"}), None)
    if any(not finding.is_note for finding in findings):
        return refusal(findings)
    how_to_fix = "name the classes: classes={0: 'background', 1: 'lesion'}"
    return MedsegError(Code.NOTHING_USABLE, "truth", "no voxel of a class", how_to_fix)


def _named(build: Callable[[], ClassList]) -> ClassList:
    """A class list; raises USAGE for one that cannot be."""
    try:
        return build()
    except ClassListError as error:
        raise MedsegError(Code.USAGE, "classes", error.details, error.how_to_fix) from error


def _indices(argument: str, label: Path | MemoryImage, classes: ClassList, grid: Grid | None) -> Volume:
    """A label map as class indices (1, X, Y, Z) uint8, on `grid` if one is given."""
    with naming(argument):
        volume, findings = checks.read_label(label, classes, grid)
        if volume is None:
            raise refusal(findings)
    return volume
