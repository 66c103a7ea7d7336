"""DICOM files on their way to a server, and the server's word on each: the same numbers in both protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import Code, MedsegError

Ending = Literal["sent", "already there"]
"""The two good ends of a file."""

PROCESSING_FAILURE = 0x0110
"""The reason for a failure that says least."""

_DUPLICATE = 0x0111
_REASONS = (
    (PROCESSING_FAILURE, 0xFFFF, "it failed to process the file"),
    (0x0122, 0xFFFF, "it does not take this kind of object"),
    (0x0124, 0xFFFF, "it is not authorised to take the file"),
    (0xA700, 0xFF00, "it is out of resources"),
    (0xA900, 0xFF00, "the file does not match its kind of object"),
    (0xC000, 0xF000, "it does not understand the file"),
)
"""Value, mask and words of reasons for a failure (DICOM PS3.4 table B.2-1, PS3.18 table I.2-2)."""


@dataclass(frozen=True)
class Instance:
    """A DICOM file and what a server must be told of it."""

    path: Path
    sop_class_uid: str
    instance_uid: str
    transfer_syntax_uid: str


def read_instance(path: Path) -> Instance:
    """Read the UIDs of a DICOM file; raises DICOM_DAMAGED."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"]
        )
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        return Instance(path, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax)
    except (InvalidDicomError, AttributeError, KeyError, ValueError, EOFError) as error:
        details = f"it lacks a file header or its UIDs ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, path.name, details, "run medseg segment again") from None


def is_warning(reason: int) -> bool:
    """True for statuses (Bxxx) of a file that was stored, though changed."""
    return reason & 0xF000 == 0xB000


def ending_of(reason: int, name: str) -> Ending:
    """The end of a file whose storing gave this status or reason of failure; raises NOT_STORED.

    Zero and warnings (Bxxx) mean stored.
    """
    if reason == 0 or is_warning(reason):
        return "sent"
    if reason == _DUPLICATE:
        return "already there"
    words = next(
        (text for value, mask, text in _REASONS if reason & mask == value), "it gives no known reason"
    )
    how_to_fix = "look into the server's log, or ask who runs it"
    raise MedsegError(Code.NOT_STORED, name, f"the server answers {reason:04X}H: {words}", how_to_fix)
