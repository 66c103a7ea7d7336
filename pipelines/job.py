"""A job, and the rule that a stage whose inputs and settings still hash the same is skipped."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.console import Reporter, seconds_in_words
from medseg.errors import Code, MedsegError
from pipelines.execution.engines import Execution
from pipelines.tracking import Tracked
from pipelines.workfolder import Work

STAGES = ("ingest", "preprocess", "train", "predict", "evaluate", "report")
_CASES = {"preprocess": "prepared/*/key.json", "predict": "predictions/**/*.json"}
"""Files by which a stage knows the cases that it has done."""


@dataclass(frozen=True)
class Job:
    """One recipe applied in one work folder."""

    recipe: Recipe
    work: Work
    say: Reporter
    tracked: Tracked
    folds: tuple[int, ...] | None = None
    """Folds to train now; None trains fold 0 alone."""
    command: str = ""
    """The command line that makes this work folder again."""
    strict: bool = False
    """Refuse what is otherwise a warning."""
    overwrite: bool = False
    """Move a training with other settings aside and train anew, instead of refusing."""
    execution: Execution = field(default_factory=Execution)
    """The engine for the cases of ingest, preprocess, predict and evaluate; results do not depend on it."""

    @contextmanager
    def stage(
        self, name: str, version: int, used: Any, makes: Iterable[Path], lost: Sequence[str] = ()
    ) -> Iterator[bool]:
        """Give True if the stage must run: what it used has changed, or a file that it made is not as it was.

        `used` is a JSON-like value of everything the stage depends on: its part of the recipe, its inputs.
        `makes` are files it leaves behind; a list may be added to while the stage runs. Their sizes and
        hashes stand in `stage.json`. `lost` names what the stage itself found missing or damaged.
        """
        record = self.work.stage_folder(name) / "stage.json"
        key = files.sha256_of_value({"stage": name, "version": version, "used": used})
        known = files.read_json(record) if record.is_file() else {}
        if known.get("hash") == key:
            lost = [*lost, *_lost(self.work, known, makes)]
            if not lost:
                self.say.line(f"{name}: up to date")
                yield False
                return
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            self.say.line(f"{name}: {lost[0]}{more} missing or damaged, made again")
        record.unlink(missing_ok=True)
        started = time.monotonic()
        yield True
        seconds = time.monotonic() - started
        done = {
            "stage": name,
            "version": version,
            "hash": key,
            "seconds": round(seconds, 2),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {_place(self.work, path): files.fingerprint(path) for path in makes if path.is_file()},
        }
        files.write_json(record, done)
        self.say.line(f"{name}: done in {seconds_in_words(seconds)}")


def _place(work: Work, path: Path) -> str:
    """A file's path below the work folder, the same wherever that is copied to."""
    return path.relative_to(work.root).as_posix()


def _lost(work: Work, record: dict[str, Any], makes: Iterable[Path] = ()) -> list[str]:
    """Files that a stage left behind and that are missing or not as it left them."""
    known: dict[str, Any] = record.get("files", {})
    unknown = [_place(work, path) for path in makes if _place(work, path) not in known]
    changed = [place for place, print_ in known.items() if not files.is_unchanged(work.root / place, print_)]
    return [*unknown, *changed]


def needs_earlier(stage: str, recipe: str, work: Work) -> None:
    """Raise STAGE_MISSING, naming the first, unless every stage before `stage` has ended well here.

    What they left behind must be there and whole, but for label maps, as evaluation counts a missing one, and
    for checkpoints, as later stages use the exported model.
    """
    for before in STAGES[: STAGES.index(stage)]:
        record = work.stage_folder(before) / "stage.json"
        done = work.model / "model.json" if before == "train" else record
        how_to_fix = shlex.join(["medseg", before, recipe, "--work", str(work.root)])
        if not done.exists():
            raise MedsegError(Code.STAGE_MISSING, done, f"stage {before} has not been run", how_to_fix)
        known = files.read_json(record) if record.is_file() and before != "predict" else {}
        if lost := [place for place in _lost(work, known) if not place.startswith("train/")]:
            details = f"this file of stage {before} is missing or damaged"
            raise MedsegError(Code.STAGE_MISSING, work.root / lost[0], details, how_to_fix)


def forget(stage: str, work: Work, folds: Sequence[int], say: Reporter) -> None:
    """Make a stage do everything anew, and training start from its first step, in these folds.

    Trainings are moved aside.
    """
    (work.stage_folder(stage) / "stage.json").unlink(missing_ok=True)
    if stage in _CASES:
        for path in list(work.root.glob(_CASES[stage])):
            path.unlink()
    if stage == "train":
        for fold in folds:
            if work.train(fold).is_dir():
                say.line(f"fold {fold}: the earlier training is kept in {work.move_training_aside(fold)}")
        if not any(path.is_dir() for path in work.stage_folder(stage).glob("*")):
            work.train_length.unlink(missing_ok=True)  # other folds keep the length that they share


def remove_others(folder: Path, keep: Sequence[str]) -> None:
    """Delete sub-folders of `folder` that are not in `keep` (cases that left the data)."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and path.name not in keep:
                shutil.rmtree(path)
