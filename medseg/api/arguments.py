"""Arguments of the Python interface: scans and label maps in any form, and refusals that name an argument."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from medseg.errors import Code, MedsegError
from medseg.io.dicom.series import SeriesVolume
from medseg.io.memory import MemoryImage
from medseg.io.scans import Readable

PathLike: TypeAlias = str | os.PathLike[str]


class SupportsArray(Protocol):
    """An array of NumPy, or what becomes one: a tensor of torch on the CPU, an array of JAX."""

    def __array__(self) -> npt.NDArray[Any]: ...


ImageLike: TypeAlias = PathLike | SpatialImage | SupportsArray
"""A path, a nibabel image, or an array (X, Y, Z) whose affine is an argument of its own."""

_IN_PYTHON = {
    "--accept-domain": "accept_domain=True",
    "--strip": "strip=True",
    "--mask": "mask=…",
    "--data FOLDER": "data=…",
    "--classes": "classes=…",
    "--void": "void=…",
    "--set ": "set=",
    "--work ": "work=",
    "--overwrite": "overwrite=True",
    "--fold": "fold",
    "--from": "start",
}
"""Options of the command line, which advice names, as arguments."""


@contextmanager
def naming(argument: str, *, paths: bool = True, also: Mapping[str, object] | None = None) -> Iterator[None]:
    """Have a refusal name an argument, and its place in the details.

    `also` are further arguments with the places that they name. Without `paths` the place, which may name a
    patient, is left out.
    """
    try:
        yield
    except MedsegError as error:
        finding = error.finding
        is_named = finding.where == argument or finding.where.startswith(f"{argument}[")
        others = [name for name, place in (also or {}).items() if finding.where == str(place)]
        where = finding.where if is_named else (*others, argument)[0]
        details = finding.details if is_named or not paths else f"{finding.where}: {finding.details}"
        raise MedsegError(finding.code, where, details, in_python(finding.how_to_fix)) from None


def in_python(advice: str) -> str:
    """Advice for the command line, with its options as arguments of functions."""
    for option, words in _IN_PYTHON.items():
        advice = advice.replace(option, words)
    return advice


def path_of(argument: str, value: PathLike) -> Path:
    """A path; raises USAGE, naming the argument, for anything else."""
    if isinstance(value, str | os.PathLike) and str(value):
        return Path(value)
    raise MedsegError(Code.USAGE, argument, f"{_kind(value)}, not a path", "give a path as text or Path")


def require_kind(argument: str, value: object, kind: type | UnionType, how_to_fix: str) -> None:
    """Raise USAGE unless an argument's value is of a kind."""
    if not isinstance(value, kind):
        raise MedsegError(Code.USAGE, argument, _kind(value), how_to_fix)


def is_array(value: object) -> bool:
    """True for arrays, and what can become one, which have no place of their own."""
    return hasattr(value, "__array__") and not isinstance(value, SpatialImage)


def image_of(argument: str, value: Any, affine: npt.ArrayLike | None) -> Path | MemoryImage:
    """A file, or an image in memory; an array needs the `affine` (4, 4), which other forms have themselves.

    Raises USAGE, AFFINE_INVALID.
    """
    is_path, is_image = isinstance(value, str | os.PathLike), isinstance(value, SpatialImage)
    if is_path or is_image:
        if affine is not None:
            details = f"given beside {'a file' if is_path else 'an image'}, which has its own"
            raise MedsegError(Code.USAGE, "affine", details, "leave it out, or give an array")
        return path_of(argument, value) if is_path else MemoryImage(argument, value)
    if not is_array(value):
        how_to_fix = "give a path, a nibabel image, or an array with its affine"
        raise MedsegError(Code.USAGE, argument, _kind(value), how_to_fix)
    if affine is None:
        how_to_fix = (
            f"give affine=…, (4, 4), from voxel indices to RAS+ in mm, or {argument} as nibabel image"
        )
        raise MedsegError(Code.USAGE, "affine", f"none for the array {argument}", how_to_fix)
    return MemoryImage(argument, value, affine_of(affine))


def affine_of(value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """An affine (4, 4) float64; raises AFFINE_INVALID."""
    try:
        affine = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        affine = np.empty(0)
    if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
        details = f"shape {affine.shape}, not (4, 4) with the last row 0, 0, 0, 1"
        raise MedsegError(
            Code.AFFINE_INVALID, "affine", details, "take it from the image that the array is of"
        )
    return affine


def images_of(
    argument: str, value: Any, affine: npt.ArrayLike | None, channels: tuple[str, ...]
) -> dict[str, Readable]:
    """An image for each channel: one for all, or a mapping to one each. Raises CHANNEL_MISSING, USAGE."""
    if isinstance(value, SeriesVolume):
        return dict.fromkeys(channels, value)
    if not isinstance(value, Mapping):
        return dict.fromkeys(channels, image_of(argument, value, affine))
    if value.keys() != set(channels):
        details = f"channels {', '.join(map(str, value)) or 'none'}; the model's are {', '.join(channels)}"
        raise MedsegError(Code.CHANNEL_MISSING, argument, details, "give one scan for each of the model's")
    return {
        name: series
        if isinstance(series := value[name], SeriesVolume)
        else image_of(f"{argument}[{name!r}]", series, affine)
        for name in channels
    }


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
