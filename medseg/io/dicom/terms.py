"""Words of a header that may be shown: DICOM's defined terms; any other text may name a patient.

Attributes of the type CS and free texts are filled in by people and by programs that do as they like. A value
of one is shown if it is a term that the standard or a maker of scanners defines, and by its length otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any


def _terms(text: str) -> frozenset[str]:
    return frozenset(" ".join(term.split()) for term in text.split(","))


MODALITIES = _terms(
    """
    AR, AS, ASMT, AU, BDUS, BI, BMD, CD, CF, CFM, CP, CR, CS, CT, CTPROTOCOL, DD, DF, DG, DM, DMS, DOC,
    DS, DX, EC, ECG, EEG, EMG, EOG, EPS, ES, FA, FID, FS, GM, HC, HD, IO, IOL, IVOCT, IVUS, KER, KO,
    LEN, LP, LS, M3D, MA, MG, MR, MS, NM, OAM, OCT, OP, OPM, OPR, OPT, OPTBSV, OPTENF, OPV, OSS, OT, PA,
    PLAN, POS, PR, PT, PX, REG, RESP, RF, RG, RTDOSE, RTIMAGE, RTINTENT, RTPLAN, RTRAD, RTRECORD,
    RTSEGANN, RTSTRUCT, RWV, SC, SEG, SM, SMR, SR, SRF, ST, STAIN, TEXTUREMAP, TG, US, VA, VF, XA,
    XAPROTOCOL, XC
    """
)
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1), retired ones too."""

PHOTOMETRIC = _terms(
    """
    MONOCHROME1, MONOCHROME2, RGB, YBR_FULL, YBR_FULL_422, YBR_PARTIAL_420, YBR_PARTIAL_422, YBR_ICT,
    YBR_RCT, HSV, ARGB, CMYK, XYB, PALETTE COLOR
    """
)
"""Defined terms of PhotometricInterpretation (PS3.3 C.7.6.3.1.2), retired ones too."""

IMAGE_TYPES = _terms(
    """
    ORIGINAL, DERIVED, PRIMARY, SECONDARY, MIXED, OTHER, NONE, M, P, R, I, MAGNITUDE, PHASE, REAL,
    IMAGINARY, MOSAIC, NORM, DIS2D, DIS3D, ND, MFSPLIT, LOCALIZER, LOCALISER, AXIAL, MPR, MIN_IP,
    MAX_IP, MIP, MINIP, CSA, PROJECTION_IMAGE, RESAMPLED, REFORMATTED, DIFFUSION, ADC, FA, TRACEW,
    TENSOR, TENSOR_B0, ISOTROPIC, EADC, FFE, SE, IR, T1, T2, PD, M_FFE, M_SE, M_IR, P_FFE, P_SE, R_FFE,
    R_SE, R_IR, I_FFE, I_SE, I_IR, M_PCA, PHASE_MAP, PCA, ASL, PERFUSION, CBF, CBV, MTT, TTP, FIELD_MAP,
    SUB, ADD, MEAN, SUBTRACT, WATER, FAT, IN_PHASE, OUT_PHASE, FAT_FRACTION, VELOCITY, VFRAME, FMRI,
    UNI, INV1, INV2, SWI, FLOW, T2_STAR, T2_MAP, T1_MAP, PHASE MAP, SCREEN SAVE, B0 MAP, M0 MAP, PCA 3D
    """
)
"""Words of ImageType and FrameType by PS3.3 C.7.6.1.1.2 and C.8.16.1, and others that scanners write."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""The class of secondary captures; the UIDs of their multi-frame forms begin alike."""

_SCREEN = ("SCREEN", "SNAPSHOT", "CAPTURE")
"""Parts of ImageType by which scanners mark copies of a screen."""

_LONGEST_NUMBER = 4
"""Digits of a text that may be shown: a year at most, not a date or a patient's number."""


def shown(value: str, terms: Collection[str], unknown: str = "") -> str:
    """The value if it is one of the terms or empty; otherwise ``unknown``, or without that its length."""
    if not value or value in terms:
        return value
    return unknown or f"an undefined value of {len(value)} characters"


def words(values: Iterable[Any]) -> dict[Any, str]:
    """A word to show for each value: itself where it is a number or a defined term, else its place in order.

    Texts, and tuples with a text in them, of which one cannot be shown are all counted: ``1``, ``2``, …
    """
    every = list(dict.fromkeys(values))
    if all(_may_be_shown(value) for value in every):
        return {value: word(value) for value in every}
    ordered = sorted(every, key=lambda value: (value is not None, str(value)))
    return {value: f"no. {number}" for number, value in enumerate(ordered, 1)}


def _may_be_shown(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_may_be_shown, value))
    if not isinstance(value, str):
        return True
    number = value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER
    return not value or number or value in IMAGE_TYPES


def word(value: Any) -> str:
    """A number, a defined term or several of them as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(word, value)) if isinstance(value, tuple) else str(value)


def burned_in(
    annotation: str, sop_class: str, conversion: str, modality: str, image_type: Sequence[str]
) -> str:
    """The sign that text may be burned into an image's pixels; empty where nothing points to it.

    Captures of a screen seldom say so in BurnedInAnnotation.
    """
    if annotation.strip().upper() == "YES":
        return "BurnedInAnnotation"
    if sop_class.startswith(_SECONDARY_CAPTURE) or conversion or modality in ("SC", "OT"):
        return "a secondary capture"
    kind = " ".join(image_type).upper()
    return "a copy of a screen" if any(part in kind for part in _SCREEN) else ""
