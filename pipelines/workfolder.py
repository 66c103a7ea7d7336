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
class _Below:
    """A file or folder of this name in the work folder."""

    name: str

    def __get__(self, work: Work, owner: type[Work]) -> Path:
        return work.root / self.name


@dataclass(frozen=True)
class Work:
    """Names of everything in a work folder; ``stands_for`` another one, which is not to be written to."""

    root: Path
    stands_for: Path | None = None

    recipe = _Below("recipe.yaml")
    """The recipe as resolved."""
    log = _Below("medseg.log")
    """The log file, with tracebacks."""
    data_path = _Below("private/data_path")
    """The folder of a DICOM export."""
    ingest = _Below("ingest")
    """cases.csv, quarantine.csv, dataset.json, splits.csv."""
    prepared = _Below("prepared")
    """One folder of arrays per case."""
    tracking = _Below("tracking.json")
    """The note of the MLflow run that logs this folder's training."""
    tracked_folds = _Below("tracking_folds.json")
    """The note of each fold's MLflow run, where a recipe has several trainings."""
    crf_search = _Below("train/crf_search.csv")
    """The values of a CRF that were tried on validation cases, with their scores."""
    train_length = _Below("train_length.json")
    """The length of the trainings that was planned by `train.minutes`."""
    weights = _Below("weights")
    """Weight files that the recipe names by URL."""
    model = _Below("model")
    """The exported model folder."""
    predictions = _Below("predictions")
    """Label maps of cases predicted once."""
    evaluation = _Below("evaluation")
    """scores.csv, summary.json, confusion.csv; steps.json, the scores of weights that were kept."""
    kept = _Below("kept")
    """A folder for each step of `train.keep_at`: its model folder and label maps."""
    report = _Below("report")
    """report.html, and a table of the scores of each set."""
    viewers = _Below("report/cases")
    """The viewer's page of each case."""
    overlays = _Below("report/overlays")
    """A figure of each scored case, the worst first."""

    def train(self, fold: int, plane: Plane | None = None) -> Path:
        """The folder of one fold's checkpoints and history, or of one per plane."""
        folder = self.root / "train" / str(fold)
        return folder if plane is None else folder / plane

    @property
    def outputs(self) -> Path:
        """The folder whose files are results of the run, and no data, should it lie among the data."""
        return self.stands_for or self.root

    @property
    def histories(self) -> dict[str, Path]:
        """`0`, or `0/axial` → `history.csv` of every training."""
        paths = sorted(self.root.glob("train/**/history.csv"))
        return {path.parent.relative_to(self.root / "train").as_posix(): path for path in paths}

    def move_training_aside(self, fold: int, plane: Plane | None = None) -> Path:
        """Rename the folder of a training to a free name in `train_old/`, and give that."""
        folder = self.train(fold, plane)
        name = folder.relative_to(self.root / "train").as_posix().replace("/", "_")
        numbers = (n for n in count(1) if not (self.root / "train_old" / f"{name}-{n}").exists())
        new_folder = self.root / "train_old" / f"{name}-{next(numbers)}"
        new_folder.parent.mkdir(exist_ok=True)
        folder.rename(new_folder)
        return new_folder

    def fold_predictions(self, fold: int, folds: int) -> Path:
        """Label maps of one fold's labelled cases; a folder of its own when several folds are trained."""
        return self.predictions / f"fold{fold}" if folds > 1 else self.predictions

    def kept_step(self, step: int) -> Work:
        """The folder of the weights that were kept at a step, laid out as a work folder."""
        return Work(self.kept / f"step_{step}")

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
