"""DICOM results judged by programs and libraries of others: LABELMAP, parametric map, dciodvfy's rules."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg import files
from medseg.classes import ClassList
from medseg.coding import ClassCodes, CodedName
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io.dicom import pm, seg, sr
from medseg.io.dicom.objects import source_datasets
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import enhanced_dataset, write_series
from tests.helpers.programs import dcmqi, dicom_errors

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "Left thing"})
SHAPE = (6, 5, 4)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)
SPACING = (0.5, 2.0, 3.25)
ALGORITHM = ("demo", "0.1.0")
TAGS = {"FrameOfReferenceUID": "1.2.3.4", "PatientSex": "O", "PatientID": "1", "ContentDate": "20200102"}
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _placed(rotation: Array) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return affine


def _orientations() -> list[Array]:
    """Six orders of the axes with mixed senses, and two oblique ones."""
    turned = [
        np.eye(3)[list(order)] * ((-1) ** k, 1, (-1) ** (k // 2))
        for k, order in enumerate(permutations(range(3)))
    ]
    oblique = [np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0] for seed in (1, 2)]
    return [_placed(rotation) for rotation in (*turned, *oblique)]


def _volume(folder: Path, affine: Array, **tags: Any) -> SeriesVolume:
    write_series(folder, PIXELS, affine, **{**TAGS, **tags})
    (volume,) = read_export(folder).volumes
    return volume


def _labels(volume: SeriesVolume) -> Array:
    assert volume.grid is not None
    return np.random.default_rng(0).integers(0, 3, volume.grid.shape).astype(np.uint8)


def _confidence(volume: SeriesVolume) -> Array:
    assert volume.grid is not None
    return np.random.default_rng(1).random(volume.grid.shape).astype(np.float32)


def _places(values: Array, affine: Array) -> dict[tuple[float, ...], float]:
    """The value of every voxel by its place in RAS mm, to 0.01 mm."""
    indices = np.argwhere(np.ones(values.shape, bool))
    places = (indices @ affine[:3, :3].T + affine[:3, 3]).round(2) + 0.0
    return dict(zip(map(tuple, places.tolist()), values.ravel().tolist(), strict=True))


@pytest.mark.parametrize("affine", _orientations(), ids=range(8))
def test_a_labelmap_lies_in_place_for_highdicom_and_dcmqi(tmp_path: Path, affine: Array) -> None:
    volume, path = _volume(tmp_path / "in", affine), tmp_path / "a.dcm"
    labels = _labels(volume)
    seg.write(labels, volume, CLASSES, path, algorithm=ALGORITHM, kind="LABELMAP")
    assert volume.grid is not None
    expected = _places(labels, volume.grid.affine)
    theirs = hd.seg.segread(path)
    assert theirs.SegmentationType == "LABELMAP"
    read = theirs.get_volume(combine_segments=True)
    assert _places(np.asarray(read.array), TO_LPS @ read.affine) == expected
    (tmp_path / "out").mkdir()
    arguments = ["--inputDICOM", path, "--outputDirectory", tmp_path / "out", "--outputType", "nii"]
    dcmqi("segimage2itkimage", *arguments)
    image = nib.load(tmp_path / "out/1.nii.gz")
    found = _places(np.asarray(image.dataobj), image.affine)
    assert {place: value for place, value in found.items() if value} == {
        place: value for place, value in expected.items() if value
    }


@pytest.mark.parametrize("affine", _orientations()[::2], ids=range(4))
def test_a_parametric_map_lies_in_place_for_highdicom_and_dcmqi(tmp_path: Path, affine: Array) -> None:
    volume, path = _volume(tmp_path / "in", affine), tmp_path / "a.dcm"
    confidence = _confidence(volume)
    pm.write(confidence, volume, path, algorithm=ALGORITHM)
    assert volume.grid is not None
    expected = _places(confidence, volume.grid.affine)
    read = hd.imread(path).get_volume(apply_real_world_transform=True)
    assert _places(np.asarray(read.array, np.float32), TO_LPS @ read.affine) == expected
    (tmp_path / "out").mkdir()
    arguments = ["--inputDICOM", path, "--outputDirectory", tmp_path / "out", "--outputType", "nii"]
    dcmqi("paramap2itkimage", *arguments)
    image = nib.load(tmp_path / "out/pmap.nii.gz")
    assert _places(np.asarray(image.dataobj, np.float32), image.affine) == expected
    told = files.read_json(tmp_path / "out/meta.json")
    assert told["QuantityValueCode"]["CodeMeaning"] == "Difference of the two highest probabilities"
    assert told["MeasurementUnitsCode"]["CodeValue"] == "1"


def test_a_probability_names_its_class_in_any_script(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _orientations()[0])
    for index, name in enumerate(("Größe\\白質", "x" * 80)):
        quantity = pm.probability_of(name, index, "0")
        path = tmp_path / f"{index}.dcm"
        pm.write(_confidence(volume), volume, path, algorithm=ALGORITHM, quantity=quantity)
        description = f"Probability of {name}"[:64].replace("\\", "/")
        assert pydicom.dcmread(path).ContentDescription == description
        assert dicom_errors(path) == []


def test_each_frame_of_a_map_refers_to_its_slice(tmp_path: Path) -> None:
    volume, path = _volume(tmp_path / "in", _orientations()[-1]), tmp_path / "a.dcm"
    pm.write(_confidence(volume), volume, path, algorithm=ALGORITHM)
    sources = {s.SOPInstanceUID: s.ImagePositionPatient for s in source_datasets(volume)}
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        own = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(own, sources[source.ReferencedSOPInstanceUID], atol=0.01)


def test_one_time_point_of_an_enhanced_file_carries_a_map(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    dataset = enhanced_dataset([PIXELS, PIXELS + 1], _orientations()[-1], **TAGS)
    dataset.save_as(tmp_path / "in/e", enforce_file_format=True)
    volume = read_export(tmp_path / "in").volumes[1]
    pm.write(_confidence(volume), volume, tmp_path / "a.dcm", algorithm=ALGORITHM)
    assert volume.grid is not None
    np.testing.assert_array_equal(pm.read(tmp_path / "a.dcm", volume.grid), _confidence(volume))


def test_a_map_that_reads_back_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = _volume(tmp_path / "in", _orientations()[0])
    read = pm.read
    monkeypatch.setattr(pm, "read", lambda *a: np.roll(read(*a), 1, axis=2))
    with pytest.raises(MedsegError) as refused:
        pm.write(_confidence(volume), volume, tmp_path / "a", algorithm=ALGORITHM)
    assert refused.value.code == Code.SEG_FAILED and not (tmp_path / "a").exists()


def test_a_map_of_another_grid_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _orientations()[0])
    with pytest.raises(MedsegError) as refused:
        pm.write(np.zeros((2, 2, 2), np.float32), volume, tmp_path / "a", algorithm=ALGORITHM)
    assert refused.value.code == Code.SEG_IMPOSSIBLE
    assert volume.grid is not None
    with pytest.raises(MedsegError) as refused:
        pm.read(next((tmp_path / "in").iterdir()), volume.grid)
    assert refused.value.code == Code.DICOM_DAMAGED


def test_codes_of_a_class_stand_in_its_segment(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "in", _orientations()[0])
    codes = ClassCodes(CodedName("5366008", "Hippocampus"), modifier=CodedName("7771000", "Left"))
    seg.write(
        _labels(volume),
        volume,
        CLASSES.with_codes({"Left thing": codes}),
        tmp_path / "a",
        algorithm=ALGORITHM,
    )
    kind = pydicom.dcmread(tmp_path / "a").SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeValue == "5366008"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert dicom_errors(tmp_path / "a") == []


@pytest.mark.parametrize("what", ["seg", "sr", "pm"])
def test_dciodvfy_finds_no_error(tmp_path: Path, what: str) -> None:
    """No error at all, of sources that lack much; LABELMAP is a class that dciodvfy does not know yet."""
    volume = _volume(tmp_path / "in", _orientations()[-1])
    seg.write(_labels(volume), volume, CLASSES, tmp_path / "seg", algorithm=ALGORITHM)
    sizes = {"csf": 1.25, "Left thing": 620.5}
    sr.write(sizes, tmp_path / "seg", volume, CLASSES, tmp_path / "sr", algorithm=ALGORITHM)
    pm.write(_confidence(volume), volume, tmp_path / "pm", algorithm=ALGORITHM)
    assert dicom_errors(tmp_path / what) == []


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"SOPClassUID": None}, "no SOPClassUID"),
        ({"StudyInstanceUID": None}, "UID of its study"),
        ({"Modality": None}, ""),
        ({"PatientID": None, "PatientName": None, "StudyID": None, "AccessionNumber": None}, ""),
    ],
)
def test_a_series_is_tried_before_anything_runs(tmp_path: Path, tags: dict[str, None], said: str) -> None:
    write_series(tmp_path / "in", PIXELS, _orientations()[0], **TAGS)
    for path in (tmp_path / "in").iterdir():
        dataset = pydicom.dcmread(path)
        for keyword in tags:
            if keyword in dataset:
                delattr(dataset, keyword)
        dataset.save_as(path)
    (volume,) = read_export(tmp_path / "in").volumes
    reason = seg.reason_against(volume, CLASSES, sources=source_datasets(volume))
    assert said in reason and bool(said) == bool(reason)
    if not reason:
        seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
    else:
        with pytest.raises(MedsegError) as refused:
            seg.write(_labels(volume), volume, CLASSES, tmp_path / "a", algorithm=ALGORITHM)
        assert refused.value.code == Code.SEG_IMPOSSIBLE


REAL = ("mr_nonsquare_pixels", "enh_siemens_direct", "enh_hyperfine", "enh_philips_fieldmap_mag_phase")


@pytest.mark.parametrize("folder", REAL)
def test_dciodvfy_finds_no_error_that_a_real_source_has_not(tmp_path: Path, data: Path, folder: str) -> None:
    if not (data / "dicom" / folder).is_dir():
        pytest.skip(f"{folder} is not among the real data")
    volume = next(v for v in read_export(data / "dicom" / folder).volumes if v.grid is not None)
    source = tmp_path / "source"
    with volume.files[0].open() as stream:
        source.write_bytes(stream.read())
    seg.write(_labels(volume), volume, CLASSES, tmp_path / "seg", algorithm=ALGORITHM)
    sizes = {"csf": 1.25, "Left thing": 620.5}
    sr.write(sizes, tmp_path / "seg", volume, CLASSES, tmp_path / "sr", algorithm=ALGORITHM)
    pm.write(_confidence(volume), volume, tmp_path / "pm", algorithm=ALGORITHM)
    known = set(dicom_errors(source))
    assert {what: set(dicom_errors(tmp_path / what)) - known for what in ("seg", "sr", "pm")} == {
        "seg": set(), "sr": set(), "pm": set(),
    }  # fmt: skip
