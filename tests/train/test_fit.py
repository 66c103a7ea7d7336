"""The loop: exact resume, sameness, phases, stopping, refusals."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.train import state
from medseg.train.optim import Optimiser, Phase
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, draw, equal, plan, run, validate, weights

STEPS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[dict[str, Any]], Path]:
    """A training that nothing interrupts: its weights, epochs and folder."""
    folder = tmp_path_factory.mktemp("whole")
    network = TinyNet()
    epochs = list(run(folder, network))
    return weights(network), [_timeless(e.to_row()) for e in epochs], folder


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("seconds", "data_wait", "resumed")}


def _signal_at(step: int, signum: signal.Signals) -> Any:
    def on_step(done: int, total: int, loss: float) -> None:
        assert total == STEPS
        assert loss > 0
        if done == step:
            signal.raise_signal(signum)

    return on_step


def test_epochs_say_what_happened(whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path]) -> None:
    _, epochs, folder = whole
    assert [(e["number"], e["step"]) for e in epochs] == [(1, 4), (2, 8), (3, 12)]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert epochs[1]["lr"] == pytest.approx(0.02 * (5 / 12) ** 0.9)
    rows = files.read_csv(folder / "history.csv")
    assert list(rows[0]) == [
        *("epoch", "step", "train_loss", "lr", "seconds", "data_wait", "is_best", "stopped_early"),
        *("val/dice_mean", "val/dice/a"),
    ]
    assert [float(row["train_loss"]) for row in rows] == [e["train_loss"] for e in epochs]
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]


def test_same_seed_same_weights_and_nothing_global_is_left_changed(
    whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    torch.rand(5)
    before = torch.get_rng_state(), signal.getsignal(signal.SIGTERM)
    network = TinyNet()
    for epoch in run(tmp_path, network):
        assert not torch.are_deterministic_algorithms_enabled()
        assert signal.getsignal(signal.SIGTERM) == before[1]
        torch.rand(epoch.number)
        torch.set_rng_state(before[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert equal(weights(network), whole[0])
    other = TinyNet()
    list(run(tmp_path / "other", other, plan(seed=1)))
    assert not equal(weights(other), whole[0])  # dropout's seed


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stops=st.lists(st.integers(1, STEPS), min_size=1, max_size=3, unique=True),
    signum=st.sampled_from([signal.SIGTERM, signal.SIGINT]),
)
def test_stopped_at_any_steps_and_resumed_gives_the_same_bits(
    whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path],
    tmp_path_factory: pytest.TempPathFactory,
    stops: list[int],
    signum: signal.Signals,
) -> None:
    folder = tmp_path_factory.mktemp("stopped")
    for i, step in enumerate(sorted(stops)):
        with pytest.raises(Stopped) as stopped:
            list(run(folder, TinyNet(seed=i), on_step=_signal_at(step, signum)))
        assert (stopped.value.step, stopped.value.exit_code) == (step, 128 + signum)
    network = TinyNet(seed=99)
    epochs = list(run(folder, network))
    assert equal(weights(network), whole[0])
    assert [_timeless(e.to_row()) for e in epochs] == whole[1]
    assert equal(state.read_network(folder / "best.ckpt"), state.read_network(whole[2] / "best.ckpt"))
    assert [e.resumed for e in epochs] == [e.step < max(stops) for e in epochs]


def test_a_signal_during_validation_stops_at_once_and_validation_is_done_again(
    whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    def interrupted(network: nn.Module) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    with pytest.raises(Stopped, match="SIGTERM after step 4"):
        list(run(tmp_path, TinyNet(), validate=interrupted))
    assert not (tmp_path / "best.ckpt").exists()
    network = TinyNet()
    epochs = list(run(tmp_path, network))
    assert equal(weights(network), whole[0])
    assert [_timeless(e.to_row()) for e in epochs] == whole[1]


def test_a_signal_without_validation_at_an_epochs_last_step(tmp_path: Path) -> None:
    def squares(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.square().mean()

    plain = {"validate": None, "loss": squares}
    whole, network, folder = TinyNet(), TinyNet(), tmp_path / "cut"
    list(run(tmp_path / "whole", whole, **plain))
    for step in (4, 5):
        with pytest.raises(Stopped):
            list(run(folder, TinyNet(), on_step=_signal_at(step, signal.SIGTERM), **plain))
    epochs = list(run(folder, network, **plain))
    assert equal(weights(network), weights(whole))
    assert [e.is_best for e in epochs] == [True] * 3
    assert [e.val for e in epochs] == [None] * 3


def test_killed_and_resumed_gives_the_same_bits(
    whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    code = (
        "import os, signal, torch\n"
        "from pathlib import Path\n"
        "from tests.helpers.tiny_training import TinyNet, run\n"
        "torch.set_num_threads(1)\n"
        "def on_step(done, total, loss):\n"
        "    if done == 10: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"list(run(Path({str(tmp_path)!r}), TinyNet(), on_step=on_step))\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(files.read_csv(tmp_path / "history.csv")) == 2
    network = TinyNet(seed=5)
    epochs = list(run(tmp_path, network))
    assert equal(weights(network), whole[0])
    assert [_timeless(e.to_row()) for e in epochs] == whole[1]


_SLOW = """
import sys, time, torch
from pathlib import Path
from tests.helpers.tiny_training import TinyNet, draw, run
torch.set_num_threads(1)
def slow(t, rows):
    time.sleep(0.03)
    return draw(t, rows)
print("ready", flush=True)
list(run(Path(sys.argv[1]), TinyNet(), draw=slow))
"""


@pytest.mark.long
def test_killed_at_ten_random_moments_gives_the_same_bits(
    whole: tuple[dict[str, Tensor], list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    moments = np.random.default_rng(0)
    for _ in range(10):
        command = [sys.executable, "-c", _SLOW, str(tmp_path)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
        for checkpoint in tmp_path.glob("*.ckpt"):
            if not checkpoint.name.startswith(".part-"):
                state.read_network(checkpoint)
    network = TinyNet()
    epochs = list(run(tmp_path, network))
    assert equal(weights(network), whole[0])
    assert [_timeless(e.to_row()) for e in epochs] == whole[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt"]


def test_a_finished_training_trains_no_more(tmp_path: Path) -> None:
    list(run(tmp_path, TinyNet()))
    again = TinyNet(seed=7)
    epochs = list(run(tmp_path, again, draw=_never))
    assert [e.resumed for e in epochs] == [True] * 3
    assert equal(weights(again), dict(state.read_network(tmp_path / "last.ckpt")))


def _never(t: int, rows: slice) -> tuple[Any, Any]:
    raise AssertionError(f"batch {t} is not needed")


def test_phases_train_their_layers_alone(tmp_path: Path) -> None:
    network = TinyNet()
    first, second = Phase(1, 0.05, ("head.*",)), Phase(2, 0.01, ("encoder.*", "norm.*"))
    start = weights(network)
    epochs = run(tmp_path, network, plan(phases=(first, second), optimiser=Optimiser("sgd")))
    seen = [weights(network) for _ in epochs]
    changed = [
        {name for name in start if not torch.equal(a[name], b[name])}
        for a, b in zip([start, *seen], seen, strict=False)
    ]
    head = {"head.weight", "head.bias"}
    assert changed == [head, start.keys() - head, start.keys() - head]


def test_phases_resume_exactly_at_their_border(tmp_path: Path) -> None:
    phases = (Phase(1, 0.05, ("head.*",)), Phase(2, 0.01))
    whole, cut = TinyNet(), TinyNet()
    list(run(tmp_path / "whole", whole, plan(phases=phases)))
    for step in (3, 4, 5):
        with pytest.raises(Stopped):
            on_step = _signal_at(step, signal.SIGINT)
            list(run(tmp_path / "cut", TinyNet(), plan(phases=phases), on_step=on_step))
    list(run(tmp_path / "cut", cut, plan(phases=phases)))
    assert equal(weights(cut), weights(whole))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": Optimiser("sgd", nesterov=True), "schedule": "cosine", "warmup_steps": 2},
        {"precision": "bf16", "channels_last": True},
        {"schedule": "constant", "clip": None},
    ],
)
def test_other_plans_resume_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole, cut = TinyNet(), TinyNet()
    epochs = list(run(tmp_path / "whole", whole, plan(**changes)))
    assert epochs[-1].train_loss < epochs[0].train_loss
    with pytest.raises(Stopped):
        list(run(tmp_path / "cut", TinyNet(), plan(**changes), on_step=_signal_at(6, signal.SIGTERM)))
    list(run(tmp_path / "cut", cut, plan(**changes)))
    assert equal(weights(cut), weights(whole))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_network_trains_alike_and_resumes(tmp_path: Path) -> None:
    whole, cut = TinyNet(norm=False), TinyNet(norm=False)
    list(run(tmp_path / "eager", whole))
    with pytest.raises(Stopped):
        list(run(tmp_path / "cut", cut, plan(compile=True), on_step=_signal_at(6, signal.SIGTERM)))
    epochs = list(run(tmp_path / "cut", cut, plan(compile=True)))
    assert [e.resumed for e in epochs] == [True, False, False]
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], value, rtol=1e-3, atol=1e-5)


def test_early_stopping_and_the_best_are_kept(tmp_path: Path) -> None:
    scores = iter([0.5, 0.7, 0.7, float("nan"), 0.6])
    network = TinyNet()
    epochs, seen = [], []
    for epoch in run(
        tmp_path, network, plan(epochs=9, patience=2), validate=lambda _: {"dice_mean": next(scores)}
    ):
        epochs.append(epoch)
        seen.append(weights(network))
    assert [e.is_best for e in epochs] == [True, True, False, False, False]
    assert [e.informative for e in epochs] == [True, True, True, False, True]  # NaN is no failure to improve
    assert [e.stopped_early for e in epochs] == [False, False, False, False, True]
    assert equal(state.read_network(tmp_path / "best.ckpt"), seen[1])
    resumed = list(run(tmp_path, TinyNet(), plan(epochs=9, patience=2), draw=_never))
    assert [replace(e, resumed=False, val=None) for e in resumed] == [replace(e, val=None) for e in epochs]


def test_validation_comes_when_due_and_at_the_end(tmp_path: Path) -> None:
    epochs = list(run(tmp_path, TinyNet(), plan(epochs=5, steps_per_epoch=1, validate_every=2)))
    assert [e.val is not None for e in epochs] == [False, True, False, True, True]
    assert [e.is_best for e in epochs][:2] == [False, True]
    assert files.read_csv(tmp_path / "history.csv")[0]["val/dice_mean"] == ""


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_good_checkpoint(tmp_path: Path) -> None:
    def poisoned(t: int, rows: slice) -> tuple[Any, Any]:
        patches, labels = draw(t, rows)
        return (patches * np.float32("nan"), labels) if t == 6 else (patches, labels)

    with pytest.raises(MedsegError, match="step 6: the loss is nan; lower") as refusal:
        list(run(tmp_path, TinyNet(), draw=poisoned))
    assert refusal.value.code == Code.LOSS_NOT_FINITE
    kept = state.read(tmp_path / "last.ckpt", {**plan().settings(TinyNet()), "precision": "fp32"})
    assert kept.state.step == 4
    assert all(bool(value.isfinite().all()) for value in kept.network.values())


def test_weights_that_are_not_finite_do_not_replace_a_good_checkpoint(tmp_path: Path) -> None:
    def exploding(logits: Tensor, labels: Tensor) -> Tensor:
        exploding.calls += 1  # type: ignore[attr-defined]
        # The square root's slope is infinite at zero: a finite loss, gradients that are not.
        return (logits * 0).abs().sum().sqrt() if exploding.calls == 8 else logits.square().mean()  # type: ignore[attr-defined]

    exploding.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(MedsegError, match="some weights are not finite") as refusal:
        list(run(tmp_path, TinyNet(), loss=exploding))
    assert refusal.value.code == Code.LOSS_NOT_FINITE
    assert all(bool(v.isfinite().all()) for v in state.read_network(tmp_path / "last.ckpt").values())


def test_out_of_memory_names_the_key(tmp_path: Path) -> None:
    def greedy(logits: Tensor, labels: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(MedsegError, match=r"Tried to allocate 2 GiB; lower train\.batch") as refusal:
        list(run(tmp_path, TinyNet(), loss=greedy))
    assert refusal.value.code == Code.OUT_OF_MEMORY


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    list(run(tmp_path, TinyNet()))
    with pytest.raises(MedsegError, match=r"lr was 0\.02, is 0\.5"):
        list(run(tmp_path, TinyNet(), plan(lr=0.5)))
    with pytest.raises(MedsegError, match="data was None, is 'b'"):
        list(run(tmp_path, TinyNet(), plan(identity={"data": "b"})))
    with pytest.raises(MedsegError, match="network was"):
        list(run(tmp_path, TinyNet(norm=False)))


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(MedsegError, match="'loss'; use one of dice/a, dice_mean"):
        list(run(tmp_path, TinyNet(), plan(monitor="loss")))
    with pytest.raises(MedsegError, match="no parameter's name matches"):
        list(run(tmp_path, TinyNet(), plan(phases=(Phase(3, 0.1, ("x",)),))))
    with pytest.raises(MedsegError, match="fp16 on a cpu; use fp32 or bf16"):
        list(run(tmp_path, TinyNet(), plan(precision="fp16")))
    with pytest.raises(ValueError, match="fit_in_processes"):
        list(run(tmp_path, TinyNet(), plan(processes=2)))
    with pytest.raises(ZeroDivisionError):
        list(run(tmp_path / "draw", TinyNet(), draw=lambda t, rows: 1 / 0))


def test_valid_convolutions_and_deep_supervision(tmp_path: Path) -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TinyNet()

        def forward(self, x: Tensor) -> list[Tensor] | Tensor:
            logits = self.inner(x)[..., 2:-2, 2:-2]
            return [logits, 2 * logits] if self.training else logits

    def score(network: nn.Module) -> dict[str, float]:
        return {"dice_mean": float(network(torch.zeros(1, 3, 6, 6)).shape == (1, 2, 2, 2))}

    epochs = list(run(tmp_path, TwoHeads(), validate=score))
    assert epochs[-1].val == {"dice_mean": 1.0}


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def impatient(done: int, total: int, loss: float) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        list(run(tmp_path, TinyNet(), on_step=impatient))
    assert not isinstance(stopped.value, Stopped)
    assert signal.getsignal(signal.SIGINT) is before
    assert validate(TinyNet().eval())["dice_mean"] > 0
