"""DICOM series among the inputs of a command: volumes and refusals under pseudonyms, and their index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.console import Reporter
from medseg.errors import Finding
from medseg.ingest import privacy
from medseg.io.dicom import require_packages
from medseg.io.dicom.files import begins_like_export
from medseg.io.dicom.series import Export, SeriesVolume, read_files


@dataclass(frozen=True)
class Series:
    """Volumes and refused files, each with its pseudonym; `others` are files that are no DICOM."""

    volumes: tuple[tuple[str, SeriesVolume], ...]
    refused: tuple[tuple[str, Finding], ...]
    others: tuple[Path, ...]


def is_export(path: Path) -> bool:
    """True if a file may be part of a DICOM export: by its first bytes, or a zip or gzip of such."""
    return begins_like_export(path)


def find_series(
    paths: Sequence[Path], out: Path, key_file: Path | None, *, index: bool, say: Reporter
) -> Series:
    """Sort DICOM files into volumes and write the index of their pseudonyms below `out`."""
    names = privacy.load_key(out, key_file)
    export = read(paths, say)
    volumes = [(names.of_volume(volume), volume) for volume in export.volumes]
    if index:
        privacy.write_index(out, [privacy.index_row(case, volume) for case, volume in volumes])
    refused = [(names.of_file(file), finding) for file, finding in export.findings if not finding.is_note]
    others = dict.fromkeys(file.path for file in export.others)
    return Series(tuple(volumes), tuple(refused), tuple(others))


def read(paths: Sequence[Path], say: Reporter) -> Export:
    """Read the headers of DICOM files with progress and sort their frames into volumes; EXTRA_MISSING."""
    require_packages()
    with say.progress("reading headers", len(paths)) as bar:
        return read_files(paths, bar.to)
