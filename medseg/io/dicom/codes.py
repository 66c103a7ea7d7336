"""Coded names of classes for DICOM: SNOMED CT where a class has one, a private scheme otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "99MEDSEG"
"""Coding scheme of classes without a SNOMED CT code: the code is made from the class's name."""


@dataclass(frozen=True)
class ClassCode:
    """A code: its value, its scheme (`SCT` for SNOMED CT) and its meaning in words."""

    value: str
    scheme: str
    meaning: str


ANATOMY = ClassCode("123037004", "SCT", "Anatomical Structure")
TISSUE = ClassCode("85756007", "SCT", "Tissue")
SUBSTANCE = ClassCode("91720002", "SCT", "Body Substance")
ABNORMALITY = ClassCode("49755003", "SCT", "Morphologically Abnormal Structure")

_TYPES = {
    "csf": (SUBSTANCE, ClassCode("65216001", "SCT", "Cerebrospinal fluid")),
    "gm": (TISSUE, ClassCode("389081007", "SCT", "Gray matter")),
    "wm": (TISSUE, ClassCode("389080008", "SCT", "White matter")),
    "brain": (ANATOMY, ClassCode("12738006", "SCT", "Brain")),
    "hippocampus": (ANATOMY, ClassCode("5366008", "SCT", "Hippocampus")),
    "lesion": (ABNORMALITY, ClassCode("52988006", "SCT", "Lesion")),
    "tumor": (ABNORMALITY, ClassCode("108369006", "SCT", "Neoplasm")),
    "edema": (ABNORMALITY, ClassCode("79654002", "SCT", "Edema")),
    "liver": (ANATOMY, ClassCode("10200004", "SCT", "Liver")),
}
"""Property category and type by the class's usual name."""

_SYNONYMS = {
    "cerebrospinal fluid": "csf",
    "gray matter": "gm",
    "grey matter": "gm",
    "white matter": "wm",
    "tumour": "tumor",
    "oedema": "edema",
}


def codes_of(name: str) -> tuple[ClassCode, ClassCode]:
    """Property category and type of a class by its name."""
    plain = re.sub(r"[\s_-]+", " ", name.strip().lower())
    known = _TYPES.get(_SYNONYMS.get(plain, plain))
    if known is not None:
        return known
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:16] or "CLASS"
    return ANATOMY, ClassCode(value, SCHEME, name[:64])
