"""Classes with a file each, `{class}` in the label's pattern: read as one label map, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.classes import VOID, ClassList
from medseg.config.data import Data
from medseg.errors import Code
from medseg.grid import Array
from medseg.ingest import checks, layouts
from medseg.ingest.patterns import CaseFiles
from pipelines.commands import check_cases
from pipelines.scored_case import read_labels
from tests.helpers.case_lists import strays

Save = Callable[..., Path]
NAMES = ("aorta", "liver", "spleen")
LIST = replace(ClassList.from_names(dict(enumerate(("background", *NAMES)))), own_files=True)


def data_of(**changes: Any) -> Data:
    return Data.model_validate(
        {
            "layout": "patterns",
            "channels": {"ct": "{case}/ct.nii.gz"},
            "label": "{case}/seg/{class}.nii.gz",
            "classes": dict(enumerate(("background", *NAMES))),
            **changes,
        }
    )


@pytest.fixture
def truth(ramp: Array) -> Array:
    """Class indices of areas that touch and of one that is empty."""
    return np.select([ramp > 45, ramp > 30], [3, 1], 0)


@pytest.fixture
def paths(save: Save, truth: Array) -> dict[str, Path]:
    return {name: save((truth == i).astype(np.uint8), f"{name}.nii.gz") for i, name in enumerate(NAMES, 1)}


def test_a_case_has_a_file_of_each_class_and_others_are_ignored(touch: Callable[..., Path]) -> None:
    names = [*(f"a/seg/{name}" for name in (*NAMES, "trachea")), "b/seg/liver", "a/ct", "b/ct", "c/ct"]
    root = touch(*(f"{name}.nii.gz" for name in names))
    data = data_of()
    masks = data.mask_patterns
    assert masks["liver"] == "{case}/seg/liver.nii.gz" and data.label_pattern is None
    found = layouts.find(root, "patterns", data.channels, data.label_pattern, masks=masks)
    labelled, not_labelled = found.cases
    assert (labelled.name, [*labelled.masks]) == ("a", [*NAMES]) and not not_labelled.label_paths
    assert strays(found) == [("b", Code.MASK_MISSING)]
    assert [path.name for path in found.ignored] == ["trachea.nii.gz"]


def test_files_are_read_as_the_one_label_map_that_they_make(
    paths: dict[str, Path], truth: Array, save: Save, ramp: Array
) -> None:
    case, findings = checks.read_case(CaseFiles("a", "a", {"ct": save(ramp)}, masks=paths), LIST)
    assert findings == [] and case is not None and case.label is not None
    assert np.array_equal(case.label.array[0], truth)
    turned = dict(reversed(paths.items()))
    assert np.array_equal(read_labels(turned, LIST, case.image.grid).array[0], truth)


def test_two_classes_in_one_voxel_are_refused_or_given_to_the_later_one(
    paths: dict[str, Path], truth: Array, save: Save
) -> None:
    save((truth > 0).astype(np.uint8), "liver.nii.gz")
    label, findings = checks.read_truth(CaseFiles("a", "a", {}, masks=paths), LIST, None)
    assert label is None and [finding.code for finding in findings] == [Code.SEGMENTS_OVERLAP] * 2
    assert findings[0].details == "voxels of liver are voxels of aorta, too"
    assert findings[1].details == "voxels of spleen are voxels of liver, too"
    later = data_of(overlap="later").class_list()
    label, findings = checks.read_truth(CaseFiles("a", "a", {}, masks=paths), later, None)
    assert findings == [] and label is not None
    assert np.array_equal(label.array[0], np.select([truth == 3, truth > 0], [3, 2], 0))


def test_void_and_other_values_than_1(paths: dict[str, Path], truth: Array, save: Save) -> None:
    save(np.where(truth == 3, 9, 255 * (truth == 1)).astype(np.uint8), "aorta.nii.gz")
    case = CaseFiles("a", "a", {}, masks=paths)
    label, findings = checks.read_truth(case, LIST, None)
    assert label is None and [finding.code for finding in findings] == [Code.LABEL_VALUE_UNKNOWN]
    save((truth == 3).astype(np.uint8) * 9, "spleen.nii.gz")
    save((truth == 1) * np.uint8(9), "aorta.nii.gz")
    grey = data_of(label_form={"above": 0.5}).class_list()
    label, _ = checks.read_truth(case, grey, None)
    assert label is not None and np.array_equal(label.array[0], truth)
    label, _ = checks.read_truth(case, replace(LIST, void_values=(9,)), None)
    assert label is not None and np.array_equal(label.array[0], np.where(truth > 0, VOID, 0))


def test_a_note_of_many_files_is_one(paths: dict[str, Path], truth: Array, save: Save) -> None:
    for i, name in enumerate(NAMES, 1):
        save((truth == i) * np.float32(1 - 5e-8), f"{name}.nii.gz")
    label, findings = checks.read_truth(CaseFiles("a", "a", {}, masks=paths), LIST, None)
    assert label is not None and [finding.code for finding in findings] == [Code.LABEL_ROUNDED]
    assert findings[0].details.endswith("; and 1 more of these files")  # the third is empty


def test_outlines_of_a_montage_have_the_classes_colours() -> None:
    colours = check_cases.colours(LIST, {1})
    assert colours == {number: row.colour for number, row in enumerate(LIST.classes[1:], 1)}
