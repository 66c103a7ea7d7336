"""Variants of exports as scanners, archives and pseudonymisers make them: right, or refused by a code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from medseg.errors import Code
from medseg.grid import Array
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import Export, read_export
from tests.helpers.dicom_files import set_pixels, slice_dataset

AFFINE = np.array([[-1.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
FIRST = np.random.default_rng(0).integers(1, 4000, (6, 5, 8)).astype(np.uint16)
SECOND = FIRST + 100
SERIES = "1.2.9"

Change = Callable[[int, FileDataset], object]


def _write(folder: Path, change: Change | None = None, pixels: Array = FIRST, **tags: Any) -> None:
    """Write the slices of one series, changed by their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(pixels.shape[2]):
        dataset = slice_dataset(pixels, AFFINE, index, series=SERIES, **tags)
        if change is not None:
            change(index, dataset)
        dataset.save_as(folder / f"{index}", enforce_file_format=True)


def _move(dataset: FileDataset, *shift: float) -> None:
    dataset.ImagePositionPatient = list(np.add(np.array(dataset.ImagePositionPatient, float), shift))


def _codes(export: Export) -> list[Code]:
    return [volume.refusal.code for volume in export.volumes if volume.refusal is not None]


def _details(export: Export) -> str:
    return " ".join(volume.refusal.details for volume in export.volumes if volume.refusal is not None)


def _arrays(folder: Path) -> dict[str, Array]:
    return {volume.label: read_volume(volume).array[0] for volume in read_export(folder).volumes}


@pytest.mark.parametrize(
    ("what", "uids"),
    [
        ("patient", ({"PatientID": "A"}, {"PatientID": "B"})),
        ("study", ({"StudyInstanceUID": "1.1"}, {"StudyInstanceUID": "1.2"})),
        ("frame of reference", ({"FrameOfReferenceUID": "1.1"}, {"FrameOfReferenceUID": "1.2"})),
    ],
)
@pytest.mark.parametrize("shift_mm", [0.0, 1.5, 24.0], ids=["same place", "interleaved", "consecutive"])
def test_one_series_uid_of_two_origins_is_two_volumes(
    tmp_path: Path, what: str, uids: tuple[dict[str, str], ...], shift_mm: float
) -> None:
    _write(tmp_path / "a", **uids[0])
    _write(tmp_path / "b", lambda _, dataset: _move(dataset, 0, 0, shift_mm), SECOND, **uids[1])
    arrays = _arrays(tmp_path)
    assert list(arrays) == [f"{what} 1", f"{what} 2"]
    assert (arrays[f"{what} 1"] == FIRST).all() and (arrays[f"{what} 2"] == SECOND).all()


def _other_matrix(dataset: FileDataset) -> None:
    set_pixels(dataset, np.ones((7, 9)))


def _other_spacing(dataset: FileDataset) -> None:
    dataset.PixelSpacing = [2.1, 1]


@pytest.mark.parametrize("change", [_other_matrix, _other_spacing])
@pytest.mark.parametrize("place", [0, 4, 7])
def test_a_slice_of_another_size_is_named_wherever_it_lies(
    tmp_path: Path, change: Callable[[FileDataset], None], place: int
) -> None:
    _write(tmp_path, lambda index, dataset: change(dataset) if index == place else None)
    export = read_export(tmp_path)
    assert _codes(export) == [Code.SLICES_DIFFER]
    assert f"1 of 8 slices have another matrix or pixel spacing: instances {place + 1}" in _details(export)


@pytest.mark.parametrize(("degrees", "refused"), [(0.0006, False), (0.05, True)])
def test_slices_that_turn_little_by_little(tmp_path: Path, degrees: float, refused: bool) -> None:
    """0.05° is less than the noise of rounded cosines, and 0.2 mm at the corner of a field of 250 mm."""
    wide = np.ones((250, 125, 8), np.uint16)

    def turn(index: int, dataset: FileDataset) -> None:
        angle = np.radians(degrees) * index / 7
        c, s = float(np.cos(angle)), float(np.sin(angle))
        dataset.ImageOrientationPatient = [round(x, 8) for x in (c, s, 0, -s, c, 0)]

    _write(tmp_path, turn, wide)
    export = read_export(tmp_path)
    assert _codes(export) == ([Code.SLICES_TURNED] if refused else [])
    assert not refused or ("instance 8" in _details(export) and "tolerance is 0.1 mm" in _details(export))


def test_one_instance_at_two_places_is_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    dataset = pydicom.dcmread(tmp_path / "7")
    _move(dataset, 0, 0, 3)
    dataset.save_as(tmp_path / "copy")
    assert _codes(read_export(tmp_path)) == [Code.INSTANCES_DIFFER]


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ([{"FlipAngle": 5}, {"FlipAngle": 15}], ["flip angle (°) 5", "flip angle (°) 15"]),
        (
            [{"InversionTime": 500}, {"InversionTime": 900}],
            ["inversion time (ms) 500", "inversion time (ms) 900"],
        ),
        ([{"b": 0}, {"b": 1000}], ["b-value (s/mm²) 0", "b-value (s/mm²) 1000"]),
        ([{"component": 0}, {"component": 1}], ["component magnitude", "component phase"]),
    ],
)
def test_contrasts_are_kept_apart_where_instance_numbers_change_their_order(
    tmp_path: Path, tags: list[dict[str, Any]], labels: list[str]
) -> None:
    """The last two stand in private elements of Siemens and GE."""
    for n, (pixels, own) in enumerate(zip((FIRST, SECOND), tags, strict=True)):

        def change(index: int, dataset: FileDataset, n: int = n, own: dict[str, Any] = own) -> None:
            dataset.InstanceNumber = 2 * index + (n if index < 4 else 1 - n)
            if "b" in own:
                dataset.Manufacturer = "SIEMENS"
                dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", own["b"])
            elif "component" in own:
                dataset.Manufacturer, dataset.ImageType = (
                    "GE MEDICAL SYSTEMS",
                    ["ORIGINAL", "PRIMARY", "OTHER"],
                )
                block = dataset.private_block(0x43, "GEMS_PARM_01", create=True)
                block.add_new(0x2F, "SS", own["component"])
            else:
                dataset.update(own)

        _write(tmp_path / f"{n}", change, pixels)
    arrays = _arrays(tmp_path)
    assert list(arrays) == labels
    assert (arrays[labels[0]] == FIRST).all() and (arrays[labels[1]] == SECOND).all()


def test_noise_of_an_echo_time_splits_no_volume(tmp_path: Path) -> None:
    _write(tmp_path, lambda index, dataset: setattr(dataset, "EchoTime", (4.9149, 4.9151)[index % 2]))
    (array,) = _arrays(tmp_path).values()
    assert (array == FIRST).all()


def test_slabs_with_a_gap_are_refused_with_their_instances(tmp_path: Path) -> None:
    _write(tmp_path, lambda index, dataset: _move(dataset, 0, 0, 31.3 if index > 3 else 0))
    export = read_export(tmp_path)
    assert _codes(export) == [Code.SLICES_UNEVEN]
    assert "34.3 mm (4 and 5)" in _details(export) and "the tolerance is" in _details(export)


def test_a_shift_within_the_plane_is_told(tmp_path: Path) -> None:
    _write(tmp_path, lambda index, dataset: _move(dataset, 0.5 if index == 3 else 0, 0, 0))
    export = read_export(tmp_path)
    assert _codes(export) == [Code.SLICES_UNEVEN]
    assert "instance 4 is shifted within its plane; up to 0.5 mm" in _details(export)


@pytest.mark.parametrize(
    "tags", [{"SpacingBetweenSlices": -3.0}, {"SpacingBetweenSlices": 9, "SliceThickness": 6}]
)
def test_positions_count_and_not_what_the_header_says_of_gaps(tmp_path: Path, tags: dict[str, float]) -> None:
    _write(tmp_path, **tags)
    (volume,) = read_export(tmp_path).volumes
    assert volume.grid is not None and np.allclose(volume.grid.affine, AFFINE, atol=1e-6)
