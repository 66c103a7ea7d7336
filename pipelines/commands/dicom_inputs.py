"""DICOM series among the inputs of a command: volumes and refusals under pseudonyms, and their index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.console import Reporter
from medseg.errors import Finding
from medseg.ingest import privacy
from medseg.ingest.privacy import Pseudonyms
from medseg.ingest.tree import files_under
from medseg.io import scans
from medseg.io.dicom import require_packages
from medseg.io.dicom.files import begins_like_export, named_like_dicom
from medseg.io.dicom.series import Export, SeriesVolume, read_files


@dataclass(frozen=True)
class Series:
    """Volumes and refused files, each with its pseudonym; `others` are files that are no DICOM."""

    volumes: tuple[tuple[str, SeriesVolume], ...]
    refused: tuple[tuple[str, Finding], ...]
    others: tuple[Path, ...]


def is_export(path: Path) -> bool:
    """True if a file may be part of a DICOM export: by its first bytes, or those of an archive's entries."""
    return begins_like_export(path)


def is_part(path: Path) -> bool:
    """True if a file is DICOM by its first bytes or, in an export, named as if it were."""
    return is_export(path) or named_like_dicom(path.name, is_empty=path.is_file() and not path.stat().st_size)


def any_export(paths: Sequence[Path], out: Path | None = None) -> bool:
    """True if there is DICOM among files and folders; `out`, and what cannot be read, is not looked into."""
    return any(
        scans.detect_kind(file) is None and is_export(file) for path in paths for file in _files(path, out)
    )


def _files(path: Path, out: Path | None) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    refused: list[Finding] = []  # the reader says what cannot be listed
    yield from (path / name for name in files_under(path, out, refused))


def files_of(path: Path) -> list[Path]:
    """The files of a folder, or the file itself, and folders in it that cannot be listed."""
    refused: list[Finding] = []
    files = [path / name for name in files_under(path, None, refused)] if path.is_dir() else [path]
    return [*files, *(Path(finding.where) for finding in refused)]


def find_series(paths: Sequence[Path], out: Path, names: Pseudonyms, *, index: bool, say: Reporter) -> Series:
    """Sort DICOM files into volumes and write the index of their pseudonyms below `out`."""
    export = read(paths, say)
    volumes = [(names.of_volume(volume), volume) for volume in export.volumes]
    refused = [(names.of_file(file), file, finding) for file, finding in export.findings]
    if index:
        rows = [privacy.index_row(case, volume) for case, volume in volumes]
        rows += [privacy.file_row(case, file) for case, file, _ in refused]
        privacy.write_index(out, rows)
    others = dict.fromkeys(file.path for file in export.others)
    excluded = [(case, finding) for case, _, finding in refused if not finding.is_note]
    return Series(tuple(volumes), tuple(excluded), tuple(others))


def read(paths: Sequence[Path], say: Reporter) -> Export:
    """Read the headers of DICOM files with progress and sort their frames into volumes; EXTRA_MISSING."""
    require_packages()
    with say.progress("reading headers", len(paths)) as bar:
        return read_files(paths, bar.to)
