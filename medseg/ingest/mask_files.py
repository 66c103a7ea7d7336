"""Label files → the class list's values, in each form that data sets write them in.

- values: palette indices, grey integers, or the voxels of a scan's label map
- colours: pictures in which each class has a colour of its own
- above: grey masks; values above a threshold are the list's last class, others its first; each of masks that
  may overlap has 1 above it

A folder of pictures is one label map: a pixel belongs to the last class where any of them does, and is of the
first where none does (one mask an object).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io import affine_checks, images, scans
from medseg.volume import Volume

_NAMED = 5


def read(path: Path, classes: ClassList, *, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a label file, or a folder of masks, as file values (1, X, Y, Z).

    Raises the readers' codes; NOT_SCALAR for colours where values are meant; LABEL_VALUE_UNKNOWN for colours
    outside the class list; GRID_MISMATCH for masks of one folder that differ in size.
    """
    if path.is_dir():
        return _union(path, classes, max_voxels)
    if classes.label_form == "above":
        volume = scans.read(path, max_voxels=max_voxels)
        return volume.with_array(_above(volume.array, classes))
    if classes.label_form == "colours" and images.can_read(path):
        volume = images.read_values(path, max_voxels=max_voxels, palette_as_colours=True)
        return volume.with_array(_by_colour(volume.array, classes, path))
    return read_values(path, max_voxels=max_voxels)


def read_values(path: Path, *, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a label file as the values (1, X, Y, Z) that it stores: of a picture palette indices or greys.

    Raises the readers' codes, and NOT_SCALAR for a picture in colours.
    """
    if not images.can_read(path):
        return scans.read(path, max_voxels=max_voxels)
    volume = images.read_values(path, max_voxels=max_voxels)
    return volume.with_array(_one_channel(volume.array, path))


def files_of(path: Path) -> list[Path]:
    """The files of a label: itself, or the pictures of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if scans.detect_kind(each) == "px")


def _union(folder: Path, classes: ClassList, max_voxels: int) -> Volume:
    """One label map of all masks in a folder; each tells only where the last class is."""
    paths = files_of(folder)
    if not paths:
        raise MedsegError(Code.FILE_MISSING, folder, "no mask in the folder", "add the masks")
    first = read(paths[0], classes, max_voxels=max_voxels)
    last = len(classes) - 1
    there = classes.to_indices(first.array, str(paths[0])) == last
    for path in paths[1:]:
        mask = read(path, classes, max_voxels=max_voxels).array
        if mask.shape != there.shape:
            found = f"{mask.shape[1:3]}, {paths[0].name} has {there.shape[1:3]}"
            raise MedsegError(Code.GRID_MISMATCH, path, found, "export the mask again at the image's size")
        there |= classes.to_indices(mask, str(path)) == last
    return first.with_array(np.where(there, classes.values[-1], classes.values[0]).astype(np.int32))


def _above(array: Array, classes: ClassList) -> Array:
    first, last = (0, 1) if classes.multilabel else classes.values
    return np.where(array > classes.threshold, last, first).astype(np.int32)


def _one_channel(array: Array, path: Path) -> Array:
    """The values (1, H, W, 1) of a mask; one that was saved as three equal colours counts as grey."""
    if len(array) == 1:
        return array
    if not all((array[0] == other).all() for other in array[1:]):
        how_to_fix = "set data.label_form: colours, or save it with a palette or in grey"
        raise MedsegError(Code.NOT_SCALAR, path, "a mask in colours", how_to_fix)
    return array[:1]


def _by_colour(array: Array, classes: ClassList, path: Path) -> Array:
    """Colours (3, H, W, 1) uint8 → values (1, H, W, 1) int32; void colours → the first void value."""
    if len(array) == 1:  # greys are colours too
        array = np.broadcast_to(array, (3, *array.shape[1:]))
    packed = (array.astype(np.int32) * np.array([65536, 256, 1], np.int32)[:, None, None, None]).sum(0)
    present, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    known = {_packed(c.colour): c.value for c in classes.classes}
    known |= {_packed(colour): classes.void_values[0] for colour in classes.void_colours}
    unknown = [(int(p), int(n)) for p, n in zip(present, counts, strict=True) if int(p) not in known]
    if unknown:
        unknown.sort(key=lambda each: -each[1])
        told = ", ".join(f"{_unpacked(p)} in {n} pixels" for p, n in unknown[:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        how_to_fix = "correct the mask, or add the colour to data.classes or data.void_colours"
        raise MedsegError(Code.LABEL_VALUE_UNKNOWN, path, f"colour {told}{more}", how_to_fix)
    table = np.array([known[int(p)] for p in present], np.int32)
    return table[where].reshape(packed.shape)[None]


def _packed(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked(packed: int) -> tuple[int, int, int]:
    return packed >> 16, packed >> 8 & 255, packed & 255
