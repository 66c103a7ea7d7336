"""The contrast of an MR series: from coded words of its header, or from the times of its sequence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, get_args

from medseg.io.dicom.series import SeriesVolume

Contrast = Literal["t1", "t1ce", "t2", "flair", "pd", "t2star", "dwi", "perfusion", "other"]
"""Contrasts that series are told apart by: `t1ce` is T1 after a contrast agent, `pd` proton density."""

CONTRASTS: tuple[str, ...] = get_args(Contrast)

_CODED: dict[str, Contrast] = {
    "T1": "t1",
    "T2": "t2",
    "T2_STAR": "t2star",
    "PROTON_DENSITY": "pd",
    "FLUID_ATTENUATED": "flair",
    "DIFFUSION": "dwi",
    "PERFUSION": "perfusion",
}
"""Words of AcquisitionContrast (0008,9209), which enhanced MR objects hold."""

SHORT_ECHO_MS = 30.0
"""Spin echoes up to this echo time are T1-weighted or, at long repetition times, proton density."""

LONG_ECHO_MS = 60.0
"""Spin echoes from this echo time on are T2-weighted."""

SHORT_REPETITION_MS = 1200.0
"""Spin echoes up to this repetition time are T1-weighted."""

STAR_ECHO_MS = 15.0
"""Gradient echoes from this echo time on are T2*-weighted."""

FLUID_INVERSION_MS = 1300.0
"""Inversion times from here on null fluid, if the echo is long; shorter ones prepare T1-weighted scans."""

_TAGS = (
    "AcquisitionContrast", "ScanningSequence", "EchoPulseSequence", "EchoTime", "EffectiveEchoTime",
    "RepetitionTime", "InversionTime", "InversionTimes", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "DiffusionBValue", "ImageType",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


def contrast_of(volume: SeriesVolume) -> Contrast | None:
    """Tell an MR volume's contrast by the header of its first frame; None where the header lacks the times
    or holds no numbers.

    Coded words (AcquisitionContrast) come first, then echo, repetition and inversion times. Free text is not
    looked at. Maps that were computed from others, and parts of the complex signal but its magnitude, are
    `other`. Raises OSError.
    """
    import pydicom

    frame = volume.frames[0]
    if dict(frame.contrast).get("component") not in (None, "magnitude"):
        return "other"
    with warnings.catch_warnings(), frame.file.open() as stream:
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=[*_TAGS])
    try:
        return _of_values(_Values(dataset, frame.index))
    except (ValueError, TypeError, AttributeError, LookupError):  # such as a word where a time is due
        return None


def _of_values(values: _Values) -> Contrast | None:
    if "ADC" in values.words("ImageType") or "FA" in values.words("ImageType"):
        return "other"
    coded = next((_CODED[word] for word in values.words("AcquisitionContrast") if word in _CODED), None)
    contrast = coded or _by_times(values)
    return "t1ce" if contrast == "t1" and values.has_agent() else contrast


class _Values:
    """Values of a frame: of the data set itself, or of the functional groups of an enhanced object."""

    def __init__(self, dataset: Any, index: int) -> None:
        self._places = [dataset, *_groups(dataset, index)]

    def words(self, keyword: str) -> list[str]:
        """All words of a text value, in capitals."""
        values = (place.get(keyword) for place in self._places)
        return [str(word).upper() for value in values if value for word in _listed(value)]

    def number(self, *keywords: str) -> float | None:
        """The first number among these attributes that is above zero."""
        for place in self._places:
            for keyword in keywords:
                for value in _listed(place.get(keyword)):
                    if value not in (None, "") and float(value) > 0:
                        return float(value)
        return None

    def has_agent(self) -> bool:
        """True if a contrast agent is named or described, unless by a word for none."""
        if any(place.get("ContrastBolusAgentSequence") for place in self._places):
            return True
        return any(word.strip() not in ("", "NO", "NONE", "N") for word in self.words("ContrastBolusAgent"))


def _listed(value: Any) -> list[Any]:
    if value is None or isinstance(value, str):
        return [value]
    return list(value) if hasattr(value, "__iter__") else [value]


def _groups(dataset: Any, index: int) -> Iterator[Any]:
    for name, item in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        sequence = dataset.get(name) or []
        for element in sequence[item] if item < len(sequence) else ():
            if element.VR == "SQ" and element.value:
                yield element.value[0]


def _by_times(values: _Values) -> Contrast | None:
    echo = values.number("EffectiveEchoTime", "EchoTime")
    repetition = values.number("RepetitionTime")
    inversion = values.number("InversionTime", "InversionTimes")
    sequences = {*values.words("ScanningSequence"), *values.words("EchoPulseSequence")}
    if values.number("DiffusionBValue"):
        return "dwi"
    if echo is None or repetition is None or not sequences:
        return None
    if inversion is not None and inversion >= FLUID_INVERSION_MS and echo >= LONG_ECHO_MS:
        return "flair"
    if "EP" in sequences:
        return "other"
    if sequences & {"GR", "GRADIENT"}:
        return "t1" if echo < STAR_ECHO_MS else "t2star"
    if inversion is not None and echo <= SHORT_ECHO_MS:
        return "t1"
    if "SE" in sequences or "SPIN" in sequences:
        return _of_spin_echo(echo, repetition)
    return None


def _of_spin_echo(echo: float, repetition: float) -> Contrast | None:
    if repetition <= SHORT_REPETITION_MS and echo <= SHORT_ECHO_MS:
        return "t1"
    if repetition > SHORT_REPETITION_MS and echo >= LONG_ECHO_MS:
        return "t2"
    return "pd" if repetition > SHORT_REPETITION_MS and echo <= SHORT_ECHO_MS else None
