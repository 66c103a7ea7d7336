"""A Dask cluster gives every task's outcome, as one process would, also where a worker dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import Code, MedsegError
from pipelines.execution import cluster
from pipelines.execution.limits import Limits
from tests.helpers.toy_work import Toy, work

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Two workers of one thread each, that are given up after one death."""
    import dask

    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.worker.daemon": True}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
    ):
        yield local.scheduler_address


def on(scheduler: str, tasks: list[Toy], folder: Path | None = None, seconds: float | None = None) -> Any:
    return dict(cluster.run(tasks, work(folder), scheduler=scheduler, limits=Limits(seconds)))


def test_a_cluster_gives_what_one_process_gives_and_makes_the_steps_once_a_worker(
    scheduler: str, tmp_path: Path
) -> None:
    tasks = [Toy(n, "skip" if n == 3 else "") for n in range(20)]
    outcomes = on(scheduler, tasks, tmp_path)
    assert outcomes == {n: "3: skipped" if n == 3 else str(n**2) for n in range(20)}
    assert len(list(tmp_path.iterdir())) <= 2


def test_a_task_that_kills_its_worker_is_named(scheduler: str) -> None:
    outcomes = on(scheduler, [Toy(n, "compute dies" if n == 1 else "") for n in range(4)])
    assert outcomes.pop(1).startswith("1: WORKER_KILLED")
    assert outcomes == {n: str(n**2) for n in (0, 2, 3)}


def test_a_task_that_takes_too_long_is_lost(scheduler: str) -> None:
    outcomes = on(scheduler, [Toy(0), Toy(1, "compute hangs")], seconds=1.0)
    assert outcomes[0] == "0" and outcomes[1].startswith("1: WORKER_KILLED")


def test_what_ends_a_run_is_raised(scheduler: str) -> None:
    with pytest.raises(MedsegError) as refused:
        on(scheduler, [Toy(1, "write refuses all")])
    assert refused.value.code == Code.DISK_FULL


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    with pytest.raises(MedsegError) as refused:
        on("tcp://127.0.0.1:9", [Toy(1)])
    assert refused.value.code == Code.CLUSTER_UNREACHABLE


def test_a_connection_that_closes_while_a_result_is_fetched_is_one_line(monkeypatch: Any) -> None:
    errors: list[Exception] = [distributed.comm.CommClosedError("Stream is closed"), OSError(5, "of a task")]
    expected = ["CLUSTER_UNREACHABLE tcp://h:1: the connection was lost", "of a task"]

    def closing(*_: Any) -> Any:
        raise errors.pop(0)
        yield

    monkeypatch.setattr(cluster, "_outcomes", closing)
    for words in expected:
        with pytest.raises((MedsegError, OSError), match=words):
            on("tcp://h:1", [Toy(1)])


def test_a_scheduler_that_is_lost_meanwhile_is_one_line(tmp_path: Path) -> None:
    options = ["--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")]
    programs = (["scheduler", "--host", "127.0.0.1", "--port", "0"], ["worker", "--nthreads", "1"])
    started = []
    try:
        for program in programs:
            command = [sys.executable, "-m", f"distributed.cli.dask_{program[0]}", *program[1:], *options]
            started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            while not (tmp_path / "scheduler.json").is_file():
                time.sleep(0.1)
        with distributed.Client(scheduler_file=options[-1], set_as_default=False) as client:
            client.wait_for_workers(1)
            address = client.scheduler.address
        tasks = [Toy(0), *(Toy(n, "compute hangs") for n in range(1, 4))]
        outcomes = cluster.run(tasks, work(), scheduler=address, limits=Limits())
        assert next(outcomes) == (0, "0")
        started[0].kill()
        with pytest.raises(MedsegError) as refused:
            list(outcomes)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert refused.value.code == Code.CLUSTER_UNREACHABLE
    assert "the connection was lost" in refused.value.finding.details
