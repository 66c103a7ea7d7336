from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import MedsegError
from medseg.grid import Array, Grid, same_grid
from medseg.io import nifti, nifti_writer
from medseg.volume import Volume

MakeNifti = Callable[..., Path]

PLACE = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def label_map_of(scan: Volume) -> Volume:
    labels = (np.arange(np.prod(scan.grid.shape)) % 4).astype(np.uint8).reshape(1, *scan.grid.shape)
    return scan.with_array(labels)


def oblique() -> Array:
    c, s = np.cos(0.3), np.sin(0.3)
    return np.array([[-2 * c, 3 * s, 0, 11], [-2 * s, -3 * c, 0, -5], [0, 0, 4, 7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"qform_code": 0},
        {"sform_code": 0},
        {"qform_code": 0, "sform_code": 0},
        {"qform_code": 2, "sform_code": 4, "xyzt_units": 10},
        {"qoffset_x": 11.05},
    ],
    ids=["both", "sform", "qform", "neither", "codes", "slightly apart"],
)
def test_place_is_that_of_the_scan(
    make_nifti: MakeNifti, ramp: Array, suffix: str, kind: Any, endian: str, fields: dict[str, Any]
) -> None:
    scan_path = make_nifti(ramp, oblique(), kind=kind, endian=endian, **fields)
    scan = nifti.read(scan_path)
    out = scan_path.with_name(f"labels{suffix}")
    nifti.write(label_map_of(scan), out)
    before, after = nib.load(scan_path), nib.load(out)
    for field in PLACE:
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)
    np.testing.assert_array_equal(before.header["pixdim"][:4], after.header["pixdim"][:4])
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.header.get_data_dtype() == np.uint8
    assert after.header.endianness == "<"
    back = nifti.read(out)
    np.testing.assert_array_equal(back.array, label_map_of(scan).array)
    np.testing.assert_array_equal(back.grid.affine, scan.grid.affine)


def test_scaling_and_display_range_of_the_scan_are_not_copied(make_nifti: MakeNifti, ramp: Array) -> None:
    scan = nifti.read(make_nifti(ramp, scl_slope=3, scl_inter=1, cal_max=300, descrip=b"someone's name"))
    out = make_nifti(ramp).with_name("out.nii")
    nifti.write(label_map_of(scan), out)
    header = nib.load(out).header
    assert nib.load(out).dataobj.slope == 1
    assert (header["cal_max"], header["descrip"].item()) == (0, b"")


def test_singleton_axis_is_not_written(make_nifti: MakeNifti, ramp: Array) -> None:
    path = make_nifti(ramp[..., None], pixdim={4: 0})
    nifti.write(label_map_of(nifti.read(path)), path.with_name("out.nii.gz"))
    assert nib.load(path.with_name("out.nii.gz")).shape == (3, 4, 5)


def test_a_volume_on_another_grid_does_not_take_the_scans_forms(make_nifti: MakeNifti, ramp: Array) -> None:
    scan = nifti.read(make_nifti(ramp))
    moved = Volume(label_map_of(scan).array, Grid((3, 4, 5), oblique()), scan.source)
    out = make_nifti(ramp).with_name("out.nii.gz")
    nifti.write(moved, out)
    np.testing.assert_allclose(nifti.read(out).grid.affine, oblique(), atol=1e-5)


def test_without_a_source_both_forms_are_coded(tmp_path: Path, ramp: Array) -> None:
    nifti.write(Volume(ramp[None], Grid((3, 4, 5), oblique())), tmp_path / "out.nii.gz")
    image = nib.load(tmp_path / "out.nii.gz")
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.get_qform(), oblique(), atol=1e-5)
    np.testing.assert_allclose(image.get_sform(), oblique(), atol=1e-5)


def test_an_affine_that_is_no_rotation_is_coded_as_sform_alone(tmp_path: Path, ramp: Array) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    nifti.write(Volume(ramp[None], Grid((3, 4, 5), affine)), tmp_path / "out.nii")
    header = nib.load(tmp_path / "out.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)


def test_same_bytes_each_time_without_name_or_time(tmp_path: Path, ramp: Array) -> None:
    volume = Volume(ramp[None], Grid((3, 4, 5), np.eye(4)))
    nifti.write(volume, tmp_path / "a.nii.gz")
    nifti.write(volume, tmp_path / "b.nii.gz")
    first, second = (tmp_path / "a.nii.gz").read_bytes(), (tmp_path / "b.nii.gz").read_bytes()
    assert first == second
    assert first[3] == 0  # no flags: no name, no comment
    assert first[4:8] == b"\0\0\0\0"  # no time
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_a_failure_leaves_what_was_there(
    tmp_path: Path, ramp: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti_writer, "_write_stream", full)
    with pytest.raises(MedsegError, match="DISK_FULL"):
        nifti.write(Volume(ramp[None], Grid((3, 4, 5), np.eye(4))), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float32"), ("bool", "uint8"), (">i2", "int16")])
def test_types_that_nifti_lacks(tmp_path: Path, dtype: str, stored: str) -> None:
    array = (np.arange(60).reshape(1, 3, 4, 5) % 2).astype(dtype)
    nifti.write(Volume(array, Grid((3, 4, 5), np.eye(4))), tmp_path / "a.nii.gz")
    back = nifti.read(tmp_path / "a.nii.gz")
    assert back.array.dtype == np.dtype(stored)
    np.testing.assert_array_equal(back.array, array)


def test_several_channels_and_other_suffixes_are_refused(tmp_path: Path, ramp: Array) -> None:
    grid = Grid((3, 4, 5), np.eye(4))
    with pytest.raises(ValueError, match="one channel"):
        nifti.write(Volume(np.stack([ramp, ramp]), grid), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=r"\.nii"):
        nifti.write(Volume(ramp[None], grid), tmp_path / "a.mha")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    dtype=st.sampled_from(["uint8", "int16", "int32", "float32"]),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 99),
)
def test_read_undoes_write(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str, order: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = np.asarray(rng.integers(0, 99, shape).astype(dtype), order=order)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 3, 3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, rng.normal(size=3) * 100
    nifti.write(Volume(array[None], Grid(shape, affine)), tmp_path / "a.nii.gz")
    back = nifti.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(back.array[0], array)
    np.testing.assert_allclose(back.grid.affine, affine, atol=1e-4)
    nifti.write(back, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_written_gzip_is_readable_by_others(tmp_path: Path, ramp: Array) -> None:
    nifti.write(Volume(ramp[None], Grid((3, 4, 5), np.eye(4))), tmp_path / "a.nii.gz")
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 120


@pytest.mark.parametrize("unit", [1, 3])
def test_a_label_map_keeps_its_scans_unit_of_length(make_nifti: MakeNifti, tmp_path: Path, unit: int) -> None:
    scan = nifti.read(make_nifti(np.zeros((3, 4, 5), np.int16), np.diag([2.0, 3, 4, 1]), xyzt_units=unit))
    nifti.write(scan, tmp_path / "label.nii.gz")
    written = nib.load(tmp_path / "label.nii.gz")
    assert int(written.header["xyzt_units"]) == unit
    np.testing.assert_array_equal(written.affine, np.diag([2.0, 3, 4, 1]))
    assert same_grid(nifti.read(tmp_path / "label.nii.gz").grid, scan.grid)


def test_a_negative_pixel_size_is_not_copied(make_nifti: MakeNifti, tmp_path: Path, ramp: Array) -> None:
    nifti.write(nifti.read(make_nifti(ramp, pixdim={2: -1})), tmp_path / "label.nii")
    assert nib.load(tmp_path / "label.nii").header["pixdim"][1:4].tolist() == [1, 1, 1]
