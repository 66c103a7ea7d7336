"""Seeded mutations of files: bits, lengths, fields at their extremes, lines of text, splices."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from random import Random

import numpy as np

HOSTILE_TEXTS = (
    "../../../../tmp/evil", "/etc/passwd", "..\\..\\evil", "C:\\evil", "a/../../b", ".", "..", "", " ",
    "-1", "0", "nan", "inf", "1e400", "99999999999999999999", "2147483647", "-2147483648", "%n%s%s",
    "%100000d", "LIST", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\x00", "\x1b[31m", "a\nb",
    "\ud7ff\u202e", "x" * 5000,
)  # fmt: skip
"""Texts that stand where a name or a number is expected."""

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_HEAD = 600
"""Bytes at the front that are hit as often as all others together: most headers."""

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def mutate(random: Random, content: bytes, others: Sequence[bytes], kind: str) -> bytes:
    """Change a file of a ``kind`` (the suffix) in one to four ways; ``others`` are files to splice with."""
    ways = [*_BYTES, *_OF_KIND.get(kind, ())]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        way = (
            random.choice(_OF_KIND[kind])
            if kind in _OF_KIND and random.random() < 0.5
            else random.choice(ways)
        )
        content = way(random, content, others)
    return content


def _place(random: Random, content: bytes) -> int:
    if not content:
        return 0
    return random.randrange(min(len(content), _HEAD) if random.random() < 0.5 else len(content))


def _flip(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 2, 8, 40))):
        if changed:
            changed[_place(random, content)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: _place(random, content)]


def _field(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Put an extreme number over 1 to 8 bytes, in either order."""
    size, place = random.choice((1, 2, 4, 8)), _place(random, content)
    number = random.choice(_NUMBERS) % 256**size
    order = "little" if random.random() < 0.5 else "big"
    return content[:place] + number.to_bytes(size, order) + content[place + size :]


def _insert(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    place = _place(random, content)
    start = _place(random, content)
    new = random.choice(
        (
            random.randbytes(random.randrange(1, 64)),
            bytes(random.randrange(1, 4096)),
            content[start : start + 300],
        )
    )
    return content[:place] + new + content[place:]


def _remove(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    place = _place(random, content)
    return content[:place] + content[place + random.choice((1, 2, 4, 100, 1000)) :]


def _splice(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others) if others else content
    return content[: _place(random, content)] + other[_place(random, other) :]


def _text(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Replace a word or number of a text by a hostile one."""
    words = list(re.finditer(rb"[^\s:=,\"'{}\[\]]+", content[:20000]))
    if not words:
        return content
    word = random.choice(words)
    return content[: word.start()] + random.choice(HOSTILE_TEXTS).encode() + content[word.end() :]


def _lines(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    way = random.randrange(4)
    if way == 0:
        del lines[at]
    elif way == 1:
        lines[at:at] = [lines[at]] * random.choice((1, 3, 200))
    elif way == 2:
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = b"[" * random.choice((5, 2000)) + lines[at]
    return b"\n".join(lines)


def _nifti(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Set fields of the header to extremes, in a compressed file too; the compression stays right."""
    packed = content[:2] == b"\x1f\x8b"
    try:
        plain = bytearray(zlib.decompress(content, 31) if packed else content)
        for _ in range(random.choice((1, 2, 3))):
            kind, places = random.choice(
                (
                    ("<h", (*range(40, 56, 2), 68, 70, 72, 252, 254)),
                    ("<f", (*range(76, 120, 4), *range(256, 328, 4))),
                )
            )
            number = random.choice(
                (0, 1, -1, 2, 3, 64, 512, 32767, -32768, float("nan"), float("inf"), 1e30, 1e-30)
            )
            if kind == "<h":
                number = int(number) if abs(number) < 32769 else 7
            struct.pack_into(kind, plain, random.choice(places), number)
    except (zlib.error, struct.error, EOFError):
        return content
    return zlib.compress(bytes(plain), 1, 31) if packed else bytes(plain)


def _png(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Change a chunk's data and make its checksum right again."""
    if content[:4] != b"\x89PNG":
        return content
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return content
    n = random.randrange(len(chunks))
    name, data = chunks[n]
    chunks[n] = (name, random.choice((_flip, _field, _cut, _insert))(random, data, ()))
    if random.random() < 0.2:
        chunks.insert(n, random.choice(chunks))
    whole = b"".join(
        len(d).to_bytes(4, "big") + n + d + zlib.crc32(n + d).to_bytes(4, "big") for n, d in chunks
    )
    return content[:8] + whole


_DICOM_EXTREMES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("Rows", "Columns"), (0, 1, 65535, 40000)),
    "NumberOfFrames": ("0", "-1", "2147483647", "1000000", "x"),
    **dict.fromkeys(("BitsAllocated", "BitsStored", "HighBit"), (0, 1, 7, 8, 12, 32, 64, 65535)),
    "PixelRepresentation": (1, 2, 65535),
    "SamplesPerPixel": (0, 2, 3, 65535),
    "PlanarConfiguration": (0, 1, 7),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "YBR_FULL", "PALETTE COLOR", "", "x" * 100),
    **dict.fromkeys(("RescaleSlope", "RescaleIntercept"), ("0", "1e308", "-1e-300", "nan", "99999999999")),
    "ImagePositionPatient": (["1e308"] * 3, ["0", "0"], [], ["1e39", "-1e39", "0"], ["0", "0", "0"]),
    "ImageOrientationPatient": (["0"] * 6, ["1"] * 6, ["1e308"] * 6, ["1", "0", "0", "0", "1"]),
    "PixelSpacing": (["0", "0"], ["1e-300", "1e300"], ["-1", "1"], ["1"]),
    **dict.fromkeys(("InstanceNumber", "SeriesNumber", "AcquisitionNumber"), ("2147483647", "-2147483648")),
    **dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID"), ("", "../evil", "1" * 64)),
    "SeriesDescription": HOSTILE_TEXTS,
    "ImageType": (["ORIGINAL", "PRIMARY", "MOSAIC"], [], ["x"] * 500, "M"),
    **dict.fromkeys(("EchoTime", "DiffusionBValue"), ("1e308", "nan", "-1")),
    "Modality": ("SEG", "MR", "", "CT"),
    "SpecificCharacterSet": ("ISO_IR 100", "ISO 2022 IR 87", "nonsense"),
    "PixelPaddingValue": (0, 65535),
    "BurnedInAnnotation": ("YES",),
}  # fmt: skip


def _dicom(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Set attributes to extremes, whatever their types allow; what cannot be written stays as it was."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            for _ in range(random.choice((1, 2, 4))):
                keyword = random.choice(list(_DICOM_EXTREMES))
                if random.random() < 0.15 and keyword in dataset:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, random.choice(_DICOM_EXTREMES[keyword]))
            out = io.BytesIO()
            dataset.save_as(out, enforce_file_format=False)
        except Exception:
            return content
    return out.getvalue()


def _pixel_data(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Hit the compressed frames alone, behind the last occurrence of the pixels' tag."""
    start = content.rfind(b"\xe0\x7f\x10\x00")
    if start < 0:
        return content
    changed = bytearray(content)
    span = min(len(content) - start, random.choice((100, 300, 5000)))
    for _ in range(random.choice((1, 2, 6))):
        at = start + random.randrange(span)
        changed[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return bytes(changed)


_BYTES: tuple[Mutation, ...] = (_flip, _flip, _cut, _field, _field, _insert, _remove, _splice)
_TEXT: tuple[Mutation, ...] = (_text, _text, _lines)
_OF_KIND: dict[str, tuple[Mutation, ...]] = {
    "nii": (_nifti,),
    "gz": (_nifti,),
    "mha": _TEXT,
    "mhd": _TEXT,
    "nrrd": _TEXT,
    "nhdr": _TEXT,
    "png": (_png,),
    "dcm": (_dicom, _dicom, _pixel_data),
    "frame": (_pixel_data, _pixel_data, _pixel_data, _dicom),
    "seg": (_dicom,),
    "csv": _TEXT,
    "json": _TEXT,
    "yaml": _TEXT,
}


def noise(random: Random, shape: tuple[int, ...]) -> np.ndarray:
    """Grey values uint16 of a shape, the same for the same random state."""
    return np.random.default_rng(random.randrange(2**32)).integers(0, 1000, shape).astype(np.uint16)
