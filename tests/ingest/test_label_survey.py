"""The values of label files that nobody described: classes, void, and files that are no label maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from medseg.grid import Array
from medseg.ingest.label_survey import survey
from tests.helpers.images import save as save_image

Save = Callable[..., Path]


def label(*values: int) -> Array:
    array = np.zeros((4, 4, 4), np.int16)
    array.ravel()[: len(values)] = values
    return array


def test_an_image_among_label_files_is_named_and_brings_no_classes(save: Save, tmp_path: Path) -> None:
    paths = [save(label(1, 2), f"l{i}.nii") for i in range(3)] + [save(label(*range(60)), "x.nii")]
    result = survey(paths, tmp_path)
    assert result.classes == {0: "background", 1: "label_1", 2: "label_2"}
    (remark,) = result.remarks
    assert remark.startswith("x.nii alone holds 60 values") and "image" in remark


def test_one_file_of_two_may_be_the_image(save: Save, tmp_path: Path) -> None:
    result = survey([save(label(*range(50)), "a.nii"), save(label(1), "b.nii")], tmp_path)
    assert result.classes == {0: "background", 1: "label_1"} and "a.nii" in result.remarks[0]


def test_a_value_that_one_file_alone_brings_is_named(save: Save, tmp_path: Path) -> None:
    paths = [save(label(1, 2), f"l{i}.nii") for i in range(4)] + [save(label(1, 2, 7), "odd.nii")]
    result = survey(paths, tmp_path)
    assert result.classes is not None and 7 in result.classes
    assert result.remarks == ("of 5 label files odd.nii alone holds 7: is that right?",)


def test_large_class_lists_that_all_files_share_are_no_images(save: Save, tmp_path: Path) -> None:
    result = survey([save(label(*range(50)), f"l{i}.nii") for i in range(3)], tmp_path)
    assert result.classes is not None and len(result.classes) == 50 and not result.remarks


def test_values_below_zero_are_void(save: Save, tmp_path: Path) -> None:
    result = survey([save(label(-1, 0, 1, -100), "a.nii")], tmp_path)
    assert result.classes == {0: "background", 1: "label_1"} and result.void == (-100, -1)
    assert "-100, -1" in result.remarks[0]


def test_files_that_are_no_label_maps_are_named(save: Save, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"no scan")
    between = save((label(1) * 0.4).astype(np.float32), "between.nii")
    result = survey([save(label(1), "a.nii"), broken, between], tmp_path)
    (remark,) = result.remarks
    assert remark.startswith("between.nii, broken.nii are no label maps")


def test_more_values_than_a_class_list_holds_are_none(save: Save, tmp_path: Path) -> None:
    array = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    result = survey([save(array, f"l{i}.nii") for i in range(2)], tmp_path)
    assert result.classes is None and "512 values" in result.remarks[-1]


def test_255_beside_other_values_may_be_void(save: Save, tmp_path: Path) -> None:
    assert "255" in survey([save(label(1, 255), "a.nii")], tmp_path).remarks[0]
    assert not survey([save(label(255), "b.nii")], tmp_path).remarks


def test_masks_with_soft_edges_are_told_from_photographs(tmp_path: Path) -> None:
    sharp = np.zeros((32, 32), np.uint8)
    sharp[8:24] = 255
    soft = sharp.copy()
    soft[7, :20] = np.arange(20, 220, 10)
    photograph = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    for name, array in (("a", sharp), ("b", sharp), ("soft", soft), ("photo", photograph)):
        save_image(tmp_path / f"{name}.png", array)
    assert survey([tmp_path / f"{name}.png" for name in ("a", "b", "soft")], tmp_path).soft_edges
    result = survey([tmp_path / f"{name}.png" for name in ("a", "b", "photo")], tmp_path)
    assert not result.soft_edges and "photo.png" in result.remarks[0]


def test_files_that_are_no_label_maps_are_named_in_one_sentence(save: Save, tmp_path: Path) -> None:
    paths = [save(label().astype(np.float32) + 0.5, f"l{i}.nii") for i in range(5)]
    result = survey(paths, tmp_path)
    assert result.classes is None
    assert result.remarks == (
        "l0.nii, l1.nii, l2.nii and 2 more are no label maps: they cannot be read, hold several"
        " volumes, or their values are no whole numbers",
    )
