"""Scores of `medseg benchmark`: from work folders of runs, and from files of `make results`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.metrics import summary
from pipelines import saved_recipe
from pipelines.commands.benchmark_tables import Row, Table, network_of
from pipelines.fold import kept_steps
from pipelines.workfolder import Work

DEFAULTS = (Path("work"), Path("benchmarks/results"))
"""Where runs and results are looked for, as far as these folders are there."""

_ROLE = "test"


@dataclass(frozen=True)
class Run:
    """Scores of a run of a recipe: the content of a set of ``summary.json``, of the test cases.

    ``step`` is the iteration whose weights gave them, None for the best; ``result`` the row of
    docs/results.md that they are, where they are one.
    """

    name: str
    recipe: str
    network: str
    keywords: Mapping[str, Any]
    crf: bool
    scores: Mapping[str, Any]
    parameters: int | None = None
    step: int | None = None
    result: str | None = None

    def row_in(self, table: Table) -> Row | None:
        """The row of a table that the run belongs to."""
        if self.result is not None:
            return next((row for row in table.rows if row.result == self.result), None)
        return table.row_of(self.recipe, self.network, self.keywords, crf=self.crf, step=self.step)

    def cells(self, table: Table) -> dict[str, float | None]:
        """Column of scores → per cent, None where the run has no such score."""
        return {heading: self._score(*number) for heading, number in table.scores.items()}

    def _score(self, number: str, *of: str) -> float | None:
        if number == "only":
            only = summary.only_class(self.scores)
            mine = any(fnmatchcase(self.recipe, pattern) for pattern in of)
            return None if only is None or only[1] is None or not mine else 100 * only[1]
        if number == "dice":
            return self._dice(*of)
        value = self.scores.get("over_set", {}).get(number)
        return None if value is None else 100 * float(value)

    def _dice(self, of: str) -> float | None:
        """Mean Dice over the cases: of a class, or over the classes for a pattern of recipes."""
        if "*" in of:
            if not fnmatchcase(self.recipe, of):
                return None
            metrics = self.scores.get("over_classes", {})
        else:
            metrics = self.scores["classes"].get(of, {})
        mean = metrics.get("dice", {}).get("mean")
        return None if mean is None else 100 * float(mean)


def find(places: Sequence[Path]) -> list[Run]:
    """Read the runs in these places: work folders, folders above some, and JSON files of results.

    Without any, :data:`DEFAULTS`. Raises PATH_MISSING for a place that is not there, and USAGE for one that
    holds no scores.
    """
    if not places:
        return [run for place in DEFAULTS if place.is_dir() for run in _below(place)]
    runs = []
    for place in places:
        if not place.exists():
            how_to_fix = "name a work folder, a folder of some, or a JSON file of results"
            raise MedsegError(Code.PATH_MISSING, place, "no such file or folder", how_to_fix)
        here = list(_below(place))
        if not here:
            how_to_fix = "name a work folder that `medseg evaluate` has scored, or a JSON file of results"
            raise MedsegError(Code.USAGE, place, "no scores of test cases here", how_to_fix)
        runs += here
    return runs


def _below(place: Path) -> Iterator[Run]:
    if place.is_file():
        yield from _result(place)
        return
    for path in sorted({*place.glob("evaluation/summary.json"), *place.glob("*/evaluation/summary.json")}):
        yield from _of_work(Work(path.parents[1]))
    for path in sorted(place.glob("*.json")):
        yield from _result(path)


def _of_work(work: Work) -> Iterator[Run]:
    """The run's scores, and those of weights that it kept; none where nothing tells its recipe."""
    if not work.recipe.is_file():
        return
    recipe = saved_recipe.read(work)
    network, keywords, crf = network_of(recipe)
    model = work.model / "model.json"
    count = files.read_json(model).get("parameters") if model.is_file() else None
    summaries: list[tuple[int | None, Any]] = [(None, files.read_json(work.evaluation / "summary.json"))]
    summaries += kept_steps.read_scores(work).items()
    for step, numbers in summaries:
        sets = numbers.get("sets", {})
        if _ROLE in sets:
            name = work.root.resolve().name
            yield Run(name, recipe.name, network, keywords, crf, sets[_ROLE], count, step)


def _result(path: Path) -> Iterator[Run]:
    """A row of docs/results.md, if the file is one with scores of classes."""
    tree = files.read_json(path)
    if isinstance(tree, dict) and isinstance(tree.get("levels"), list):
        yield from _levels(path, tree)
        return
    if not isinstance(tree, dict) or not isinstance(tree.get("scores"), dict) or "row" not in tree:
        return
    scores, recipe = tree["scores"], tree.get("recipe", {})
    if "classes" in scores:
        whole = {
            "classes": scores["classes"],
            "over_classes": scores.get("mean", {}),
            "over_set": scores.get("over_set", {}),
        }
        yield Run(
            name=str(tree["row"]),
            recipe=recipe.get("name", ""),
            network="",
            keywords={},
            crf=False,
            scores=whole,
            result=str(tree["row"]),
        )


def _levels(path: Path, tree: Mapping[str, Any]) -> Iterator[Run]:
    """A network whole and pruned to its levels, as `benchmarks/unetpp_levels.py` writes them."""
    for row in tree["levels"]:
        level = row["level"]
        yield Run(
            name=path.stem,
            recipe=tree["recipe"],
            network=tree["network"],
            keywords={} if level is None else {"depth": level, "deep_supervision": False},
            crf=False,
            scores=row["scores"],
            parameters=row["parameters"],
        )
