"""Coded names: SNOMED CT's check digit, and codes that DICOM could not write."""

from __future__ import annotations

import pytest

from medseg.classes import ClassList, ClassListError
from medseg.coding import ClassCodes, CodedName, CodingError, is_concept

LEFT = CodedName("7771000", "Left")
HIPPOCAMPUS = ClassCodes(CodedName("5366008", "Hippocampus"), modifier=LEFT)
CLASSES = ClassList.from_names({0: "background", 1: "a", 2: "b"})


def test_every_identifier_that_dicom_uses_has_its_check_digit() -> None:
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts["SCT"]
    wrong = [value for codes in concepts.values() for value in codes if not is_concept(value)]
    assert len(concepts) > 5000 and set(wrong) <= {"115347700"}  # a slip in pydicom's table


def test_a_wrong_digit_and_two_digits_exchanged_are_seen() -> None:
    value = "65216001"
    for place in range(len(value)):
        others = [
            f"{value[:place]}{digit}{value[place + 1 :]}" for digit in "0123456789" if digit != value[place]
        ]
        assert not any(map(is_concept, others))
    pairs = [p for p in range(len(value) - 1) if value[p] != value[p + 1]]
    assert not any(is_concept(value[:p] + value[p + 1] + value[p] + value[p + 2 :]) for p in pairs)


@pytest.mark.parametrize(
    ("value", "meaning", "scheme", "said"),
    [
        ("65216002", "CSF", "SCT", "no SNOMED CT identifier"),
        ("T-C2150", "CSF", "SCT", "no SNOMED CT identifier"),
        ("65216001", "", "SCT", "meaning"),
        ("65216001", "a\\b", "SCT", "meaning"),
        ("65216001", "x" * 65, "SCT", "65 characters"),
        ("A" * 17, "a", "99MINE", "code value"),
        ("A", "a", "mine and yours", "coding scheme"),
    ],
)
def test_codes_that_dicom_cannot_write_are_refused(value: str, meaning: str, scheme: str, said: str) -> None:
    with pytest.raises(CodingError, match=said):
        CodedName(value, meaning, scheme)


def test_codes_of_classes_come_back_from_json() -> None:
    classes = CLASSES.with_codes({"b": HIPPOCAMPUS})
    assert ClassList.from_json(classes.to_json(codes=True)) == classes
    assert ClassList.from_json(classes.to_json()) == CLASSES  # rows of tables and labels.json hold none
    assert str(HIPPOCAMPUS) == "Hippocampus (SCT 5366008), Left (SCT 7771000)"


@pytest.mark.parametrize("name", ["background", "c"])
def test_codes_of_no_foreground_class_are_refused(name: str) -> None:
    with pytest.raises(ClassListError, match="name one of a, b"):
        CLASSES.with_codes({name: HIPPOCAMPUS})
