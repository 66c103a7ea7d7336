"""The account of an export while it is sorted: refusals, sentences, and the index of identities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import privacy
from medseg.ingest.patterns import Stray
from medseg.ingest.privacy import Pseudonyms
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.series import Export, SeriesVolume

REFERENCES = "series"
"""The folder of references below `private/`."""


@dataclass
class Ledger:
    """The place of every volume and object of an export: in a case, among ``strays``, or in a count."""

    names: Pseudonyms
    out: Path
    strays: list[Stray] = field(default_factory=list)
    index: list[dict[str, object]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    volumes: int = 0
    objects: int = 0

    def refuse(self, volumes: Sequence[SeriesVolume], finding: Finding) -> None:
        """Put volumes of one case, whose name the finding's ``where`` is, among the strays."""
        self.take(finding.where, volumes)
        self.strays.append(
            Stray(finding.code, finding.where, finding.details, finding.how_to_fix, finding.where)
        )

    def refuse_volume(self, volume: SeriesVolume, finding: Finding) -> None:
        """Put a volume among the strays, under its own pseudonym."""
        name = self.names.of_volume(volume)
        self.refuse([volume], Finding(finding.code, name, finding.details, finding.how_to_fix))

    def refuse_object(self, file: DicomFile, finding: Finding) -> None:
        """Put a file that is no scan, or is damaged, among the strays."""
        name = self.names.of_file(file)
        row: dict[str, object] = dict.fromkeys(privacy.INDEX_COLUMNS, "")
        self.index.append({**row, "case": name, "files": 1, "first_file": str(file)})
        self.strays.append(Stray(finding.code, name, finding.details, finding.how_to_fix, name))
        self.objects += 1

    def count_object(self, kind: str) -> None:
        """Count an object among those of its kind."""
        self.counts[kind] += 1
        self.objects += 1

    def take(self, case: str, volumes: Sequence[SeriesVolume]) -> None:
        """Note the identities of a case's volumes."""
        self.index += [privacy.index_row(case, volume) for volume in volumes]
        self.volumes += len(volumes)

    def remarks(self) -> tuple[str, ...]:
        """Sentences about all that is in no case and no stray."""
        return tuple(f"{sentence}: {count}" for sentence, count in self.counts.items())

    def must_add_up(self, export: Export) -> None:
        """Raise DOES_NOT_ADD_UP unless each volume and each object went somewhere, and once."""
        of_volumes, of_objects = len(export.volumes), len(export.findings)
        if (self.volumes, self.objects) != (of_volumes, of_objects):
            details = f"{self.volumes} of {of_volumes} volumes, {self.objects} of {of_objects} objects"
            raise MedsegError(Code.DOES_NOT_ADD_UP, "ingest", details, "please report this with medseg.log")
