"""One MLflow run for a recipe in a work folder, opened once a command and ended with the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.tracking import store
from medseg.tracking.run import Run, Tracker
from pipelines.reporter import Reporter
from pipelines.workfolder import Work

_TRAINED_BY = ("data", "preprocess", "sampling", "network", "loss", "train")
"""Parts of a recipe that make another training, and so another run, when they change."""
_MACHINE = ("device", "threads", "processes", "compile", "validate_cases", "channels_last")


class Tracked:
    """The recipe's run, and a nested one for each fold when several are trained."""

    def __init__(self, tracker: Tracker, run: Run, children: Path) -> None:
        self.run = run
        self._tracker = tracker
        self._children = children
        self._open: dict[int, Run] = {}

    def fold(self, fold: int, folds: int) -> Run:
        """The run that fold's training is told to: the recipe's own if it is the only one."""
        if folds == 1:
            return self.run
        if fold not in self._open:
            known = files.read_json(self._children) if self._children.is_file() else {}
            child = self._tracker.start(f"fold {fold}", run_id=known.get(str(fold)), parent=self.run)
            files.write_json(self._children, {**known, str(fold): child.id})
            self._open[fold] = child
        return self._open[fold]

    def end_fold(self, fold: int) -> None:
        """End a nested run as finished."""
        if fold in self._open:
            self._open.pop(fold).finish("FINISHED")

    def end_open_folds(self, error: BaseException) -> None:
        """End nested runs that an error or a signal cut short."""
        for child in self._open.values():
            child.__exit__(type(error), error, None)


@contextmanager
def tracked(recipe: Recipe, work: Work, say: Reporter) -> Iterator[Tracked]:
    """Open the run of this recipe in this work folder, going on with it if its training is the same.

    A server is asked first (TRACKING_UNREACHABLE). Runs that a kill left RUNNING are marked KILLED.
    """
    uri = _uri(recipe, work)
    tracker = Tracker(uri, work.root, recipe.name, warn=say.line)
    tree = recipe.model_dump(mode="json")
    key = files.sha256_of_value([uri, {part: tree[part] for part in _TRAINED_BY}])
    known = files.read_json(work.tracking) if work.tracking.is_file() else {}
    run_id = known.get("run_id") if known.get("key") == key else None
    children = work.root / "tracking_folds.json"
    if run_id is None:
        children.unlink(missing_ok=True)
    folds = files.read_json(children).values() if children.is_file() else ()
    tracker.mark_killed(keep=[i for i in (run_id, *folds) if i])
    about = {"mlflow.note.content": recipe.description, "medseg.recipe": key[:16]}
    run = tracker.start(recipe.name, params=_params(tree), tags=about, run_id=run_id)
    files.write_json(
        work.tracking, {"run_id": run.id, "experiment_id": run.experiment_id, "uri": uri, "key": key}
    )
    opened = Tracked(tracker, run, children)
    with run:
        run.artifact(work.recipe)
        try:
            yield opened
        except BaseException as error:
            opened.end_open_folds(error)
            raise


def _uri(recipe: Recipe, work: Work) -> str | None:
    if not recipe.tracking.enabled:
        return None
    if recipe.tracking.uri is None:
        return store.prepare(work.root)
    store.check(recipe.tracking.uri)
    return recipe.tracking.uri


def _params(tree: dict[str, Any]) -> dict[str, Any]:
    """What stands in the run's parameter table: what people vary. The whole recipe is an artifact."""
    train = {k: v for k, v in tree["train"].items() if k not in _MACHINE and v not in (None, [], 0)}
    return {**{part: tree[part] for part in ("preprocess", "sampling", "network", "loss")}, "train": train}
