"""A decoder that ends its process costs the file that it was at, and nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg import helper_process
from medseg.errors import Code, MedsegError
from medseg.io.dicom import pixels, processes
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.processes import apart
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import write_series
from tests.helpers.fuzz import seeds

BEYOND = b"\xfe\xff\x00\xe0\x04\x00\x00\x00\x00\x00\x00\x80"
"""A table of one frame's offset that lies beyond the pixels: frames are not checked by their place then."""


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three slices in JPEG lossless; the first ends GDCM's process, by pixels of 32 bits."""
    (seed,) = (one for one in seeds.of_target("compressed") if one.name == "lossless")
    for name, content in seed.files.items():
        (tmp_path / name).write_bytes(content)
    dataset = pydicom.dcmread(io.BytesIO(seed.files["0.dcm"]))
    dataset.BitsAllocated = 32
    dataset.PixelData = BEYOND + dataset.PixelData[dataset.PixelData.index(b"\xff\xd8") - 8 :]
    dataset.save_as(tmp_path / "0.dcm")
    return tmp_path


def test_without_a_process_of_its_own_the_decoder_would_end_this_one(series: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from medseg.io.dicom import pixels\n"
        "from medseg.io.dicom.files import DicomFile\n"
        "pixels._stored((DicomFile(Path(sys.argv[1])), [0], True))"
    )
    command = [sys.executable, "-c", program, str(series / "0.dcm")]
    assert subprocess.run(command, capture_output=True, check=False).returncode < 0


def test_a_decoder_that_ends_its_process_costs_its_file_alone(series: Path) -> None:
    with pytest.raises(MedsegError, match=pixels.CRASHED) as error:
        pixels.stored_frames(DicomFile(series / "0.dcm"), [0])
    assert error.value.code is Code.DICOM_DAMAGED
    for name in ("1.dcm", "2.dcm"):
        (frame,) = pixels.stored_frames(DicomFile(series / name), [0])
        assert frame.shape == (12, 16)


def test_pixels_of_a_segmentation_are_decoded_apart_too(series: Path) -> None:
    with pytest.raises(ChildProcessError):
        pixels.raw_pixels(pydicom.dcmread(series / "0.dcm"))
    whole = pydicom.dcmread(series / "1.dcm")
    (frame,) = pixels.stored_frames(DicomFile(series / "1.dcm"), [0])
    np.testing.assert_array_equal(pixels.raw_pixels(whole), frame)


def _process(item: int) -> tuple[int, bool]:
    if item < 0:
        os._exit(1)
    if item == 0:
        raise MedsegError(Code.DICOM_DAMAGED, "there", "broken", "mend it")
    return os.getpid(), helper_process.IS_HELPER


def test_items_apart_share_a_process_until_one_ends_it() -> None:
    first, second = apart(_process, 1), apart(_process, 2)
    assert first == second and first[0] != os.getpid() and first[1]
    with pytest.raises(MedsegError, match="broken"):
        apart(_process, 0)
    assert apart(_process, 1) == first
    with pytest.raises(ChildProcessError):
        apart(_process, -1)
    assert apart(_process, 1) != first


def test_a_helper_computes_itself_what_is_to_be_apart() -> None:
    assert apart(_nested, 1) == apart(_process, 1)


def _nested(item: int) -> tuple[int, bool]:
    return apart(_process, item)


def test_helpers_that_run_already_are_used_and_where_none_can_start_it_is_done_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "most_threads", lambda: 2)
    with processes._POOL.helpers(1e9) as helpers:
        pool = {helper.process.pid for helper in helpers}
        assert apart(_process, 1)[0] not in pool  # somebody has them
    assert apart(_process, 1)[0] in pool
    processes._POOL.end()
    processes._SPARE.end()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(helper_process.subprocess, "Popen", refuse)
    assert apart(_process, 1) == (os.getpid(), False)


def test_the_decoders_process_starts_while_headers_are_read(series: Path) -> None:
    processes._POOL.end()
    read_export(series)
    (started,) = processes._POOL._helpers
    (frame,) = pixels.stored_frames(DicomFile(series / "1.dcm"), [0])
    assert frame.shape == (12, 16) and processes._POOL._helpers == [started]


def test_no_process_is_made_ready_for_pixels_that_are_decoded_here(tmp_path: Path) -> None:
    processes._POOL.end()
    write_series(tmp_path, np.ones((4, 4, 2), np.uint16), np.eye(4))
    assert len(read_export(tmp_path).volumes) == 1
    assert not processes._POOL._helpers
