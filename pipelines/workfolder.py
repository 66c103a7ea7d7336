"""The work folder: the name of everything in it, and the lock that one command at a time holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from medseg import files
from medseg.grid import Plane

DONE = "done.json"
"""In a training's folder once it has ended."""


@dataclass(frozen=True)
class Work:
    """Names of everything in a work folder."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The recipe as resolved."""
        return self.root / "recipe.yaml"

    @property
    def log(self) -> Path:
        """The log file, with tracebacks."""
        return self.root / "medseg.log"

    @property
    def ingest(self) -> Path:
        """cases.csv, quarantine.csv, dataset.json, splits.csv."""
        return self.root / "ingest"

    @property
    def prepared(self) -> Path:
        """One folder of arrays per case."""
        return self.root / "prepared"

    @property
    def tracking(self) -> Path:
        """The note of the MLflow run that logs this folder's training."""
        return self.root / "tracking.json"

    @property
    def tracked_folds(self) -> Path:
        """The note of each fold's MLflow run, where a recipe has several trainings."""
        return self.root / "tracking_folds.json"

    def train(self, fold: int, plane: Plane | None = None) -> Path:
        """The folder of one fold's checkpoints and history, or of one per plane."""
        folder = self.root / "train" / str(fold)
        return folder if plane is None else folder / plane

    @property
    def histories(self) -> dict[str, Path]:
        """`0`, or `0/axial` → `history.csv` of every training."""
        paths = sorted(self.root.glob("train/**/history.csv"))
        return {path.parent.relative_to(self.root / "train").as_posix(): path for path in paths}

    @property
    def begun_folds(self) -> list[int]:
        """Folds that have a training here, finished or not, in order."""
        folders = (self.root / "train").iterdir() if (self.root / "train").is_dir() else ()
        return sorted(int(path.name) for path in folders if path.is_dir() and path.name.isdigit())

    def move_training_aside(self, fold: int, plane: Plane | None = None) -> Path:
        """Rename the folder of a training to a free name in `train_old/`, and give that."""
        folder = self.train(fold, plane)
        name = folder.relative_to(self.root / "train").as_posix().replace("/", "_")
        numbers = (n for n in count(1) if not (self.root / "train_old" / f"{name}-{n}").exists())
        new_folder = self.root / "train_old" / f"{name}-{next(numbers)}"
        new_folder.parent.mkdir(exist_ok=True)
        folder.rename(new_folder)
        return new_folder

    @property
    def weights(self) -> Path:
        """Weight files that the recipe names by URL."""
        return self.root / "weights"

    @property
    def model(self) -> Path:
        """The exported model folder."""
        return self.root / "model"

    @property
    def predictions(self) -> Path:
        """Label maps of cases predicted once."""
        return self.root / "predictions"

    def fold_predictions(self, fold: int, folds: int) -> Path:
        """Label maps of one fold's labelled cases; a folder of its own when several folds are trained."""
        return self.predictions / f"fold{fold}" if folds > 1 else self.predictions

    @property
    def evaluation(self) -> Path:
        """scores.csv, summary.json, confusion.csv."""
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        """report.html."""
        return self.root / "report"

    def stage_folder(self, stage: str) -> Path:
        """The folder of a stage's stage.json."""
        names = {"preprocess": "prepared", "predict": "predictions", "evaluate": "evaluation"}
        return self.root / names.get(stage, stage)


def member_name(fold: int, plane: Plane | None = None) -> str:
    """Name a fold's member of the model folder: `fold0`; with one network per plane, `fold0_axial`."""
    return f"fold{fold}" if plane is None else f"fold{fold}_{plane}"


def fold_of(member: str) -> int:
    """Undo :func:`member_name`."""
    return int(member.removeprefix("fold").partition("_")[0])


@contextmanager
def only_one(work: Work) -> Iterator[None]:
    """Hold the work folder's lock, or raise WORK_IN_USE. It goes with the process, however that ends."""
    details = "another medseg command holds this work folder"
    with files.hold_lock(work.root / ".lock", work.root, details, "wait for it to end"):
        yield
