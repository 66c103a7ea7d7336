"""Rules that choose series by their headers, and segments by label, number or code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.ingest.series_rules import (
    SegmentRule,
    SeriesFacts,
    SeriesRule,
    escaped,
    like,
    read_facts,
    selects,
)
from medseg.io.dicom.segments import Segment
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import write_series

FACTS = SeriesFacts(
    patient=("p", ""),
    study_uid="1",
    series_uid="2",
    modality="MR",
    description="T1 MPRAGE sag",
    protocol="Brain^t1",
    sequences=("GR", "IR", "*tfl3d1"),
    image_type=("ORIGINAL", "PRIMARY", "M"),
    contrast_agent=False,
)


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"description": ("*mprage*",)}, True),
        ({"description": ("*flair*", "t1*")}, True),
        ({"description": ("mprage",)}, False),
        ({"description": ("t1*",), "without": ("*SAG",)}, False),
        ({"without": ("*cor*",)}, True),
        ({"protocol": "*t1"}, True),
        ({"protocol": "t1"}, False),
        ({"sequence": "gr"}, True),
        ({"sequence": "SE"}, False),
        ({"modality": "mr"}, True),
        ({"modality": "CT"}, False),
        ({"image_type": ("original", "m")}, True),
        ({"image_type": ("DERIVED",)}, False),
        ({"contrast": False}, True),
        ({"contrast": True}, False),
        ({"min_slices": 20}, True),
        ({"min_slices": 21}, False),
    ],
)
def test_everything_that_a_rule_says_must_fit(rule: dict[str, Any], matches: bool) -> None:
    assert SeriesRule(**rule).matches(FACTS, 20) is matches


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ContrastBolusAgent": "Gadovist"}, {"contrast_agent": True}),
        ({"ContrastBolusAgent": "NONE"}, {"contrast_agent": False}),
        ({"ContrastBolusAgent": ""}, {"contrast_agent": False}),
        ({"PatientID": " 7 ", "IssuerOfPatientID": "ward"}, {"patient": ("7", "ward")}),
        ({"ScanningSequence": ["GR", "IR"], "SequenceName": "tfl"}, {"sequences": ("GR", "IR", "tfl")}),
        ({"SeriesDescription": " t1 ", "ProtocolName": "brain"}, {"description": "t1", "protocol": "brain"}),
    ],
)
def test_the_header_is_read_as_rules_need_it(
    tmp_path: Path, tags: dict[str, Any], expected: dict[str, Any]
) -> None:
    write_series(tmp_path, np.ones((4, 4, 3), np.uint16), np.eye(4), **tags)
    (volume,) = read_export(tmp_path).volumes
    facts = read_facts(volume)
    assert facts == replace(facts, **expected) and facts.modality == "MR"


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


@pytest.mark.parametrize("text", ["a*b", "t1 [axial]", "what?", "plain"])
def test_an_escaped_text_means_itself_alone(text: str) -> None:
    assert like(text.upper(), escaped(text)) and not like(text + "x", escaped(text))
    assert not like("aXb", escaped("a*b"))
