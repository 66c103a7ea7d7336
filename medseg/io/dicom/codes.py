"""Coded names of classes for DICOM: a model's own, SNOMED CT for usual names, a private scheme otherwise."""

from __future__ import annotations

import re

from medseg.classes import Class
from medseg.coding import ANATOMY, ClassCodes, CodedName

SCHEME = "99MEDSEG"
"""Coding scheme of classes without a SNOMED CT code: the code is made from the class's name."""

TISSUE = CodedName("85756007", "Tissue")
SUBSTANCE = CodedName("91720002", "Body Substance")
ABNORMALITY = CodedName("49755003", "Morphologically Abnormal Structure")

USUAL = {
    "csf": ClassCodes(CodedName("65216001", "Cerebrospinal Fluid"), SUBSTANCE),
    "gm": ClassCodes(CodedName("389081007", "Gray Matter"), TISSUE),
    "wm": ClassCodes(CodedName("389080008", "White Matter"), TISSUE),
    "ventricles": ClassCodes(CodedName("35764002", "Brain ventricle")),
    "brain": ClassCodes(CodedName("12738006", "Brain")),
    "hippocampus": ClassCodes(CodedName("5366008", "Hippocampus")),
    "lesion": ClassCodes(CodedName("52988006", "Lesion"), ABNORMALITY),
    "tumor": ClassCodes(CodedName("108369006", "Neoplasm"), ABNORMALITY),
    "edema": ClassCodes(CodedName("79654002", "Edema"), ABNORMALITY),
    "necrosis": ClassCodes(CodedName("6574001", "Necrosis"), ABNORMALITY),
    "liver": ClassCodes(CodedName("10200004", "Liver")),
}
"""Codes by the class's usual name, for classes that have none of their own."""

_SYNONYMS = {
    "cerebrospinal fluid": "csf",
    "gray matter": "gm",
    "grey matter": "gm",
    "white matter": "wm",
    "sulcal csf": "csf",
    "tumour": "tumor",
    "oedema": "edema",
}


def codes_of(row: Class) -> ClassCodes:
    """The codes of a class: its own, those of its usual name, or one of the private scheme."""
    if row.codes is not None:
        return row.codes
    plain = re.sub(r"[\s_-]+", " ", row.name.strip().lower())
    known = USUAL.get(_SYNONYMS.get(plain, plain))
    if known is not None:
        return known
    value = re.sub(r"[^A-Z0-9]+", "_", row.name.upper()).strip("_")[:16].rstrip("_") or "CLASS"
    meaning = row.name[:64].replace("\\", "/")
    return ClassCodes(CodedName(value, meaning, SCHEME), ANATOMY)
