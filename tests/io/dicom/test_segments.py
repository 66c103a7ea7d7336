"""SEG objects as label maps, against highdicom's own reading and the label maps of dcmqi."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid
from medseg.io import scans
from medseg.io.dicom import segments
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.objects import source_datasets
from medseg.io.dicom.segments import SegHeader, Segment, SegPart
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import write_series

SHAPE = (6, 5, 4)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)
CODE = pydicom.sr.coding.Code("10200004", "SCT", "Liver")
REAL = Path(os.environ.get("MEDSEG_TEST_DATA", "")) / "dicom"


def affine_of(seed: int) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0] * (0.5, 2.0, 3.25)
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    return affine


def written(folder: Path, masks: Array, seed: int = 0, **keywords: Any) -> tuple[DicomFile, Grid]:
    """A series, and its SEG of masks (slices, rows, columns, segments) as highdicom alone writes it."""
    write_series(folder / "in", PIXELS, affine_of(seed), FrameOfReferenceUID="1.2.3.4")
    (volume,) = read_export(folder / "in").volumes
    sources = source_datasets(volume)
    description = [
        hd.seg.SegmentDescription(n, f"part {n}", CODE, CODE, "MANUAL") for n in range(1, masks.shape[-1] + 1)
    ]
    keywords = {"segmentation_type": "BINARY", **keywords}
    seg = hd.seg.Segmentation(
        sources, masks, segment_descriptions=description,
        series_instance_uid="1.9", series_number=9, sop_instance_uid="1.9.1", instance_number=1,
        manufacturer="x", manufacturer_model_name="x", software_versions="1", device_serial_number="1",
        **keywords,
    )  # fmt: skip
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    assert volume.grid is not None
    return DicomFile(folder / "seg.dcm"), volume.grid


def exclusive(seed: int, count: int = 3) -> Array:
    """Masks (slices, rows, columns, segments) uint8 of which some slices are empty."""
    labels = np.random.default_rng(seed).integers(0, count + 1, SHAPE[::-1])
    labels[seed % SHAPE[2]] = 0
    return np.stack([labels == n for n in range(1, count + 1)], axis=-1).astype(np.uint8)


def by_highdicom(file: DicomFile, grid: Grid) -> Array:
    """The label map (X, Y, Z) that highdicom reads, each voxel put where its place in space lies."""
    volume = hd.seg.segread(file.path).get_volume(combine_segments=True)
    indices = np.argwhere(np.asarray(volume.array) >= 0)
    places = nib.affines.apply_affine(np.diag([-1.0, -1, 1, 1]) @ volume.affine, indices)
    own = np.rint(nib.affines.apply_affine(np.linalg.inv(grid.affine), places)).astype(int)
    labels = np.zeros(grid.shape, int)
    labels[tuple(own.T)] = np.asarray(volume.array)[tuple(indices.T)]
    return labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["BINARY", "LABELMAP"]), st.booleans())
def test_a_label_map_is_what_highdicom_reads(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str, omit: bool
) -> None:
    masks = exclusive(seed)
    file, grid = written(
        tmp_path_factory.mktemp("seg"), masks, seed, segmentation_type=kind, omit_empty_frames=omit
    )
    header = segments.read_header(file)
    assert isinstance(header, SegHeader) and header.kind == kind
    labels = segments.read_values(
        [SegPart(file, {s.number: s.number for s in header.segments})], grid, Path()
    )
    np.testing.assert_array_equal(labels, by_highdicom(file, grid))
    np.testing.assert_array_equal(labels, (masks * [1, 2, 3]).sum(axis=-1).T)


def test_the_header_tells_segments_codes_and_references(tmp_path: Path) -> None:
    file, _ = written(tmp_path, exclusive(0, 2))
    header = segments.read_header(file)
    assert isinstance(header, SegHeader)
    assert header.segments == (Segment(1, "part 1", "SCT:10200004"), Segment(2, "part 2", "SCT:10200004"))
    (volume,) = read_export(tmp_path / "in").volumes
    assert header.series_uids == {volume.header.series_uid} and header.frame_of_reference == "1.2.3.4"
    assert header.instance_uids <= {frame.instance_uid for frame in volume.frames} and header.instance_uids
    assert segments.read_header(volume.files[0]) is None


def test_segments_get_the_values_that_they_are_given_and_others_none(tmp_path: Path) -> None:
    masks = exclusive(3)
    file, grid = written(tmp_path, masks)
    labels = segments.read_values([SegPart(file, {1: 7, 3: 7})], grid, Path(), background=9)
    np.testing.assert_array_equal(labels, np.where(masks[..., 0] | masks[..., 2], 7, 9).T)


def test_segments_that_overlap_are_refused_unless_their_value_is_one(tmp_path: Path) -> None:
    masks = exclusive(1, 2)
    masks[2, 1, 1] = masks[3, 4, 5] = 1
    file, grid = written(tmp_path, masks)
    with pytest.raises(MedsegError, match="2 voxels") as refused:
        segments.read_values([SegPart(file, {1: 1, 2: 2})], grid, Path("case"))
    assert refused.value.code == Code.SEGMENTS_OVERLAP and refused.value.finding.where == "case"
    labels = segments.read_values([SegPart(file, {1: 5, 2: 5})], grid, Path())
    np.testing.assert_array_equal(labels == 5, masks.any(axis=-1).T)


def test_fractions_are_refused(tmp_path: Path) -> None:
    file, _ = written(
        tmp_path, exclusive(0) / 2, segmentation_type="FRACTIONAL", fractional_type="PROBABILITY"
    )
    header = segments.read_header(file)
    assert isinstance(header, Finding) and header.code == Code.SEG_FRACTIONAL


@pytest.mark.parametrize("shift_mm", [0.3, 500.0])
def test_another_grid_is_refused_with_the_distance(tmp_path: Path, shift_mm: float) -> None:
    file, grid = written(tmp_path, exclusive(0))
    moved = grid.affine.copy()
    moved[:3, 3] += moved[:3, 0] / 0.5 * shift_mm
    with pytest.raises(MedsegError, match=" mm ") as refused:
        segments.read_values([SegPart(file, {1: 1})], Grid(grid.shape, moved), Path())
    assert refused.value.code == Code.GRID_MISMATCH


def test_a_damaged_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    file, grid = written(tmp_path, exclusive(0))
    content = file.path.read_bytes()
    codes = set()
    for cut in range(140, len(content) - 2, 97):
        file.path.write_bytes(content[:cut])
        header = segments.read_header(file)
        if isinstance(header, SegHeader):
            with pytest.raises(MedsegError) as refused:
                segments.read_values([SegPart(file, {1: 1})], grid, Path())
            codes.add(refused.value.code)
        else:
            codes.add(header.code if header else Code.NOT_A_SCAN)
    assert Code.DICOM_DAMAGED in codes
    assert codes <= {Code.DICOM_DAMAGED, Code.NOT_A_SCAN, Code.SYNTAX_UNSUPPORTED, Code.SEG_FRACTIONAL}
    file.path.unlink()
    with pytest.raises(MedsegError) as refused:
        segments.read_values([SegPart(file, {1: 1})], grid, Path())
    assert refused.value.code == Code.FILE_UNREADABLE


@pytest.mark.data
@pytest.mark.parametrize(
    ("series", "seg", "truth"),
    [
        ("seg_dcmqi_23x38/image", "seg_dcmqi_23x38/seg/label.seg", "seg_dcmqi_23x38/nrrd/label.nrrd"),
        ("seg_dcmqi_24x38/image", "seg_dcmqi_24x38/seg/label.seg", "seg_dcmqi_24x38/nrrd/label.nrrd"),
        ("seg_dcmqi_liver_ct", "seg_dcmqi_liver_ct/liver.dcm", "seg_dcmqi_liver_ct/liver_seg.nrrd"),
        ("seg_dcmqi_liver_ct", "seg_liver_encodings/liver_j2k.dcm", "seg_dcmqi_liver_ct/liver_seg.nrrd"),
    ],
)  # fmt: skip
def test_segmentations_of_dcmqi_are_the_label_maps_they_were_made_from(
    series: str, seg: str, truth: str
) -> None:
    if not (REAL / seg).is_file():
        pytest.skip("MEDSEG_TEST_DATA names no folder with dicom/seg_*")
    (volume,) = read_export(REAL / series).volumes
    assert volume.grid is not None
    labels = segments.read_values([SegPart(DicomFile(REAL / seg), {1: 1})], volume.grid, Path())
    expected = scans.read(REAL / truth)
    indices = np.argwhere(expected.array[0] > 0)
    places = nib.affines.apply_affine(expected.grid.affine, indices)
    own = nib.affines.apply_affine(np.linalg.inv(volume.grid.affine), places)
    np.testing.assert_allclose(own, np.rint(own), atol=0.01)
    assert {*map(tuple, np.rint(own).astype(int))} == {*map(tuple, np.argwhere(labels))}
