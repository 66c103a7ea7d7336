"""The command `medseg check`: read everything in a folder, change nothing, print what is usable."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import load
from medseg.config.dicom import rules_of
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.grid import Grid
from medseg.ingest import checks, dicom_folder, layouts, leftovers, palettes
from medseg.ingest.hidden import hidden_inputs, without_names
from medseg.ingest.tree import files_under, sorted_tree, tree_of
from medseg.io import scans
from medseg.io.dicom.series import SeriesVolume
from pipelines.commands import dicom_inputs


@dataclass(frozen=True)
class Result:
    """The findings about a file, case or DICOM volume; `kind` describes a DICOM volume.

    `is_remark` marks a note about a file that is no case, such as a DICOMDIR.
    """

    name: str
    findings: list[Finding]
    grid: Grid | None = None
    kind: dict[str, Any] | None = None
    is_remark: bool = False

    @property
    def verdict(self) -> str:
        """`usable` if nothing but notes was found, `excluded`, or `note` about what is no case."""
        if self.is_remark:
            return "note"
        return "usable" if all(finding.is_note for finding in self.findings) else "excluded"

    def to_json(self) -> dict[str, Any]:
        """The result with shape, spacing and affine; of a DICOM export no path and no identity."""
        findings = [
            {"code": str(f.code), "details": f.details, "how_to_fix": f.how_to_fix} for f in self.findings
        ]
        described: dict[str, Any] = {"name": self.name, "verdict": self.verdict}
        described["code"] = " ".join(dict.fromkeys(finding["code"] for finding in findings))
        described |= {"findings": findings, **(self.kind or {})}
        if self.grid is not None:
            spacing = [round(float(edge), 6) for edge in self.grid.spacing]
            described |= {"shape": list(self.grid.shape), "unit": self.grid.unit, "spacing": spacing}
            described["affine"] = self.grid.affine.tolist()
        return described


def run(folder: Path, recipe_name: str | None, say: Reporter, *, as_json: bool = False) -> ExitCode:
    """Give a result for every case that a recipe finds in `folder`, or for every file without one.

    With `as_json` all results are printed as a JSON array; otherwise each is a line.
    """
    if not folder.is_dir() and (recipe_name is not None or not dicom_inputs.is_export(folder)):
        how_to_fix = "name a folder of scans, a DICOM file or a zip archive of DICOM"
        raise MedsegError(Code.PATH_MISSING, folder, "no such folder", how_to_fix)
    if recipe_name is None:
        checked = _undescribed(folder, say)
    else:
        recipe = load.load(recipe_name, data=folder)
        described = _described_series if recipe.data.layout == "dicom" else _described
        checked = described(folder, recipe, say)
    counts = Counter(result.verdict for result in checked)
    usable, excluded = counts["usable"], counts["excluded"]
    what = "files" if recipe_name is None and not any(v.kind for v in checked) else "inputs"
    say.line(f"{usable + excluded} {what}: {usable} usable, {excluded} would be excluded")
    if as_json:
        say.result(json.dumps([result.to_json() for result in checked], indent=1))
    if not usable:
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE


def _described(folder: Path, recipe: Recipe, say: Reporter) -> list[Result]:
    """With a recipe: every case, and sentences about the files that are in none."""
    data = recipe.data
    contents = layouts.find(
        folder, data.layout, data.channels, data.label, None, data.table, data.masks, subject=data.subject
    )
    checked = list(_every_case(contents, recipe, say))
    for line in leftovers.leftover_lines(contents, folder):
        say.line(f"  {line}")
    return checked


def _described_series(folder: Path, recipe: Recipe, say: Reporter) -> list[Result]:
    """With a recipe for DICOM: every case, by names that hold for this time only, as no key is kept."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        sources = dicom_folder.sources(folder, out)
        with say.progress("reading headers", len(sources)) as bar:
            export = dicom_folder.find(folder, sources, rules_of(recipe.data), out, bar.to)
        checked = list(_every_case(export.contents, recipe, say))
    for remark in export.remarks:
        say.line(f"  {remark}")
    return checked


def _undescribed(folder: Path, say: Reporter) -> list[Result]:
    """Without a recipe: every file by itself, DICOM by volumes, and how the folder looks to `medseg init`."""
    if not dicom_inputs.any_export([folder]):
        return list(_every_file(folder, files_under(folder), say))
    folder = folder.absolute()
    with hidden_inputs([folder], None, say):
        paths = [folder / name for name in files_under(folder)] if folder.is_dir() else [folder]
        dicom = [path for path in paths if scans.detect_kind(path) is None and dicom_inputs.is_part(path)]
        checked = list(_every_volume(dicom, say))
        parts = set(dicom)
        rest = [path for path in paths if path not in parts]
        beside = [path for path in rest if scans.detect_kind(path) == "mm"]
        checked += _every_file_beside(beside, say)
        if others := len(rest) - len(beside):
            say.line(f"  {others} other file{'' if others == 1 else 's'} beside")
        return checked


def _every_file_beside(paths: Sequence[Path], say: Reporter) -> Iterator[Result]:
    """Scans beside DICOM by numbers, as their names may name patients."""
    for number, path in enumerate(paths, 1):
        volume, findings = checks.read_image({"image": path})
        name = f"scan {number}"
        findings = [without_names(finding, name, [path]) for finding in findings]
        yield _said(say, Result(name, findings, volume.grid if volume else None))


def _every_file(folder: Path, names: list[str], say: Reporter) -> Iterator[Result]:
    unit = tree_of(folder).unit
    tree = sorted_tree(folder, names, unit)
    if unit == "px":
        contents = layouts.find(folder)
        labelled = sum(bool(case.label_paths) for case in contents.cases)
        if labelled:
            say.line(
                f"  looks like layout {contents.layout}: {len(contents.cases)} cases, {labelled} with masks"
            )
    say.line("  files are read one by one, not as cases; `medseg init` writes a recipe, --recipe uses it")
    for name in tree.files:
        volume, findings = checks.read_image({"image": folder / name})
        yield _said(say, Result(name, findings, volume.grid if volume else None))
    for name in tree.unread:
        path = folder / name
        details = f"the format {path.suffix.lower() or 'of a file without suffix'} is not read"
        how_to_fix = scans.unread_format(path) or "convert it"
        yield _said(say, Result(name, [Finding(Code.FORMAT_NOT_READ, str(path), details, how_to_fix)]))
    for line in leftovers.others_lines(tree.others, tree.unit):
        say.line(f"  {line}")


def _every_volume(paths: list[Path], say: Reporter) -> Iterator[Result]:
    """Volumes of DICOM exports by numbers that tell no identity; what is part of none after them."""
    export = dicom_inputs.read(paths, say)
    for number, series in enumerate(export.volumes, 1):
        name = f"volume {number} ({_kind(series)})"
        volume, findings = checks.read_image({"image": series})
        kind = {
            "modality": series.header.modality,
            "frames": len(series.frames),
            "files": len(series.files),
        }
        grid = volume.grid if volume else series.grid
        yield _said(say, Result(name, findings, grid, kind))
    for number, (_, finding) in enumerate(export.findings, 1):
        yield _said(say, Result(f"file {number}", [finding], is_remark=finding.is_note))


def _kind(series: SeriesVolume) -> str:
    shape = "" if series.grid is None else " × ".join(map(str, series.grid.shape))
    return ", ".join(part for part in (series.header.modality, series.label, shape) if part)


def _every_case(contents: layouts.FolderContents, recipe: Recipe, say: Reporter) -> Iterator[Result]:
    for stray in contents.strays:
        yield _said(say, Result(Path(stray.where).name, [stray]))
    classes, scaling = recipe.data.class_list(), recipe.preprocess
    faults = palettes.faults_by_case(contents.cases, classes)
    for files in contents.cases:
        case, findings = checks.read_case(files, classes, intensity=scaling.intensity, n4=scaling.n4)
        findings += [faults[files.name]] if files.name in faults else []
        yield _said(say, Result(files.name, findings, case.image.grid if case else None))


def _said(say: Reporter, result: Result) -> Result:
    """The result, after its lines were printed."""
    name, wrong = result.name, [f for f in result.findings if not f.is_note]
    for f in wrong:
        say.line(f"  excluded  {name}: {f.code}: {f.details}; {f.how_to_fix}")
    if not wrong:
        notes = " ".join(sorted({str(f.code) for f in result.findings}))
        say.line(f"  {result.verdict:<10} {name} {notes}".rstrip())
    return result
