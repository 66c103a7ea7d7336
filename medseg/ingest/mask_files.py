"""Read label files as the class list's values, in each form that data sets write them in.

- values: palette indices, grey integers, or the voxels of a scan's label map
- colours: images in which each class has a colour of its own
- above: grey masks; values above a threshold are the class of the higher value, others the other class; each
  of masks that may overlap has 1 above it

A folder of images is one label map: a pixel belongs to the class of the highest value where any of them does,
and is of the lowest where none does (one mask per object).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError, some
from medseg.grid import Array
from medseg.io import affine_checks, images, scans
from medseg.io.memory import MemoryImage
from medseg.volume import Volume


def read(
    path: Path | MemoryImage, classes: ClassList, *, max_voxels: int = affine_checks.MAX_VOXELS
) -> Volume:
    """Read a label map, from memory or a file, or a folder of masks, as file values (1, X, Y, Z).

    Raises the readers' codes; NOT_SCALAR for colours where values are meant; LABEL_VALUE_UNKNOWN for colours
    outside the class list; MASK_BELOW_THRESHOLD for a mask that is not empty but has nothing above the
    threshold; GRID_MISMATCH for masks of one folder that differ in size.
    """
    if isinstance(path, Path) and path.is_dir():
        return _union(path, classes, max_voxels)
    if classes.label_form == "above":
        volume = scans.read(path, max_voxels=max_voxels)
        return volume.with_array(_above(volume.array, classes, path))
    if classes.label_form == "colours" and isinstance(path, Path) and images.can_read(path):
        volume = images.read_values(path, max_voxels=max_voxels, palette_as_colours=True)
        return volume.with_array(_by_colour(volume.array, classes, path))
    return read_values(path, max_voxels=max_voxels)


def read_values(path: Path | MemoryImage, *, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a label map as the values (1, X, Y, Z) that it stores: palette indices or greys of an image.

    Raises the readers' codes, and NOT_SCALAR for an image in colours.
    """
    if isinstance(path, MemoryImage) or not images.can_read(path):
        return scans.read(path, max_voxels=max_voxels)
    volume = images.read_values(path, max_voxels=max_voxels)
    return volume.with_array(_one_channel(volume.array, path))


def files_of(path: Path) -> list[Path]:
    """Give the files of a label: itself, or the images of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if scans.detect_kind(file) == "px")


def _union(folder: Path, classes: ClassList, max_voxels: int) -> Volume:
    """Read all masks of a folder as one label map, of the highest value where any mask has it."""
    paths = files_of(folder)
    if not paths:
        raise no_mask(folder)
    first = read(paths[0], classes, max_voxels=max_voxels)
    low, high = min(classes.values), max(classes.values)
    index = classes.values.index(high)
    inside = classes.to_indices(first.array, str(paths[0])) == index
    for path in paths[1:]:
        mask = read(path, classes, max_voxels=max_voxels).array
        require_size(mask, inside.shape, path)
        inside |= classes.to_indices(mask, str(path)) == index
    return first.with_array(np.where(inside, high, low))


def no_mask(folder: Path) -> MedsegError:
    """Give the refusal of a folder without masks."""
    return MedsegError(Code.FILE_MISSING, folder, "no mask in the folder", "add the masks")


def require_size(mask: Array, shape: tuple[int, ...], path: Path) -> None:
    """Raise GRID_MISMATCH unless a mask (1, H, W, 1) has the shape of the first one of its folder."""
    if mask.shape != shape:
        details = f"{mask.shape[1:3]}, the folder's first mask has {shape[1:3]}"
        raise MedsegError(Code.GRID_MISMATCH, path, details, "export the mask again at the image's size")


def _above(array: Array, classes: ClassList, path: Path | MemoryImage) -> Array:
    """Turn greys (1, X, Y, Z) into the two values of the list, by its threshold."""
    low, high = (0, 1) if classes.multilabel else (min(classes.values), max(classes.values))
    above = array > classes.threshold
    if not above.any() and array.any() and np.isfinite(array).all():
        details = f"values up to {array.max():g}, none above {classes.threshold:g}"
        how_to_fix = "save the mask with greys on both sides of the threshold, as the others, or lower "
        how_to_fix += f"data.label_form's above below {array.max():g}"
        raise MedsegError(Code.MASK_BELOW_THRESHOLD, path, details, how_to_fix)
    return np.where(above, high, low)


def _one_channel(array: Array, path: Path) -> Array:
    """Give the values (1, H, W, 1) of a mask; one that was saved as three equal colours counts as grey."""
    if len(array) == 1:
        return array
    if not all((array[0] == other).all() for other in array[1:]):
        how_to_fix = "set data.label_form: colours, or save it with a palette or in grey"
        raise MedsegError(Code.NOT_SCALAR, path, "a mask in colours", how_to_fix)
    return array[:1]


def _by_colour(array: Array, classes: ClassList, path: Path) -> Array:
    """Turn colours (3, H, W, 1) into values (1, H, W, 1); void colours become the first void value."""
    if len(array) == 1:  # greys are colours too
        array = np.broadcast_to(array, (3, *array.shape[1:]))
    array = _eight_bits(array, path)
    packed = (array.astype(np.int32) * np.array([65536, 256, 1], np.int32)[:, None, None, None]).sum(0)
    present, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    known = {_packed(c.colour): c.value for c in classes.classes}
    known |= {_packed(colour): classes.void_values[0] for colour in classes.void_colours}
    unknown = [(int(p), int(n)) for p, n in zip(present, counts, strict=True) if int(p) not in known]
    if unknown:
        unknown.sort(key=lambda colour_and_count: -colour_and_count[1])
        named = some([f"{_unpacked(p)} in {n} pixels" for p, n in unknown])
        how_to_fix = "correct the mask, or add the colour to data.classes or data.void_colours"
        raise MedsegError(Code.LABEL_VALUE_UNKNOWN, path, f"colour {named}", how_to_fix)
    table = np.array([known[int(p)] for p in present], np.int64)
    return table[where].reshape(packed.shape)[None]


def _eight_bits(array: Array, path: Path) -> Array:
    """Bring colours (any shape) to uint8; those of 16 bits must be of eight bits, multiplied by 257."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16 and not (array % 257).any():
        return np.asarray(array // 257).astype(np.uint8)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    details = f"colours in {array.dtype} up to {array.max():g}"
    raise MedsegError(Code.LABEL_VALUE_UNKNOWN, path, details, "save the mask with eight bits per colour")


def _packed(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked(packed: int) -> tuple[int, int, int]:
    return packed >> 16, packed >> 8 & 255, packed & 255
