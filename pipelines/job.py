"""A job, and the rule that a stage whose inputs and settings still hash the same is skipped."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config.recipe import Recipe
from medseg.console import Reporter, seconds_in_words
from medseg.errors import Code, MedsegError
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
    """What makes this work folder when it is typed again."""
    strict: bool = False
    """Refuse what is otherwise a warning."""

    @contextmanager
    def stage(self, name: str, version: int, used: Any, makes: Iterable[Path]) -> Iterator[bool]:
        """Give True if the stage must run, False if nothing it used has changed since it last ended well.

        `used` is a JSON-like value of everything the stage depends on: its part of the recipe, its inputs.
        `makes` are files it leaves behind: if one is gone, it runs again.
        """
        record = self.work.stage_folder(name) / "stage.json"
        key = files.sha256_of_value({"stage": name, "version": version, "used": used})
        unchanged = record.is_file() and files.read_json(record)["hash"] == key
        if unchanged and all(path.is_file() for path in makes):
            self.say.line(f"{name}: up to date")
            yield False
            return
        record.unlink(missing_ok=True)
        started = time.monotonic()
        yield True
        seconds = time.monotonic() - started
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        done = {
            "stage": name,
            "version": version,
            "hash": key,
            "seconds": round(seconds, 1),
            "finished": finished,
        }
        files.write_json(record, done)
        self.say.line(f"{name}: done in {seconds_in_words(seconds)}")


def needs_earlier(stage: str, recipe: str, work: Work) -> None:
    """STAGE_MISSING, naming the first, unless every stage before `stage` has ended well here."""
    for before in STAGES[: STAGES.index(stage)]:
        made = work.model / "model.json" if before == "train" else work.stage_folder(before) / "stage.json"
        if not made.exists():
            raise _not_run(made, before, recipe, work)


def forget(stage: str, work: Work, folds: Sequence[int]) -> None:
    """Make a stage do everything anew, and training start from its first step, in these folds."""
    (work.stage_folder(stage) / "stage.json").unlink(missing_ok=True)
    if stage in _CASES:
        for path in list(work.root.glob(_CASES[stage])):
            path.unlink()
    if stage == "train":
        for fold in folds:
            if work.train(fold).is_dir():
                shutil.rmtree(work.train(fold))


def _not_run(path: Path, stage: str, recipe: str, work: Work) -> MedsegError:
    how_to_fix = shlex.join(["medseg", stage, recipe, "--work", str(work.root)])
    return MedsegError(Code.STAGE_MISSING, path, f"stage {stage} has not been run", how_to_fix)


def remove_others(folder: Path, keep: Sequence[str]) -> None:
    """Delete sub-folders of `folder` that are not in `keep` (cases that left the data)."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and path.name not in keep:
                shutil.rmtree(path)
