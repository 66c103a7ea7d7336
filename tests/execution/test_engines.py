"""Engines give every task's outcome, as one process would, whatever happens to their workers."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from pathlib import Path
from threading import Thread, main_thread

import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, HiddenError, MedsegError, WorkerFaultError
from medseg.ingest.hidden import hidden_inputs
from pipelines.execution import processes, worker_process
from pipelines.execution.limits import Limits, machine_memory, share_of_memory
from pipelines.execution.overlap import overlapped
from pipelines.execution.steps import Ended, Steps
from tests.helpers.toy_work import Toy, work

NUMBERS = [Toy(n, "skip" if n == 3 else "") for n in range(8)]
EXPECTED = {n: "3: skipped" if n == 3 else str(n**2) for n in range(8)}


def in_processes(tasks: list[Toy], workers: int = 2, seconds: float | None = None) -> dict[int, str]:
    return dict(processes.run(tasks, work(), workers=workers, limits=Limits(seconds)))


def test_one_process_gives_outcomes_in_the_order_of_the_tasks() -> None:
    outcomes = list(overlapped(enumerate(NUMBERS), work().make()))
    assert outcomes == list(EXPECTED.items())


def test_the_next_task_is_read_and_the_last_written_while_one_is_computed() -> None:
    at_work: set[str] = set()
    together: list[set[str]] = []

    def step(name: str) -> object:
        def run(task: int) -> int:
            at_work.add(name)
            time.sleep(0.03)
            together.append(set(at_work))
            at_work.discard(name)
            return task

        return run

    steps = Steps(step("read"), step("compute"), step("write"))  # type: ignore[arg-type]
    assert list(overlapped(enumerate(range(6)), steps)) == [(n, n) for n in range(6)]
    assert {"read", "compute", "write"} in together


def test_few_tasks_are_in_memory_at_once() -> None:
    in_memory, most, lock = [0], [0], threading.Lock()

    def read(task: int) -> int:
        with lock:
            in_memory[0] += 1
            most[0] = max(most[0], in_memory[0])
        return task

    def write(task: int) -> int:
        time.sleep(0.02)
        with lock:
            in_memory[0] -= 1
        return task

    list(overlapped(enumerate(range(12)), Steps(read, lambda task: task, write)))
    assert most[0] <= 4  # read ahead, computed, and two being or waiting to be written


@pytest.mark.parametrize("step", ["read", "compute", "write"])
def test_what_a_step_raises_ends_the_run(step: str) -> None:
    with pytest.raises(ZeroDivisionError):
        list(overlapped(enumerate([Toy(1), Toy(2, f"{step} breaks"), Toy(3)]), work().make()))
    for misbehaviour, error in ((f"{step} breaks", WorkerFaultError), (f"{step} refuses all", MedsegError)):
        with pytest.raises(error, match=r"by zero|DISK_FULL"):
            in_processes([Toy(1), Toy(2, misbehaviour)], workers=1)


def test_processes_give_what_one_process_gives_and_make_the_steps_once_each(tmp_path: Path) -> None:
    outcomes = dict(processes.run(NUMBERS, work(tmp_path), workers=2, limits=Limits()))
    assert outcomes == EXPECTED
    assert 1 <= len(list(tmp_path.iterdir())) <= 2
    assert in_processes([]) == {}


@pytest.mark.parametrize("step", ["read", "compute", "write"])
def test_a_task_that_kills_its_worker_is_named_and_no_other_is_lost(step: str) -> None:
    tasks = [Toy(n, f"{step} dies" if n == 2 else "") for n in range(5)]
    outcomes = in_processes(tasks, workers=1)
    assert {n: outcomes.pop(n) for n in (0, 1, 3, 4)} == {n: str(n**2) for n in (0, 1, 3, 4)}
    assert "WORKER_KILLED its process ended by signal 9 (SIGKILL)" in outcomes[2]
    assert "MiB" in outcomes[2]


@pytest.mark.parametrize("victim", [0, 2, 4])
def test_a_worker_that_was_killed_from_outside_costs_nothing(victim: int, tmp_path: Path) -> None:
    tasks = [Toy(n, "compute dies" if n == victim else "", tmp_path / "once") for n in range(5)]
    assert in_processes(tasks, workers=1) == {n: str(n**2) for n in range(5)}


def test_a_step_that_takes_too_long_is_ended_and_no_other_is_lost() -> None:
    tasks = [Toy(n, "compute hangs" if n == 1 else "") for n in range(4)]
    outcomes = in_processes(tasks, workers=1, seconds=1.0)
    assert "TIME_LIMIT computing took more than 1 s" in outcomes.pop(1)
    assert outcomes == {n: str(n**2) for n in (0, 2, 3)}


def test_memory_above_the_limit_cannot_be_had() -> None:
    tasks = [Toy(1, "compute fills memory")]
    assert in_processes(tasks, workers=1) == {0: "1"}  # untouched memory costs nothing
    with pytest.raises(MedsegError, match="OUT_OF_MEMORY a worker process: MemoryError; lower --workers"):
        dict(processes.run(tasks, work(), workers=1, limits=Limits(memory=2**31)))


def test_workers_that_cannot_begin_are_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "serve", "no function")
    with pytest.raises(MedsegError) as refused:
        in_processes([Toy(1)])
    assert refused.value.code == Code.WORKER_KILLED and "end at once" in refused.value.finding.details


def test_closing_the_iterator_ends_all_workers() -> None:
    outcomes = processes.run([Toy(1), Toy(2, "compute hangs")], work(), workers=1, limits=Limits())
    assert next(outcomes) == (0, "1")
    started = time.monotonic()
    outcomes.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("ending", ["closed", "late"])
def test_a_worker_that_is_ended_leaves_no_half_file(ending: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    tasks = [Toy(1, "write writes", mark)]
    limits = Limits(2.0 if ending == "late" else None)
    outcomes = processes.run([*tasks, Toy(2)], work(tmp_path), workers=1, limits=limits)
    if ending == "closed":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a training of an earlier test set
        Thread(target=_interrupt_once, args=(tmp_path,)).start()
        with pytest.raises(KeyboardInterrupt):
            list(outcomes)
    else:
        assert "TIME_LIMIT writing took more" in dict(outcomes)[0]
    assert mark.exists() and not [path for path in tmp_path.iterdir() if files.is_part(path)]


def _interrupt_once(folder: Path) -> None:
    """Interrupt the main thread when a file is being written in the folder."""
    while not any(map(files.is_part, folder.iterdir())):
        time.sleep(0.05)
    signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)


def test_the_words_of_a_fault_in_a_worker_stay_out_where_inputs_are_hidden(tmp_path: Path) -> None:
    with pytest.raises(HiddenError) as hidden, hidden_inputs([tmp_path], None, Reporter()):
        in_processes([Toy(1, "read breaks")])
    told = "".join(traceback.format_exception(hidden.value))
    assert "ZeroDivisionError" in told and "toy_work.py" in told and "_misbehave" in told
    assert 'raise ZeroDivisionError("by zero")' in told  # a line of code
    assert "ZeroDivisionError: by zero" not in told


def test_memory_is_shared_among_workers() -> None:
    memory = machine_memory()
    assert memory is not None and memory > 2**28
    assert share_of_memory(3) == int(memory * 0.9 / 3)


def test_an_early_end_needs_no_later_step() -> None:
    steps = Steps(lambda task: Ended(task), lambda _: 1 / 0, lambda _: 1 / 0)
    assert list(overlapped(enumerate("ab"), steps)) == [(0, "a"), (1, "b")]
