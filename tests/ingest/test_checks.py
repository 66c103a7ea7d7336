from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.errors import Code, Finding
from medseg.grid import Array
from medseg.ingest import checks, voxels
from medseg.ingest.patterns import CaseFiles

Save = Callable[..., Path]


def codes(findings: list[Finding]) -> list[Code]:
    return [finding.code for finding in findings]


def case_of(image: Path, label: Path | None = None) -> CaseFiles:
    return CaseFiles("case", "subject", {"image": image}, label)


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small arrays span several slabs."""
    monkeypatch.setattr(voxels, "_SLAB_VOXELS", 24)


def label_of(array: Array) -> Array:
    return np.where(array % 3 == 0, 4, array % 2).astype(np.uint8)


def test_good_case(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp)
    case, findings = checks.read_case(case_of(save(ramp), save(label, "label.nii.gz")), classes)
    assert findings == []
    assert case is not None
    assert (case.name, case.subject) == ("case", "subject")
    np.testing.assert_array_equal(case.image.array[0], ramp)
    assert case.label is not None
    assert case.label.array.dtype == np.uint8
    np.testing.assert_array_equal(case.label.array[0], np.where(label == 4, 2, label))


def test_case_without_label(save: Save, ramp: Array, classes: ClassList) -> None:
    case, findings = checks.read_case(case_of(save(ramp)), classes)
    assert case is not None
    assert case.label is None
    assert findings == []


def test_void_becomes_255(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp)
    label[0, 0, 0] = 255
    volume, _ = checks.read_label(save(label), classes, None)
    assert volume is not None
    assert volume.array[0, 0, 0, 0] == 255


def test_label_takes_the_images_own_grid(save: Save, ramp: Array, classes: ClassList) -> None:
    shifted = np.eye(4)
    shifted[0, 3] = 0.09
    paths = case_of(save(ramp), save(label_of(ramp), "label.nii.gz", shifted))
    case, findings = checks.read_case(paths, classes)
    assert case is not None
    assert case.label is not None
    assert case.label.grid is case.image.grid
    assert findings == []


@pytest.mark.parametrize("shift", [0.11, 5.0])
def test_label_elsewhere(save: Save, ramp: Array, classes: ClassList, shift: float) -> None:
    shifted = np.eye(4)
    shifted[0, 3] = shift
    case, findings = checks.read_case(case_of(save(ramp), save(label_of(ramp), "l.nii.gz", shifted)), classes)
    assert case is None
    assert codes(findings) == [Code.GRID_MISMATCH]
    assert f"{shift:.3g} mm" in findings[0].details


def test_label_of_another_shape(save: Save, ramp: Array, classes: ClassList) -> None:
    paths = case_of(save(ramp), save(label_of(ramp)[:, :, :4], "l.nii.gz"))
    case, findings = checks.read_case(paths, classes)
    assert case is None
    assert codes(findings) == [Code.GRID_MISMATCH]
    assert "(3, 4, 4)" in findings[0].details


def test_label_values_near_integers_are_rounded(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp).astype(np.float32)
    label[label == 4] = 4.0009
    volume, findings = checks.read_label(save(label), classes, None)
    assert codes(findings) == [Code.LABEL_ROUNDED]
    assert "4.0009" in findings[0].details
    assert volume is not None
    np.testing.assert_array_equal(volume.array[0], np.where(label_of(ramp) == 4, 2, label_of(ramp)))


def test_label_values_far_from_integers(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp).astype(np.float32)
    label[1, 2, 3] = 0.5
    label[2, 2, 3] = 1.0015
    volume, findings = checks.read_label(save(label), classes, None)
    assert volume is None
    assert codes(findings) == [Code.LABEL_NOT_INTEGER]
    assert findings[0].details == "2 voxels, for example 0.5"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float32])
def test_all_unknown_values_are_named(save: Save, ramp: Array, classes: ClassList, dtype: type) -> None:
    label = label_of(ramp).astype(dtype)
    label[0, 0, 0], label[2, 3, 4] = 7, 9  # in different slabs
    volume, findings = checks.read_label(save(label), classes, None)
    assert volume is None
    assert codes(findings) == [Code.LABEL_VALUE_UNKNOWN]
    assert "7, 9" in findings[0].details


def test_enormous_label_value_is_unknown_without_a_warning(
    save: Save, ramp: Array, classes: ClassList
) -> None:
    label = ramp.astype(np.float32) * np.float32(1e30)
    assert codes(checks.read_label(save(label), classes, None)[1]) == [Code.LABEL_VALUE_UNKNOWN]


def test_label_with_nan(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp).astype(np.float32)
    label[0, 0, 0] = np.nan
    assert codes(checks.read_label(save(label), classes, None)[1]) == [Code.NAN_OR_INF]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite(save: Save, ramp: Array, classes: ClassList, value: float) -> None:
    array = ramp.astype(np.float32)
    array[1, 2, 3] = array[0, 0, 4] = value
    case, findings = checks.read_case(case_of(save(array)), classes)
    assert case is None
    assert codes(findings) == [Code.NAN_OR_INF]
    assert findings[0].details == "2 voxels, the first at (1, 2, 3)"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_image(save: Save, classes: ClassList, dtype: type) -> None:
    _, findings = checks.read_case(case_of(save(np.full((3, 4, 5), 7, dtype))), classes)
    assert codes(findings) == [Code.CONSTANT]
    assert findings[0].details == "every voxel is 7"


def test_one_voxel_that_differs_is_not_constant(save: Save, classes: ClassList) -> None:
    array = np.zeros((3, 4, 5), np.uint8)
    array[2, 3, 4] = 1
    assert checks.read_case(case_of(save(array)), classes)[0] is not None


def test_bad_image_and_bad_label_are_both_reported(save: Save, ramp: Array, classes: ClassList) -> None:
    label = label_of(ramp)
    label[0, 0, 0] = 9
    absent = Path("absent.nii.gz")
    case, findings = checks.read_case(case_of(absent, save(label)), classes)
    assert case is None
    assert codes(findings) == [Code.FILE_MISSING, Code.LABEL_VALUE_UNKNOWN]


def test_absent_label_file(save: Save, ramp: Array, classes: ClassList) -> None:
    case, findings = checks.read_case(case_of(save(ramp), Path("absent.nii.gz")), classes)
    assert case is None
    assert codes(findings) == [Code.FILE_MISSING]


def test_one_channel_is_not_copied(save: Save, ramp: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.np, "empty", lambda *_, **__: pytest.fail("a copy was made"))
    monkeypatch.setattr("medseg.io.nifti.np.empty", np.zeros)
    image, findings = checks.read_image({"image": save(ramp)})
    assert image is not None
    assert findings == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        *(("int16", "int16", "int16"), ("uint8", "int16", "int16"), ("int16", "float32", "float32")),
        *(
            ("int32", "float32", "float32"),
            ("float64", "float64", "float64"),
            ("uint8", "float64", "float32"),
            ("int64", "uint64", "float32"),
        ),
    ],
)
def test_channels_are_stacked_in_their_order(
    save: Save, ramp: Array, first: str, second: str, expected: str
) -> None:
    channels = {
        "t1": save(ramp.astype(first), "t1.nii.gz"),
        "t2": save(ramp[::-1].astype(second), "t2.nii.gz"),
    }
    image, findings = checks.read_image(channels)
    assert findings == []
    assert image is not None
    assert image.array.dtype == np.dtype(expected)
    np.testing.assert_array_equal(image.array, np.stack([ramp, ramp[::-1]]))
    assert all(channel.flags.f_contiguous for channel in image.array)


def test_channels_on_two_grids(save: Save, ramp: Array) -> None:
    shifted = np.eye(4)
    shifted[2, 3] = 1
    channels = {"t1": save(ramp, "t1.nii.gz"), "t2": save(ramp, "t2.nii.gz", shifted)}
    image, findings = checks.read_image(channels)
    assert image is None
    assert codes(findings) == [Code.GRID_MISMATCH]
    assert findings[0].where.endswith("t2.nii.gz")


def four_d(path: Path, array: Array) -> Path:
    image = nib.Nifti1Image(array, np.eye(4))
    image.set_qform(np.eye(4), code=2)
    nib.save(image, path)
    return path


def test_channels_that_share_a_file_are_its_fourth_axis(tmp_path: Path, ramp: Array) -> None:
    path = four_d(tmp_path / "a.nii", np.stack([ramp, -ramp], axis=-1))
    image, findings = checks.read_image({"flair": path, "t1": path})
    assert findings == []
    assert image is not None
    np.testing.assert_array_equal(image.array, np.stack([ramp, -ramp]))


def test_a_fourth_axis_of_another_length(tmp_path: Path, ramp: Array) -> None:
    path = four_d(tmp_path / "a.nii", np.stack([ramp, -ramp, ramp], axis=-1))
    image, findings = checks.read_image({"flair": path, "t1": path})
    assert image is None
    assert codes(findings) == [Code.CHANNEL_MISSING]
    assert "3 channels, the recipe names 2: flair, t1" in findings[0].details


def test_a_fourth_axis_that_nobody_named(tmp_path: Path, ramp: Array) -> None:
    assert codes(
        checks.read_image({"image": four_d(tmp_path / "a.nii", np.stack([ramp, -ramp], axis=-1))})[1]
    ) == [Code.FOUR_D]


def test_fault_in_one_of_several_channels_names_it(ramp: Array, tmp_path: Path) -> None:
    path = four_d(tmp_path / "a.nii", np.stack([ramp, np.full_like(ramp, 3)], axis=-1))
    _, findings = checks.read_image({"a": path, "b": path})
    assert [finding.details for finding in findings] == ["channel 1: every voxel is 3"]


def test_limit_of_voxels(save: Save, ramp: Array, classes: ClassList) -> None:
    paths = case_of(save(ramp), save(label_of(ramp), "l.nii.gz"))
    assert codes(checks.read_case(paths, classes, max_voxels=59)[1]) == [Code.TOO_LARGE] * 2
    assert checks.read_case(paths, classes, max_voxels=60)[0] is not None


def test_notes_stand_on_the_case(tmp_path: Path, ramp: Array, classes: ClassList) -> None:
    nib.save(nib.Nifti1Image(ramp[..., None], np.diag([-1, 1, 1, 1])), tmp_path / "a.nii")
    case, findings = checks.read_case(case_of(tmp_path / "a.nii"), classes)
    assert case is not None
    assert codes(findings) == [Code.SINGLETON_AXIS, Code.ONE_FORM, Code.FLIPPED]
    assert case.notes == tuple(findings)
    assert case.image.notes == tuple(findings)


def test_label_values_of_a_few_files(save: Save, ramp: Array, tmp_path: Path) -> None:
    (tmp_path / "bad.nii").write_bytes(b"bad")
    paths = [
        save(label_of(ramp), "a.nii.gz"),
        save(np.full((3, 4, 5), 7.0002, np.float32), "b.nii.gz"),
        save(np.full((3, 4, 5), 2.5, np.float32), "c.nii.gz"),
        tmp_path / "bad.nii",
    ]
    assert checks.label_values(paths) == [0, 1, 4, 7]


def axes_in_all_orders() -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    return [(axes, senses) for axes in permutations(range(3)) for senses in product((1, -1), repeat=3)]


def stored(
    array: Array, affine: Array, axes: tuple[int, ...], senses: tuple[int, ...]
) -> tuple[Array, Array]:
    """The same voxels at the same places, axes stored in another order and sense; by nibabel."""
    image = nib.Nifti1Image(array, affine)
    other = image.as_reoriented(np.array(list(zip(axes, senses, strict=True)), float))
    return np.asanyarray(other.dataobj), other.affine


@pytest.mark.parametrize("degrees", [0.0, 30.0, 45.0])
@pytest.mark.parametrize(("axes", "senses"), axes_in_all_orders())
def test_a_label_in_another_order_of_axes_is_reoriented(
    save: Save,
    ramp: Array,
    classes: ClassList,
    axes: tuple[int, ...],
    senses: tuple[int, ...],
    degrees: float,
) -> None:
    turn, angle = np.eye(4), np.radians(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = -30, 20, 10
    label, place = stored(label_of(ramp), affine, axes, senses)
    paths = case_of(save(ramp, affine=affine), save(label, "label.nii.gz", place))
    case, findings = checks.read_case(paths, classes)
    assert case is not None and case.label is not None
    expected = np.where(label_of(ramp) == 4, 2, label_of(ramp))
    np.testing.assert_array_equal(case.label.array[0], expected)
    assert case.label.grid is case.image.grid
    same = axes == (0, 1, 2) and senses == (1, 1, 1)
    assert (Code.REORIENTED in codes(findings)) is not same


def test_a_channel_in_another_order_of_axes_is_reoriented(save: Save, ramp: Array) -> None:
    other, place = stored(ramp * 2, np.eye(4), (2, 0, 1), (-1, 1, -1))
    image, findings = checks.read_image({"t1": save(ramp, "a.nii.gz"), "t2": save(other, "b.nii.gz", place)})
    assert image is not None
    np.testing.assert_array_equal(image.array, [ramp, ramp * 2])
    assert [f.where[-8:] for f in findings if f.code is Code.REORIENTED] == ["b.nii.gz"]


def test_masks_in_another_order_of_axes_are_reoriented(save: Save, ramp: Array) -> None:
    first, second = (ramp % 2).astype(np.uint8), (ramp % 3 == 0).astype(np.uint8)
    other, place = stored(second, np.eye(4), (0, 1, 2), (-1, -1, 1))
    paths = [save(first, "a.nii.gz"), save(other, "b.nii.gz", place)]
    masks, findings = checks.read_masks(paths, ClassList.of_masks({"a": (), "b": ()}), None)
    assert masks is not None and Code.REORIENTED in codes(findings)
    np.testing.assert_array_equal(masks.array[0], first + 2 * second)


def test_another_order_of_axes_a_millimetre_away_is_another_grid(
    save: Save, ramp: Array, classes: ClassList
) -> None:
    label, place = stored(label_of(ramp), np.eye(4), (0, 1, 2), (-1, -1, 1))
    place[0, 3] += 1
    _, findings = checks.read_case(case_of(save(ramp), save(label, "l.nii.gz", place)), classes)
    assert Code.GRID_MISMATCH in codes(findings) and Code.REORIENTED not in codes(findings)
    assert ["corners up to 1 mm" in f.details for f in findings if f.code is Code.GRID_MISMATCH] == [True]


@pytest.mark.parametrize("value", [-1.797e308, 3.5e38, 1e300])
def test_values_beyond_single_precision_are_refused(save: Save, ramp: Array, value: float) -> None:
    array = ramp.astype(np.float64)
    array[1, 2, 3] = value
    image, findings = checks.read_image({"image": save(array)})
    assert image is None and codes(findings) == [Code.VALUES_TOO_LARGE]
    assert "divide" in findings[0].how_to_fix
    array[1, 2, 3] = 3.4e38
    assert checks.read_image({"image": save(array)})[0] is not None


@pytest.mark.parametrize(("dtype", "offset"), [(np.int64, 2**60), (np.int64, -(2**60)), (np.uint64, 2**63)])
def test_integers_beyond_double_precision_are_refused(
    save: Save, ramp: Array, dtype: type, offset: int
) -> None:
    array = ramp.astype(dtype) + np.array(offset, dtype)
    assert codes(checks.read_image({"image": save(array)})[1]) == [Code.VALUES_TOO_LARGE]
    near = ramp.astype(np.int64) + 2**40
    assert checks.read_image({"image": save(near)})[0] is not None


@pytest.mark.parametrize("keywords", [{"n4": True}, {"intensity": "none"}])
def test_an_offset_that_single_precision_loses_is_refused_where_it_matters(
    save: Save, ramp: Array, keywords: dict[str, Any]
) -> None:
    far, near = save(ramp + 1e10, "far.nii.gz"), save(ramp + 0.5, "near.nii.gz")
    assert codes(checks.read_image({"image": far}, **keywords)[1]) == [Code.VALUES_TOO_LARGE]
    assert checks.read_image({"image": near}, **keywords)[0] is not None
    assert checks.read_image({"image": far})[0] is not None


def test_channels_of_two_dtypes_keep_grey_levels_far_from_zero(save: Save, ramp: Array) -> None:
    channels = {"a": save(ramp.astype(np.int32) + 2**30, "a.nii.gz"), "b": save(ramp + 0.5, "b.nii.gz")}
    image, _ = checks.read_image(channels)
    assert image is not None and image.array.dtype == np.float64
    np.testing.assert_array_equal(image.array, [ramp.astype(float) + 2**30, ramp + 0.5])


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_imagenet_scaling_needs_a_known_white(save: Save, ramp: Array, dtype: type) -> None:
    path = save(ramp.astype(dtype))
    image, findings = checks.read_image({"image": path}, intensity="imagenet")
    assert image is None and codes(findings) == [Code.VALUE_RANGE_UNKNOWN]
    assert "zscore" in findings[0].how_to_fix


def test_imagenet_scaling_needs_channels_of_one_depth(save: Save, ramp: Array) -> None:
    paths = {"a": save(ramp.astype(np.uint8), "a.nii.gz"), "b": save((ramp / 60).astype(np.float32), "b.nii")}
    assert codes(checks.read_image(paths, intensity="imagenet")[1]) == [Code.VALUE_RANGE_UNKNOWN]
    alike = {"a": paths["a"], "b": save(ramp.astype(np.uint8), "c.nii")}
    assert checks.read_image(alike, intensity="imagenet")[0] is not None
