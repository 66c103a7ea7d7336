"""The brain alone, before a scan is segmented: by a mask made elsewhere, or cut out of a T1-weighted head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg import files
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.ingest import checks
from medseg.io.dicom.contrast import contrast_of
from medseg.io.dicom.series import SeriesVolume
from medseg.io.scans import Readable
from medseg.preprocess import brain_extraction
from medseg.volume import Volume


@dataclass(frozen=True)
class BrainMask:
    """The rule by which a scan's brain is told from the rest: by a file, or without one by extraction."""

    file: Path | None = None

    def identity(self) -> str:
        """The hash of what decides the mask, the scan apart; raises OSError."""
        return brain_extraction.identity() if self.file is None else files.sha256(self.file)

    def apply(self, scan: Volume, source: Readable, *, accept_domain: bool) -> tuple[Volume, list[Finding]]:
        """Leave nothing of a scan (C, X, Y, Z) but its brain; with notes.

        Raises GRID_MISMATCH and what the readers raise for a mask's file, BRAIN_NOT_FOUND for an empty one;
        without a file OUT_OF_DOMAIN for a series of another contrast than T1, unless accepted, and as
        :func:`brain_extraction.extract` does.
        """
        if self.file is not None:
            return _with_file(scan, self.file)
        notes = _unlike_t1(source)
        if notes and not accept_domain:
            how_to_fix = "give a mask made elsewhere with --mask; --accept-domain tries all the same"
            raise MedsegError(Code.OUT_OF_DOMAIN, source, notes[0].details, how_to_fix)
        mask = brain_extraction.extract(scan)
        volume_ml = int(np.count_nonzero(mask)) * scan.grid.voxel_size / 1000
        details = f"a brain of {volume_ml:.0f} ml, cut out by {brain_extraction.version()}"
        notes.append(Finding(Code.BRAIN_EXTRACTED, str(source), details, "review the result"))
        return brain_extraction.apply(scan, mask), notes


def _with_file(scan: Volume, path: Path) -> tuple[Volume, list[Finding]]:
    volume, findings = checks.read_image({"mask": path}, intensity="none")
    if volume is None:
        raise refusal(findings)
    volume, more = checks.onto(scan.grid, volume, path)
    if not all(finding.is_note for finding in more):
        raise refusal(more)
    return brain_extraction.apply(scan, volume.array[0] > 0), [*findings, *more]


def _unlike_t1(source: Readable) -> list[Finding]:
    """OUT_OF_DOMAIN if the header of a series tells another contrast than T1."""
    contrast = contrast_of(source) if isinstance(source, SeriesVolume) else None
    if contrast in (None, "t1", "t1ce"):
        return []
    details = f"skull-stripping: it was made for T1, and this series is {contrast}"
    return [Finding(Code.OUT_OF_DOMAIN, str(source), details, "review the result")]
