"""Stored pixel values of DICOM files, decoded by pydicom and its plugins."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io.dicom import claims, codecs, plain_pixels
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.processes import apart, make_ready

if TYPE_CHECKING:
    from medseg.io.dicom.frames import FrameHeader

CRASHED = "the decoder crashed on the pixels"

_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")

_TAGS = (
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip


_SAFE = frozenset(
    ("", codecs.RLE, *(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.98", ".1.99", ".2")))
)
"""Transfer syntaxes whose pixels no library in C decodes: uncompressed, deflated, and RLE."""

_Request = tuple[DicomFile, Sequence[int], bool]
"""A file, the numbers of its frames, and whether this is where a decoder may end the process."""


def decoded_frames(request: tuple[DicomFile, Sequence[FrameHeader]]) -> list[Array]:
    """Stored values (rows, columns) of frames of a file, as :func:`stored_frames` gives them, but faster."""
    file, frames = request
    if len(frames) == 1 and (pixels := frames[0].pixels) is not None:
        with contextlib.suppress(OSError):
            array = apart(_plain, (file, pixels)) if are_apart(frames) else _plain((file, pixels))
            if array is not None:
                return [array]
    return stored_frames(file, [frame.index for frame in frames])


def expect(frames: Sequence[FrameHeader]) -> None:
    """Start the helper process that will decode frames of a file, if one will, without waiting for it."""
    if are_apart(frames) and (plain := frames[0].pixels):
        make_ready(codecs.load, plain.syntax)


def are_apart(frames: Sequence[FrameHeader]) -> bool:
    """Tell whether :func:`decoded_frames` asks a helper process for plain frames of a file."""
    return len(frames) == 1 and (plain := frames[0].pixels) is not None and plain.syntax in codecs.BY_GDCM


def _plain(request: tuple[DicomFile, plain_pixels.StoredPixels]) -> Array | None:
    return plain_pixels.read(*request)


def stored_frames(file: DicomFile, indices: Sequence[int]) -> list[Array]:
    """Decode stored values (rows, columns) of frames of a file; MONOCHROME1 is inverted: bright is high.

    What a library in C decodes is decoded by a helper process, which it may end. Raises SYNTAX_UNSUPPORTED
    and DICOM_DAMAGED.
    """
    return _stored((file, indices, False))


def raw_pixels(dataset: Any) -> Array:
    """All stored values of a data set, one frame after the other; raises what the decoders do.

    Raises ChildProcessError where a decoder ended its process.
    """
    is_safe = dataset.file_meta.TransferSyntaxUID in _SAFE
    return _raw_pixels(dataset) if is_safe else apart(_raw_pixels, dataset)


def _raw_pixels(dataset: Any) -> Array:
    from pydicom.pixels.utils import pixel_array

    array: Array = pixel_array(dataset, raw=True)
    return array


def _stored(request: _Request) -> list[Array]:
    file, indices, may_end = request
    import pydicom

    try:
        with file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(stream, force=True, specific_tags=_tags())
            if not dataset.file_meta.get("TransferSyntaxUID"):
                dataset.file_meta.TransferSyntaxUID = _syntax_without_meta(dataset)
            claims.check_pixel_data(dataset, indices, file)
            if not may_end and dataset.file_meta.TransferSyntaxUID not in _SAFE:
                return apart(_stored, (file, indices, True))
            inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
            frames = [_decoded(dataset, index) for index in indices]
    except NotImplementedError:
        raise _unsupported(file, dataset) from None
    except ChildProcessError:
        raise MedsegError(Code.DICOM_DAMAGED, file, CRASHED, "export it again") from None
    except (
        AttributeError,
        ValueError,
        RuntimeError,
        EOFError,
        TypeError,
        KeyError,
        OSError,
        MemoryError,
    ) as error:
        if "unable to decompress" in str(error).lower() and "missing dependencies" in str(error).lower():
            raise _unsupported(file, dataset) from None
        details = f"the pixels cannot be decoded ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, file, details, "export it again") from None
    if inverted:
        frames = [_inverted(frame, int(dataset.BitsStored)) for frame in frames]
    return frames


@cache
def _tags() -> list[Any]:
    """The elements that say where pixels are and how they are stored: pydicom is spared the others."""
    from pydicom.tag import Tag

    return [Tag(name) for name in _TAGS]


def _decoded(dataset: Any, index: int) -> Array:
    from pydicom.pixels.utils import pixel_array

    if dataset.file_meta.TransferSyntaxUID in _JPEG_LS:
        # Faster than pydicom's first choice, which stays for what this codec does not take.
        with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            fast: Array = pixel_array(dataset, index=index, raw=True, decoding_plugin="pyjpegls")
            return fast
    frame: Array = pixel_array(dataset, index=index, raw=True)
    return frame


def _syntax_without_meta(dataset: Any) -> Any:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _inverted(stored: Array, bits: int) -> Array:
    """Stored values of MONOCHROME1, whose lowest value is shown white, as MONOCHROME2 would store them."""
    if np.issubdtype(stored.dtype, np.signedinteger):
        return (-1 - stored.astype(np.int64)).astype(stored.dtype)
    return ((1 << bits) - 1 - stored.astype(np.int64)).astype(stored.dtype)


def _unsupported(file: DicomFile, dataset: Any) -> MedsegError:
    uid = dataset.file_meta.get("TransferSyntaxUID", "")
    # an unknown UID may hold anything
    name = uid.name if getattr(uid, "is_transfer_syntax", False) else f"unknown, {len(uid)} characters"
    details = f"its transfer syntax (0002,0010) cannot be decoded here ({name})"
    return MedsegError(Code.SYNTAX_UNSUPPORTED, file, details, "export it uncompressed")
