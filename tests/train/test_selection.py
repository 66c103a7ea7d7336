"""Choice of the best weights: by validation's scores, or the last where these say nothing."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medseg import files
from medseg.train import state
from medseg.train.plan import Epoch
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, equal, plan, run, weights

NAN = math.nan


def train(
    folder: Path, scores: Sequence[float], patience: int = 0
) -> tuple[list[Epoch], list[dict[str, Tensor]]]:
    """Train one step an epoch with these scores; the epochs, and the weights after each."""
    left, network = iter(scores), TinyNet()
    wanted = plan(epochs=len(scores), steps_per_epoch=1, patience=patience)
    epochs, after = [], []
    for epoch in run(folder, network, wanted, validate=lambda _: {"dice_mean": next(left)}):
        epochs.append(epoch)
        after.append(weights(network))
    return epochs, after


@pytest.mark.parametrize(
    ("scores", "best", "informative"),
    [
        ([NAN] * 3, 2, "---"),  # as where no validation case holds a class
        ([0.0] * 3, 2, "+--"),
        ([0.0, NAN, NAN], 2, "+--"),
        ([NAN, 0.0, NAN, 0.0], 3, "-+--"),
        ([math.inf, -math.inf], 1, "--"),
        ([0.3], 0, "+"),
        ([0.0, 0.0, 0.5, 0.2], 2, "+-++"),
        ([0.5, 0.5, 0.3], 1, "+-+"),
        ([0.5, 0.7, NAN, 0.6], 1, "++-+"),
        ([0.5, NAN, 0.3], 2, "+-+"),  # of those with a score, the only one that is kept
    ],
)
def test_the_last_weights_are_kept_until_scores_say_something(
    tmp_path: Path, scores: list[float], best: int, informative: str
) -> None:
    epochs, after = train(tmp_path, scores)
    assert equal(state.read_network(tmp_path / "best.ckpt"), after[best])
    assert max(n for n, epoch in enumerate(epochs) if epoch.is_best) == best
    assert "".join("+" if epoch.informative else "-" for epoch in epochs) == informative


@pytest.mark.parametrize(
    ("scores", "ends"),
    [
        ([0.0] * 6, 6),
        ([NAN] * 6, 6),
        ([0.5, 0.4, NAN, NAN, 0.4, 0.9], 5),
        ([0.5, 0.5, 0.5, 0.4, 0.4, 0.4], 5),
    ],
)
def test_validations_that_say_nothing_do_not_end_the_training(
    tmp_path: Path, scores: list[float], ends: int
) -> None:
    epochs, _ = train(tmp_path, scores, patience=2)
    assert len(epochs) == ends
    assert epochs[-1].stopped_early == (ends < 6)


@pytest.mark.parametrize("scores", [[0.0] * 4, [NAN] * 4, [0.2, NAN, 0.1, 0.3], [0.2, 0.2, 0.1, 0.1]])
def test_stopped_and_resumed_the_same_weights_are_best(tmp_path: Path, scores: list[float]) -> None:
    whole, after = train(tmp_path / "whole", scores)
    by_step: Callable[[nn.Module], dict[str, float]]
    wanted = plan(epochs=4, steps_per_epoch=1)
    done: list[int] = []

    def stop(step: int, total: int, loss: float) -> None:
        done.append(step)
        signal.raise_signal(signal.SIGTERM)

    for _ in scores:
        by_step = lambda _: {"dice_mean": scores[done[-1] - 1]}  # noqa: E731
        with pytest.raises(Stopped):
            list(run(tmp_path / "cut", TinyNet(), wanted, validate=by_step, on_step=stop))
    network = TinyNet()
    epochs = list(run(tmp_path / "cut", network, wanted, validate=by_step))
    assert equal(weights(network), after[-1])
    assert [(e.is_best, e.informative) for e in epochs] == [(e.is_best, e.informative) for e in whole]
    best = [state.read_network(tmp_path / name / "best.ckpt") for name in ("whole", "cut")]
    assert equal(*best)


def test_a_checkpoint_from_before_scores_were_compared_is_read(tmp_path: Path) -> None:
    list(run(tmp_path, TinyNet()))
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for key in ("first_score", "scores_differ"):
        del content["state"][key]
    for row in content["state"]["history"]:
        del row["informative"]
    torch.save(content, tmp_path / "last.ckpt")
    assert [epoch.informative for epoch in run(tmp_path, TinyNet())] == [True] * 3


def test_scores_that_are_not_defined_are_empty_cells_of_the_history(tmp_path: Path) -> None:
    train(tmp_path, [NAN, 0.5])
    assert [row["val/dice_mean"] for row in files.read_csv(tmp_path / "history.csv")] == ["", "0.5"]
