"""Rules that choose segments by label, number or code, and the patient by whom subjects are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.ingest.dicom_folder import patient_of
from medseg.ingest.dicom_rules import SegmentRule, selects
from medseg.io.dicom.segments import Segment
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import write_series


@pytest.mark.parametrize(
    ("tags", "patient"),
    [
        ({"PatientID": " 7 ", "IssuerOfPatientID": "ward"}, ("7", "ward")),
        ({"PatientID": ["a", "b"]}, ("a b", "")),
        ({"PatientID": ""}, ("", "")),
    ],
)
def test_the_patient_is_read_without_outer_spaces(
    tmp_path: Path, tags: dict[str, str], patient: tuple[str, str]
) -> None:
    write_series(tmp_path, np.ones((4, 4, 3), np.uint16), np.eye(4), **tags)
    (volume,) = read_export(tmp_path).volumes
    assert patient_of(volume) == patient


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [(2, True), (3, False), ("left*", True), ("LEFT LUNG", True), ("lung", False), ("SCT:44029006", True)],
)
def test_a_segment_is_chosen_by_number_label_or_code(selector: int | str, chosen: bool) -> None:
    assert selects(selector, Segment(2, "Left lung", "SCT:44029006")) is chosen


def test_names_of_classes_are_labels_regardless_of_case_and_underscores() -> None:
    rule = SegmentRule({1: "left_lung", 2: "Right Lung", 3: "lung"})
    values = {label: rule.values_of(Segment(9, label)) for label in ("Left lung", "right_lung ", "heart")}
    assert values == {"Left lung": [1], "right_lung ": [2], "heart": []}
