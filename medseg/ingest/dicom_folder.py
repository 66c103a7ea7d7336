"""The layout `dicom`: series of an export become cases, DICOM SEG objects that refer to them their labels.

A case is a volume where the recipe names one channel, a study where it names several. Names of cases and
subjects are keyed hashes; what they stand for is in `private/` alone. The paths of a case are references
below `private/` (:mod:`medseg.io.dicom.references`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import privacy
from medseg.ingest.patterns import CaseFiles, FolderContents, Patterns, Stray
from medseg.ingest.privacy import Pseudonyms
from medseg.ingest.series_rules import (
    SegmentRule,
    Selector,
    SeriesFacts,
    SeriesRule,
    like,
    read_facts,
    selects,
)
from medseg.ingest.tree import natural_key
from medseg.io.dicom import references, require_packages, segments
from medseg.io.dicom.files import DicomFile, files_below
from medseg.io.dicom.segments import SegHeader, SegPart
from medseg.io.dicom.series import Export, SeriesVolume, volumes_of

REFERENCES = "series"
"""The folder of references below `private/`."""

_DIGITS = 12


@dataclass(frozen=True)
class DicomRules:
    """The part of a recipe that says what an export's series and segmentations are.

    ``label`` is a pattern of a SEG's SeriesDescription. Instead of ``segments`` there may be ``masks``: mask
    name → segment. ``background`` is the value of voxels in no segment.
    """

    channels: Mapping[str, SeriesRule]
    label: str | None = None
    segments: SegmentRule = field(default_factory=SegmentRule)
    masks: Mapping[str, Selector] = field(default_factory=dict)
    background: int = 0


@dataclass(frozen=True)
class DicomFolder:
    """The cases and refusals of an export, sentences about the rest, and stamps of every file used."""

    contents: FolderContents
    remarks: tuple[str, ...]
    stamps: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Found:
    """A case in the making: its volume of each channel."""

    name: str
    subject: str
    volumes: Mapping[str, SeriesVolume]


def sources(root: Path, without: Path) -> list[DicomFile]:
    """List the files below ``root`` and the entries of archives, except in ``without``."""
    outside = without.resolve()
    return [file for file in files_below(root) if not file.path.resolve().is_relative_to(outside)]


def find(
    sources: Sequence[DicomFile],
    rules: DicomRules,
    out: Path,
    progress: Callable[[int, str], None] | None = None,
) -> DicomFolder:
    """Find the cases of an export; write key, index and references below ``out/private``.

    Raises EXTRA_MISSING; NOTHING_USABLE where there is no DICOM series at all.
    """
    require_packages()
    export = volumes_of(sources, progress)
    if not export.volumes:
        details = f"no DICOM series among {len(sources)} files"
        raise MedsegError(Code.NOTHING_USABLE, "data.path", details, "name the folder of the export")
    names = privacy.load_key(out, None)
    return _Sorting(export, rules, names, out).result()


class _Sorting:
    """Sorts an export's volumes and objects: each becomes part of a case, a stray, or a sentence."""

    def __init__(self, export: Export, rules: DicomRules, names: Pseudonyms, out: Path) -> None:
        self._export, self._rules, self._names, self._out = export, rules, names, out
        self._strays: list[Stray] = []
        self._index: list[dict[str, object]] = []
        self._remarks: list[str] = []
        self._facts = {id(volume): read_facts(volume) for volume in export.volumes}

    def result(self) -> DicomFolder:
        """Sort everything, and write the references of the cases."""
        found = list(self._cases())
        labels = self._labels(found)
        cases = [case for one in found if (case := self._written(one, labels.get(one.name, [])))]
        kept = {path for case in cases for path in case.paths()}
        folder = self._out / privacy.FOLDER / REFERENCES
        for path in folder.glob("*.json") if folder.is_dir() else ():
            if path not in kept:
                path.unlink()
        privacy.write_index(self._out, self._index)
        cases.sort(key=lambda case: natural_key(case.name))
        patterns = Patterns(dict.fromkeys(self._rules.channels, ""))
        contents = FolderContents(cases, self._strays, "dicom", patterns, [])
        used = {file.path for one in found for volume in one.volumes.values() for file in volume.files}
        used |= {seg.file.path for segs in labels.values() for seg in segs}
        stamps = tuple(sorted(files.stamp(path) for path in used))
        return DicomFolder(contents, tuple(self._remarks), stamps)

    def _cases(self) -> Iterable[_Found]:
        """Volumes that a rule chooses, grouped; those that are refused or doubtful become strays."""
        chosen: dict[str, dict[str, list[SeriesVolume]]] = defaultdict(lambda: defaultdict(list))
        others: Counter[str] = Counter()
        for volume in self._export.volumes:
            channels = self._channels(volume)
            if not channels:
                others[volume.header.modality or "unknown"] += 1
            elif len(channels) > 1:
                details = f"the series is chosen by {' and '.join(channels)}"
                self._stray(Code.DUPLICATE_CASE, volume, details, "make the rules of data.series narrower")
            elif volume.refusal is not None:
                self._stray(
                    volume.refusal.code, volume, volume.refusal.details, volume.refusal.how_to_fix
                )
            else:
                chosen[self._case_name(volume)][channels[0]].append(volume)
        if others:
            kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common())
            self._remarks.append(f"{sum(others.values())} series are chosen by no rule: {kinds}")
        for name, by_channel in chosen.items():
            if found := self._whole(name, by_channel):
                yield found

    def _channels(self, volume: SeriesVolume) -> list[str]:
        facts, slices = self._facts[id(volume)], len(volume.frames)
        return [name for name, rule in self._rules.channels.items() if rule.matches(facts, slices)]

    def _case_name(self, volume: SeriesVolume) -> str:
        if len(self._rules.channels) == 1 or not volume.header.study_uid:
            return self._names.of_volume(volume)
        return f"study-{self._names.digest('study', volume.header.study_uid)[:_DIGITS]}"

    def _whole(self, name: str, by_channel: Mapping[str, list[SeriesVolume]]) -> _Found | None:
        """A case with one volume of each channel; None, and a stray, for any other number."""
        members = [volume for volumes in by_channel.values() for volume in volumes]
        several = [channel for channel, volumes in by_channel.items() if len(volumes) > 1]
        missing = [channel for channel in self._rules.channels if channel not in by_channel]
        if several:
            details = f"{len(by_channel[several[0]])} series of one study are chosen as {several[0]}"
            how_to_fix = "make its rule in data.series narrower"
            self._case_stray(Code.DUPLICATE_CASE, name, members, details, how_to_fix)
            return None
        if missing:
            details = f"no series of the study is chosen as {', '.join(missing)}"
            self._case_stray(
                Code.CHANNEL_MISSING, name, members, details, "export it, or correct data.series"
            )
            return None
        volumes = {channel: by_channel[channel][0] for channel in self._rules.channels}
        return _Found(name, self._subject(self._facts[id(members[0])]), volumes)

    def _subject(self, facts: SeriesFacts) -> str:
        if facts.patient[0]:
            return f"patient-{self._names.digest('patient', *facts.patient)[:_DIGITS]}"
        remark = "some series have no PatientID: each of their studies counts as a subject of its own"
        if remark not in self._remarks:
            self._remarks.append(remark)
        return f"study-{self._names.digest('study', facts.study_uid)[:_DIGITS]}"

    def _labels(self, found: Sequence[_Found]) -> dict[str, list[SegHeader]]:
        """The SEGs of each case by its name; findings that are no scans become strays or sentences."""
        labels: dict[str, list[SegHeader]] = defaultdict(list)
        counts: Counter[str] = Counter()
        for file, finding in self._export.findings:
            if finding.is_note:
                counts[f"DICOM files are noted as {finding.code}"] += 1
                continue
            header = segments.read_header(file) if finding.code == Code.NOT_A_SCAN else finding
            if header is None:
                counts["DICOM objects are neither scans nor segmentations"] += 1
            elif isinstance(header, Finding):
                self._file_stray(file, header)
            elif self._rules.label is not None and not like(header.description, self._rules.label):
                counts["segmentations are not named by data.label"] += 1
            elif cases := [one.name for one in found if _refers_to(header, one)]:
                for name in cases:
                    labels[name].append(header)
            else:
                self._file_stray(file, self._without_image(header))
        if self._export.others:
            counts["files are no DICOM"] = len({file.path for file in self._export.others})
        self._remarks += [f"{count} {what}" for what, count in counts.items()]
        return labels

    def _without_image(self, header: SegHeader) -> Finding:
        there = any(volume.header.series_uid in header.series_uids for volume in self._export.volumes)
        details = "the segmentation refers to a series that is " + (
            "no usable case of this recipe" if there else "not in the folder"
        )
        how_to_fix = "correct data.series, or narrow data.label" if there else "export the series too"
        return Finding(Code.LABEL_WITHOUT_IMAGE, "", details, how_to_fix)

    def _written(self, found: _Found, labels: Sequence[SegHeader]) -> CaseFiles | None:
        """A case's paths after its references were written; None, and a stray, if its labels do not fit."""
        members = list(found.volumes.values())
        label: Path | None = None
        masks: dict[str, Path] = {}
        try:
            channels = {name: self._reference(found, name, volume) for name, volume in found.volumes.items()}
            if labels:
                target = next((v for v in members if _refers_to_volume(labels[0], v)), members[0])
                if self._rules.masks:
                    masks = self._mask_references(found, target, labels)
                else:
                    parts = label_parts(labels, self._rules.segments)
                    label = self._reference(found, "label", target, parts, self._rules.background)
        except MedsegError as error:
            f = error.finding
            self._case_stray(f.code, found.name, members, f.details, f.how_to_fix)
            return None
        for volume in members:
            self._index.append(privacy.index_row(found.name, volume))
        return CaseFiles(found.name, found.subject, channels, label, masks)

    def _mask_references(
        self, found: _Found, target: SeriesVolume, labels: Sequence[SegHeader]
    ) -> dict[str, Path]:
        masks = {}
        for name, selector in self._rules.masks.items():
            chosen = [
                SegPart(seg.file, {s.number: 1 for s in seg.segments if selects(selector, s)})
                for seg in labels
            ]
            parts = [part for part in chosen if part.values]
            if parts:
                masks[name] = self._reference(found, f"mask-{name}", target, parts, 0)
        if absent := [name for name in self._rules.masks if name not in masks]:
            details = f"no segment is {', '.join(absent)}"
            raise MedsegError(Code.MASK_MISSING, found.name, details, "correct data.masks, or add the segment")
        return masks

    def _reference(
        self,
        found: _Found,
        what: str,
        volume: SeriesVolume,
        parts: Sequence[SegPart] = (),
        background: int | None = None,
    ) -> Path:
        folder = self._out / privacy.FOLDER / REFERENCES
        folder.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o700)
        path = folder / f"{found.name}_{what}{references.SUFFIXES[0]}"
        references.write(path, volume, parts, background=background)
        return path

    def _stray(self, code: Code, volume: SeriesVolume, details: str, how_to_fix: str) -> None:
        self._case_stray(code, self._names.of_volume(volume), [volume], details, how_to_fix)

    def _case_stray(
        self, code: Code, name: str, volumes: Sequence[SeriesVolume], details: str, how_to_fix: str
    ) -> None:
        self._index += [privacy.index_row(name, volume) for volume in volumes]
        self._strays.append(Stray(code, name, details, how_to_fix, name))

    def _file_stray(self, file: DicomFile, finding: Finding) -> None:
        name = self._names.of_file(file)
        row: dict[str, Any] = {**dict.fromkeys(privacy.INDEX_COLUMNS, ""), "case": name, "files": 1}
        self._index.append({**row, "first_file": str(file)})
        finding = replace(finding, where=name)
        self._strays.append(Stray(finding.code, name, finding.details, finding.how_to_fix, name))


def label_parts(labels: Sequence[SegHeader], rule: SegmentRule) -> list[SegPart]:
    """The values of all segments of a case's SEGs.

    Raises LABEL_VALUE_UNKNOWN for segments of no class or of several, DUPLICATE_CASE where two SEGs hold the
    same class.
    """
    parts = []
    holder: dict[int, SegHeader] = {}
    for header in labels:
        values = {segment.number: rule.values_of(segment) for segment in header.segments}
        if unknown := [number for number, options in values.items() if len(options) != 1]:
            which = f"segment{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown))}"
            details = f"{which} of {len(values)} belong to no class, or to several"
            how_to_fix = "name them in data.segments, value: label or number"
            raise MedsegError(Code.LABEL_VALUE_UNKNOWN, "", details, how_to_fix)
        parts.append(SegPart(header.file, {number: options[0] for number, options in values.items()}))
        for value in set(parts[-1].values.values()):
            if holder.setdefault(value, header) is not header:
                details = f"two segmentations of the series hold the class of value {value}"
                raise MedsegError(Code.DUPLICATE_CASE, "", details, "choose one by data.label")
    return parts


def _refers_to(header: SegHeader, found: _Found) -> bool:
    return any(_refers_to_volume(header, volume) for volume in found.volumes.values())


def _refers_to_volume(header: SegHeader, volume: SeriesVolume) -> bool:
    """Tell whether a SEG names the volume's series and slices; without names, its frame of reference."""
    if not header.series_uids:
        same = header.frame_of_reference == volume.header.frame_of_reference
        return bool(header.frame_of_reference) and same and header.study_uid == volume.header.study_uid
    if volume.header.series_uid not in header.series_uids:
        return False
    own = {frame.instance_uid for frame in volume.frames}
    return not header.instance_uids or bool(own & header.instance_uids)
