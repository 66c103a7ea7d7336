"""Objects of a label, told apart: a number for each, from a folder of masks or from a file of numbers.

- a folder holds one mask an object (DSB-2018): the objects are numbered in the order of the files' names
- a file of ``label_form: {above: x}`` holds one value an object (Cell Tracking Challenge): each value above
  the threshold is an object
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError, refusal
from medseg.grid import Array, Grid
from medseg.ingest import checks, mask_files
from medseg.io import affine_checks
from medseg.volume import Volume

MOST = 65_535
"""Objects that a map of numbers holds."""


def read(
    path: Path, classes: ClassList, grid: Grid | None = None, *, max_voxels: int = affine_checks.MAX_VOXELS
) -> Volume:
    """Read a label as numbers of objects, 1 to N without gaps, 0 for the background: (1, X, Y, Z) uint16.

    It is placed on ``grid``, if one is given. A pixel that several masks of a folder hold belongs to the
    first. Raises the readers' codes, GRID_MISMATCH, LABEL_NOT_INTEGER, and TOO_LARGE for more than 65,535
    objects.
    """
    volume = _of_folder(path, classes, max_voxels) if path.is_dir() else _of_file(path, classes, max_voxels)
    return volume if grid is None else _placed(volume, path, grid)


def read_map(path: Path, grid: Grid) -> Volume:
    """Read a map of objects as results have it, (1, X, Y, Z), 0 for none, on ``grid``; raises as above."""
    return _placed(mask_files.read_values(path), path, grid)


def _placed(volume: Volume, path: Path, grid: Grid) -> Volume:
    placed, findings = checks.onto(grid, volume, path)
    if not all(finding.is_note for finding in findings):
        raise refusal(findings)
    return Volume(placed.array, grid, volume.source)


def _of_folder(folder: Path, classes: ClassList, max_voxels: int) -> Volume:
    """Number the masks of a folder; one without a pixel of its own takes no number."""
    index = classes.values.index(max(classes.values))
    first: Volume | None = None
    numbers: Array = np.zeros(0, np.uint16)
    count = 0
    for path in mask_files.files_of(folder):
        mask = mask_files.read(path, classes, max_voxels=max_voxels)
        if first is None:
            first, numbers = mask, np.zeros(mask.array.shape, np.uint16)
        mask_files.require_size(mask.array, numbers.shape, path)
        inside = (classes.to_indices(mask.array, str(path)) == index) & (numbers == 0)
        if inside.any():
            count += 1
            _require_few(count, folder)
            numbers[inside] = count
    if first is None:
        raise mask_files.no_mask(folder)
    return first.with_array(numbers)


def _of_file(path: Path, classes: ClassList, max_voxels: int) -> Volume:
    """Number the values above the threshold, in their order."""
    volume = mask_files.read_values(path, max_voxels=max_voxels)
    values, place = np.unique(volume.array, return_inverse=True)
    above = values > classes.threshold
    if values.dtype.kind == "f" and (values[above] != np.rint(values[above])).any():
        details = f"numbers of objects such as {values[above][values[above] % 1 != 0][0]:g}"
        raise MedsegError(Code.LABEL_NOT_INTEGER, path, details, "write a whole number for each object")
    _require_few(int(above.sum()), path)
    number = np.where(above, np.cumsum(above), 0).astype(np.uint16)
    return volume.with_array(number[place].reshape(volume.array.shape))


def _require_few(count: int, path: Path) -> None:
    if count > MOST:
        how_to_fix = "cut the image into smaller ones"
        raise MedsegError(Code.TOO_LARGE, path, f"more than {MOST} objects in one image", how_to_fix)
