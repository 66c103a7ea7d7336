"""The best weights of a training, verified, and made again from what is left where their file was lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.train import state
from medseg.train.state import BEST, HISTORY, LAST
from pipelines.fold.fold import FoldTraining
from pipelines.workfolder import DONE


def mark_done(training: FoldTraining) -> None:
    """Write `done.json`: the training's key, and the sha256 of its best weights."""
    weights = files.sha256(training.folder / BEST)
    files.write_json(training.folder / DONE, {"key": training.key, "weights": weights})


def note_export(training: FoldTraining) -> None:
    """Add to `done.json` the sha256 of the member that the training was exported as."""
    done = files.read_json(training.folder / DONE)
    member = files.sha256(_member(training))
    if done.get("member") != member:
        files.write_json(training.folder / DONE, {**done, "member": member})


def read_best(training: FoldTraining, say: Reporter) -> dict[str, Tensor]:
    """Read the best weights of a finished training.

    A lost or damaged `best.ckpt` is made again from the exported member, or from `last.ckpt` where the last
    epoch was the best. Raises CHECKPOINT_UNREADABLE if neither is whole.
    """
    path, done = training.folder / BEST, files.read_json(training.folder / DONE)
    if path.is_file() and files.sha256(path) == done["weights"]:
        return state.read_network(path)
    weights, source = _from_member(training, done) or _from_last(training) or ({}, None)
    if source is None:
        raise _lost(path)
    state.write_network(path, weights, {})
    files.write_json(training.folder / DONE, {**done, "weights": files.sha256(path)})
    say.line(f"  {training.title}: {path} was missing or damaged and is made again from {source}")
    return weights


def require_resumable(training: FoldTraining, say: Reporter) -> None:
    """Refuse to go on with an unfinished training whose files cannot give the same weights as before.

    Raises CHECKPOINT_UNREADABLE where `last.ckpt` is lost or damaged, or the best weights so far are.
    """
    last, best = training.folder / LAST, training.folder / BEST
    if not last.is_file():
        if (training.folder / HISTORY).is_file():
            raise _lost(last)
        return
    checkpoint = state.read_any(last)
    if not any(row["is_best"] for row in checkpoint.state.history) or _is_readable(best):
        return
    last_epoch = checkpoint.state.history[-1]
    if not last_epoch["is_best"] or last_epoch["step"] != checkpoint.state.step:
        raise _lost(best)
    state.write_network(best, checkpoint.result, last_epoch)
    say.line(f"  {training.title}: {best} was missing or damaged and is made again from {last}")


def _is_readable(path: Path) -> bool:
    try:
        state.read_network(path)
    except MedsegError:
        return False
    return True


def _member(training: FoldTraining) -> Path:
    return training.work.model / f"{training.member}.safetensors"


def _from_member(training: FoldTraining, done: Mapping[str, Any]) -> tuple[dict[str, Tensor], Path] | None:
    path = _member(training)
    if not path.is_file() or files.sha256(path) != done.get("member"):
        return None
    return dict(safetensors.torch.load_file(path)), path


def _from_last(training: FoldTraining) -> tuple[dict[str, Tensor], Path] | None:
    path = training.folder / LAST
    if not _is_readable(path):
        return None
    checkpoint = state.read_any(path)
    history = checkpoint.state.history
    if not history or not history[-1]["is_best"] or checkpoint.settings.get("training") != training.key:
        return None
    return checkpoint.result, path


def _lost(path: Path) -> MedsegError:
    how_to_fix = "put a good copy back, or train anew with --from train, which moves the folder aside"
    return MedsegError(Code.CHECKPOINT_UNREADABLE, path, "it is missing or damaged", how_to_fix)
