"""Stored pixel values of DICOM files, decoded by pydicom and its plugins."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io.dicom import claims
from medseg.io.dicom.files import DicomFile


def stored_frames(file: DicomFile, indices: list[int]) -> list[Array]:
    """Decode stored values (rows, columns) of frames of a file; MONOCHROME1 is inverted: bright is high.

    Raises SYNTAX_UNSUPPORTED and DICOM_DAMAGED.
    """
    import pydicom
    from pydicom.pixels.utils import pixel_array

    try:
        with file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(stream, force=True)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                dataset.file_meta.TransferSyntaxUID = _syntax_without_meta(dataset)
            claims.check_pixel_data(dataset, indices, file)
            inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
            frames = [pixel_array(dataset, index=index, raw=True) for index in indices]
    except NotImplementedError as error:
        raise _unsupported(file, error) from None
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
            raise _unsupported(file, error) from None
        details = f"the pixels cannot be decoded ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, file, details, "export it again") from None
    if inverted:
        frames = [_inverted(frame, int(dataset.BitsStored)) for frame in frames]
    return frames


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


def _unsupported(file: DicomFile, error: Exception) -> MedsegError:
    details = f"its transfer syntax cannot be decoded here ({str(error).splitlines()[0][:120]})"
    return MedsegError(Code.SYNTAX_UNSUPPORTED, file, details, "export it uncompressed")
