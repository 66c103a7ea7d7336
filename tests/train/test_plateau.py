"""The rate falls where validation's scores no longer rise, by hand, over phases, and resumed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from medseg.errors import Code, MedsegError
from medseg.train import state
from medseg.train.optim import Phase, Plateau
from medseg.train.plan import FitPlan
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, equal, plan, run, weights

NAN = float("nan")


def rates(folder: Path, scores: Sequence[float], wanted: FitPlan) -> list[float]:
    left = iter(scores)
    epochs = run(folder, TinyNet(), wanted, validate=lambda _: {"dice_mean": next(left)})
    return [round(epoch.lr, 9) for epoch in epochs]


def planned(epochs: int, patience: int = 2, factor: float = 0.1, **changes: Any) -> FitPlan:
    kind = {"schedule": "plateau", "plateau": Plateau(patience, factor), "lr": 0.01}
    return plan(epochs=epochs, steps_per_epoch=1, **{**kind, **changes})


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.01] * 6),
        ([0.5, 0.4, 0.4, 0.4, 0.4, 0.4], [0.01, 0.01, 0.01, 0.001, 0.001, 0.0001]),
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.7], [0.01, 0.01, 0.01, 0.01, 0.01, 0.001]),
        ([0.5, 0.4, NAN, 0.4, 0.4, 0.4], [0.01, 0.01, 0.01, 0.01, 0.001, 0.001]),
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.01] * 6),  # they say nothing
        ([NAN] * 6, [0.01] * 6),
    ],
)
def test_the_rate_falls_by_scores_alone(tmp_path: Path, scores: list[float], expected: list[float]) -> None:
    assert rates(tmp_path, scores, planned(6)) == pytest.approx(expected)


def test_factor_warm_up_and_validations_between(tmp_path: Path) -> None:
    halved = planned(4, patience=1, factor=0.5, warmup_steps=2)
    assert rates(tmp_path / "a", [0.5, 0.4, 0.3, 0.2], halved) == pytest.approx([0.005, 0.01, 0.005, 0.0025])
    every_second = planned(6, patience=1, validate_every=2)
    assert rates(tmp_path / "b", [0.5, 0.4, 0.3], every_second) == pytest.approx([0.01] * 4 + [0.001] * 2)


def test_each_phase_begins_at_its_own_rate(tmp_path: Path) -> None:
    phases = (Phase(3, 0.01, ("head.*",)), Phase(3, 0.004))
    found = rates(tmp_path, [0.5, 0.4, 0.3, 0.2, 0.1, 0.1], planned(6, patience=1, phases=phases))
    assert found == pytest.approx([0.01, 0.01, 0.001, 0.004, 0.0004, 0.00004])


def test_early_stopping_counts_by_itself(tmp_path: Path) -> None:
    wanted = planned(9, patience=2, **{})
    stopping = FitPlan(**{**wanted.__dict__, "patience": 5})
    found = rates(tmp_path, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.9], stopping)
    assert found == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001, 0.0001])


@pytest.mark.parametrize("step", [3, 4, 5])
def test_stopped_and_resumed_gives_the_same_bits_and_rates(tmp_path: Path, step: int) -> None:
    scores, wanted = [0.5, 0.4, 0.4, 0.6, 0.2, 0.1], planned(6)

    def by_step(at: list[int]) -> Any:
        def score(_: nn.Module) -> dict[str, float]:
            at.append(0)
            return {"dice_mean": scores[len(at) - 1]}

        return score

    def stop(done: int, total: int, loss: float) -> None:
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    whole, network, counted = TinyNet(), TinyNet(seed=3), list[int]()
    expected = [epoch.lr for epoch in run(tmp_path / "whole", whole, wanted, validate=by_step([]))]
    with pytest.raises(Stopped):
        list(run(tmp_path / "cut", TinyNet(), wanted, validate=by_step(counted), on_step=stop))
    found = [epoch.lr for epoch in run(tmp_path / "cut", network, wanted, validate=by_step(counted))]
    assert found == expected
    assert equal(weights(network), weights(whole))
    assert state.read_any(tmp_path / "cut/last.ckpt").state.rate_drops == 2


def test_without_validation_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    with pytest.raises(MedsegError, match="there is no validation case") as refusal:
        list(run(tmp_path, TinyNet(), planned(2), validate=None))
    assert refusal.value.code == Code.KEYWORD_INVALID
    assert not list(tmp_path.iterdir())
