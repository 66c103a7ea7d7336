"""Files that hold the same instance: used once, if they agree."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medseg.errors import Code, Finding, MedsegError
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.frames import FileHeader
from medseg.io.dicom.pixels import stored_frames


@dataclass
class UniqueInstances:
    """Headers of which each instance is kept once.

    ``copies`` counts by UID the files that were left out, ``damaged`` are copies that cannot be decoded
    beside one that can, ``conflicts`` the UIDs of instances whose files hold different pixels
    or places.
    """

    headers: list[FileHeader] = field(default_factory=list)
    copies: Counter[str] = field(default_factory=Counter)
    damaged: list[tuple[DicomFile, Finding]] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)


def unique_instances(headers: Sequence[FileHeader]) -> UniqueInstances:
    """Keep each SOP instance once; copies are compared by their bytes, then by places and decoded pixels."""
    copies: dict[str, list[FileHeader]] = defaultdict(list)
    for number, header in enumerate(headers):
        uid = header.frames[0].instance_uid if header.frames else ""
        copies[uid or f"without a UID: {number}"].append(header)
    unique = UniqueInstances()
    for uid, same in copies.items():
        unique.headers.append(same[0] if len(same) == 1 else _kept(uid, same, unique))
    return unique


def _kept(uid: str, same: Sequence[FileHeader], unique: UniqueInstances) -> FileHeader:
    """The copy that is used: the first that can be decoded; findings about the others go to ``unique``.

    One copy's pixels are in memory beside the reference, however many there are.
    """
    if len({_content(header.file) for header in same}) == 1:
        unique.copies[uid] += len(same) - 1
        return same[0]
    kept, reference = same[0], None
    undecoded: list[tuple[DicomFile, Finding]] = []
    for header in same:
        decoded = _pixels(header)
        if isinstance(decoded, MedsegError):
            undecoded.append((header.file, decoded.finding))
        elif reference is None:
            kept, reference = header, decoded
        else:
            unique.copies[uid] += 1
            if _place(header) != _place(kept) or not np.array_equal(decoded, reference):
                unique.conflicts.add(uid)
    unique.damaged += [(file, finding) for file, finding in undecoded if file != kept.file]
    return kept


def _place(header: FileHeader) -> list[tuple[Any, ...]]:
    """Everything that a volume takes from a header besides pixels: place in space and scale of each frame."""
    return [
        (frame.position, frame.orientation, frame.spacing, frame.shape, frame.slope, frame.intercept)
        for frame in header.frames
    ]


def _content(file: DicomFile) -> bytes:
    """The hash of a file's bytes; of one that cannot be read, its own name."""
    try:
        with file.open() as stream:
            content = hashlib.sha256()
            while block := stream.read(2**20):
                content.update(block)
            return content.digest()
    except (OSError, MedsegError):
        return str(file).encode(errors="replace")


def _pixels(header: FileHeader) -> np.ndarray | MedsegError:
    try:
        return np.stack(stored_frames(header.file, [frame.index for frame in header.frames]))
    except MedsegError as error:
        return error
    except ValueError as error:  # frames of several sizes
        return MedsegError(Code.DICOM_DAMAGED, header.file, f"its frames differ: {error}", "export it again")
