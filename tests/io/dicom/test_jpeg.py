"""Frames that decoders in C would crash on are refused by their markers; those of scanners pass."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import get_frame

from medseg.io.dicom import jpeg
from tests.helpers.fuzz import seeds

_JFIF = b"\xff\xe0\x00\x10JFIF\0"
SIZE = jpeg.FrameSize(12, 16, 1, 16)


def frame(name: str) -> bytes:
    seed = next(seed for seed in seeds.of_target("dicom") if seed.name == name)
    return get_frame(pydicom.dcmread(io.BytesIO(seed.files["0.dcm"])).PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("name", ["lossless", "jpegls", "j2k"])
def test_whole_frames_pass(name: str) -> None:
    jpeg.check(frame(name), SIZE)
    jpeg.check(frame(name) + b"\0", SIZE)  # padded to an even length


def test_frames_of_another_kind_are_left_to_their_decoder() -> None:
    jpeg.check(bytes(64), SIZE)
    jpeg.check(b"", SIZE)


@pytest.mark.parametrize("name", ["lossless", "jpegls", "j2k"])
@pytest.mark.parametrize(
    "stated", [jpeg.FrameSize(13, 16, 1, 16), jpeg.FrameSize(12, 16, 3, 16), jpeg.FrameSize(12, 16, 1, 8)]
)
def test_a_frame_of_another_size_is_refused(name: str, stated: jpeg.FrameSize) -> None:
    with pytest.raises(ValueError, match="compressed frame"):
        jpeg.check(frame(name), stated)


@pytest.mark.parametrize("name", ["lossless", "jpegls"])
def test_every_cut_of_a_frame_is_refused(name: str) -> None:
    whole = frame(name)
    end = whole.rindex(b"\xff\xd9")
    for length in range(3, end):
        with pytest.raises(ValueError, match="frame"):
            jpeg.check(whole[:length], SIZE)


def _after(marker: bytes, offset: int, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        at = content.index(marker) + offset
        return content[:at] + new + content[at + len(new) :]

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lossless", _after(b"\xff\xc3", 4, b"\x20")),  # 32 bits
        ("lossless", _after(b"\xff\xc3", 11, b"\x00")),  # no sampling
        ("lossless", _after(b"\xff\xc3", 2, b"\x00\x01")),  # a length that cannot be
        ("lossless", _after(b"\xff\xc4", 4, b"\x33")),  # a table of no kind
        ("lossless", _after(b"\xff\xc4", 5, b"\xff" * 16)),  # more codes than there is room for
        ("lossless", _after(b"\xff\xda", 4, b"\x02")),  # a scan of two components
        ("lossless", _after(b"\xff\xda", 7, b"\x09")),  # a predictor that there is not
        ("lossless", lambda content: content.replace(b"\xff\xc3", b"\xff\xc9")),  # arithmetic coding
        ("lossless", lambda content: content[:2] + _JFIF + b"\xff\x01\x00" + bytes(6) + content[2:]),
        ("lossless", lambda content: content[:2] + _JFIF + b"\x01\x01\x07" + bytes(6) + content[2:]),
        ("lossless", lambda content: content.replace(b"\xff\xd9", content[content.index(b"\xff\xc3") :], 1)),
        ("j2k", _after(b"\xff\x51", 4 + 16 + 4, struct.pack(">2I", 1, 0))),  # tiles without a height
        ("j2k", _after(b"\xff\x51", 38, b"\x7f")),  # 128 bits
        ("j2k", _after(b"\xff\x51", 39, b"\x02")),  # every other column
    ],
)  # fmt: skip
def test_a_damaged_marker_is_refused(name: str, change: Callable[[bytes], bytes]) -> None:
    content = frame(name)
    assert change(content) != content
    with pytest.raises(ValueError, match="frame"):
        jpeg.check(change(content), SIZE)


def test_a_frame_of_too_many_tiles_is_refused() -> None:
    stated = jpeg.FrameSize(300, 300, 1, 16)
    sizes = struct.pack(">8IH3B", 300, 300, 0, 0, 1, 1, 0, 0, 1, 15, 1, 1)
    with pytest.raises(ValueError, match="90000 tiles"):
        jpeg.check(b"\xff\x4f\xff\x51\x00\x29\x00\x00" + sizes, stated)


@pytest.mark.data
def test_every_real_compressed_frame_passes(data: Path) -> None:
    checked = 0
    for path in (data / "dicom").glob("*compressed_j*/*"):
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset or not dataset.file_meta.TransferSyntaxUID.is_compressed:
            continue
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        stated = jpeg.FrameSize(dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated)
        jpeg.check(get_frame(dataset.PixelData, 0, number_of_frames=count), stated)
        checked += 1
    assert checked > 3
