"""Two processes on this CPU, compared with one on the same batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.losses import build
from medseg.train import state
from medseg.train.fit import fit
from medseg.train.optim import Phase
from medseg.train.processes import fit_in_processes
from medseg.train.stop import Stopped
from tests.helpers.tiny_training import TinyNet, draw, equal, jitter, plan, validate, weights

pytestmark = pytest.mark.long

# The processes import this module by name and take pytest's own modules as they find them.
PHASES = (Phase(1, 0.05, ("head.*",)), Phase(2, 0.02))


def make(folder: Path, processes: int, **changes: Any) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {
        "network": TinyNet(norm=False),
        "draw": draw,
        "loss": build("ce"),
        "plan": plan(processes=processes, phases=PHASES, **changes),
        "folder": folder,
        "augment": jitter,
        "validate": validate,
    }


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one = make(tmp_path / "one", 1)
    alone = list(fit(**one))
    steps: list[int] = []
    combine_planes = list(
        fit_in_processes(partial(make, tmp_path / "two", 2), 2, lambda done, total, loss: steps.append(done))
    )
    assert steps == list(range(1, 13))
    for a, b in zip(alone, combine_planes, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=1e-5)
        assert (b.step, b.lr, b.val) == (a.step, a.lr, a.val)
    found = state.read_network(tmp_path / "two" / "last.ckpt")
    for name, value in weights(one["network"]).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_a_signal_stops_both_and_resume_is_exact(tmp_path: Path) -> None:
    list(fit_in_processes(partial(make, tmp_path / "whole", 2), 2))

    def on_step(done: int, total: int, loss: float) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        list(fit_in_processes(partial(make, tmp_path / "cut", 2), 2, on_step))
    assert stopped.value.exit_code == 143
    list(fit_in_processes(partial(make, tmp_path / "cut", 2), 2))
    whole, cut = (state.read_network(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert equal(whole, cut)
    assert not multiprocessing.active_children()


def test_a_refusal_in_a_process_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refusal:
        list(fit_in_processes(partial(make, tmp_path, 2, monitor="loss"), 2))
    assert refusal.value.code == Code.KEYWORD_INVALID
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'tempo'"):
        list(fit_in_processes(partial(make, tmp_path, 2, tempo=1), 2))
