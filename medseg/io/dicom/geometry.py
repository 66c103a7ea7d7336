"""The grid of a stack of slices: right within stated tolerances, or refused with a code; never invented.

DICOM gives positions in LPS (left, posterior, superior), medseg's grids are RAS. With the direction cosines r
of a row and c of a column, the spacings s_r between rows and s_c between columns, and the slices' positions
p_0 … p_{n−1} (DICOM PS3.3 C.7.6.2.1.1), the affine's columns are s_c·r, s_r·c, (p_{n−1} − p_0) / (n − 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import Code
from medseg.grid import Array, Grid
from medseg.io.dicom.frames import FrameHeader

SAME_POSITION_MM = 0.005
"""Slices nearer than this along the normal are at one position."""

EVEN_MM = 0.02
EVEN_SHARE = 0.01
EVEN_LARGEST_MM = 0.1
"""A slice may lie this far from its place in an even stack: 0.02 mm or 1 % of the gap, at most 0.1 mm."""

TURNED_MM = 0.1
"""A slice's corner may lie this far from where the first slice's orientation puts it."""

MAX_TILT_DEGREES = 0.5
"""Slices may be shifted against each other by this angle against the normal; more is a gantry tilt."""

SQUARE = 1e-3
"""Largest scalar product of the directions of rows and columns, and deviation of their lengths from 1."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Refusal:
    """The reason why frames do not make a volume."""

    code: Code
    details: str
    how_to_fix: str


def normal_of(orientation: Sequence[float]) -> Array:
    """The unit normal (3,) of slices with these direction cosines of rows and columns, in LPS."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def is_square(orientation: Sequence[float]) -> bool:
    """True if the direction cosines have length 1 and are perpendicular, within :data:`SQUARE`."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1)
    return bool(max(*lengths, abs(row @ column)) <= SQUARE)


def heights(frames: Sequence[FrameHeader]) -> Array:
    """Positions (n,) in mm of frames along the normal of the first one's orientation."""
    first = frames[0]
    if first.orientation is None:
        raise ValueError("frames without an orientation have no heights")
    return np.array([frame.position for frame in frames]) @ normal_of(first.orientation)


def stack(frames: Sequence[FrameHeader]) -> tuple[list[FrameHeader], Grid] | Refusal:
    """Sort frames of one orientation, matrix and pixel spacing along their normal; give them and their grid.

    The grid's shape is (columns, rows, slices). Refusals: ONE_SLICE, SLICES_DUPLICATE, GANTRY_TILT,
    SLICES_MISSING, SLICES_UNEVEN, SLICES_TURNED.
    """
    if len(frames) < 2:
        return Refusal(
            Code.ONE_SLICE, "one slice", "export the whole series; a volume needs two or more slices"
        )
    height = heights(frames)
    order = np.argsort(height, kind="stable")
    frames, height = [frames[i] for i in order], height[order]
    refusal = _duplicates(frames, height) or _tilt(frames, height) or _gaps(frames, height) or _turned(frames)
    return refusal or (frames, _grid(frames))


def _grid(frames: Sequence[FrameHeader]) -> Grid:
    first, last = frames[0], frames[-1]
    orientation, spacing = np.array(first.orientation), first.spacing
    if spacing is None:
        raise ValueError("frames without a pixel spacing have no grid")
    origin = np.array(first.position)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = (np.array(last.position) - origin) / (len(frames) - 1)
    affine[:3, 3] = origin
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    rows, columns = first.shape
    return Grid((columns, rows, len(frames)), affine)


def _duplicates(frames: Sequence[FrameHeader], height: Array) -> Refusal | None:
    same = np.flatnonzero(np.diff(height) <= SAME_POSITION_MM)
    if not len(same):
        return None
    pairs = ", ".join(f"{frame_number(frames[i])} and {frame_number(frames[i + 1])}" for i in same[:3])
    details = f"{len(same)} slice(s) share a position with another: instances {pairs}"
    return Refusal(Code.SLICES_DUPLICATE, details, "export the series again, or one repetition of it")


def _tilt(frames: Sequence[FrameHeader], height: Array) -> Refusal | None:
    positions = np.array([frame.position for frame in frames])
    along = positions[-1] - positions[0]
    angle = float(np.degrees(np.arccos(np.clip((height[-1] - height[0]) / np.linalg.norm(along), -1, 1))))
    if angle <= MAX_TILT_DEGREES:
        return None
    shift = float(np.linalg.norm(along) * np.sin(np.radians(angle)) / (len(frames) - 1))
    details = (
        f"slices are shifted against each other by {shift:.3g} mm each: {angle:.1f}° between the stack and"
        f" their normal, from instance {frame_number(frames[0])} to {frame_number(frames[-1])};"
        f" the tolerance is {MAX_TILT_DEGREES}°"
    )
    return Refusal(Code.GANTRY_TILT, details, "resample the series without tilt on the scanner's console")


def _gaps(frames: Sequence[FrameHeader], height: Array) -> Refusal | None:
    """Refuse a stack whose slices do not lie where those of an even stack would."""
    gaps = np.diff(height)
    positions = np.array([frame.position for frame in frames])
    even = np.linspace(positions[0], positions[-1], len(frames))
    off = np.linalg.norm(positions - even, axis=1)
    if off.max() <= _tolerance(float(gaps.mean())):
        return None
    small = float(np.median(gaps[gaps <= 1.5 * gaps.min()]))
    times = np.rint(gaps / small)
    whole = np.abs(gaps - times * small).max() <= _tolerance(small) * times.max()
    if whole and 1 < times.max() <= len(frames):
        places = [
            f"{frame_number(frames[i])} and {frame_number(frames[i + 1])}"
            for i in map(int, np.flatnonzero(times > 1))
        ]
        details = (
            f"{int((times - 1).sum())} slice(s) missing at gaps of {small:.4g} mm, between instances "
            + ", ".join(places[:5])
        )
        return Refusal(Code.SLICES_MISSING, details, "export the whole series again")
    least, most = int(gaps.argmin()), int(gaps.argmax())
    between = (f"{frame_number(frames[n])} and {frame_number(frames[n + 1])}" for n in (least, most))
    if gaps[most] - gaps[least] > 0.005:
        details = "gaps from {:.4g} mm (instances {}) to {:.4g} mm ({})".format(
            *(value for pair in zip((gaps[least], gaps[most]), between, strict=True) for value in pair)
        )
    else:
        details = f"instance {frame_number(frames[int(off.argmax())])} is shifted within its plane"
    details += f"; up to {off.max():.3g} mm from an even stack, the tolerance is"
    details += f" {_tolerance(float(gaps.mean())):.3g} mm"
    return Refusal(Code.SLICES_UNEVEN, details, "export a series whose slices are evenly spaced")


def are_even(height: Array) -> bool:
    """True if heights (n,) in mm, in any order, are those of an even stack of slices at n places."""
    ordered = np.sort(height)
    gaps = np.diff(ordered)
    off = np.abs(ordered - np.linspace(ordered[0], ordered[-1], len(ordered)))
    return bool(gaps.min() > SAME_POSITION_MM and off.max() <= _tolerance(float(gaps.mean())))


def _turned(frames: Sequence[FrameHeader]) -> Refusal | None:
    """Refuse slices whose far corner lies elsewhere than where the first one's orientation puts it."""
    rows, columns = frames[0].shape
    down, along = frames[0].spacing or (0, 0)
    directions = np.array([frame.orientation for frame in frames])
    turned = directions - directions[0]
    off = np.linalg.norm(turned[:, :3] * along * (columns - 1) + turned[:, 3:] * down * (rows - 1), axis=1)
    if off.max() <= TURNED_MM:
        return None
    worst = frame_number(frames[int(off.argmax())])
    details = (
        f"slices are turned against each other: the corner of instance {worst}"
        f" lies {off.max():.3g} mm from its place in an even stack, the tolerance is {TURNED_MM} mm"
    )
    return Refusal(Code.SLICES_TURNED, details, "export the series without motion correction by slice")


def _tolerance(gap: float) -> float:
    return min(max(EVEN_MM, EVEN_SHARE * gap), EVEN_LARGEST_MM)


def frame_number(frame: FrameHeader) -> str:
    """The frame's number as the scanner counts: the instance's, with the frame in files of several."""
    return f"{frame.instance_number}" + (f" frame {frame.index + 1}" if frame.index else "")
