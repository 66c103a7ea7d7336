"""The layout `dicom`: series of an export become cases, DICOM SEG objects that refer to them their labels.

A case is a volume where the recipe names one channel, a study where it names several. Names of cases and
subjects are keyed hashes; what they stand for is in `private/` alone. The paths of a case are references
below `private/` (:mod:`medseg.io.dicom.references`).
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import dicom_labels, privacy
from medseg.ingest.dicom_labels import SeriesCase
from medseg.ingest.dicom_ledger import REFERENCES, Ledger
from medseg.ingest.dicom_rules import DicomRules
from medseg.ingest.patterns import CaseFiles, FolderContents, Patterns
from medseg.ingest.privacy import Pseudonyms
from medseg.ingest.tree import natural_key
from medseg.io.dicom import require_packages
from medseg.io.dicom.files import DicomFile, files_below
from medseg.io.dicom.rules import against_all, reason_of
from medseg.io.dicom.series import Export, SeriesVolume, volumes_of

_DIGITS = 12


@dataclass(frozen=True)
class DicomFolder:
    """The cases and refusals of an export, sentences about the rest, and stamps of every file used."""

    contents: FolderContents
    remarks: tuple[str, ...]
    stamps: list[tuple[str, int, int]]


def sources(root: Path, without: Path) -> list[DicomFile]:
    """List the files below ``root`` and the entries of archives, except in ``without``."""
    outside = os.path.realpath(without)  # unlike Path.resolve, no error for links to themselves
    return [
        file for file in files_below(root) if not Path(os.path.realpath(file.path)).is_relative_to(outside)
    ]


def find(
    root: Path,
    sources: Sequence[DicomFile],
    rules: DicomRules,
    out: Path,
    progress: Callable[[int, str], None] | None = None,
) -> DicomFolder:
    """Find the cases of an export, ``sources`` below ``root``; write key, index and references below ``out``.

    They go to ``out/private``. Raises EXTRA_MISSING; NOTHING_USABLE where there is no DICOM series at all.
    """
    require_packages()
    export = volumes_of(sources, progress)
    if not export.volumes:
        details = f"no DICOM series among {len(sources)} files"
        raise MedsegError(Code.NOTHING_USABLE, "data.path", details, "name the folder of the export")
    ledger = Ledger(privacy.load_key(out, None), out)
    candidates = list(_cases(export, rules, ledger))
    labels = dicom_labels.segmentations(export, candidates, rules, ledger)
    others = sorted({file.path for file in export.others if not file.entry})
    cases, used = [], {header.file.path for headers in labels.values() for header in headers}
    for case in candidates:
        maps = _label_files(root, rules, others, case)
        used |= {*maps, *(file.path for volume in case.volumes.values() for file in volume.files)}
        try:
            cases.append(dicom_labels.written(case, labels.get(case.name, []), maps, rules, out))
            ledger.take(case.name, list(case.volumes.values()))
        except MedsegError as error:
            f = error.finding
            ledger.refuse(list(case.volumes.values()), Finding(f.code, case.name, f.details, f.how_to_fix))
    if left := len(set(others) - used) + sum(bool(file.entry) for file in export.others):
        ledger.counts["other files, neither DICOM nor label maps"] = left
    ledger.must_add_up(export)
    _remove_old_references(out, cases)
    privacy.write_index(out, ledger.index)
    cases.sort(key=lambda case: natural_key(case.name))
    contents = FolderContents(cases, ledger.strays, "dicom", Patterns(dict.fromkeys(rules.channels, "")), [])
    return DicomFolder(contents, ledger.remarks(), sorted(files.stamp(path) for path in used))


def _cases(export: Export, rules: DicomRules, ledger: Ledger) -> Iterator[SeriesCase]:
    """Volumes that the rules choose, grouped; those that are refused or doubtful become strays."""
    chosen: dict[str, dict[str, list[SeriesVolume]]] = defaultdict(lambda: defaultdict(list))
    patients: dict[SeriesVolume, tuple[str, str]] = {}
    for volume in export.volumes:
        try:
            against, patients[volume] = _read(volume, rules)
        except MedsegError as error:
            ledger.refuse_volume(volume, error.finding)
            continue
        channels = [name for name, why in against.items() if not why]
        if not channels:
            ledger.volumes += 1
            ledger.counts[f"series not chosen ({reason_of(against)})"] += 1
        elif len(channels) > 1:
            details = f"the series is chosen as {' and as '.join(channels)}"
            how_to_fix = "make the rules of data.series narrower"
            ledger.refuse_volume(volume, Finding(Code.DUPLICATE_CASE, "", details, how_to_fix))
        elif volume.refusal is not None:
            ledger.refuse_volume(volume, volume.refusal)
        else:
            name = _case_name(volume, ledger.names, several=len(rules.channels) > 1)
            chosen[name][channels[0]].append(volume)
    for name, by_channel in chosen.items():
        if fault := _fault(name, by_channel, rules):
            ledger.refuse([volume for volumes in by_channel.values() for volume in volumes], fault)
            continue
        volumes = {channel: by_channel[channel][0] for channel in rules.channels}
        first = next(iter(volumes.values()))
        patient = patients[first]
        if not patient[0]:
            ledger.counts["cases without PatientID, for which each study is a subject of its own"] += 1
        yield SeriesCase(name, _subject(patient, first, ledger.names), patient[0], volumes)


def _read(volume: SeriesVolume, rules: DicomRules) -> tuple[dict[str, str], tuple[str, str]]:
    """The rules that a volume does not meet, by channel, and its patient. Raises DICOM_DAMAGED."""
    try:
        return against_all(volume, rules.channels), patient_of(volume)
    except Exception as error:  # the parser meets any bytes, and raises what it likes for them
        details = f"the header cannot be read ({type(error).__name__})"
        raise MedsegError(Code.DICOM_DAMAGED, volume, details, "export it again") from None


def patient_of(volume: SeriesVolume) -> tuple[str, str]:
    """PatientID and IssuerOfPatientID of a volume's first file, empty if there is none. Raises OSError."""
    import pydicom

    keywords = ("PatientID", "IssuerOfPatientID")
    with volume.header.file.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=[*keywords])
        patient_id, issuer = (_text(dataset.get(keyword)) for keyword in keywords)
    return patient_id, issuer


def _text(value: Any) -> str:
    parts = [value] if isinstance(value, str) or value is None else list(value)
    return " ".join(str(part).strip() for part in parts if part not in (None, ""))


def _case_name(volume: SeriesVolume, names: Pseudonyms, *, several: bool) -> str:
    if not several or not volume.header.study_uid:
        return names.of_volume(volume)
    return f"study-{names.digest('study', volume.header.study_uid)[:_DIGITS]}"


def _subject(patient: tuple[str, str], volume: SeriesVolume, names: Pseudonyms) -> str:
    if patient[0]:
        return f"patient-{names.digest('patient', *patient)[:_DIGITS]}"
    return f"study-{names.digest('study', volume.header.study_uid)[:_DIGITS]}"


def _fault(name: str, by_channel: Mapping[str, list[SeriesVolume]], rules: DicomRules) -> Finding | None:
    """Say why the volumes of a study are no case: several of one channel, or none."""
    for channel, volumes in by_channel.items():
        if len(volumes) > 1:
            details = f"{len(volumes)} volumes of one study are chosen as {channel}"
            return Finding(Code.DUPLICATE_CASE, name, details, "make its rule in data.series narrower")
    if missing := [channel for channel in rules.channels if channel not in by_channel]:
        details = f"no volume of the study is chosen as {', '.join(missing)}"
        return Finding(Code.CHANNEL_MISSING, name, details, "export the series, or correct data.series")
    return None


def _label_files(root: Path, rules: DicomRules, others: Sequence[Path], case: SeriesCase) -> list[Path]:
    if rules.label is None or not dicom_labels.of_files(rules.label):
        return []
    return dicom_labels.label_files(root, rules.label, others, case)


def _remove_old_references(out: Path, cases: Sequence[CaseFiles]) -> None:
    folder = out / privacy.FOLDER / REFERENCES
    kept = {path for case in cases for path in case.paths()}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if path not in kept:
            path.unlink()
