"""Results of the suite: what a row measured, and the JSON file that keeps finished rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError

FORMAT = 1


@dataclass(frozen=True)
class Way:
    """One way of doing a row's work: each run's value in ``unit``, and the peak memory where measured."""

    runs: tuple[float, ...]
    unit: str = "s"
    peak_mb: float | None = None

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)


@dataclass(frozen=True)
class Measured:
    """What a row measured: ``ways`` by name, ``figures`` as its row lists them, ``floors`` in seconds.

    ``input`` says what it was measured on. ``notes`` are sentences for the table's foot.
    """

    input: str
    ways: Mapping[str, Way]
    figures: Mapping[str, float]
    floors: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; seconds to four digits."""
        content = asdict(self)
        content["ways"] = {
            name: {
                "median": shortened(way.median),
                "unit": way.unit,
                "runs": [shortened(run) for run in way.runs],
                **({} if way.peak_mb is None else {"peak_mb": round(way.peak_mb, 1)}),
            }
            for name, way in self.ways.items()
        }
        content["figures"] = {name: shortened(value) for name, value in self.figures.items()}
        content["floors"] = {name: shortened(value) for name, value in self.floors.items()}
        content["notes"] = list(self.notes)
        return content


def shortened(value: float) -> float:
    """A value to four significant digits, which is more than any timing deserves."""
    return float(f"{value:.4g}")


@dataclass
class Book:
    """The file of results: rows that are done are kept, so that a run that was ended goes on.

    ``conditions`` are what must be equal for rows to stand in one table: machine, versions, settings.
    """

    path: Path
    conditions: dict[str, Any]
    content: dict[str, Any]

    @classmethod
    def open(cls, path: Path, conditions: Mapping[str, Any], only: Sequence[str], *, again: bool) -> Book:
        """Go on with a file that is not complete, or replace ``only`` some of its rows; otherwise begin anew.

        Raises USAGE where single rows are asked for and the file's were measured under other conditions.
        """
        fresh = {"format": FORMAT, "complete": False, **conditions, "rows": {}}
        known = _read(path)
        differing = [key for key in conditions if known.get(key) != conditions[key]]
        if not known or (again and not only):
            return cls(path, dict(conditions), fresh)
        if differing and only:
            details = f"its rows were measured with other {', '.join(differing)}"
            raise MedsegError(Code.USAGE, path, details, "name another file with --out, or run all rows")
        if differing or (known["complete"] and not only):
            return cls(path, dict(conditions), fresh)
        for name in only:
            known["rows"].pop(name, None)
        return cls(path, dict(conditions), known)

    @property
    def rows(self) -> dict[str, Any]:
        """Each row that was tried, by name."""
        rows: dict[str, Any] = self.content["rows"]
        return rows

    def keep(self, name: str, row: Mapping[str, Any]) -> None:
        """Put a row into the file at once."""
        self.rows[name] = dict(row)
        self.write()

    def finish(self, names: Sequence[str]) -> None:
        """Mark the file as complete if all rows were tried, and put them in their order."""
        self.content["rows"] = {name: self.rows[name] for name in names if name in self.rows}
        self.content["complete"] = set(names) <= set(self.rows)
        self.write()

    def write(self) -> None:
        """Write the whole file, or leave the one that is there."""
        files.write_text(self.path, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    """The file's content; nothing where there is none.

    Raises USAGE for a file that this suite did not write.
    """
    if not path.is_file():
        return {}
    content: Any = files.read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        details = "the file holds no results of this suite"
        raise MedsegError(Code.USAGE, path, details, "name another file with --out")
    return content
