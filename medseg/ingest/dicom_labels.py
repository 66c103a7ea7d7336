"""Labels of DICOM cases: SEG objects that refer to their series, or files of label maps beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import privacy
from medseg.ingest.dicom_ledger import REFERENCES, Ledger
from medseg.ingest.dicom_rules import DicomRules, SegmentRule, selects
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.tree import nfc
from medseg.io import scans
from medseg.io.dicom import references, segments
from medseg.io.dicom.rules import escaped, like
from medseg.io.dicom.segments import SegHeader, SegPart
from medseg.io.dicom.series import Export, SeriesVolume


@dataclass(frozen=True)
class SeriesCase:
    """A case in the making: its volume of each channel, and the PatientID of the first one's series."""

    name: str
    subject: str
    patient_id: str
    volumes: Mapping[str, SeriesVolume]


def segmentations(
    export: Export, cases: Sequence[SeriesCase], rules: DicomRules, ledger: Ledger
) -> dict[str, list[SegHeader]]:
    """The SEGs of each case, by its name; all other objects of the export go to the ledger."""
    labels: dict[str, list[SegHeader]] = defaultdict(list)
    pattern = None if of_files(rules.label) else rules.label
    for file, finding in export.findings:
        header = segments.read_header(file) if finding.code == Code.NOT_A_SCAN else finding
        if header is None:
            ledger.count_object("DICOM objects that are neither scans nor segmentations")
        elif isinstance(header, Finding) and header.is_note:
            ledger.count_object(f"DICOM objects with the note {header.code}")
        elif isinstance(header, Finding):
            ledger.refuse_object(file, header)
        elif of_files(rules.label) or (pattern is not None and not like(header.description, pattern)):
            ledger.count_object("segmentations that data.label does not name")
        elif names := [case.name for case in cases if any(_refers(header, v) for v in case.volumes.values())]:
            ledger.objects += 1
            for name in names:
                labels[name].append(header)
        else:
            ledger.refuse_object(file, _without_image(header, export))
    return labels


def _without_image(header: SegHeader, export: Export) -> Finding:
    details, how_to_fix = "the segmentation refers to a series that is not there", "export the series, too"
    if any(volume.header.series_uid in header.series_uids for volume in export.volumes):
        details = "the segmentation refers to another series than those of the usable cases"
        how_to_fix = "correct data.series, or choose segmentations by data.label"
    return Finding(Code.LABEL_WITHOUT_IMAGE, "", details, how_to_fix)


def _refers(header: SegHeader, volume: SeriesVolume) -> bool:
    """Tell whether a SEG names the volume's series and slices; without names, its frame of reference."""
    if not header.series_uids:
        same = header.frame_of_reference == volume.header.frame_of_reference
        return bool(header.frame_of_reference) and same and header.study_uid == volume.header.study_uid
    if volume.header.series_uid not in header.series_uids:
        return False
    own = {frame.instance_uid for frame in volume.frames}
    return not header.instance_uids or bool(own & header.instance_uids)


def of_files(label: str | None) -> bool:
    """Tell whether a recipe's `label` is a pattern of files of label maps instead of descriptions of SEGs."""
    return label is not None and scans.detect_kind(Path(label)) == "mm"


def label_files(root: Path, pattern: str, others: Iterable[Path], case: SeriesCase) -> list[Path]:
    """The files that a pattern with `{patient}`, `{study}` and `{series}` names, below ``root``."""
    first = next(iter(case.volumes.values())).header
    for placeholder, value in (
        ("{patient}", case.patient_id),
        ("{study}", first.study_uid),
        ("{series}", first.series_uid),
    ):
        pattern = pattern.replace(placeholder, escaped(value))
    return [path for path in others if like(nfc(path.relative_to(root).as_posix()), nfc(pattern))]


def written(
    case: SeriesCase, labels: Sequence[SegHeader], files: Sequence[Path], rules: DicomRules, out: Path
) -> CaseFiles:
    """A case's paths, after the references to its series and labels were written below ``out/private``.

    Raises DUPLICATE_CASE, LABEL_VALUE_UNKNOWN, MASK_MISSING, GRID_MISMATCH where the labels do not fit.
    """

    def reference(what: str) -> Path:
        return out / privacy.FOLDER / REFERENCES / f"{case.name}_{what}{references.SUFFIXES[0]}"

    channels = {channel: reference(f"channel{n}") for n, channel in enumerate(case.volumes)}
    for channel, volume in case.volumes.items():
        references.write(channels[channel], volume)
    if len(files) > 1:
        details = f"{len(files)} files of label maps are named by data.label"
        raise MedsegError(Code.DUPLICATE_CASE, case.name, details, "make the pattern narrower")
    if files:
        references.write_file(reference("label"), files[0])
        return CaseFiles(case.name, case.subject, channels, reference("label"))
    if not labels:
        return CaseFiles(case.name, case.subject, channels)
    target = _target(case, labels)
    if rules.masks:
        parts_of = mask_parts(labels, rules)
        for mask, parts in parts_of.items():
            references.write(reference(f"mask-{mask}"), target, parts, background=0)
        masks = {mask: reference(f"mask-{mask}") for mask in parts_of}
        return CaseFiles(case.name, case.subject, channels, masks=masks)
    parts = label_parts(labels, rules.segments)
    references.write(reference("label"), target, parts, background=rules.background)
    return CaseFiles(case.name, case.subject, channels, reference("label"))


def _target(case: SeriesCase, labels: Sequence[SegHeader]) -> SeriesVolume:
    """The volume that the first SEG refers to; all must have its frame of reference."""
    target = next(volume for volume in case.volumes.values() if _refers(labels[0], volume))
    frame = target.header.frame_of_reference
    if any(header.frame_of_reference not in ("", frame) for header in labels):
        details = "the segmentation has another frame of reference than its series"
        raise MedsegError(Code.GRID_MISMATCH, case.name, details, "resample it onto the series, and save it")
    return target


def label_parts(labels: Sequence[SegHeader], rule: SegmentRule) -> list[SegPart]:
    """The values of all segments of a case's SEGs.

    Raises LABEL_VALUE_UNKNOWN for segments of no class or of several, DUPLICATE_CASE where two SEGs hold the
    same class.
    """
    parts = []
    holder: dict[int, SegHeader] = {}
    for header in labels:
        values = {segment.number: rule.values_of(segment) for segment in header.segments}
        if unclear := [str(number) for number, options in values.items() if len(options) != 1]:
            details = f"segment {', '.join(unclear)} of {len(values)} belongs to no class, or to several"
            how_to_fix = "name it in data.segments, for example {1: [lesion, 3]}: by label or by number"
            raise MedsegError(Code.LABEL_VALUE_UNKNOWN, "", details, how_to_fix)
        parts.append(SegPart(header.file, {number: options[0] for number, options in values.items()}))
        for value in set(parts[-1].values.values()):
            if holder.setdefault(value, header) is not header:
                details = f"two segmentations of the series hold the class of value {value}"
                raise MedsegError(Code.DUPLICATE_CASE, "", details, "choose one by data.label")
    return parts


def mask_parts(labels: Sequence[SegHeader], rules: DicomRules) -> dict[str, list[SegPart]]:
    """The segments of each mask, in all SEGs of a case. Raises MASK_MISSING where a mask has none."""
    parts_of = {}
    for mask, selector in rules.masks.items():
        parts = [
            SegPart(header.file, {s.number: 1 for s in header.segments if selects(selector, s)})
            for header in labels
        ]
        parts_of[mask] = [part for part in parts if part.values]
    if absent := [mask for mask, parts in parts_of.items() if not parts]:
        details = f"no segment is {', '.join(absent)}"
        raise MedsegError(Code.MASK_MISSING, "", details, "correct data.masks, or add an empty segment")
    return parts_of
