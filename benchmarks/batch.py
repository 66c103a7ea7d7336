"""Many small scans in one run: time outside reading, network and writing; one worker against two; Dask.

    python benchmarks/batch.py [--scans 200] [--size 64 64 24] [--dask]

Scans and weights are random. Outside is all time from the start of the command's work to its end in which no
step of any scan is going on: finding inputs, hand-over between steps, tables. Throughput is that of whole
commands, with one thread in each worker and as many processors as workers: a single one would otherwise read
and write on a second processor while it computes.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg import networks
from medseg.console import Reporter
from medseg.infer import batch, loading
from medseg.model import folder as model_folder
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from pipelines.execution.engines import Execution

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import ingest
from tests.helpers.model_folders import describe


def make(folder: Path, scans: int, size: tuple[int, int, int], width: int) -> tuple[Path, Path]:
    """Write scans of noise and a U-SegNet with random weights."""
    (folder / "in").mkdir()
    for number in range(scans):
        array = np.random.default_rng(number).integers(1, 500, size).astype(np.int16)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "in" / f"scan{number:03}.nii.gz")
    description = describe(channels=("t1",), keywords={"width": width})
    channels = description.depth
    network = networks.build("usegnet", channels, len(description.classes), seed=0, width=width)
    model_folder.export(folder / "model", {"fold0": network.state_dict()}, description)
    return folder / "in", folder / "model"


@contextmanager
def noted(steps: list[tuple[float, float]], loads: list[float]) -> Iterator[None]:
    """Note when steps begin and end, and each loading of the model."""

    def timed(function: Any) -> Any:
        def run(*arguments: Any, **keywords: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*arguments, **keywords)
            finally:
                steps.append((started, time.monotonic()))

        return run

    known = {
        name: getattr(batch, name) for name in ("content_key", "up_to_date", "start", "compute", "write")
    }
    load = loading.load

    def loaded(*arguments: Any, **keywords: Any) -> Any:
        loads.append(time.monotonic())
        return load(*arguments, **keywords)

    try:
        for name, function in known.items():
            setattr(batch, name, timed(function))
        loading.load = loaded  # type: ignore[assignment]
        yield
    finally:
        for name, function in known.items():
            setattr(batch, name, function)
        loading.load = load  # type: ignore[assignment]


def covered(steps: list[tuple[float, float]]) -> float:
    """Seconds in which at least one step was going on."""
    seconds, until = 0.0, 0.0
    for begin, end in sorted(steps):
        seconds += max(0.0, end - max(begin, until))
        until = max(until, end)
    return seconds


def run(scans: Path, out: Path, settings: Settings) -> float:
    """Segment all scans; seconds."""
    started = time.monotonic()
    segment.run([scans], out, settings, Reporter(quiet=True, stream=io.StringIO(), results=io.StringIO()))
    return time.monotonic() - started


@dataclass(frozen=True)
class Outside:
    """Seconds of a run, its ``share`` in which no step was going on, and what its steps add up to."""

    seconds: float
    share: float
    together: float
    overlapped: float
    loads: int


def outside(scans: Path, folder: Path, settings: Settings) -> Outside:
    """Segment all scans in one process, noting its steps."""
    steps: list[tuple[float, float]] = []
    loads: list[float] = []
    with noted(steps, loads):
        seconds = run(scans, folder / "outside", settings)
    together, overlapped = sum(end - begin for begin, end in steps), covered(steps)
    return Outside(seconds, 1 - overlapped / seconds, together, overlapped, len(loads))


@contextmanager
def processors(count: int) -> Iterator[None]:
    """Confine this process, and those that it starts, to so many processors (Linux)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def throughput(scans: Path, folder: Path, model: Path, pairs: int) -> dict[int, list[float]]:
    """Seconds of whole commands with one worker and with two, in turn, a thread for each worker."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    out = folder / "workers"
    for _ in range(pairs):
        for workers, times in seconds.items():
            shutil.rmtree(out, ignore_errors=True)
            command = ["segment", str(scans), str(out), "--model", str(model), "--device", "cpu"]
            count = ["--workers", str(workers), "--threads", str(workers)]
            times.append(ingest.seconds([*command, *count], workers))
    return seconds


def on_dask(scans: Path, folder: Path, settings: Settings) -> None:
    """One Dask worker against two; and the same bytes as one process."""
    from distributed import LocalCluster

    for count in (1, 2):
        with (
            processors(count),
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            ) as cluster,
        ):
            execution = Execution(0, "dask", cluster.scheduler_address)
            seconds = run(scans, folder / f"dask-{count}", replace(settings, execution=execution))
            print(f"dask, {count} worker(s): {seconds:.1f} s")
    one = {p.name: p.read_bytes() for p in (folder / "outside").glob("*.nii.gz")}
    two = {p.name: p.read_bytes() for p in (folder / "dask-2").glob("*.nii.gz")}
    print(f"label maps of one process and of two Dask workers are equal: {one == two}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=3, default=(64, 64, 24))
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--dask", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, model = make(folder, asked.scans, tuple(asked.size), asked.width)
        settings = Settings(model, device="cpu")
        one = outside(scans, folder, settings)
        print(f"one process: {one.seconds:.1f} s, {one.share:.1%} of it outside steps; ", end="")
        print(f"model loaded {one.loads} time(s)")
        print(f"steps together: {one.together:.1f} s, overlapped into {one.overlapped:.1f} s")
        pairs = list(zip(*throughput(scans, folder, model, asked.pairs).values(), strict=True))
        for alone, both in pairs:
            print(f"one worker {alone:.1f} s, two {both:.1f} s, ratio {alone / both:.2f}")
        print(f"median ratio {statistics.median(alone / both for alone, both in pairs):.2f}")
        if asked.dask:
            on_dask(scans, folder, settings)


if __name__ == "__main__":
    main()
