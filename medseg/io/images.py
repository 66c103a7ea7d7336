"""PNG, JPEG, TIFF, BMP and GIF files to volumes of one slice in px, upright, in their own integer type.

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
from PIL import ExifTags, GifImagePlugin, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import affine_checks
from medseg.limits import MAX_PIXELS
from medseg.volume import Volume

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".tif", ".tiff", ".bmp", ".gif")

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
# What decoders raise for damaged files; failures of the disk are told apart by their errno.
_DAMAGE = (SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601, in 65,536ths
_BLOCK = 2**16
_GREY_OR_RGB = "save it in grey or in red, green, blue"
_MOST_SAMPLES = 4  # red, green, blue and how much shows through
_WARNINGS = threading.Lock()


def can_read(path: Path) -> bool:
    """Tell by the file's name whether it is an image."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, channels_last: bool = False, max_voxels: int = affine_checks.MAX_VOXELS) -> Volume:
    """Read an image as (C, H, W, 1) on the grid (rows, columns, 1) in px, rows downwards; no ``source``.

    With ``channels_last`` C = 3, red, green, blue (a grey image three times); otherwise C = 1, the grey
    value (of colours their luma, ITU-R 601). The dtype is the file's: uint8, uint16 or another integer, or
    floating. Raises FILE_MISSING, FILE_UNREADABLE, NOT_AN_IMAGE, NOT_SCALAR, TRUNCATED, FOUR_D
    (several pages or frames), TOO_SMALL, TOO_LARGE.
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

    A two-colour image (one bit) holds 0 and 1, unless ``palette_as_colours``, when palettes are read as the
    colours they show. Raises what :func:`read` raises.
    """
    pixels, notes = _decode(path, _as_seen if palette_as_colours else _as_stored, max_voxels)
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    return _volume(np.ascontiguousarray(planes), notes)


def read_palette(path: Path) -> list[tuple[int, int, int]] | None:
    """Read the colours (RGB, 0-255) of a palette image by index; None for images without a palette.

    Only the header is read. Raises what :func:`read` raises.
    """
    with _coded(path, MAX_PIXELS), files.open_regular(path) as file:
        try:
            with _quiet():
                image = Image.open(file, formats=_FORMATS)
                has_palette = image.mode == "P" and not _is_grey_gif(image)
                colours = image.getpalette("RGB") if has_palette else None
        except UnidentifiedImageError:
            if not _is_tiff(file):
                raise
            return None
    if colours is None:
        return None
    whole = len(colours) - len(colours) % 3
    return [(colours[i], colours[i + 1], colours[i + 2]) for i in range(0, whole, 3)]


def is_grey(path: Path) -> bool:
    """Tell whether red, green and blue are the same everywhere; False where the image cannot be read."""
    try:
        colours = read(path, channels_last=True).array
    except MedsegError:
        return False
    return bool((colours == colours[:1]).all())


def _volume(planes: Array, notes: tuple[Finding, ...]) -> Volume:
    """Make a volume of planes (C, H, W)."""
    height, width = planes.shape[1:]
    return Volume(planes[..., None], Grid((height, width, 1), np.eye(4), "px"), None, notes)


def _luma(pixels: Array, path: Path) -> Array:
    """Turn colours (H, W, 3) into grey values (H, W) of the same dtype."""
    if pixels.shape[2] != 3:
        details = f"{pixels.shape[2]} values per pixel"
        raise MedsegError(Code.NOT_SCALAR, path, details, _GREY_OR_RGB)
    colours = pixels.reshape(-1, 3)
    grey = np.empty(len(colours), pixels.dtype)
    for start in range(0, len(grey), _BLOCK):  # of all pixels at once the sums would take many times theirs
        grey[start : start + _BLOCK] = _weighted(colours[start : start + _BLOCK])
    return grey.reshape(pixels.shape[:2])


def _weighted(colours: Array) -> Array:
    """The weighted sums of colours (N, 3), in the dtype that they are exact in."""
    if colours.dtype.kind == "f":
        return np.asarray(colours @ (_LUMA / 65536).astype(colours.dtype))
    if colours.dtype not in (np.uint8, np.uint16):  # the sum below would not fit 32 bits
        return np.asarray(np.rint(colours.astype(np.float64) @ (_LUMA / 65536)))
    return np.asarray((colours.astype(np.uint32) @ _LUMA + 32768) >> 16)


# Decoding


def _decode(
    path: Path, seen_as: Callable[[Image.Image], Image.Image], max_voxels: int
) -> tuple[Array, tuple[Finding, ...]]:
    """Give pixels (H, W) or (H, W, C) in native byte order, bits as uint8, and notes."""
    limit = min(max_voxels, MAX_PIXELS)
    with _coded(path, limit), files.open_regular(path) as file:
        try:
            pixels, notes = _through_pillow(file, path, seen_as, limit)
        except UnidentifiedImageError:
            if not _is_tiff(file):
                raise
            pixels, notes = _through_tifffile(file, path, limit), ()
    if pixels.dtype.kind not in "biuf":
        raise MedsegError(Code.NOT_SCALAR, path, f"pixels are {pixels.dtype}", _GREY_OR_RGB)
    kept = np.dtype(np.uint8) if pixels.dtype.kind == "b" else pixels.dtype.newbyteorder("=")
    return pixels.astype(kept, copy=False), notes


@contextmanager
def _coded(path: Path, limit: int) -> Iterator[None]:
    """Turn what decoders raise into the file's code."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error).partition(" exceeds")[0], limit) from error
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
    with files.open_regular(path) as file:
        start = file.read(8)
    if not start:
        return affine_checks.truncated(path, "the file is empty")
    return MedsegError(Code.NOT_AN_IMAGE, path, f"begins with {start!r}", "export the image again")


def _too_large(path: Path, details: str, limit: int) -> MedsegError:
    how_to_fix = "cut the image into smaller ones, or save it with fewer pixels"
    return MedsegError(Code.TOO_LARGE, path, f"{details}, the limit is {limit} pixels", how_to_fix)


def _is_tiff(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start[:2] in {b"II", b"MM"} and (42 in start[2:] or 43 in start[2:])


def _through_pillow(
    file: BinaryIO, path: Path, seen_as: Callable[[Image.Image], Image.Image], limit: int
) -> tuple[Array, tuple[Finding, ...]]:
    """Decode through pillow. Raises UnidentifiedImageError for what tifffile may know better."""
    with _quiet():
        image = Image.open(file, formats=_FORMATS)
        _check_size(path, image.height, image.width, limit)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _one_page(path, image.n_frames)
            _keep_bits(image)
        if isinstance(image, GifImagePlugin.GifImageFile):
            _one_page(path, image.n_frames, "frame")
        if image.format == "PNG":  # decoding does not compare the checksums
            image.verify()
        file.seek(0)
        image = Image.open(file, formats=_FORMATS)
        orientation = _orientation(image)
        unsigned = isinstance(image, TiffImagePlugin.TiffImageFile) and _is_uint32(image)
    image.load()
    notes: tuple[Finding, ...] = ()
    if orientation != 1:
        ImageOps.exif_transpose(image, in_place=True)
        notes = (Finding(Code.TURNED_UPRIGHT, str(path), f"orientation {orientation}", "nothing to do"),)
    pixels = np.asarray(seen_as(image))
    if image.format == "PNG" and image.mode == "I":  # some versions of pillow hand out PNG's 16 bits as 32
        pixels = pixels.astype(np.uint16)
    return pixels.view(np.uint32) if unsigned else pixels, notes


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pillow's warnings, but make that of a large image an error; for one thread at a time."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _keep_bits(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a TIFF of more than eight bits a colour, of which pillow would keep eight."""
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    if len(bits) > 1 and max(bits) > 8:
        raise UnidentifiedImageError(f"{max(bits)} bits a colour")


def _is_uint32(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Tell whether a TIFF holds unsigned 32-bit integers, whose bits pillow hands out as signed ones."""
    tags = image.tag_v2
    bits, kinds = tags.get(TiffImagePlugin.BITSPERSAMPLE), tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    return image.mode == "I" and bits == (32,) and kinds == (1,)


def _check_size(path: Path, height: int, width: int, limit: int) -> None:
    if min(height, width) == 1:
        how_to_fix = "give an image of two rows and two columns or more"
        raise MedsegError(Code.TOO_SMALL, path, f"{height}×{width} pixels", how_to_fix)
    affine_checks.spatial_shape(
        (height, width), path, channels_last=False, max_voxels=affine_checks.MAX_VOXELS
    )
    if height * width > limit:
        raise _too_large(path, f"{height}×{width}", limit)


def _one_page(path: Path, pages: int, noun: str = "page") -> None:
    if pages == 0:
        raise affine_checks.truncated(path, "TIFF without a page")
    if pages > 1:
        raise MedsegError(Code.FOUR_D, path, f"{pages} {noun}s", f"save each {noun} as a file of its own")


def _orientation(image: Image.Image) -> int:
    """Give the EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_DAMAGE, OSError):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _as_seen(image: Image.Image) -> Image.Image:
    if image.mode in {"1", "LA", "La"}:
        return image.convert("L")
    grey = {"L", "I", "F"}
    return image if image.mode in grey or image.mode.startswith("I;") else image.convert("RGB")


def _as_stored(image: Image.Image) -> Image.Image:
    if _is_grey_gif(image):
        return image.convert("L")
    return image if image.mode in {"P", "1"} else _as_seen(image)


def _is_grey_gif(image: Image.Image) -> bool:
    """True for a GIF whose palette is of greys: the only way in which it stores them, numbered at will."""
    colours = image.getpalette("RGB") if image.format == "GIF" and image.mode == "P" else None
    return colours is not None and colours[::3] == colours[1::3] == colours[2::3]


def _through_tifffile(file: BinaryIO, path: Path, limit: int) -> Array:
    """Decode the only page of a TIFF, (H, W) or (H, W, C); an alpha channel is dropped."""
    with tifffile.TiffFile(file) as tiff:
        _one_page(path, len(tiff.pages))
        page = tiff.pages.first
        _check_size(path, page.imagelength, page.imagewidth, limit)
        if page.imagelength * page.imagewidth * page.samplesperpixel > _MOST_SAMPLES * limit:
            raise _too_large(path, f"{page.samplesperpixel} values in each of many pixels", limit)
        axes, pixels = page.axes, _decompressed(page, path)
    if pixels.ndim != len(axes) or not pixels.size:
        raise affine_checks.truncated(path, "TIFF without pixels")
    if axes not in {"YX", "YXS", "SYX"}:
        raise MedsegError(Code.NOT_SCALAR, path, f"axes {axes}", _GREY_OR_RGB)
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] in {2, 4}:
        pixels = pixels[..., :-1]
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _decompressed(page: tifffile.TiffPage | tifffile.TiffFrame, path: Path) -> Array:
    try:
        return np.asarray(page.asarray())
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" not in str(error):
            raise
        how_to_fix = "save it uncompressed, or as PNG"
        raise MedsegError(Code.NOT_AN_IMAGE, path, "TIFF with an unknown compression", how_to_fix) from error
