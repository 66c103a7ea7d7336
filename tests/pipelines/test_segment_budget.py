"""`medseg segment --max-memory` and `--time`: planned, said, kept; refused where they cannot be."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import files, networks
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer.case_memory import CaseMemory
from medseg.model import folder as model_folder
from pipelines.commands import segment, segment_budget, segment_plan, segment_probe, segment_steps
from pipelines.commands.segment import Settings
from pipelines.commands.segment_budget import Budget
from pipelines.commands.segment_probe import Answer, Demand, Question
from pipelines.execution.engines import Execution
from pipelines.execution.overlap import one_by_one, overlapped
from pipelines.execution.steps import Ended, Steps
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

_PEAK = """
import sys
from medseg.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print("peak", int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def answer_of(question: Question) -> Answer:
    """A machine on which a scan takes 100 s, and a process with the model 300 MB and 50 for pieces."""
    demand = Demand(300 * 10**6, 200 * 10**6, 100.0, 1e-6)
    fits = question.share >= 350 * 10**6
    available = max(0, question.share - demand.base)
    case = CaseMemory(available, demand.per_pixel)
    return Answer(demand, 350 * 10**6, 350 * 10**6, "1 slice" if fits else "", 100.0, case)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_probe, "ask", answer_of)
    monkeypatch.setattr(segment_budget, "resident_memory", lambda _: 236 * 10**6)  # 300 with what it grows


@pytest.fixture
def scans(tmp_path: Path, brain: Any) -> Path:
    for number, name in enumerate("abc"):
        save(tmp_path / f"in/{name}.nii.gz", brain + number)
    return tmp_path / "in"


def run(
    source: Path, out: Path, settings: Settings, command: Callable[..., ExitCode] = segment.run
) -> tuple[ExitCode, str]:
    stream = io.StringIO()
    return command([source], out, settings, Reporter(stream=stream, results=stream)), stream.getvalue()


def statuses(out: Path) -> list[str]:
    return [row["status"] for row in files.read_csv(out / "summary.csv")]


@pytest.mark.parametrize(("workers", "smallest"), [(0, 380), (1, 690), (2, 1060)])
def test_too_little_memory_is_refused_with_the_smallest(
    workers: int, smallest: int, scans: Path, tmp_path: Path, make_model: Any, known: None
) -> None:
    settings = Settings(make_model(), execution=Execution(workers), budget=Budget(300 * 10**6))
    for command in (segment.run, segment_plan.run):
        with pytest.raises(MedsegError) as refused:
            run(scans, tmp_path / "out", settings, command)
        finding = refused.value.finding
        assert (finding.code, finding.where) == (Code.USAGE, "--max-memory")
        assert f"give at least {smallest}MB" in finding.how_to_fix
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_the_plan_is_said_before_the_work(scans: Path, tmp_path: Path, make_model: Any, known: None) -> None:
    budget = Budget(10**9, 250.0, time.time() + 250)
    settings = Settings(make_model(), execution=Execution(1), budget=budget)
    _, said = run(scans, tmp_path / "out", settings, segment_plan.run)
    first, second = said.splitlines()[:2]
    assert first.startswith("memory: 1 slice, at most about 650 of 1,000 MB in 2 processes")
    assert "20 × 24 × 8 voxels" in first
    assert "about 1 min 40 s a scan, 5 min 0 s for 3 scans: about 2 fit into the 4 min" in second
    assert "the next run goes on" in second and "--fast may" in second


def test_scans_that_would_not_end_in_time_are_left_for_the_next_run(
    scans: Path, tmp_path: Path, make_model: Any, known: None
) -> None:
    out, model = tmp_path / "out", make_model()
    short = Settings(model, budget=Budget(None, 60.0, time.time() + 60))  # a scan takes 100 s
    ended, said = run(scans, out, short)
    assert ended == ExitCode.SOME_EXCLUDED and statuses(out) == ["not run"] * 3
    assert "time is over: 3 of 3 not run; the same command goes on with them" in said
    ended, said = run(scans, out, Settings(model, budget=Budget(None, 900.0, time.time() + 900)))
    assert ended == ExitCode.DONE and statuses(out) == ["done"] * 3
    assert "5 min 0 s for 3 scans, of 15 min 0 s" in said
    ended, _ = run(scans, out, Settings(model, budget=Budget(None, 60.0, time.time() + 60)))
    assert ended == ExitCode.DONE and statuses(out) == ["skipped"] * 3  # that takes no time


def test_a_scan_that_takes_longer_than_expected_is_given_up(
    scans: Path, tmp_path: Path, make_model: Any, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]

    class Clock:
        @staticmethod
        def time() -> float:
            now[0] += 30.0  # a slice takes half a minute
            return now[0]

    monkeypatch.setattr(segment_steps, "time", Clock)
    settings = Settings(make_model(), budget=Budget(None, 200.0, 1200.0))
    ended, said = run(scans, tmp_path / "out", settings)
    assert ended == ExitCode.SOME_EXCLUDED and statuses(tmp_path / "out") == ["not run"] * 3
    assert "3 of 3 not run" in said and not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize("budget", [Budget(10**9), Budget(None, 60.0, 1.0)])
def test_budgets_that_cannot_be_kept_elsewhere(budget: Budget) -> None:
    with pytest.raises(MedsegError) as refused:
        segment_budget.require_possible(budget, Execution(0, "dask", "tcp://here:1"))
    assert refused.value.code == Code.USAGE and "Dask" in refused.value.finding.details
    segment_budget.require_possible(Budget(), Execution(0, "dask", "tcp://here:1"), watch=True)
    if budget.seconds is not None:
        with pytest.raises(MedsegError) as watched:
            segment_budget.require_possible(budget, Execution(), watch=True)
        assert watched.value.finding.where == "--time"


def test_a_little_time_is_kept_for_the_tables() -> None:
    assert Budget.of(None, 100.0, 1000.0) == Budget(None, 100.0, 1098.0)
    assert Budget.of(None, 1.0, 1000.0).ends == 1000.5 and not Budget.of(None, None, 1000.0)


def test_one_by_one_is_overlapped_with_one_task_in_memory() -> None:
    events: list[str] = []

    def noted(step: str) -> Callable[[Any], Any]:
        def do(given: Any) -> Any:
            events.append(f"{step} {given}")
            return Ended(f"{given} refused") if (step, given) == ("read", 1) else given

        return do

    steps = Steps(noted("read"), noted("compute"), noted("write"))
    assert list(one_by_one(enumerate(range(3)), steps)) == [(0, 0), (1, "1 refused"), (2, 2)]
    assert events == ["read 0", "compute 0", "write 0", "read 1", "read 2", "compute 2", "write 2"]
    assert list(overlapped(enumerate(range(3)), steps)) == [(0, 0), (1, "1 refused"), (2, 2)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_scan_that_would_take_more_stays_within_its_memory(tmp_path: Path) -> None:
    """Peak resident memory of the command itself, with the budget and without it."""
    description = describe(
        network="unet", keywords={"width": 16, "depth": 3}, foreground="all", crop=False, batch=8
    )
    state = networks.build("unet", 3, 3, seed=0, width=16, depth=3).state_dict()
    model_folder.export(tmp_path / "model", {"fold0": state}, description)
    grey = np.random.default_rng(0).integers(1, 300, (448, 448, 4)).astype(np.int16)
    save(tmp_path / "scan.nii.gz", grey)
    words = [
        "segment",
        tmp_path / "scan.nii.gz",
        "--model",
        tmp_path / "model",
        "--no-figure",
        "--workers",
        "0",
    ]

    def ran(out: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _PEAK, *map(str, words), *more, "--out", str(tmp_path / out)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    def peak(out: str, *more: str) -> tuple[float, str]:
        ended = ran(out, *more)
        assert ended.returncode == 0, ended.stderr
        return int(ended.stdout.rpartition("peak ")[2]), ended.stdout + ended.stderr

    free, _ = peak("free")
    refused = ran("refused", "--max-memory", "100MB").stderr
    least = re.search(r"give at least (\d+)MB", refused)  # how much Python and its libraries take differs
    assert least is not None, refused
    budget = int(least[1]) * 10**6
    kept, said = peak("kept", "--max-memory", f"{least[1]}MB")
    assert kept <= budget < free, said
    assert "memory: one slice at a time in tiles of" in said or "memory: 1 whole slice" in said
    one, other = (tmp_path / name / "scan.nii.gz" for name in ("free", "kept"))
    assert one.read_bytes() == other.read_bytes()
