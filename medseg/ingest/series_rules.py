"""Rules that choose DICOM series by their headers, and segments of DICOM SEG by label, number or code."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from medseg.errors import Code, MedsegError
from medseg.io.dicom.segments import Segment
from medseg.io.dicom.series import SeriesVolume

Selector = int | str
"""A segment's number, its property code (`SCT:10200004`), or a pattern of its label."""


@dataclass(frozen=True)
class SeriesFacts:
    """The parts of a series's header that rules look at, and the patient and study, which are identities."""

    patient: tuple[str, str]
    study_uid: str
    series_uid: str
    modality: str
    description: str
    protocol: str
    sequences: tuple[str, ...]
    image_type: tuple[str, ...]
    contrast_agent: bool


@dataclass(frozen=True)
class SeriesRule:
    """Everything that a channel's series must be; what is left out may be anything.

    Texts are patterns with ``*`` and ``?``, regardless of case: ``description`` of the SeriesDescription, one
    of several, ``without`` of those that it must not match, ``protocol`` of the ProtocolName, ``sequence`` of
    ScanningSequence, SequenceName or PulseSequenceName. ``image_type`` are words of ImageType, all of them
    needed. ``contrast`` says if a contrast agent was given.
    """

    description: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    protocol: str | None = None
    sequence: str | None = None
    modality: str | None = None
    image_type: tuple[str, ...] = ()
    contrast: bool | None = None
    min_slices: int = 1

    def matches(self, facts: SeriesFacts, slices: int) -> bool:
        """Tell whether a volume of this series and so many slices is the channel's."""
        words = {word.upper() for word in facts.image_type}
        return (
            (not self.description or _any_like([facts.description], self.description))
            and not _any_like([facts.description], self.without)
            and (self.protocol is None or like(facts.protocol, self.protocol))
            and (self.sequence is None or _any_like(facts.sequences, [self.sequence]))
            and (self.modality is None or facts.modality.upper() == self.modality.upper())
            and all(word.upper() in words for word in self.image_type)
            and self.contrast in (None, facts.contrast_agent)
            and slices >= self.min_slices
        )


@dataclass(frozen=True)
class SegmentRule:
    """The value of each segment in the label map: by the ``selectors`` of values, else by classes' ``names``.

    Names are compared with labels regardless of case and of underscores.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    selectors: Mapping[int, tuple[Selector, ...]] = field(default_factory=dict)

    def values_of(self, segment: Segment) -> list[int]:
        """The values whose class a segment belongs to: one, if the recipe fits."""
        if self.selectors:
            return [v for v, wanted in self.selectors.items() if any(selects(s, segment) for s in wanted)]
        return [v for v, name in self.names.items() if _words(name) == _words(segment.label)]


@dataclass(frozen=True)
class DicomRules:
    """The part of a recipe that says what an export's series and segmentations are.

    ``label`` is a pattern of a SEG's SeriesDescription, or of the path of a label map's file. Instead of
    ``segments`` there may be ``masks``: mask name → segment. ``background`` is the value of voxels in no
    segment.
    """

    channels: Mapping[str, SeriesRule]
    label: str | None = None
    segments: SegmentRule = field(default_factory=SegmentRule)
    masks: Mapping[str, Selector] = field(default_factory=dict)
    background: int = 0


def selects(selector: Selector, segment: Segment) -> bool:
    """Tell whether a selector means this segment."""
    if isinstance(selector, int):
        return selector == segment.number
    return selector == segment.code or like(segment.label, selector)


def like(text: str, pattern: str) -> bool:
    """Tell whether a text is a pattern's, with ``*`` and ``?``, regardless of case and outer spaces."""
    one, other = text.strip().casefold(), pattern.strip().casefold()
    return one == other or fnmatchcase(one, other)


def escaped(text: str) -> str:
    """Write a text so that a pattern takes it as it is."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def read_facts(volume: SeriesVolume) -> SeriesFacts:
    """Read from the volume's first file what rules look at. Raises DICOM_DAMAGED."""
    try:
        return _facts(volume)
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"the header cannot be read ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, volume, details, "export it again") from None


def _facts(volume: SeriesVolume) -> SeriesFacts:
    import pydicom

    tags = [
        "PatientID", "IssuerOfPatientID", "SeriesDescription", "ProtocolName", "ScanningSequence",
        "SequenceName", "PulseSequenceName", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    ]  # fmt: skip
    header = volume.header
    with header.file.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)

    def texts(keyword: str) -> tuple[str, ...]:
        value = dataset.get(keyword)
        parts = [value] if isinstance(value, str) or value is None else list(value)
        return tuple(str(part).strip() for part in parts if part not in (None, ""))

    agent = texts("ContrastBolusAgent") or tuple(dataset.get("ContrastBolusAgentSequence") or ())
    return SeriesFacts(
        patient=(" ".join(texts("PatientID")), " ".join(texts("IssuerOfPatientID"))),
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        modality=header.modality,
        description=" ".join(texts("SeriesDescription")),
        protocol=" ".join(texts("ProtocolName")),
        sequences=(*texts("ScanningSequence"), *texts("SequenceName"), *texts("PulseSequenceName")),
        image_type=header.image_type,
        contrast_agent=bool(agent) and str(agent[0]).upper() not in ("NO", "NONE"),
    )


def _any_like(texts: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(like(text, pattern) for pattern in patterns for text in texts)


def _words(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").split())
