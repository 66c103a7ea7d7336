"""Read and check a case: its arrays, or the coded reasons why it is excluded. A bad case never raises.

Voxels are looked at slab by slab, so that no check makes a second volume. Here, and nowhere later, it is
decided whether grey values can be computed with, and in which dtype.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.classes import VOID, ClassList
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import (
    Array,
    Grid,
    axis_order,
    corner_distance,
    nearest_axis_order,
    reorder_grid,
    same_grid,
)
from medseg.ingest import mask_files, voxels
from medseg.ingest.patterns import CaseFiles
from medseg.io import affine_checks, scans
from medseg.io.memory import MemoryImage
from medseg.io.scans import Readable
from medseg.mask_bits import pack_masks
from medseg.volume import Case, Intensity, Volume, survives_float32

Observer = Callable[[Readable, Volume], None]
"""A function that sees each file's volume as it is read, before it is checked."""


def read_case(
    paths: CaseFiles,
    classes: ClassList,
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    intensity: Intensity = "zscore",
    n4: bool = False,
    observe: Observer | None = None,
) -> tuple[Case | None, list[Finding]]:
    """Read and check all files of a case.

    Returns the case, its label map as indices uint8 (1, X, Y, Z) on the image's own grid, and notes; or None
    and every reason found. Neither channels nor label map are read twice. Masks that may overlap are bits of
    the indices. ``intensity`` and ``n4`` are as for :func:`read_image`.
    """
    keywords: dict[str, Any] = {"max_voxels": max_voxels, "observe": observe}
    image, findings = read_image(paths.channels, intensity=intensity, n4=n4, **keywords)
    label, more = read_truth(paths, classes, image.grid if image else None, **keywords)
    findings += more
    if image is None or not all(finding.is_note for finding in findings):
        return None, findings
    return Case(paths.name, paths.subject, image, label, tuple(findings)), findings


def read_image(
    channels: Mapping[str, Readable],
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    intensity: Intensity = "zscore",
    n4: bool = False,
    observe: Observer | None = None,
) -> tuple[Volume | None, list[Finding]]:
    """Read channels, each from its file, into one volume (C, X, Y, Z) on the first one's grid.

    Channels that share a path are the fourth axis of that file; one whose axes are stored in another order
    than the first one's is reoriented. ``intensity`` and ``n4`` (bias field correction) say how the grey
    values will be used: what they cannot be used for is refused. Returns None and the reasons, or the volume
    and notes: codes of the readers, GRID_MISMATCH, REORIENTED, CHANNEL_MISSING, NAN_OR_INF, CONSTANT,
    VALUES_TOO_LARGE, VALUE_RANGE_UNKNOWN. The dtype is the files' own if they agree, else one that holds all;
    a single file is not copied.
    """
    volumes: list[Volume] = []
    findings: list[Finding] = []
    for path in dict.fromkeys(channels.values()):
        names = [name for name, other in channels.items() if other == path]
        try:
            volume = scans.read(path, channels_last=len(names) > 1, max_voxels=max_voxels)
        except MedsegError as error:
            findings.append(error.finding)
            continue
        if observe is not None:
            observe(path, volume)
        findings += [*volume.notes, *_count_mismatch(volume, names, path)]
        faults = voxels.grey_value_faults(volume, path)
        findings += faults or voxels.range_faults(volume, path, intensity, n4=n4)
        if volumes:
            volume, more = onto(volumes[0].grid, volume, path)
            findings += more
            if intensity == "imagenet" and volume.array.dtype != volumes[0].array.dtype:
                details = f"{volume.array.dtype} where the first channel has {volumes[0].array.dtype}"
                how_to_fix = "save all channels with the same bit depth, or use intensity: zscore"
                findings.append(Finding(Code.VALUE_RANGE_UNKNOWN, str(path), details, how_to_fix))
        volumes.append(volume)
    if not volumes or not all(finding.is_note for finding in findings):
        return None, findings
    return _stacked(volumes, tuple(findings)), findings


def read_truth(
    paths: CaseFiles,
    classes: ClassList,
    grid: Grid | None,
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    observe: Observer | None = None,
) -> tuple[Volume | None, list[Finding]]:
    """Read a case's label map or masks as indices uint8 (1, X, Y, Z), as :func:`read_label` does.

    Gives None without a reason for an unlabelled case, and the note LABEL_EMPTY where there is no foreground.
    """
    if not paths.label_paths:
        return None, []
    if paths.masks:
        in_order = [paths.masks[name] for name in classes.masks or classes.foreground_names]
        of_masks = read_class_files if classes.own_files else read_masks
        label, findings = of_masks(in_order, classes, grid, max_voxels=max_voxels, observe=observe)
    else:
        path = paths.label_paths[0]
        label, findings = read_label(path, classes, grid, max_voxels=max_voxels, observe=observe)
    if label is not None and not any(classes.holds(label.array, i).any() for i in classes.foreground):
        return label, [*findings, empty_label(paths.label_paths[0])]
    return label, findings


def empty_label(path: Path | MemoryImage) -> Finding:
    """Give the note about a label map without any foreground."""
    how_to_fix = "is it right? If the labels are missing, leave the file out: the case is then unlabelled"
    return Finding(Code.LABEL_EMPTY, str(path), "no voxel of any class but the background", how_to_fix)


def read_masks(
    paths: Sequence[Path],
    classes: ClassList,
    grid: Grid | None,
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    observe: Observer | None = None,
) -> tuple[Volume | None, list[Finding]]:
    """Read overlapping masks, each 0 and 1 in its file, in the order of the list, as indices (1, X, Y, Z).

    As :func:`read_label`; without ``grid`` the first one's grid is that of the others.
    """
    alone = classes
    if classes.file_values:  # they, and void, are of the files that masks are regions of
        alone = replace(classes, file_values=(), void_values=(), merged=())
    masks: list[Volume] = []
    findings: list[Finding] = []
    for path in paths:
        mask, more = read_label(path, alone, grid, max_voxels=max_voxels, observe=observe)
        findings += more
        if mask is not None:
            grid = mask.grid if grid is None else grid
            masks.append(mask)
    if grid is None or len(masks) < len(paths):
        return None, findings
    packed = pack_masks(mask.array[0] for mask in masks)
    return Volume(packed[None], grid, masks[0].source, tuple(findings)), findings


def read_class_files(
    paths: Sequence[Path],
    classes: ClassList,
    grid: Grid | None,
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    observe: Observer | None = None,
) -> tuple[Volume | None, list[Finding]]:
    """Read a file of each class of the foreground, 0 and 1, as one label map of indices (1, X, Y, Z).

    As :func:`read_masks`; SEGMENTS_OVERLAP for voxels of two classes, unless the later one wins. One note
    stands for all of its code.
    """
    alone = replace(ClassList.of_masks({"inside": ()}, classes.void_values), label_form=classes.label_form)
    alone = replace(alone, threshold=classes.threshold)
    united: Array | None = None
    first: Volume | None = None
    findings: list[Finding] = []
    for index, path in zip(classes.foreground, paths, strict=True):
        mask, more = read_label(path, alone, grid, max_voxels=max_voxels, observe=observe)
        findings += more
        if mask is None:
            continue
        if united is None or first is None:
            first, grid, united = mask, mask.grid, np.zeros(mask.array.shape, np.uint8)
        inside = mask.array == 1
        if not classes.later_wins and (taken := np.unique(united[inside & (united != 0)])).size:
            others = ", ".join(classes.names[i] for i in taken.tolist() if i != VOID)
            findings += [_overlap(path, classes.names[index], others)] if others else []
        united[inside] = index
        united[mask.array == VOID] = VOID
    findings = _one_of_each_note(findings)
    if united is None or first is None or not all(finding.is_note for finding in findings):
        return None, findings
    return Volume(united, first.grid, first.source, tuple(findings)), findings


def _overlap(path: Path, name: str, others: str) -> Finding:
    details = f"voxels of {name} are voxels of {others}, too"
    how_to_fix = "correct the files, or write data.overlap: later, which gives them to the later class"
    return Finding(Code.SEGMENTS_OVERLAP, str(path), details, how_to_fix)


def _one_of_each_note(findings: Sequence[Finding]) -> list[Finding]:
    """Give all refusals, and of the notes of each code the first, with the number of files."""
    counts = Counter(finding.code for finding in findings)
    notes: dict[Code, Finding] = {}
    for finding in findings:
        if finding.is_note and finding.code not in notes:
            others = f"; and {counts[finding.code] - 1} more of these files"
            details = finding.details + (others if counts[finding.code] > 1 else "")
            notes[finding.code] = replace(finding, details=details)
    return [*(finding for finding in findings if not finding.is_note), *notes.values()]


def read_label(
    path: Path | MemoryImage,
    classes: ClassList,
    grid: Grid | None,
    *,
    max_voxels: int = affine_checks.MAX_VOXELS,
    observe: Observer | None = None,
) -> tuple[Volume | None, list[Finding]]:
    """Read a label map as indices uint8 (1, X, Y, Z), placed on ``grid`` if it lies on it.

    The class list's ``label_form`` says how the file writes classes. A map that is stored in another order
    of axes than ``grid`` is reoriented. Returns None and the reasons, or the label map and notes: codes of
    the readers, GRID_MISMATCH, REORIENTED, NAN_OR_INF, LABEL_NOT_INTEGER, LABEL_ROUNDED,
    LABEL_VALUE_UNKNOWN. Without ``grid`` the place is not compared.
    """
    try:
        volume = mask_files.read(path, classes, max_voxels=max_voxels)
    except MedsegError as error:
        return None, [error.finding]
    if observe is not None:
        observe(path, volume)
    findings = list(volume.notes)
    if grid is not None:
        volume, more = onto(grid, volume, path)
        findings += more
    values, faults = voxels.integer_values(volume.array[0], path)
    findings += faults
    if values.size:
        try:
            classes.to_indices(values, str(path))  # all values of the map at once, so that all are named
        except MedsegError as error:
            findings.append(error.finding)
    if not all(finding.is_note for finding in findings):
        return None, findings
    indices = voxels.class_indices(volume.array[0], classes, str(path))
    return Volume(indices[None], grid or volume.grid, volume.source, tuple(findings)), findings


def label_values(paths: Iterable[Path | MemoryImage]) -> list[int]:
    """Give the values that a few label maps hold, sorted; files that cannot be read add none."""
    present: set[int] = set()
    for path in paths:
        try:
            volume = mask_files.read_values(path)
        except MedsegError:
            continue
        values, faults = voxels.integer_values(volume.array[0], path)
        if all(fault.is_note for fault in faults):
            present.update(values.tolist())
    return sorted(present)


# Places


def _count_mismatch(volume: Volume, names: list[str], path: Readable) -> list[Finding]:
    if len(volume.array) == len(names):
        return []
    details = f"{len(volume.array)} channels, the recipe names {len(names)}: {', '.join(names)}"
    return [Finding(Code.CHANNEL_MISSING, str(path), details, "name the file's channels in their order")]


def onto(image: Grid, volume: Volume, path: Readable) -> tuple[Volume, list[Finding]]:
    """Bring a volume at the image's place into the image's order of axes; a note, or GRID_MISMATCH."""
    grid = volume.grid
    if same_grid(grid, image):
        return volume, []
    if order := axis_order(grid, image):
        details = f"axes {_axis_codes(grid)}, the image's are {_axis_codes(image)}"
        return volume.reordered(order), [Finding(Code.REORIENTED, str(path), details, "nothing to do")]
    if nearest := nearest_axis_order(grid, image):
        grid = reorder_grid(grid, nearest)  # so that the distance told is not one of storage
    if grid.unit != image.unit:
        details = f"a grid in {grid.unit}, the image's is in {image.unit}"
    elif grid.shape != image.shape:
        details = f"shape {grid.shape}, the image has {image.shape}"
    else:
        details = f"corners up to {corner_distance(grid, image):.3g} {image.unit} from the image's"
    return volume, [Finding(Code.GRID_MISMATCH, str(path), details, "resample it onto the image's grid")]


def _axis_codes(grid: Grid) -> str:
    return "".join(nib.orientations.aff2axcodes(grid.affine))


def _stacked(volumes: list[Volume], notes: tuple[Finding, ...]) -> Volume:
    """Stack all channels. Empties ``volumes`` as it goes, so that each array is freed once copied."""
    first = volumes[0]
    if len(volumes) == 1:
        return Volume(first.array, first.grid, first.source, notes)
    count = sum(len(volume.array) for volume in volumes)
    dtype = _common_dtype([volume.array for volume in volumes])
    out = np.moveaxis(np.empty((*first.grid.shape, count), dtype, order="F"), -1, 0)
    filled = 0
    while volumes:
        array = volumes.pop(0).array
        out[filled : filled + len(array)] = array
        filled += len(array)
    return Volume(out, first.grid, first.source, notes)


def _common_dtype(arrays: list[Array]) -> np.dtype[Any]:
    """Give the one dtype of arrays (C, X, Y, Z), or one that holds all.

    Where a floating type meets another type that is float32, if it keeps all grey levels apart.
    """
    common = np.result_type(*(array.dtype for array in arrays))
    if len({array.dtype for array in arrays}) == 1 or common.kind != "f":
        return common
    single = all(survives_float32(channel) for array in arrays for channel in array)
    return np.dtype(np.float32) if single else common
