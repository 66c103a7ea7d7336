"""Masks of a case: from their files, or as regions of a label map; what is missing or wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.classes import VOID, ClassList
from medseg.errors import Code
from medseg.grid import Array
from medseg.ingest import checks, layouts, splits
from medseg.ingest.patterns import CaseFiles
from medseg.mask_bits import unpack_masks
from tests.helpers.case_lists import strays

Save = Callable[..., Path]
TWO = ClassList.of_masks({"whole": (), "core": ()}, (9,))
MASKS = {"whole": "{case}_whole", "core": "{case}_core"}


def test_each_case_has_its_masks_and_half_of_them_is_none(touch: Callable[..., Path]) -> None:
    names = ("a_t1", "a_whole", "a_core", "b_t1", "c_t1", "c_core", "d_whole", "d_core")
    root = touch(*(f"{name}.nii.gz" for name in names))
    found = layouts.find(root, "patterns", {"t1": "{case}_t1"}, masks=MASKS)
    assert [case.name for case in found.cases] == ["a", "b"]
    labelled, not_labelled = found.cases
    assert [(name, path.name) for name, path in labelled.masks.items()] == [
        ("whole", "a_whole.nii.gz"),
        ("core", "a_core.nii.gz"),
    ]
    assert not_labelled.label_paths == ()
    assert strays(found) == [("c", Code.MASK_MISSING), ("d", Code.LABEL_WITHOUT_IMAGE)]
    assert "no whole" in found.strays[0].details
    assert found.files() == set(root.iterdir())
    roles = splits.given(found.cases, [{"train": ["a"]}]).rows
    assert [(row.case, row.role) for row in roles] == [("a", "train"), ("b", "unlabelled")]


def test_masks_are_read_into_bits(save: Save, ramp: Array) -> None:
    whole, core = (ramp > 20).astype(np.float32), (ramp > 40).astype(np.uint8)
    whole[2, 3, 4] = 1 - 5e-8  # as a scaled file gives it
    core[0, 0, 0] = 9
    paths = {"whole": save(whole, "whole.nii.gz"), "core": save(core, "core.nii.gz")}
    case, findings = checks.read_case(CaseFiles("a", "a", {"t1": save(ramp)}, masks=paths), TWO)
    assert [f.code for f in findings] == [Code.LABEL_ROUNDED]
    assert case is not None
    assert case.label is not None
    assert case.label.array.shape == (1, *ramp.shape)
    expected = np.stack([ramp > 20, ramp > 40]).astype(np.uint8)
    expected[:, 0, 0, 0] = VOID
    assert np.array_equal(unpack_masks(case.label.array[0], 2), expected)
    turned = CaseFiles("a", "a", {}, masks=dict(reversed(paths.items())))
    again, _ = checks.read_truth(turned, TWO, None)
    assert again is not None
    assert np.array_equal(again.array, case.label.array)


def test_every_wrong_mask_is_told(save: Save, ramp: Array) -> None:
    paths = {
        "whole": save((ramp % 3).astype(np.uint8), "whole.nii.gz"),
        "core": save(np.zeros((3, 4, 4), np.uint8), "core.nii.gz"),
    }
    case, findings = checks.read_case(CaseFiles("a", "a", {"t1": save(ramp)}, masks=paths), TWO)
    assert case is None
    assert [f.code for f in findings] == [Code.LABEL_VALUE_UNKNOWN, Code.GRID_MISMATCH]
    assert "1 inside the mask" in findings[0].how_to_fix


def test_masks_without_an_image_s_grid_are_held_against_each_other(save: Save, ramp: Array) -> None:
    one = save((ramp > 3).astype(np.uint8), "one.nii.gz")
    other = save((ramp > 3).astype(np.uint8), "other.nii.gz", np.diag([2.0, 1, 1, 1]))
    volume, findings = checks.read_masks([one, other], TWO, None)
    assert volume is None
    assert [f.code for f in findings] == [Code.GRID_MISMATCH]


def test_regions_read_what_was_predicted_as_masks(save: Save, ramp: Array) -> None:
    regions = ClassList.of_masks({"whole": [1, 2]}, (0,), (1, 2))  # 0 is void in the label maps alone
    path = save((ramp > 20).astype(np.uint8))
    volume, _ = checks.read_masks([path], regions, None)
    assert volume is not None
    assert np.array_equal(volume.array[0], ramp > 20)


@pytest.mark.data
def test_a_real_mask_whose_scaled_one_is_not_quite_one(data: Path) -> None:
    folder = data / "brats_pat0006"
    channels = {"flair": folder / "Flair_subtrMeanDivStd.nii.gz"}
    files = CaseFiles("p", "p", channels, masks={"brain": folder / "brainmask.nii.gz"})
    case, findings = checks.read_case(files, ClassList.of_masks({"brain": ()}))
    assert Code.SCALED in [f.code for f in findings]
    assert case is not None
    assert case.label is not None
    assert int((case.label.array == 1).sum()) == 1_084_095


@pytest.mark.data
def test_a_real_tumour_in_nested_regions(data: Path) -> None:
    regions = ClassList.of_masks({"whole": [1, 2, 3, 4], "core": [1, 3, 4], "enhancing": [4]}, (), range(5))
    volume, _ = checks.read_label(data / "brats_pat0006/OTMultiClass.nii.gz", regions, None)
    assert volume is not None
    sizes = unpack_masks(volume.array[0], 3).sum(axis=(1, 2, 3), dtype=np.int64)
    assert sizes.tolist() == [41838 + 109935 + 22228 + 43379, 41838 + 22228 + 43379, 43379]
