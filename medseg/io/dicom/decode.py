"""Pixels of a volume's frames: decoded, scaled to real values, stacked on its grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io.affine_checks import MAX_VOXELS
from medseg.io.dicom import mosaic
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.frames import FrameHeader
from medseg.io.dicom.pixels import CRASHED, are_apart, decoded_frames, stored_frames
from medseg.io.dicom.processes import alone, spread
from medseg.io.dicom.series import SeriesVolume
from medseg.volume import Volume


def read_volume(volume: SeriesVolume, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Decode a volume's frames: (1, X, Y, Z), X along rows of pixels, Y down the columns, Z along the normal.

    Stored values become real ones by each frame's slope and intercept: integers where all slopes are 1 and
    intercepts whole, float32 otherwise. Raises the volume's refusal, TOO_LARGE, SYNTAX_UNSUPPORTED and
    DICOM_DAMAGED.
    """
    if volume.grid is None:
        if volume.refusal is None:
            raise ValueError("a volume without a grid is refused")
        refusal = volume.refusal
        raise MedsegError(refusal.code, refusal.where, refusal.details, refusal.how_to_fix)
    shape = volume.grid.shape
    voxels = int(np.prod([float(n) for n in shape]))
    if voxels > max_voxels:
        details = f"{' × '.join(map(str, shape))} voxels, more than {max_voxels}"
        raise MedsegError(Code.TOO_LARGE, volume.header.file, details, "export a smaller field of view")
    if volume.header.mosaic:
        stored = stored_frames(volume.header.file, [0])[0]
        array = mosaic.unpack_pixels(_real(stored, volume.frames[0]), volume.grid)
    else:
        array = _stacked(volume)
    return Volume(array[None], volume.grid, volume, volume.notes)


def _stacked(volume: SeriesVolume) -> Array:
    by_file: dict[DicomFile, list[int]] = defaultdict(list)
    for place, frame in enumerate(volume.frames):
        by_file[frame.file].append(place)
    requests = [(file, [volume.frames[n] for n in places]) for file, places in by_file.items()]
    array: Array | None = None
    with closing(_decoded(requests)) as decoded:
        for file, places in by_file.items():
            for place, stored in zip(places, next(decoded), strict=True):
                frame = volume.frames[place]
                if stored.shape != frame.shape:
                    details = f"{stored.shape} pixels where the header says {frame.shape}"
                    raise MedsegError(Code.DICOM_DAMAGED, file, details, "export it again")
                if array is None:
                    kind = _kind(volume, stored.dtype.newbyteorder("="))
                    array = np.empty(volume.grid.shape if volume.grid else (), kind, order="F")
                real = _real(stored.astype(stored.dtype.newbyteorder("="), copy=False), frame)
                if not np.can_cast(real.dtype, array.dtype):  # files of one series may store differently
                    array = array.astype(np.promote_types(array.dtype, real.dtype), order="F")
                array[:, :, place] = real.T
    if array is None:
        raise ValueError("a volume has frames")
    return array


def _decoded(requests: Sequence[tuple[DicomFile, list[FrameHeader]]]) -> Generator[list[Array], None, None]:
    """Frames of each file; those of the first before all others, as that may start the decoder's process."""
    yield decoded_frames(requests[0])
    here = not are_apart(requests[0][1])
    yield from spread(decoded_frames, requests[1:], _decoded_alone, here=here)


def _decoded_alone(request: tuple[DicomFile, list[FrameHeader]]) -> list[Array]:
    """Frames at which a helper died: tried once more, since it may have died of something else."""
    try:
        return alone(decoded_frames, request)
    except OSError:
        raise MedsegError(Code.DICOM_DAMAGED, request[0], CRASHED, "export it again") from None


def _kind(volume: SeriesVolume, stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds all frames' real values."""
    kinds = {_scaled_kind(frame, stored) for frame in volume.frames}
    return kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)


def _scaled_kind(frame: FrameHeader, stored: np.dtype[Any]) -> np.dtype[Any]:
    if frame.slope == 1 and frame.intercept == 0:
        return stored
    if frame.slope == 1 and float(frame.intercept).is_integer() and abs(frame.intercept) < 2**30:
        return np.dtype(np.int32)
    return np.dtype(np.float32)


def _real(stored: Array, frame: FrameHeader) -> Array:
    """Real values of stored ones; rounded once, from double precision."""
    kind = _scaled_kind(frame, stored.dtype)
    if kind == stored.dtype:
        return stored
    if kind == np.int32:
        whole: Array = stored.astype(np.int32) + np.int32(frame.intercept)
        return whole
    if abs(frame.slope) * 2**32 + abs(frame.intercept) > np.finfo(np.float32).max:
        details = f"slope {frame.slope:g}, intercept {frame.intercept:g}"
        raise MedsegError(Code.VALUES_TOO_LARGE, frame.file, details, "export the series again")
    return (stored * np.float64(frame.slope) + frame.intercept).astype(np.float32)
