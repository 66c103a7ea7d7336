"""Results of `medseg check`: the verdict on each input, and what was measured while it was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Grid
from medseg.ingest import mask_files
from medseg.ingest.file_facts import Facts, measure, measure_label
from medseg.ingest.looks import Look, few_values, look_at
from medseg.ingest.patterns import Stray
from medseg.ingest.quarantine import ALIKE, further
from medseg.ingest.survey import Survey
from medseg.io.scans import Readable
from medseg.report import thumbnails
from medseg.report.thumbnails import Slices
from medseg.volume import Volume


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

    def said(self, say: Reporter, *, usable_too: bool = False) -> Result:
        """Print why the input is excluded, or with `usable_too` that it is not; give the result."""
        wrong = [f for f in self.findings if not f.is_note]
        for f in wrong:
            say.line(f"  excluded  {self.name}: {f.code}: {f.details}; {f.how_to_fix}")
        if not wrong and (usable_too or self.is_remark):
            notes = " ".join(sorted({str(f.code) for f in self.findings}))
            say.line(f"  {self.verdict:<9} {self.name} {notes}".rstrip())
        return self


def say_strays(strays: Sequence[Stray], say: Reporter) -> list[Result]:
    """Print files that make no case, of many with one code and reason the first and a number; the results."""
    results = []
    counts = Counter((stray.code, stray.details) for stray in strays)
    said: Counter[tuple[Code, str]] = Counter()
    for stray in strays:
        cause = stray.code, stray.details
        said[cause] += 1
        result = Result(Path(stray.where).name, [stray])
        results.append(result.said(say) if said[cause] <= ALIKE else result)
    for (code, details), count in counts.items():
        if count > ALIKE:
            say.line(f"  excluded  {further(count - ALIKE)}: {code}: {details}")
    return results


@dataclass(frozen=True)
class CaseSlices:
    """The slices of a case's first channel and of its label map, by the name that is shown."""

    name: str
    image: Slices
    label: Slices | None = None


@dataclass
class Checked:
    """All that a check has read: results, the survey, class list, and slices if they were asked for."""

    results: list[Result]
    survey: Survey
    classes: ClassList | None = None
    slices: list[CaseSlices] = field(default_factory=list)
    lines: Sequence[str] = ()
    noun: str = "inputs"
    is_hidden: bool = False


@dataclass
class Recorder:
    """Facts, kinds and, with `with_slices`, slices of all files, filled while each is read once."""

    with_slices: bool
    facts: dict[object, tuple[Facts, ...]] = field(default_factory=dict)
    looks: dict[object, Look] = field(default_factory=dict)
    slices: dict[object, Slices] = field(default_factory=dict)

    def image(self, key: object, volume: Volume) -> None:
        """Record an image or scan."""
        self.facts[key] = measure(volume)
        if self.with_slices:
            self.slices[key] = thumbnails.of_image(volume, self.facts[key][0])

    def label(self, key: object, volume: Volume, counts: dict[int, int] | None = None) -> None:
        """Record a label map."""
        self.facts[key] = (measure_label(volume, counts),)
        if self.with_slices:
            self.slices[key] = thumbnails.of_label(volume)

    def unknown(self, path: Readable, volume: Volume) -> None:
        """Record a scan or image that may be a label map: its content decides."""
        counts = few_values(volume)
        look = look_at(volume, counts) if counts else Look("image", volume.grid)
        if look.kind != "image" and volume.grid.unit == "px" and isinstance(path, Path):
            look, volume, counts = _mask_at(path, volume)
        self.looks[path] = look
        if look.kind == "image":
            self.image(path, volume)
        else:
            self.label(path, volume, counts)

    def of_case(self, labels: set[Path], path: Readable, volume: Volume) -> None:
        """Record a file of a case whose label maps are known."""
        (self.label if path in labels else self.image)(path, volume)


def _mask_at(path: Path, volume: Volume) -> tuple[Look, Volume, dict[int, int] | None]:
    """An image of few greys, as a mask: with the values that its file stores, such as a palette's indices."""
    try:
        mask = mask_files.read_values(path)
    except MedsegError:  # in colours
        return Look("image", volume.grid), volume, None
    return look_at(mask), mask, None
