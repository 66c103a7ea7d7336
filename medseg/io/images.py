"""PNG, JPEG, TIFF and BMP files to volumes of one slice in px, upright, in their own integer type.

Pillow decodes; tifffile takes the TIFFs that pillow cannot. An image is given as it is seen: palettes become
colours, an alpha channel is dropped, an EXIF orientation is applied (annotators drew on what they saw, so it
holds for masks too). :func:`read_values` keeps what a mask stores: palette indices, grey integers or colours.
Pillow has eight bits a colour; 16 bits are kept for grey images and for TIFFs that tifffile reads.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks
from medseg.volume import Volume

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".tif", ".tiff", ".bmp")

MAX_PIXELS = 2**26
"""Pixels (8192²) above which a picture is refused before memory is taken for it (TOO_LARGE)."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# What decoders raise for damaged files; failures of the disk are told apart by their errno.
_DAMAGE = (SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601, in 65,536ths
_WARNINGS = threading.Lock()


def can_read(path: Path) -> bool:
    """Whether the file's name ends as those of pictures do."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read a picture as (C, H, W, 1) on the grid (rows, columns, 1) in px, rows downwards; no ``source``.

    With ``channels_last`` C = 3, red, green, blue (a grey picture three times); otherwise C = 1, the grey
    value (of colours their luma, ITU-R 601). dtype uint8, or uint16 where the file has more bits; float32
    where it stores floats. Raises FILE_MISSING, FILE_UNREADABLE, NOT_AN_IMAGE, NOT_SCALAR, TRUNCATED, FOUR_D
    (several pages), TOO_SMALL, TOO_LARGE.
    """
    pixels, notes = _decode(path, _as_seen, max_voxels)
    if channels_last:
        planes = (
            np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else np.broadcast_to(pixels, (3, *pixels.shape))
        )
    else:
        planes = (pixels if pixels.ndim == 2 else _luma(pixels, path))[None]
    return _volume(np.ascontiguousarray(planes), notes)


def read_values(
    path: Path, *, max_voxels: int = affine_checks.MAX_VOXELS, palette_as_colours: bool = False
) -> Volume:
    """Read a mask as it is stored: (1, H, W, 1) palette indices or grey integers, or (3, H, W, 1) colours.

    A two-colour picture (one bit) holds 0 and 1, unless ``palette_as_colours``, when palettes are read as the
    colours they show. Raises what :func:`read` raises.
    """
    pixels, notes = _decode(path, _as_seen if palette_as_colours else _as_stored, max_voxels)
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    return _volume(np.ascontiguousarray(planes), notes)


def is_grey(path: Path) -> bool:
    """Whether a picture has the same red, green and blue everywhere; False where it cannot be read."""
    try:
        colours = read(path, channels_last=True).array
    except MedsegError:
        return False
    return bool((colours == colours[:1]).all())


def _volume(planes: Array, notes: tuple[Finding, ...]) -> Volume:
    """A volume of planes (C, H, W)."""
    height, width = planes.shape[1:]
    return Volume(planes[..., None], Grid((height, width, 1), np.eye(4), "px"), None, notes)


def _luma(pixels: Array, path: Path) -> Array:
    """Grey values (H, W) of colours (H, W, 3), in the colours' own type."""
    if pixels.shape[2] != 3:
        found = f"{pixels.shape[2]} values a pixel"
        raise MedsegError(Code.NOT_SCALAR, path, found, "save it in grey or in red, green, blue")
    if pixels.dtype.kind == "f":
        return np.asarray(pixels @ (_LUMA / 65536).astype(pixels.dtype))
    return ((pixels.astype(np.uint32) @ _LUMA + 32768) >> 16).astype(pixels.dtype)


# Decoding


def _decode(
    path: Path, seen_as: Callable[[Image.Image], Image.Image], max_voxels: int
) -> tuple[Array, tuple[Finding, ...]]:
    """Pixels (H, W) or (H, W, C) in native byte order, and notes."""
    limit = min(max_voxels, MAX_PIXELS)
    with _coded(path, limit), path.open("rb") as file:
        try:
            pixels, notes = _through_pillow(file, path, seen_as, limit)
        except UnidentifiedImageError:
            if not _is_tiff(file):
                raise
            pixels, notes = _through_tifffile(file, path, limit), ()
    return pixels.astype(_kept_as(pixels), copy=False), notes


@contextmanager
def _coded(path: Path, limit: int) -> Iterator[None]:
    """Turn what decoders raise into the file's code."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        told = str(error).partition(" exceeds")[0]
        raise _too_large(path, told, limit) from error
    except UnidentifiedImageError as error:
        raise _not_identified(path) from error
    except tifffile.TiffFileError as error:
        raise MedsegError(Code.NOT_AN_IMAGE, path, f"TIFF: {error}", "export the image again") from error
    except OSError as error:
        if error.errno is not None:
            raise affine_checks.refusal_to_open(path, error) from error
        raise affine_checks.truncated(path, str(error)) from error
    except _DAMAGE as error:
        raise affine_checks.truncated(path, f"{type(error).__name__}: {error}") from error


def _not_identified(path: Path) -> MedsegError:
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        return affine_checks.truncated(path, "the file is empty")
    return MedsegError(Code.NOT_AN_IMAGE, path, f"begins with {start!r}", "export the image again")


def _too_large(path: Path, details: str, limit: int) -> MedsegError:
    how_to_fix = "cut the image into smaller ones"
    return MedsegError(Code.TOO_LARGE, path, f"{details}, the limit is {limit} pixels", how_to_fix)


def _is_tiff(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start[:2] in {b"II", b"MM"} and (42 in start[2:] or 43 in start[2:])


def _through_pillow(
    file: BinaryIO, path: Path, seen_as: Callable[[Image.Image], Image.Image], limit: int
) -> tuple[Array, tuple[Finding, ...]]:
    """Raises UnidentifiedImageError for what tifffile may know better."""
    with _quiet():
        image = Image.open(file, formats=_FORMATS)
        _check_size(path, image.height, image.width, limit)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _one_page(path, image.n_frames)
            _keep_bits(image)
        if image.format == "PNG":  # decoding does not compare the checksums
            image.verify()
        file.seek(0)
        image = Image.open(file, formats=_FORMATS)
        orientation = _orientation(image)
    image.load()
    if orientation == 1:
        return np.asarray(seen_as(image)), ()
    ImageOps.exif_transpose(image, in_place=True)
    note = Finding(Code.TURNED_UPRIGHT, str(path), f"orientation {orientation}", "nothing to do")
    return np.asarray(seen_as(image)), (note,)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warning leaves pillow, and that of a large image is an error; one thread at a time."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _keep_bits(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a TIFF of more than eight bits a colour, of which pillow would keep eight."""
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    if len(bits) > 1 and max(bits) > 8:
        raise UnidentifiedImageError(f"{max(bits)} bits a colour")


def _check_size(path: Path, height: int, width: int, limit: int) -> None:
    if min(height, width) == 1:
        found, how_to_fix = f"{height}×{width} pixels", "give a picture of two rows and two columns or more"
        raise MedsegError(Code.TOO_SMALL, path, found, how_to_fix)
    affine_checks.spatial_shape(
        (height, width), path, channels_last=False, max_voxels=affine_checks.MAX_VOXELS
    )
    if height * width > limit:
        raise _too_large(path, f"{height}×{width}", limit)


def _one_page(path: Path, pages: int) -> None:
    if pages == 0:
        raise affine_checks.truncated(path, "TIFF without a page")
    if pages > 1:
        raise MedsegError(Code.FOUR_D, path, f"{pages} pages", "save each page as a file of its own")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        held = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_DAMAGE, OSError):
        return 1
    return held if held in range(1, 9) else 1


def _as_seen(image: Image.Image) -> Image.Image:
    if image.mode in {"1", "LA", "La"}:
        return image.convert("L")
    grey = {"L", "I", "F"}
    return image if image.mode in grey or image.mode.startswith("I;") else image.convert("RGB")


def _as_stored(image: Image.Image) -> Image.Image:
    return image if image.mode in {"P", "1"} else _as_seen(image)


def _through_tifffile(file: BinaryIO, path: Path, limit: int) -> Array:
    """The only page of a TIFF, (H, W) or (H, W, C); an alpha channel is dropped."""
    with tifffile.TiffFile(file) as tiff:
        _one_page(path, len(tiff.pages))
        page = tiff.pages.first
        _check_size(path, page.imagelength, page.imagewidth, limit)
        axes, pixels = page.axes, _decompressed(page, path)
    if axes not in {"YX", "YXS", "SYX"}:
        raise MedsegError(Code.NOT_SCALAR, path, f"axes {axes}", "save it in grey or in red, green, blue")
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] in {2, 4}:
        pixels = pixels[..., :-1]
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _decompressed(page: tifffile.TiffPage | tifffile.TiffFrame, path: Path) -> Array:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        how_to_fix = "save it uncompressed, or as PNG"
        raise MedsegError(Code.NOT_AN_IMAGE, path, "TIFF of a compression not known", how_to_fix) from error


def _kept_as(pixels: Array) -> np.dtype[np.generic]:
    """The type that pixels are kept in: bits as bytes, 32-bit integers as 16 where they fit."""
    if pixels.dtype.kind == "b":
        return np.dtype(np.uint8)
    if pixels.dtype == np.int32 and pixels.size and pixels.min() >= 0 and pixels.max() < 2**16:
        return np.dtype(np.uint16)
    return pixels.dtype.newbyteorder("=")
