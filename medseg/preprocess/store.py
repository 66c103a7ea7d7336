"""Preprocessed cases on disk: arrays in their own dtype, memory-mapped by training, and one record beside.

A case's folder appears whole or not at all. Arrays are in Fortran order: the channels of an axial slice lie
together, and slices one after the other, so that a slab is one short run of the file; and a scan file lies
the same way, so that it is copied straight through. They are written as streams: on a full disk a write
through a memory map would end the process with a bus error.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from medseg import files
from medseg.classes import VOID
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.mask_bits import pack_masks
from medseg.names import check_name
from medseg.preprocess.geometry import Record, grid_from_json, grid_to_json
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.resources import coded_disk_full
from medseg.run_lengths import RunLengths, count_values

POSITIONS_PER_CLASS = 10_000
"""As many voxels of each class are kept for drawing patches around."""

_SLAB_VOXELS = 2**20
RECORD = "record.json"
_OWN = ("image", "label", "positions")
_READING_HEADER = threading.Lock()
"""Numpy reads headers by Python's parser, which in Python 3.11 fails now and then in two threads at once
(SystemError, "AST constructor recursion depth mismatch")."""


@dataclass(frozen=True, eq=False)
class PreprocessedCase:
    """A case as :func:`open` finds it; ``volume.array``, ``label`` and ``extras`` are read-only memory maps.

    ``label`` is (X, Y, Z) uint8, class indices and 255 for void; ``counts`` is the number of voxels of each
    class index that occurs, void left out. Of overlapping masks the label holds the bits, and position and
    count are each mask's.

    ``sha256`` is that of the record, which holds the hashes of the arrays.
    """

    name: str
    subject: str
    volume: NormalizedVolume
    label: Array | None
    positions_source: npt.NDArray[np.signedinteger[Any]] | Path
    record: Record
    extras: dict[str, Array]
    counts: dict[int, int]
    sha256: str = ""
    folder: Path | None = None
    """Where it lies; None for a case that was put together in memory."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle a case on disk as its folder: it is opened anew, as memory maps would travel as copies."""
        return super().__reduce_ex__(protocol) if self.folder is None else (open, (self.folder,))

    @property
    def positions(self) -> npt.NDArray[np.signedinteger[Any]]:
        """Known voxels of each class, (N, 4) int16 or int32: class index in ascending order, x, y, z.

        Of a case on disk they are mapped anew at each call: a set of many thousand cases would keep as many
        files open otherwise.
        """
        source = self.positions_source
        return _map(source) if isinstance(source, Path) else source


def write(
    folder: Path,
    name: str,
    subject: str,
    volume: NormalizedVolume,
    label: Array | None,
    record: Record,
    seed: int,
    extras: Mapping[str, Array] | None = None,
) -> Path:
    """Write a case as ``folder/name``, replacing an older one; give that path.

    ``label`` is (X, Y, Z) uint8 on ``volume.grid``, or overlapping masks (L, X, Y, Z) uint8 of 0, 1 and 255,
    which are packed; ``extras`` (weight maps and the like) are arrays whose
    last three axes are X, Y, Z, by name. The positions are drawn by (``seed``, ``name``). Raises
    KEYWORD_INVALID for a reserved name among the extras, NAME_INVALID, DISK_FULL.
    """
    more = dict(extras or {})
    if set(more) & set(_OWN):
        raise MedsegError(
            Code.KEYWORD_INVALID, name, f"extra arrays {sorted(more)}", f"avoid the names {_OWN}"
        )
    for key in (name, *more):
        check_name(key, folder)
    case, part = folder / name, folder / f".part-{name}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with coded_disk_full(case):
            part.mkdir(parents=True)
            counts = {} if label is None else count(label)
            stored = label if label is None or label.ndim == 3 else pack_masks(label)
            arrays = {"image": volume.array, **({} if stored is None else {"label": stored}), **more}
            for key, array in arrays.items():
                _save(part / f"{key}.npy", array)
            generator = np.random.default_rng((seed, zlib.crc32(name.encode())))
            np.save(part / "positions.npy", draw_positions(label, counts, generator))
            paths = sorted(part.glob("*.npy"))
            content = {
                "name": name,
                "subject": subject,
                "grid": grid_to_json(volume.grid),
                "normalization": {
                    key: values for key, values in asdict(volume.normalization).items() if values
                },
                "geometry": record.to_json(),
                "counts": {str(index): n for index, n in counts.items()},
                "extras": sorted(more),
                "bytes": {path.name: path.stat().st_size for path in paths},
                "sha256": {path.name: files.sha256(path) for path in paths},
            }
            files.write_json(part / RECORD, content)
    except MedsegError:
        shutil.rmtree(part, ignore_errors=True)  # a full disk is to be left as it was
        raise
    _put_in_place(part, case)
    return case


def open(case: Path) -> PreprocessedCase:  # noqa: A001 - read as store.open
    """Map a prepared case's arrays, read-only.

    Raises STAGE_MISSING where the case or one of its files is absent, TRUNCATED where a file was cut.
    """
    if not (case / RECORD).is_file():
        raise MedsegError(Code.STAGE_MISSING, case, "no prepared case is there", "run medseg preprocess")
    text = (case / RECORD).read_bytes()
    content: dict[str, Any] = json.loads(text)
    for name, size in content["bytes"].items():
        _require(case / name, size)
    normalization = Normalization(**{key: tuple(values) for key, values in content["normalization"].items()})
    return PreprocessedCase(
        content["name"],
        content["subject"],
        NormalizedVolume(_map(case / "image.npy"), grid_from_json(content["grid"]), normalization),
        _map(case / "label.npy") if "label.npy" in content["bytes"] else None,
        case / "positions.npy",
        Record.from_json(content["geometry"]),
        {key: _map(case / f"{key}.npy") for key in content["extras"]},
        {int(index): n for index, n in content["counts"].items()},
        hashlib.sha256(text).hexdigest(),
        case.absolute(),
    )


def fingerprints(case: Path) -> dict[str, dict[str, Any]]:
    """File name → fingerprint of the record and of every array of a case that was just written."""
    known = files.read_json(case / RECORD)["sha256"]
    arrays = {name: files.fingerprint(case / name, digest) for name, digest in known.items()}
    return {RECORD: files.fingerprint(case / RECORD), **arrays}


def count(label: Array) -> dict[int, int]:
    """Voxels of each class index that occurs in ``label`` (X, Y, Z) uint8, void left out.

    Of masks (L, X, Y, Z), those of each mask that holds any.
    """
    if label.ndim == 4:
        sizes = [int(np.count_nonzero(mask == 1)) for mask in label]
        return {index: size for index, size in enumerate(sizes) if size}
    values, totals = count_values(label)
    return {index: n for index, n in zip(values.tolist(), totals.tolist(), strict=True) if index != VOID}


def draw_positions(
    label: Array | None, counts: Mapping[int, int], generator: np.random.Generator
) -> npt.NDArray[np.signedinteger[Any]]:
    """Draw up to 10,000 voxels of each class or mask, without replacement: (N, 4) of its index, x, y, z.

    Rows are grouped by class, in the order of ``counts``. They are int16, or int32 where an axis is too long
    for that; none without labels. Ranks are drawn first and looked up slab by slab, so that no list of all
    voxels is ever made.
    """
    if label is None:
        return np.empty((0, 4), np.int16)
    too_long = max(label.shape[-3:]) > np.iinfo(np.int16).max + 1
    rows = [np.empty((0, 4), np.int32 if too_long else np.int16)]
    ranks = {
        index: np.sort(generator.choice(total, min(total, POSITIONS_PER_CLASS), replace=False, shuffle=False))
        for index, total in counts.items()
    }
    if label.ndim == 3:
        drawn = _look_up(label, ranks)
    else:
        drawn = {index: _look_up(label[index], {1: chosen})[1] for index, chosen in ranks.items()}
    for index, places in drawn.items():
        z, x, y = np.unravel_index(places, (label.shape[-1], *label.shape[-3:-1]))
        rows.append(np.stack([np.full(len(places), index), x, y, z], axis=1).astype(rows[0].dtype))
    return np.concatenate(rows)


def _look_up(labels: Array, ranks: Mapping[int, Array]) -> dict[int, Array]:
    """Places, in order of (z, x, y), of the voxels of each value with these ranks in that order.

    Slabs of slices are looked through run by run: their values change at few voxels.
    """
    columns, rows, slices = labels.shape
    places: dict[int, list[Array]] = {value: [] for value in ranks}
    before = dict.fromkeys(ranks, 0)
    thickness = max(1, _SLAB_VOXELS // (columns * rows))
    for start in range(0, slices, thickness):
        runs = RunLengths.of(np.ascontiguousarray(labels[:, :, start : start + thickness].transpose(2, 0, 1)))
        ends = np.cumsum(runs.lengths)
        for value, wanted in ranks.items():
            own = runs.values == value
            counted = before[value] + np.cumsum(runs.lengths[own])
            until = int(counted[-1]) if len(counted) else before[value]
            chosen = wanted[np.searchsorted(wanted, before[value]) : np.searchsorted(wanted, until)]
            run = np.searchsorted(counted, chosen, side="right")
            places[value].append(start * columns * rows + ends[own][run] - (counted[run] - chosen))
            before[value] = until
    return {value: np.concatenate(parts) for value, parts in places.items()}


def _save(path: Path, array: Array) -> None:
    """Write slice by slice along the last axis: a volume in another order is never copied as a whole."""
    dtype = array.dtype.newbyteorder("=")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": True, "shape": array.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for z in range(array.shape[-1]):
            file.write(array[..., z].astype(dtype, copy=False).tobytes(order="F"))


def _require(path: Path, size: int) -> None:
    """Raise STAGE_MISSING or TRUNCATED unless ``path`` is a file of ``size`` bytes."""
    how_to_fix = "run medseg preprocess: it makes this case again"
    if not path.is_file():
        raise MedsegError(Code.STAGE_MISSING, path, "this file of a prepared case is missing", how_to_fix)
    if (actual := path.stat().st_size) != size:
        raise MedsegError(Code.TRUNCATED, path, f"{actual} bytes instead of {size}", how_to_fix)


def _map(path: Path) -> Array:
    with _READING_HEADER:
        mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _put_in_place(part: Path, case: Path) -> None:
    """Rename ``part`` to ``case``. An old case is renamed away first: it is never seen half deleted."""
    old = case.with_name(f".part-old-{case.name}")
    shutil.rmtree(old, ignore_errors=True)
    if case.exists():
        case.rename(old)
    part.rename(case)
    shutil.rmtree(old, ignore_errors=True)
