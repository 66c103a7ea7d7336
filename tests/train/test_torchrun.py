"""Processes that torchrun starts, here a group of one; tests/long/test_torchrun.py trains two of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from medseg.errors import ExitCode, MedsegError
from medseg.train import torchrun
from medseg.train.fit import fit
from medseg.train.processes import free_port
from tests.train.test_processes import make


@pytest.fixture
def started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}"}
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        variables[name] = "0"
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        variables[name] = "1"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_torchrun_there_are_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # other launchers set it, too
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert torchrun.process_count() == 0


@pytest.mark.usefixtures("started_by_torchrun")
def test_the_first_process_trains_as_it_would_alone(tmp_path: Path) -> None:
    assert torchrun.process_count() == 1 and torchrun.is_first()
    with torchrun.leading():
        epochs = list(torchrun.fit_together(partial(make, tmp_path / "torchrun", 1)))
    alone = list(fit(**make(tmp_path / "alone", 1)))
    assert [epoch.train_loss for epoch in epochs] == [epoch.train_loss for epoch in alone]
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures("started_by_torchrun")
@pytest.mark.parametrize("fails", [False, True])
def test_another_process_trains_what_the_first_gives_and_ends_with_it(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"monitor": "nothing"} if fails else {}
    given = [partial(make, tmp_path / "one", 1), partial(make, tmp_path / "two", 1, **changes), None]
    monkeypatch.setattr(torchrun, "_from_first", lambda _: given.pop(0))
    if fails:
        with pytest.raises(MedsegError, match="monitor"):
            torchrun.follow()
        assert not torch.distributed.is_initialized()
    else:
        assert torchrun.follow() == ExitCode.DONE and not given
    assert (tmp_path / "one/last.ckpt").exists()
