"""Plain slices read without a data set: the same as pydicom reads, or left to it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from medseg.errors import Finding, MedsegError
from medseg.grid import Array
from medseg.ingest import privacy
from medseg.io.dicom import frames, plain_pixels
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.files import DicomFile, files_below
from medseg.io.dicom.frames import FileHeader, read_header
from medseg.io.dicom.pixels import decoded_frames, stored_frames
from medseg.io.dicom.series import read_export
from medseg.io.dicom.tags import NUMBERS
from tests.helpers.dicom_files import encode_by_gdcm, slice_dataset, write_series

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
BY_GDCM = ("JPEGLosslessProcess14_1", "JPEG2000Lossless")


def _by_pydicom(file: DicomFile, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(frames, "_read_plain", lambda _: None)
        return read_header(file)


def _without_pixels(header: Any) -> Any:
    if not isinstance(header, FileHeader):
        return header
    return replace(header, frames=tuple(replace(frame, pixels=None) for frame in header.frames))


def _slice(pixels: Array, *, bits: int = 16, is_signed: bool = False, **tags: Any) -> Dataset:
    """A slice whose pixels (rows, columns) are stored in 8 or 16 bits, of which the lower ``bits`` count."""
    dataset = slice_dataset(np.ones((2, 2, 1), np.uint16), AFFINE, 0, series="1.2.3", **tags)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored = 8 * pixels.itemsize, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(is_signed)
    dataset.PixelData = pixels.tobytes()
    return dataset


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bits=st.integers(1, 16),
    is_signed=st.booleans(),
    syntax=st.sampled_from(
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGLSLossless, *BY_GDCM]
    ),
    fill_unused=st.booleans(),
)
def test_pixels_are_those_that_pydicom_decodes(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    bits: int,
    is_signed: bool,
    syntax: str,
    fill_unused: bool,
) -> None:
    random = np.random.default_rng(seed)
    allocated = 8 if bits <= 8 else 16
    compressed = syntax in (RLELossless, JPEGLSLossless, *BY_GDCM)
    if compressed:  # pydicom's encoders take whole values, JPEG-LS none of few bits
        is_signed, fill_unused, bits = False, False, 8 if bits <= 8 else max(bits, 9)
    kept = allocated if fill_unused else bits
    shape = (int(random.integers(32, 40)), 2 * int(random.integers(16, 20)))  # gdcm encodes no odd length
    pixels = random.integers(0, 2**kept, shape).astype(f"<u{allocated // 8}")
    if compressed:  # noise would not fit into the encoder's buffer
        pixels = (np.add.outer(np.arange(shape[0]), np.arange(shape[1])) + pixels % 4).astype(pixels.dtype)
    dataset = _slice(pixels, bits=bits, is_signed=is_signed)
    if syntax in (RLELossless, JPEGLSLossless):  # gdcm's encoder of RLE aborts Python at odd sizes
        plugin = "pydicom" if syntax == RLELossless else "pyjpegls"
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    if syntax not in BY_GDCM:
        dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path_factory.mktemp("plain") / "a"
    dataset.save_as(path, enforce_file_format=True)
    if syntax in BY_GDCM:
        encode_by_gdcm(path, syntax)
    file = DicomFile(path)
    header = read_header(file)
    assert isinstance(header, FileHeader)
    assert (header.frames[0].pixels is None) == (syntax == ImplicitVRLittleEndian)
    (slow,), (fast,) = stored_frames(file, [0]), decoded_frames((file, header.frames))
    if header.frames[0].pixels is not None:
        assert plain_pixels.read(file, header.frames[0].pixels) is not None
    assert fast.dtype == slow.dtype
    np.testing.assert_array_equal(fast, slow)
    if not fill_unused and not is_signed:
        np.testing.assert_array_equal(fast, pixels)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_headers_are_read_as_pydicom_reads_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tags: dict[str, Any] = {"SeriesDescription": "t1 *ax", "EchoTime": "2.5", "NumberOfFrames": "1"}
    dataset = _slice(np.arange(6, dtype=np.uint16).reshape(2, 3), **tags)
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2"
    dataset.ReferencedImageSequence = DicomSequence([item])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    path = tmp_path_factory.mktemp("damaged") / "a"
    dataset.save_as(path, enforce_file_format=True)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    monkeypatch = pytest.MonkeyPatch()
    one, other = read_header(DicomFile(path)), _by_pydicom(DicomFile(path), monkeypatch)
    if isinstance(other, FileHeader):  # pydicom also refuses for sequences that nobody asks for
        assert repr(_without_pixels(one)) == repr(other)
    assert isinstance(one, FileHeader) or isinstance(other, Finding)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_frames_give_what_pydicom_makes_of_them_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    syntax = data.draw(st.sampled_from([RLELossless, JPEGLSLossless, *BY_GDCM]))
    path = tmp_path_factory.mktemp("damaged") / "a"
    rows = np.arange(34)[:, None] * 7
    _slice((rows + np.arange(36) % 5).astype(np.uint16)).save_as(path, enforce_file_format=True)
    if syntax in BY_GDCM:
        encode_by_gdcm(path, syntax)
    else:
        dataset = dcmread(path)
        plugin = "pydicom" if syntax == RLELossless else "pyjpegls"
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
    header = read_header(DicomFile(path))
    assert isinstance(header, FileHeader) and header.frames[0].pixels is not None
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(header.frames[0].pixels.start, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content)
    fast = plain_pixels.read(header.file, header.frames[0].pixels)
    if fast is not None:
        np.testing.assert_array_equal(fast, stored_frames(header.file, [0])[0])


@pytest.mark.parametrize("cut", [1, 3, 9, 20])
def test_pixels_that_are_cut_off_are_damaged(tmp_path: Path, cut: int) -> None:
    pixels = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless):
        dataset = _slice(pixels)
        if syntax == JPEGLSLossless:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(tmp_path / "a", enforce_file_format=True)
        (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-cut])
        file = DicomFile(tmp_path / "a")
        header = read_header(file)
        assert isinstance(header, FileHeader)
        try:
            expected = stored_frames(file, [0])[0]
        except MedsegError as refused:
            with pytest.raises(MedsegError) as also:
                decoded_frames((file, header.frames))
            assert also.value.code == refused.code
        else:
            np.testing.assert_array_equal(decoded_frames((file, header.frames))[0], expected)


def test_a_codestream_of_another_size_is_left_to_pydicom(tmp_path: Path) -> None:
    dataset = _slice(np.ones((32, 32), np.uint16))
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.Columns = 33
    dataset.save_as(tmp_path / "a", enforce_file_format=True)
    header = read_header(DicomFile(tmp_path / "a"))
    assert isinstance(header, FileHeader) and header.frames[0].pixels is not None
    assert plain_pixels.read(header.file, header.frames[0].pixels) is None


def test_inside_gzip_and_without_a_preamble(tmp_path: Path) -> None:
    import gzip

    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for index in range(2):
        affine = AFFINE.copy()
        affine[2, 3] = index
        dataset = slice_dataset(pixels.T[:, :, None], affine, 0, series="1.2.3", InstanceNumber=index + 1)
        dataset.save_as(tmp_path / "a", enforce_file_format=True)
        (tmp_path / f"{index}.gz").write_bytes(gzip.compress((tmp_path / "a").read_bytes()))
    (tmp_path / "a").unlink()
    (volume,) = read_export(tmp_path).volumes
    assert all(frame.pixels is not None for frame in volume.frames)
    np.testing.assert_array_equal(read_volume(volume).array[0, :, :, 1], pixels.T)


def test_tags_are_those_of_the_dictionary() -> None:
    from pydicom.datadict import tag_for_keyword

    assert {keyword: tag_for_keyword(keyword) for keyword in NUMBERS} == NUMBERS


def test_a_plain_series_is_converted_without_slow_imports(tmp_path: Path) -> None:
    """Each of them takes longer than a short series."""
    write_series(tmp_path / "in", np.arange(60, dtype=np.uint16).reshape(3, 4, 5), AFFINE)
    program = (
        "import sys; from medseg.cli import app; sys.argv = ['medseg', 'convert', *sys.argv[1:]]\n"
        "app(standalone_mode=False)\n"
        "print(*{'pydicom', 'nibabel', 'SimpleITK', 'scipy', 'torch', 'PIL', 'gdcm'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, tmp_path / "in", tmp_path / "out", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "", result.stdout
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


@pytest.mark.data
def test_every_real_file_is_read_as_pydicom_reads_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = 0
    for file in files_below(data / "dicom"):
        header = read_header(file)
        assert _without_pixels(header) == _by_pydicom(file, monkeypatch), file
        if isinstance(header, FileHeader) and header.frames and header.frames[0].pixels is not None:
            array = plain_pixels.read(file, header.frames[0].pixels)
            if array is not None:
                plain += 1
                np.testing.assert_array_equal(array, stored_frames(file, [0])[0])
    assert plain > 250


@pytest.mark.data
def test_identities_of_real_files_are_those_that_pydicom_reads(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [file for file in files_below(data / "dicom") if isinstance(read_header(file), FileHeader)]
    fast = [privacy._identity(file) for file in listed]
    monkeypatch.setattr(privacy, "read_plain", lambda *_: None)
    assert fast == [privacy._identity(file) for file in listed]
