"""The loop where the device works beside the host: losses that arrive late, batches made in threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.losses import LOSSES, RECONSTRUCTION, build
from medseg.patches.sampler import PatchSampler
from medseg.train import batches, loss_log, prefetch
from medseg.train.loss_log import LossLog
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, draw, equal, jitter, plan, run, weights
from tests.patches.test_resident import CASES


class Late:
    """A loss that has arrived when it is waited for, and not before."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.is_done, self._tensors = False, tensors

    def wait(self) -> list[Tensor]:
        return list(self._tensors)


class SideThreads:
    """In place of a stream of CUDA: what is made there is made in the thread that draws."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def make(self, function: Callable[[], Sequence[Tensor]]) -> Callable[[], Sequence[Tensor]]:
        tensors = function()
        self.threads.add(threading.current_thread().name)
        return lambda: tensors


def rows_of(folder: Path, **changes: Any) -> tuple[dict[str, Tensor], list[Any], list[tuple[int, float]]]:
    """Train; give the weights, the epochs' losses, and what was reported of steps."""
    network, steps = TinyNet(), []
    wanted = plan(epochs=2, steps_per_epoch=12)
    done = run(folder, network, wanted, on_step=lambda n, _, loss: steps.append((n, loss)), **changes)
    return weights(network), [epoch.train_loss for epoch in done], steps


@pytest.fixture(scope="module")
def in_step(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[Any], list[Any]]:
    """A training in which every loss is read at its step."""
    return rows_of(tmp_path_factory.mktemp("in_step"))


def test_late_losses_and_batches_made_beside_give_the_same_training(
    in_step: tuple[dict[str, Tensor], list[Any], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = SideThreads()
    monkeypatch.setattr(loss_log, "Download", Late)
    set_up = batches.BatchMaker.__post_init__

    def set_up_beside(maker: batches.BatchMaker) -> None:
        set_up(maker)
        maker.side = side  # type: ignore[assignment]

    monkeypatch.setattr(batches.BatchMaker, "__post_init__", set_up_beside)
    trained, losses, steps = rows_of(tmp_path)
    assert equal(trained, in_step[0])
    assert (losses, steps) == in_step[1:]
    assert [n for n, _ in steps] == list(range(1, 25))
    assert all(name.startswith("draw") for name in side.threads)


def test_a_stop_counts_the_losses_that_are_under_way(
    in_step: tuple[dict[str, Tensor], list[Any], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_log, "Download", Late)
    monkeypatch.setattr(batches, "spare_processors", lambda _: 0)  # the thread that trains calls `stop`

    def stop(patches: Tensor, labels: Tensor, t: int, rows: slice) -> tuple[Tensor, Tensor]:
        if t == 17:
            signal.raise_signal(signal.SIGTERM)
        return jitter(patches, labels, t, rows)

    with pytest.raises(Stopped) as stopped:
        rows_of(tmp_path, augment=stop)
    assert stopped.value.step == 18
    trained, losses, steps = rows_of(tmp_path)
    assert equal(trained, in_step[0])
    assert losses == in_step[1]
    assert steps == in_step[2][18:]


def test_few_losses_are_under_way_and_none_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_log, "Download", Late)
    log, arrived = LossLog(), []
    for t in range(20):
        log.add(t, torch.tensor(float(t)))
        arrived += log.arrived()
        assert len(arrived) == max(0, t + 1 - 8)
    assert [*arrived, *log.arrived(all_of_them=True)] == [(t, float(t)) for t in range(20)]


def test_a_loss_that_is_no_number_ends_the_training_at_its_step_though_it_comes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_log, "Download", Late)

    def poisoned(t: int, rows: slice) -> tuple[Any, Any]:
        patches, labels = draw(t, rows)
        return patches + (np.float32(np.nan) if t == 5 else np.float32(0)), labels

    with pytest.raises(MedsegError, match="step 5: the loss is nan") as refused:
        rows_of(tmp_path, draw=poisoned)
    assert refused.value.code == Code.LOSS_NOT_FINITE
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("spare", [0, 1])
def test_the_share_of_time_that_waits_for_data_is_recorded(
    spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the thread that trains changes the windows or waits for the one that does."""
    monkeypatch.setattr(batches, "spare_processors", lambda _: spare)
    monkeypatch.setattr(prefetch, "spare_processors", lambda _: spare)

    def slow_change(patches: Tensor, labels: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        time.sleep(0.02)
        return patches, labels

    epochs = list(run(tmp_path, TinyNet(), plan(epochs=2, steps_per_epoch=6), augment=slow_change))
    shares = [epoch.data_wait for epoch in epochs]
    assert all(0 < share <= 1 for share in shares)
    assert all(epoch.seconds * epoch.data_wait >= 0.06 for epoch in epochs)
    assert [float(row["data_wait"]) for row in files.read_csv(tmp_path / "history.csv")] == shares


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_reads_a_value_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device without numbers, on which to read a value fails; autocast does not know it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    logits = torch.empty(2, 3, 8, 8, device="meta", requires_grad=True)
    labels = torch.empty(2, 8, 8, dtype=torch.uint8, device="meta")
    if name == RECONSTRUCTION:
        labels = torch.empty(2, 3, 8, 8, device="meta")
    build(name).to("meta")(logits, labels).backward()
    assert logits.grad is not None


def test_windows_cut_on_the_device_give_the_same_weights(tmp_path: Path) -> None:
    trained = {}
    for place in ("host", "device"):
        sampler = PatchSampler(CASES, "axial", 3, (6, 6), 4, 5)
        network = torch.nn.Conv2d(6, 3, 1)
        torch.nn.init.constant_(network.weight, 0.1)
        torch.nn.init.zeros_(network.bias)
        list(run(tmp_path / place, network, plan(draw_from=place), draw=sampler, augment=None, validate=None))
        trained[place] = weights(network)
    assert equal(trained["host"], trained["device"])
