"""One MLflow run for a recipe in a work folder, opened once a command and ended with the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.grid import Plane
from medseg.tracking import store
from medseg.tracking.tracker import Run, Tracker, flatten
from pipelines.tracked_texts import description, run_name, tags
from pipelines.workfolder import Work

MOST_CHARTED = 30
"""With more classes, only what is over all of them is a chart; the tables have each."""

_TRAINED_BY = ("data", "preprocess", "sampling", "network", "loss", "train")
"""Parts of a recipe that make another training, and so another run, when they change."""
_PLACES = {"data": ("path",), "train": ("device", "threads", "compile", "channels_last", "draw_from")}
"""What in them does not: where the data lie and where the training runs."""
_MAIN = {
    *("network.name", "loss.name"),
    *("train.epochs", "train.steps_per_epoch", "train.batch", "train.lr"),
}
"""Keys that are parameters of every run."""

_NOTE = "mlflow.note.content"
"""The tag that MLflow's pages show as a run's description."""

_MACHINE = ("device", "threads", "processes", "compile", "validate_cases", "channels_last", "draw_from")


class Tracked:
    """The recipe's run, and a nested one for each training where the recipe has several."""

    def __init__(
        self, tracker: Tracker, run: Run, work: Work, *, nested: bool, tags: dict[str, str], description: str
    ) -> None:
        self.run = run
        self._tracker = tracker
        self._description = description
        self._tags = tags
        self._name = run_name(work.root)
        self._children = work.tracked_folds
        self._nested = nested
        self._open: dict[str, Run] = {}

    def fold(self, fold: int, plane: Plane | None = None) -> Run:
        """Start the run of that fold's training, or go on with it: the recipe's own if there is one fold.

        With a network for each plane, each plane's training has its own.
        """
        if not (self._nested and self.run.id):
            return self.run
        key = _key(fold, plane)
        if key not in self._open:
            known = files.read_json(self._children) if self._children.is_file() else {}
            part = f"fold {fold}" if plane is None else f"fold {fold}, {plane}"
            child = self._tracker.start(
                f"{self._name}, {part}", tags=self._tags, run_id=known.get(key), parent=self.run
            )
            files.write_json(self._children, {**known, key: child.id})
            self._open[key] = child
        return self._open[key]

    def lacks(self, fold: int, plane: Plane | None = None) -> bool:
        """True if the store holds nothing of that fold's training, as after its run was deleted there."""
        if not self.run.id:
            return False
        if not self._nested:
            return not self.run.has_metrics
        key = _key(fold, plane)
        known = files.read_json(self._children) if self._children.is_file() else {}
        return key not in self._open and not (known.get(key) and self._tracker.has(known[key]))

    def end_fold(self, fold: int, plane: Plane | None = None) -> None:
        """End a nested run as finished."""
        if (key := _key(fold, plane)) in self._open:
            self._open.pop(key).finish("FINISHED")

    def fold_scores(self, fold: int, scores: dict[str, float]) -> None:
        """Log a fold's own scores with its run, which has ended; nothing without runs of folds."""
        known = files.read_json(self._children) if self._children.is_file() else {}
        if self._nested and (run_id := known.get(_key(fold))):
            self._tracker.ended(run_id).summary(scores)

    def describe(self, means: str, scores: str) -> None:
        """Put means and a table of scores, both in Markdown, into the run's description."""
        sentence, _, facts = self._description.partition("\n\n")
        parts = (sentence, means, facts, scores)
        self.run.tags({_NOTE: "\n\n".join(part for part in parts if part)})

    def end_open_folds(self, error: BaseException) -> None:
        """End nested runs that an error or a signal cut short."""
        for child in self._open.values():
            child.__exit__(type(error), error, None)


def _key(fold: int, plane: Plane | None = None) -> str:
    return str(fold) if plane is None else f"{fold}/{plane}"


def check(recipe: Recipe, work: Work) -> None:
    """Refuse a store that cannot track runs.

    Raises USAGE for a work folder whose path cannot stand in a URI, or as `medseg.tracking.store.check`.
    """
    if recipe.tracking.enabled:
        if recipe.tracking.uri is None:
            store.local_uri(work.root)
        else:
            store.check(recipe.tracking.uri)


@contextmanager
def tracked(recipe: Recipe, work: Work, say: Reporter, comment: str = "") -> Iterator[Tracked]:
    """Open the run of this recipe in this work folder, going on with it if its training is the same.

    `comment` is the one that the recipe's file begins with; it describes the run if the recipe does not.

    Runs that a kill left RUNNING are marked KILLED. The recipe is stored first of all, so that a store which
    keeps no files is known before any work.
    """
    uri = (recipe.tracking.uri or store.prepare(work.root)) if recipe.tracking.enabled else None
    tracker = Tracker(uri, work.root, recipe.name, warn=say.line)
    words = {**tags(recipe), _NOTE: description(recipe, comment)}
    run = _start(tracker, recipe, work, say, words) if recipe.tracking.enabled else tracker.start(recipe.name)
    several = recipe.data.n_folds() > 1 or recipe.sampling.plane_networks == "separate"
    opened = Tracked(tracker, run, work, nested=several, tags=tags(recipe), description=words[_NOTE])
    with run:
        run.artifact(work.recipe)
        try:
            yield opened
        except BaseException as error:
            opened.end_open_folds(error)
            raise


def _start(tracker: Tracker, recipe: Recipe, work: Work, say: Reporter, words: dict[str, str]) -> Run:
    """Start the run of this training, or go on with it, and note it in the work folder."""
    tree = recipe.model_dump(mode="json")
    tree["network"], tree["data"] = recipe.network.used(), recipe.data.used()
    training = _training({**tree, "data": recipe.data.used_for_cases()})
    key = files.sha256_of_value([recipe.tracking.uri, training])
    known = files.read_json(work.tracking) if work.tracking.is_file() else {}
    run_id = known.get("run_id") if known.get("key") == key else None
    tracker.mark_killed(keep=[run_id] if run_id else [])
    run = tracker.start(run_name(work.root), params=_params(recipe, tree), tags=words, run_id=run_id)
    if not run.resumed:
        work.tracked_folds.unlink(missing_ok=True)
    if run_id and not run.resumed:
        say.line("tracking: the run of this training is gone from the store; a new one gets all that is here")
    files.write_json(work.tracking, {"run_id": run.id, "experiment_id": run.experiment_id, "key": key})
    return run


def _training(tree: dict[str, Any]) -> dict[str, Any]:
    """Select the parts of a recipe that decide which training it is."""
    return {
        part: {k: v for k, v in tree[part].items() if k not in _PLACES.get(part, ())} for part in _TRAINED_BY
    }


def _params(recipe: Recipe, tree: dict[str, Any]) -> dict[str, Any]:
    """Select what people vary, for the run's parameter table: the main keys, and what is not at its default.

    The whole recipe is an artifact. MLflow's charts write all parameters of a run above its images: many
    would hide them.
    """
    parts = ("preprocess", "sampling", "network", "loss", "train")
    defaults = {part: type(getattr(recipe, part))().model_dump(mode="json") for part in parts}
    chosen = dict(flatten({part: tree[part] for part in parts}))
    usual = dict(flatten(defaults))
    return {
        key: value
        for key, value in chosen.items()
        if key in _MAIN or (usual.get(key) != value and key.rpartition(".")[2] not in _MACHINE)
    }
