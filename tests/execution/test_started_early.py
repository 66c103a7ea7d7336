"""Workers that are started before their work is known."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli import exits, segment
from medseg.cli.app import app
from medseg.cli.engine import start_early
from pipelines.execution import processes, worker_process
from pipelines.execution.limits import Limits
from pipelines.execution.steps import Steps, Work
from pipelines.execution.worker_process import started_early


def _same(value: object) -> object:
    return value


def _process(_task: int) -> int:
    return os.getpid()


def _steps() -> Steps[int, int]:
    return Steps(_same, _same, _process)


def _lost(_task: int, _finding: object) -> int:
    return -1


WORK = Work(partial(_steps), _lost)


def processes_of(tasks: int, workers: int) -> set[int]:
    """The ids of the processes that carried out the tasks."""
    return {pid for _, pid in processes.run(list(range(tasks)), WORK, workers=workers, limits=Limits())}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_work_goes_to_the_worker_that_was_started_early_and_others_are_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_process, "cpus_allowed", lambda: 2)
    with started_early(2, "json"):
        early = {worker.process.pid for worker in worker_process._EARLY}
        used = processes_of(3, workers=1)
        assert used < early and len(used) == 1
        assert not any(alive(pid) for pid in early)
    assert processes_of(1, workers=1).isdisjoint(early)


def test_no_more_are_started_early_than_there_are_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "cpus_allowed", lambda: 1)
    with started_early(16, "json"):
        assert len(worker_process._EARLY) == 1
    assert not worker_process._EARLY


def test_one_that_has_died_meanwhile_is_replaced() -> None:
    with started_early(1, "json"):
        (early,) = worker_process._EARLY
        early.process.kill()
        early.process.join()
        assert early.process.pid not in processes_of(1, workers=1)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs masks of signals")
def test_a_worker_never_hears_ctrl_c_not_even_while_it_starts() -> None:
    with started_early(1, "json"):
        (early,) = worker_process._EARLY
        for _ in range(20):
            os.kill(early.process.pid, signal.SIGINT)
            time.sleep(0.02)
        assert processes_of(1, workers=1) == {early.process.pid}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_where_signals_have_no_masks_a_worker_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.delattr(resource_tracker, "ensure_running")  # which is for masks alone
    with started_early(1, "json"):
        (early,) = worker_process._EARLY
        assert processes_of(1, workers=1) == {early.process.pid}


@pytest.mark.parametrize(("limit", "early"), [([], ["segment"]), (["--max-memory", "4GB"], [])])
def test_segment_starts_workers_early_unless_memory_is_bounded(
    limit: list[str], early: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(segment, "start_early", lambda command, _workers: asked.append(command))
    words = ["segment", str(tmp_path), str(tmp_path / "out"), "--workers", "2", *limit]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0 and asked == early  # the folder holds no scan


def test_a_command_ends_the_workers_that_it_started_early_and_has_not_used() -> None:
    started: list[int] = []

    def app(**_: object) -> int:
        start_early("preprocess", 1)
        started.extend(worker.process.pid for worker in worker_process._EARLY)
        return 0

    assert exits.end_well(app) == 0  # type: ignore[arg-type]
    assert len(started) == 1 and not alive(started[0])


def test_nothing_is_started_early_where_no_command_runs() -> None:
    start_early("segment", 1)
    assert not worker_process._EARLY
