"""`medseg convert`: DICOM exports in; a NIfTI file for each volume out, a reason for each one refused.

What is written outside `private/` tells no identity: cases have pseudonyms, findings name no file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.ingest import privacy, quarantine
from medseg.ingest.hidden import hidden_inputs
from medseg.ingest.privacy import Pseudonyms
from medseg.io import nifti_writer
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.files import files_below
from medseg.io.dicom.series import Export, SeriesVolume, volumes_of
from medseg.names import check_name

VERSION = 1
COLUMNS = (
    "case", "status", "code", "note", "modality", "volume", "shape", "spacing_mm", "orientation", "frames",
    "files", "seconds",
)  # fmt: skip
"""Columns of `summary.csv`."""


@dataclass(frozen=True)
class Settings:
    """``key_file`` holds the key of the pseudonyms; without ``index`` nobody can tell whom they stand for.

    With ``overwrite`` every volume is written again, also over files of others.
    """

    key_file: Path | None = None
    index: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """The row of a volume or file in `summary.csv`, and why it was excluded."""

    row: dict[str, Any]
    finding: Finding | None = None


def run(inputs: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Write each volume below ``inputs`` as `OUT/<case>.nii.gz`; run again, what is done is skipped.

    Raises PATH_MISSING, and USAGE where a file of OUT would be overwritten that no `convert` wrote.
    """
    inputs, out = [path.absolute() for path in inputs], out.absolute()
    with hidden_inputs(inputs, out, say):
        return _run(inputs, out, settings, say)


def _run(inputs: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    for path in inputs:
        if not path.exists():
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    how_to_fix = "wait for it to end, or name another folder for OUT"
    with files.hold_lock(out / ".lock", out, "another medseg command writes into it", how_to_fix):
        names = privacy.load_key(out, settings.key_file)
        if warning := privacy.key_warning(settings.key_file):
            say.line(warning)
        exports = [_read(path, say) for path in inputs]
        volumes = [volume for export in exports for volume in export.volumes]
        if not settings.overwrite:
            _require_own_files(volumes, names, out)
        if settings.index:
            rows = [privacy.index_row(names.of_volume(volume), volume) for volume in volumes]
            refused = [file for export in exports for file, _ in export.findings]
            rows += [privacy.file_row(names.of_file(file), file) for file in refused]
            privacy.write_index(out, rows)
        outcomes = [*_convert_all(volumes, names, out, settings, say), *_files(exports, names, say)]
        return _conclude(outcomes, exports, out, say)


def _read(path: Path, say: Reporter) -> Export:
    listed = list(files_below(path))
    with say.progress("reading headers", len(listed)) as bar:
        return volumes_of(listed, bar.to)


def _require_own_files(volumes: Sequence[SeriesVolume], names: Pseudonyms, out: Path) -> None:
    """Raise USAGE where a volume's file is there and `convert` did not write it."""
    for volume in volumes:
        path = _path(names.of_volume(volume), out)
        if path.exists() and not _beside(path).is_file():
            details = "it would be overwritten, and is no result of convert"
            raise MedsegError(Code.USAGE, path, details, "name another folder for OUT, or give --overwrite")


def _convert_all(
    volumes: Sequence[SeriesVolume], names: Pseudonyms, out: Path, settings: Settings, say: Reporter
) -> Iterator[Outcome]:
    with say.progress("converting", len(volumes)) as bar:
        for done, volume in enumerate(volumes, 1):
            case = names.of_volume(volume)
            outcome = _convert(case, volume, names, out, overwrite=settings.overwrite)
            row = outcome.row
            if outcome.finding is None:
                say.line(f"  {row['status']}: {case} {row['shape']} {row['code']}".rstrip())
            else:
                say.line(f"  {quarantine.line(quarantine.row(case, outcome.finding, Path(case)))}")
            yield outcome
            bar.to(done, case)


def _convert(case: str, volume: SeriesVolume, names: Pseudonyms, out: Path, *, overwrite: bool) -> Outcome:
    started = time.monotonic()
    path = _path(case, out)
    key = names.digest(
        f"convert {VERSION}", *(f"{f.instance_uid} {f.index} {f.slope} {f.intercept}" for f in volume.frames)
    )
    status = "done"
    try:
        if not overwrite and _is_done(path, key):
            status = "skipped"
        else:
            image = read_volume(volume)
            files.write_json(_beside(path), {"made_from": key})  # a run that is killed then owns its file
            nifti_writer.write(image, path)
            files.write_json(_beside(path), {"made_from": key, "sha256": files.sha256(path)})
    except MedsegError as error:
        return Outcome(_row(case, volume, "excluded", [error.finding], started), error.finding)
    if volume.notes and status == "done":
        status = "done with note"
    return Outcome(_row(case, volume, status, volume.notes, started))


def _path(case: str, out: Path) -> Path:
    return out / f"{check_name(case, out)}.nii.gz"


def _is_done(path: Path, key: str) -> bool:
    """True if the volume's file is there, whole, and was made from the same frames."""
    try:
        metadata = files.read_json(_beside(path))
    except (OSError, ValueError):
        return False
    return (
        metadata.get("made_from") == key and path.is_file() and metadata.get("sha256") == files.sha256(path)
    )


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def _row(
    case: str, volume: SeriesVolume, status: str, findings: Sequence[Finding], started: float
) -> dict[str, Any]:
    grid = volume.grid
    return {
        "case": case,
        "status": status,
        "code": " ".join(dict.fromkeys(str(finding.code) for finding in findings)),
        "note": "; ".join(dict.fromkeys(finding.details for finding in findings)),
        "modality": volume.header.modality,
        "volume": volume.label,
        "shape": "" if grid is None else "x".join(map(str, grid.shape)),
        "spacing_mm": "" if grid is None else " ".join(f"{size:.4g}" for size in grid.spacing),
        "orientation": "" if grid is None else _axis_codes(volume),
        "frames": len(volume.frames),
        "files": len(volume.files),
        "seconds": round(time.monotonic() - started, 2),
    }


def _axis_codes(volume: SeriesVolume) -> str:
    """The directions in which the axes run, such as `LPS`: of those that are left, each takes the nearest."""
    if volume.grid is None:
        return ""
    cosines, codes = volume.grid.affine[:3, :3] / volume.grid.spacing, ""
    for axis in range(3):
        nearest = int(np.abs(cosines[:, axis]).argmax())
        codes += ("LR", "PA", "IS")[nearest][int(cosines[nearest, axis] > 0)]
        cosines[nearest] = 0
    return codes


def _files(exports: Sequence[Export], names: Pseudonyms, say: Reporter) -> Iterator[Outcome]:
    """Rows of files that are part of no volume: damaged ones, and objects that are no scans."""
    for export in exports:
        for file, finding in export.findings:
            row = dict.fromkeys(COLUMNS, "")
            status = "note" if finding.is_note else "excluded"
            row |= {"case": names.of_file(file), "status": status, "code": str(finding.code)}
            row |= {"note": finding.details, "files": "1"}
            line = quarantine.line(quarantine.row(row["case"], _unnamed(finding), Path(row["case"])))
            say.line(f"  {line.replace('excluded', status, 1)}")
            yield Outcome(row, None if finding.is_note else finding)


def _unnamed(finding: Finding) -> Finding:
    """The finding without the path that it names."""
    return Finding(finding.code, "", finding.details, finding.how_to_fix)


def _conclude(outcomes: Sequence[Outcome], exports: Sequence[Export], out: Path, say: Reporter) -> ExitCode:
    rows = [outcome.row for outcome in outcomes]
    excluded = [
        quarantine.row(outcome.row["case"], _unnamed(outcome.finding), Path(outcome.row["case"]))
        for outcome in outcomes
        if outcome.finding is not None
    ]
    files.write_csv(out / "summary.csv", COLUMNS, rows)
    quarantine.write(out / "quarantine.csv", excluded)
    counts = dict(sorted(Counter(str(row["status"]) for row in rows).items()))
    others = sum(len(export.others) for export in exports)
    files.write_json(
        out / "run.json",
        {"medseg": medseg.__version__, "version": VERSION, "counts": counts, "no_dicom": others},
    )
    if others:
        say.line(f"{others} files are no DICOM data sets")
    words = ", ".join(f"{n} {status}" for status, n in counts.items()) or "nothing found"
    say.result(f"{len(rows)} volumes and other objects: {words}. Summary: {out / 'summary.csv'}")
    if not any(row["status"] in ("done", "done with note", "skipped") for row in rows):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE
