"""Mosaics whose private header moved, went missing or states another number of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.errors import Code
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import SeriesVolume, read_export


@pytest.fixture
def mosaic(data: Path) -> pydicom.Dataset:
    """A real mosaic of 3 mm slices with gaps."""
    folder = data / "dicom" / "mosaic_siemens_gap300"
    if not folder.is_dir():
        pytest.skip("the DICOM test data is not there")
    return next(pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file())


def _read(dataset: pydicom.Dataset, folder: Path) -> SeriesVolume:
    folder.mkdir()
    dataset.save_as(folder / "mosaic", enforce_file_format=True)
    (volume,) = read_export(folder).volumes
    return volume


def test_a_private_header_may_lie_in_another_block(mosaic: pydicom.Dataset, tmp_path: Path) -> None:
    before = _read(mosaic, tmp_path / "before")
    for element in [mosaic[0x0029, 0x0010], *(e for e in mosaic if 0x00291000 <= e.tag <= 0x002910FF)]:
        del mosaic[element.tag]
        number = 0x0020 if element.tag.element == 0x0010 else 0x2000 | element.tag.element & 0xFF
        mosaic.add_new((0x0029, number), element.VR, element.value)
    after = _read(mosaic, tmp_path / "after")
    assert before.grid is not None and after.grid is not None
    assert np.array_equal(before.grid.affine, after.grid.affine)
    assert (read_volume(before).array == read_volume(after).array).all()


@pytest.mark.parametrize("lost", ["the header", "SpacingBetweenSlices"])
def test_no_gap_or_number_of_slices_is_guessed(mosaic: pydicom.Dataset, tmp_path: Path, lost: str) -> None:
    """The thickness of a slice tells nothing of the gap beside it."""
    if lost == "the header":
        mosaic.remove_private_tags()
    else:
        del mosaic.SpacingBetweenSlices
    volume = _read(mosaic, tmp_path / "in")
    assert volume.refusal is not None and volume.refusal.code == Code.MOSAIC
