"""Moving averages of weights: by hand, in validation, in what is kept, and resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.train import state
from medseg.train.average import Average, decay_at
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, equal, plan, run, validate, weights


@pytest.mark.parametrize(
    ("decay", "t", "kept"), [(0.999, 0, 0.1), (0.999, 8, 0.5), (0.999, 10_000, 0.999), (0.05, 0, 0.05)]
)
def test_the_share_that_is_kept_by_hand(decay: float, t: int, kept: float) -> None:
    assert decay_at(decay, t) == pytest.approx(kept)


def test_three_steps_by_hand() -> None:
    network = nn.BatchNorm1d(1)  # a weight, a running mean and a count
    average = Average(network, 0.25)
    values = {"weight": 1.0, "running_mean": 0.0}
    for t, (weight, mean) in enumerate([(2.0, 8.0), (4.0, -8.0), (0.5, 1.0)]):
        with torch.no_grad():
            network.weight.fill_(weight)
        network.running_mean = torch.tensor([mean])  # another tensor, as some layers keep theirs
        network.num_batches_tracked.fill_(t + 1)
        average.update(t)
        kept = min(0.25, (t + 1) / (t + 10))
        for name, latest in (("weight", weight), ("running_mean", mean)):
            values[name] = kept * values[name] + (1 - kept) * latest
            assert average.values[name].item() == pytest.approx(values[name], rel=1e-6)
        assert average.values["num_batches_tracked"] == t + 1
    assert network.weight.item() == 0.5
    with pytest.raises(RuntimeError, match="inside"), average.in_the_network():
        assert network.weight.item() == average.values["weight"].item()
        raise RuntimeError("inside")
    assert (network.weight.item(), network.running_mean.item()) == (0.5, 1.0)


def test_validation_and_the_kept_weights_are_the_average_of_all_steps(tmp_path: Path) -> None:
    plain, averaged = TinyNet(), TinyNet()
    epochs = run(tmp_path / "plain", plain, plan(epochs=6, steps_per_epoch=1), validate=None)
    after = [weights(plain) for _ in epochs]
    validated: list[dict[str, Tensor]] = []

    def score(network: nn.Module) -> dict[str, float]:
        validated.append(weights(network))
        return {"dice_mean": float(len(validated) == 4)}

    list(run(tmp_path / "ema", averaged, plan(epochs=6, steps_per_epoch=1, ema=0.3), validate=score))
    assert equal(weights(averaged), after[-1])  # training itself knows nothing of the average
    expected = weights(TinyNet())
    for t, latest in enumerate(after):
        for name, value in expected.items():
            kept = min(0.3, (t + 1) / (t + 10))
            mixed = kept * value + (1 - kept) * latest[name]
            expected[name] = mixed if value.is_floating_point() else latest[name]
            torch.testing.assert_close(validated[t][name], expected[name], rtol=1e-5, atol=1e-6)
    assert equal(state.read_network(tmp_path / "ema/best.ckpt"), validated[3])
    assert equal(state.read_network(tmp_path / "ema/last.ckpt"), validated[5])
    assert equal(dict(state.read_any(tmp_path / "ema/last.ckpt").network), after[-1])


@pytest.mark.parametrize("steps", [(3,), (4, 6), (12,)])
def test_stopped_and_resumed_gives_the_same_bits(tmp_path: Path, steps: tuple[int, ...]) -> None:
    wanted, network = plan(ema=0.9), TinyNet(seed=5)
    list(run(tmp_path / "whole", TinyNet(), wanted))
    for step in steps:

        def stop(done: int, total: int, loss: float, at: int = step) -> None:
            if done == at:
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(Stopped):
            list(run(tmp_path / "cut", TinyNet(), wanted, on_step=stop))
    list(run(tmp_path / "cut", network, wanted))
    for name in ("best", "last"):
        files = (state.read_network(tmp_path / folder / f"{name}.ckpt") for folder in ("whole", "cut"))
        assert equal(*files)
    both = [state.read_any(tmp_path / folder / "last.ckpt") for folder in ("whole", "cut")]
    assert equal(*(dict(checkpoint.network) for checkpoint in both))


def test_a_signal_in_validation_leaves_the_trained_weights(tmp_path: Path) -> None:
    def interrupted(network: nn.Module) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    wanted, network = plan(ema=0.9), TinyNet()
    with pytest.raises(Stopped):
        list(run(tmp_path / "cut", network, wanted, validate=interrupted))
    assert equal(weights(network), dict(state.read_any(tmp_path / "cut/last.ckpt").network))
    list(run(tmp_path / "cut", network, wanted))
    list(run(tmp_path / "whole", TinyNet(), wanted))
    assert equal(*(state.read_network(tmp_path / name / "best.ckpt") for name in ("cut", "whole")))


def test_a_training_with_an_average_is_not_gone_on_with_without(tmp_path: Path) -> None:
    list(run(tmp_path, TinyNet(), plan(ema=0.9, epochs=1), validate=validate))
    with pytest.raises(MedsegError, match=r"ema was 0\.9, is None") as refusal:
        list(run(tmp_path, TinyNet(), plan(epochs=1)))
    assert refusal.value.code == Code.CHECKPOINT_UNREADABLE
