"""Files that hold the same instance: used once, if they agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.errors import Finding, MedsegError
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.frames import FileHeader
from medseg.io.dicom.pixels import stored_frames


@dataclass
class UniqueInstances:
    """Headers of which each instance is kept once.

    ``copies`` counts by UID the files that were left out, ``damaged`` are copies that cannot be decoded
    beside one that can, ``conflicts`` the UIDs of instances whose files hold different pixels.
    """

    headers: list[FileHeader] = field(default_factory=list)
    copies: Counter[str] = field(default_factory=Counter)
    damaged: list[tuple[DicomFile, Finding]] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)


def unique_instances(headers: Sequence[FileHeader]) -> UniqueInstances:
    """Keep each SOP instance once; copies are compared by their bytes, then by their decoded pixels."""
    copies: dict[str, list[FileHeader]] = defaultdict(list)
    for number, header in enumerate(headers):
        uid = header.frames[0].instance_uid if header.frames else ""
        copies[uid or f"without a UID: {number}"].append(header)
    unique = UniqueInstances()
    for uid, same in copies.items():
        unique.headers.append(same[0] if len(same) == 1 else _kept(uid, same, unique))
    return unique


def _kept(uid: str, same: Sequence[FileHeader], unique: UniqueInstances) -> FileHeader:
    """The copy that is used: the first that can be decoded; findings about the others go to ``unique``."""
    contents = [_content(header.file) for header in same]
    if all(content == contents[0] for content in contents):
        pixels: list[np.ndarray | MedsegError] = [np.empty(0)] * len(same)
    else:
        pixels = [_pixels(header) for header in same]
    usable = [n for n, decoded in enumerate(pixels) if isinstance(decoded, np.ndarray)]
    first = usable[0] if usable else 0
    for n, (header, decoded) in enumerate(zip(same, pixels, strict=True)):
        if n == first:
            continue
        if isinstance(decoded, MedsegError):
            unique.damaged.append((header.file, decoded.finding))
            continue
        reference = pixels[first]
        if isinstance(reference, np.ndarray) and not np.array_equal(decoded, reference):
            unique.conflicts.add(uid)
        unique.copies[uid] += 1
    return same[first]


def _content(file: DicomFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def _pixels(header: FileHeader) -> np.ndarray | MedsegError:
    try:
        return np.stack(stored_frames(header.file, [frame.index for frame in header.frames]))
    except MedsegError as error:
        return error
