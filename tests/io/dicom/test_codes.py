"""Codes of classes in DICOM: a class's own first, then usual names as DICOM's tables have them."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.sr._concepts_dict import concepts

from medseg.classes import Class
from medseg.coding import ClassCodes, CodedName
from medseg.io.dicom.codes import SCHEME, USUAL, codes_of


def _row(name: str, codes: ClassCodes | None = None) -> Class:
    return Class(1, name, (1, 2, 3), codes)


@pytest.mark.parametrize("name", USUAL)
def test_usual_codes_are_those_of_dicoms_tables(name: str) -> None:
    codes = USUAL[name]
    for code in (codes.type, codes.category):
        known = {
            meaning
            for table in concepts["SCT"].values()
            for v, (meaning, _) in table.items()
            if v == code.value
        }
        assert code.meaning in known
    assert codes.category.value in {"91723000", "91720002", "85756007", "49755003"}  # context group 7150


def test_a_classs_own_codes_win() -> None:
    own = ClassCodes(CodedName("12738006", "Brain"))
    assert codes_of(_row("csf", own)) is own
    assert codes_of(_row("Grey  Matter")) is USUAL["gm"]


@pytest.mark.parametrize("name", ["Left thing", "x" * 80, "éé", "a\\b"])
def test_other_names_get_a_private_code_that_can_be_written(name: str) -> None:
    codes = codes_of(_row(name))
    item = pydicom.Dataset()
    item.CodeValue, item.CodeMeaning = codes.type.value, codes.type.meaning
    assert codes.type.scheme == SCHEME and len(codes.type.value) <= 16
