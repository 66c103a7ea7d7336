"""Batches trained on in parts: a step of N parts is the step of the whole batch."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.losses import build
from medseg.train import batches
from medseg.train.optim import Optimiser
from medseg.train.plan import Epoch
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, draw, equal, jitter, plan, run, weights


def trained(
    folder: Path, accumulate: int, *, norm: bool = False, **changes: Any
) -> tuple[dict[str, Tensor], list[Epoch]]:
    network = TinyNet(norm=norm)
    wanted = plan(accumulate=accumulate, **changes)
    epochs = list(run(folder, network, wanted, loss=build("ce"), validate=None))
    return weights(network), epochs


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.sampled_from([2, 4]),
    clip=st.sampled_from([None, 0.05]),
    optimiser=st.sampled_from([Optimiser(), Optimiser("sgd")]),
    schedule=st.sampled_from(["constant", "poly", "cosine"]),
    warmup_steps=st.integers(0, 4),
)
def test_parts_of_a_batch_are_the_batch(
    tmp_path_factory: pytest.TempPathFactory, parts: int, **changes: Any
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    whole, epochs = trained(folder / "whole", 1, **changes)
    in_parts, others = trained(folder / "parts", parts, **changes)
    assert not equal(whole, weights(TinyNet(norm=False)))
    for name, value in whole.items():
        torch.testing.assert_close(in_parts[name], value, rtol=1e-4, atol=2e-5)
    # Steps, rates and losses are those of whole batches
    assert [(e.step, e.lr) for e in others] == [(e.step, e.lr) for e in epochs]
    assert [e.train_loss for e in others] == pytest.approx([e.train_loss for e in epochs], rel=1e-4)


def test_each_window_of_a_batch_is_drawn_and_augmented_once(tmp_path: Path) -> None:
    seen: list[tuple[int, list[int]]] = []
    shifted: list[tuple[int, list[int]]] = []

    def source(t: int, rows: slice) -> tuple[Any, Any]:
        seen.append((t, [*range(4)][rows]))
        return draw(t, rows)

    def augment(patches: Tensor, labels: Tensor, t: int, rows: slice) -> tuple[Tensor, ...]:
        shifted.append((t, [*range(4)][rows]))
        return jitter(patches, labels, t, rows)

    wanted = plan(epochs=1, steps_per_epoch=2, accumulate=2)
    list(run(tmp_path, TinyNet(), wanted, draw=source, augment=augment, validate=None))
    assert sorted(seen) == [(0, [0, 2]), (0, [1, 3]), (1, [0, 2]), (1, [1, 3])]
    assert shifted == [(0, [0, 2]), (0, [1, 3]), (1, [0, 2]), (1, [1, 3])]


def test_batch_norm_has_the_statistics_of_parts(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", 1, norm=True)
    in_parts, _ = trained(tmp_path / "parts", 2, norm=True)
    assert (whole["norm.num_batches_tracked"], in_parts["norm.num_batches_tracked"]) == (12, 24)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_stopped_between_steps_and_resumed_gives_the_same_bits(tmp_path: Path, step: int) -> None:
    wanted = plan(accumulate=2)
    whole, network = TinyNet(), TinyNet(seed=9)
    list(run(tmp_path / "whole", whole, wanted))

    def stop(done: int, total: int, loss: float) -> None:
        assert total == 12
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        list(run(tmp_path / "cut", TinyNet(), wanted, on_step=stop))
    assert stopped.value.step == step
    list(run(tmp_path / "cut", network, wanted))
    assert equal(weights(network), weights(whole))


def test_a_signal_in_the_middle_of_a_step_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "spare_processors", lambda _: 0)  # the thread that trains augments

    def augment(patches: Tensor, labels: Tensor, t: int, rows: slice) -> tuple[Tensor, ...]:
        if (t, rows.start) == (2, 0):
            signal.raise_signal(signal.SIGTERM)
        return patches, labels

    wanted = plan(accumulate=2)
    with pytest.raises(Stopped, match="after step 3"):
        list(run(tmp_path / "cut", TinyNet(), wanted, augment=augment))
    network, whole = TinyNet(), TinyNet()
    list(run(tmp_path / "cut", network, wanted, augment=None))
    list(run(tmp_path / "whole", whole, wanted, augment=None))
    assert equal(weights(network), weights(whole))
