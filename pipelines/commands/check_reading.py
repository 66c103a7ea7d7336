"""`medseg check`: read a folder once, as cases of a recipe, as files, or as volumes of a DICOM export."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from medseg.config.dicom import rules_of
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, Finding
from medseg.ingest import checks, dicom_folder, leftovers, palettes
from medseg.ingest.hidden import without_names
from medseg.ingest.patterns import CaseFiles, FolderContents
from medseg.ingest.survey import Entry, Survey
from medseg.io import scans
from medseg.io.dicom.series import SeriesVolume
from pipelines.commands import check_cases, dicom_inputs
from pipelines.commands.check_results import CaseSlices, Checked, Recorder, Result, say_strays
from pipelines.stages import ingest


def described(folder: Path, recipe: Recipe, say: Reporter, *, with_slices: bool) -> Checked:
    """With a recipe: every case, and sentences about the files that are in none."""
    contents = ingest.contents_of(recipe, folder, None)

    def shown(_: CaseFiles, path: Path) -> str:
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name

    checked = _cases(contents, recipe, say, shown, with_slices=with_slices)
    checked.lines = leftovers.leftover_lines(contents, folder, recipe.data.ignore)
    return checked


def described_series(folder: Path, recipe: Recipe, say: Reporter, *, with_slices: bool) -> Checked:
    """With a recipe for DICOM: every case, by names that hold for this time only, as no key is kept."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        sources = dicom_folder.sources(folder, out)
        with say.progress("reading headers", len(sources)) as bar:
            export = dicom_folder.find(folder, sources, rules_of(recipe.data), out, bar.to)

        def shown(case: CaseFiles, path: Path) -> str:
            names = [name for name, other in case.channels.items() if other == path]
            return " ".join((case.name, *(names if len(case.channels) > 1 else [])))

        checked = _cases(export.contents, recipe, say, shown, with_slices=with_slices)
    checked.lines, checked.is_hidden = export.remarks, True
    return checked


def _cases(
    contents: FolderContents, recipe: Recipe, say: Reporter, shown: check_cases.Shown, *, with_slices: bool
) -> Checked:
    """Read all cases, each with its findings; strays first."""
    results = say_strays(contents.strays, say)
    classes, scaling = recipe.data.class_list(), recipe.preprocess
    faults = palettes.faults_by_case(contents.cases, classes)
    entries: list[Entry] = []
    kept: list[CaseSlices] = []
    with say.progress("reading", len(contents.cases)) as bar:
        for n, files in enumerate(contents.cases, 1):
            seen = Recorder(with_slices)
            observe = partial(seen.of_case, set(files.label_paths))
            case, findings = checks.read_case(
                files, classes, intensity=scaling.intensity, n4=scaling.n4, observe=observe
            )
            findings += [faults[files.name]] if files.name in faults else []
            grid = case.image.grid if case else None
            results.append(Result(files.name, findings, grid).said(say))
            entries += check_cases.entries(files, seen, classes, shown)
            if not _is_burned_in(findings) and (slices := check_cases.case_slices(files, seen)):
                kept.append(slices)
            bar.to(n)
    survey = Survey(
        tuple(entries),
        n_cases=len(contents.cases) + sum(bool(stray.missing) for stray in contents.strays),
        unit=contents.unit,
        classes=classes.foreground_names,
        coverage=check_cases.coverage(contents.cases, contents.strays),
        subjects={case.subject: case.subject for case in contents.cases},
    )
    return Checked(results, survey, classes, kept)


def _is_burned_in(findings: Sequence[Finding]) -> bool:
    """True for an image whose pixels may name a patient: no page shows it."""
    return any(finding.code == Code.BURNED_IN for finding in findings)


# DICOM without a recipe


def undescribed_export(paths: Sequence[Path], say: Reporter, *, with_slices: bool) -> Checked:
    """Every volume of an export, and scans beside it, by numbers that tell no identity."""
    dicom = [path for path in paths if scans.detect_kind(path) is None and dicom_inputs.is_part(path)]
    seen, subjects = Recorder(with_slices), dict[str, str]()
    entries: list[Entry] = []
    kept: list[CaseSlices] = []
    results = []
    for result, entry, patient in (*_volumes(dicom, seen, say), *_beside(paths, set(dicom), seen, say)):
        results.append(result)
        if entry is not None:
            entries.append(entry)
            if (slices := seen.slices.pop(entry.file, None)) and not _is_burned_in(result.findings):
                kept.append(CaseSlices(result.name, slices))
        if patient:
            subjects.setdefault(patient, result.name)
    others = len(paths) - len(dicom) - sum(scans.detect_kind(path) == "mm" for path in paths)
    lines = [f"{others} other file{'' if others == 1 else 's'} beside"] if others else []
    survey = Survey(tuple(entries), len(entries), "mm", subjects=subjects)
    return Checked(results, survey, None, kept, lines, is_hidden=True)


_Row = tuple[Result, Entry | None, str]


def _volumes(paths: list[Path], seen: Recorder, say: Reporter) -> Iterator[_Row]:
    """Volumes with their patients; what is part of none after them."""
    export = dicom_inputs.read(paths, say)
    for number, series in enumerate(export.volumes, 1):
        short = f"volume {number}"
        volume, findings = checks.read_image({"image": series}, observe=_as(seen, short))
        kind = {
            "modality": series.header.modality,
            "frames": len(series.frames),
            "files": len(series.files),
        }
        grid = volume.grid if volume else series.grid
        result = Result(f"{short} ({_kind(series)})", findings, grid, kind).said(say, usable_too=True)
        entry = None
        if facts := seen.facts.get(short):
            sort = f"{series.header.description}\0{series.label}\0{series.header.image_type}"
            group = series.header.modality or "DICOM"
            entry = Entry(short, short, short, group, facts[0], sort=sort)
        yield result, entry, series.header.patient
    for number, (_, finding) in enumerate(export.findings, 1):
        yield Result(f"file {number}", [finding], is_remark=finding.is_note).said(say), None, ""


def _as(seen: Recorder, name: str) -> checks.Observer:
    """A function that records an image by a name."""
    return lambda _, volume: seen.image(name, volume)


def _kind(series: SeriesVolume) -> str:
    shape = "" if series.grid is None else " × ".join(map(str, series.grid.shape))
    return ", ".join(part for part in (series.header.modality, series.label, shape) if part)


def _beside(paths: Sequence[Path], dicom: set[Path], seen: Recorder, say: Reporter) -> Iterator[_Row]:
    """Scans beside DICOM by numbers, as their names may name patients."""
    beside = [path for path in paths if path not in dicom and scans.detect_kind(path) == "mm"]
    for number, path in enumerate(beside, 1):
        name = f"scan {number}"
        volume, findings = checks.read_image({"image": path}, observe=_as(seen, name))
        findings = [without_names(finding, name, [path]) for finding in findings]
        result = Result(name, findings, volume.grid if volume else None).said(say, usable_too=True)
        facts = seen.facts.get(name)
        entry = Entry(name, name, name, "scan", facts[0], sort=name) if facts else None
        yield result, entry, ""
