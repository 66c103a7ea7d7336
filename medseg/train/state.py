"""The state of a training, and checkpoints that are whole or absent.

Nothing of a random generator is stored: every number of step t is seeded by (seed, t). Checkpoints are
torch's own files, read with ``weights_only=True``: nothing in them can run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg import files
from medseg.errors import Code, MedsegError

LAST, BEST, HISTORY = "last.ckpt", "best.ckpt", "history.csv"
"""Files in a training's folder."""

FORMAT = 1


def kept_name(step: int) -> str:
    """Name the file of the weights after so many steps, where a training keeps them."""
    return f"step_{step}.ckpt"


@dataclass
class State:
    """Counters of a training: ``step`` steps and ``epoch`` whole epochs are done.

    ``loss_sum``, ``loss_steps`` and ``seconds`` run over the current epoch. ``best`` is the validation score
    of the best weights, None if they have none; ``first_score`` is the first one that was a number, and
    ``scores_differ`` says that another has been seen since. Under the schedule `plateau`, ``rate_drops``
    counts the falls of the rate in this phase, and ``validations_at_rate`` validations without a better score
    since the last fall or the last better score. ``history`` has one row a finished epoch.
    """

    step: int = 0
    epoch: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    data_wait: float = 0.0
    best: float | None = None
    first_score: float | None = None
    scores_differ: bool = False
    validations_without_improvement: int = 0
    rate_drops: int = 0
    validations_at_rate: int = 0
    stopped_early: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training needs to go on; ``settings`` say which training it is of.

    ``average`` is the moving average of the weights, empty where none is kept.
    """

    state: State
    network: Mapping[str, Tensor]
    optimiser: Mapping[str, Mapping[str, Any]]
    scaler: Mapping[str, Any]
    settings: Mapping[str, Any]
    average: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Tensor]:
        """The weights that the training gives so far: their average where one is kept."""
        return dict(self.average or self.network)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    _save(
        path,
        {
            "format": FORMAT,
            "state": asdict(checkpoint.state),
            "network": dict(checkpoint.network),
            "optimiser": dict(checkpoint.optimiser),
            "scaler": dict(checkpoint.scaler),
            "settings": dict(checkpoint.settings),
            "average": dict(checkpoint.average),
        },
    )


def write_network(path: Path, network: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write weights alone, and a few numbers about them, whole or not at all."""
    _save(path, {"format": FORMAT, "network": dict(network), "about": dict(metadata)})


def read(path: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of the training with these settings.

    :raises MedsegError: ``CHECKPOINT_UNREADABLE`` if the file is damaged, of another format, or of a training
        with other settings, which are named.
    """
    checkpoint = read_any(path)
    other = differences(checkpoint.settings, settings)
    if other:
        raise MedsegError(
            Code.CHECKPOINT_UNREADABLE,
            path,
            f"it belongs to a training with other settings: {'; '.join(other)}",
            "put the settings back, or train anew with --overwrite, which moves the folder aside",
        )
    return checkpoint


def read_any(path: Path) -> Checkpoint:
    """Read a checkpoint of any training. Raises ``CHECKPOINT_UNREADABLE`` if it is damaged."""
    content = _load(path)
    try:
        return Checkpoint(
            State(**content["state"]),
            content["network"],
            content["optimiser"],
            content["scaler"],
            content["settings"],
            content.get("average", {}),
        )
    except (KeyError, TypeError) as problem:
        raise _unreadable(path, f"an entry is missing or unknown ({problem})") from problem


def read_network(path: Path) -> dict[str, Tensor]:
    """Read the weights that ``last.ckpt`` or ``best.ckpt`` gives, averaged ones where there are, on the CPU.

    Raises ``CHECKPOINT_UNREADABLE``.
    """
    content = _load(path)
    if "network" not in content:
        raise _unreadable(path, "it holds no network")
    network: dict[str, Tensor] = content.get("average") or content["network"]
    return network


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List each key whose value is not the same in both, with both values."""
    keys = sorted(old.keys() | new.keys())
    return [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in keys if old.get(k) != new.get(k)]


def _save(path: Path, content: dict[str, Any]) -> None:
    with files.written_aside(path) as part:
        torch.save(content, part)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as problem:
        raise _unreadable(path, f"{type(problem).__name__} in reading it") from problem
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _unreadable(path, f"it is not of format {FORMAT}")
    return content


def _unreadable(path: Path, details: str) -> MedsegError:
    return MedsegError(
        Code.CHECKPOINT_UNREADABLE,
        path,
        details,
        "put a good copy in its place, or train anew with --from train, which moves the folder aside",
    )
