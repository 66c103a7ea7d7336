"""The cost of many scans on a Dask cluster, from figures that are measured here.

    python benchmarks/cluster_cost.py [--tasks 2000] [--scans 100000] [--workers 100] [--seconds 20]

Measured: bytes of a task as the predict stage and `medseg segment` send it; time and memory of a scheduler in
a process of its own, for units that do nothing, on two workers. Calculated from that: the scheduler's load
and the folder's traffic for so many scans and workers. --seconds, --mb-in and --mb-out are those of one scan.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from medseg.errors import Code, Finding
from medseg.infer import batch
from pipelines.commands import segment_steps
from pipelines.execution import cluster
from pipelines.execution.limits import Limits
from pipelines.execution.steps import Ended, Steps, Work
from pipelines.fold import prediction

SCAN = Path("/srv/study/derivatives/sub-01234/ses-01/anat/sub-01234_ses-01_T1w.nii.gz")
SHA256 = "0" * 64


def task() -> batch.Task:
    """A case of one channel, with paths of usual length."""
    label = Path("/srv/results/predictions/sub-01234_ses-01_T1w.nii.gz")
    return batch.Task(SCAN.name.partition(".")[0], {"t1": SCAN}, label)


def messages() -> None:
    """Bytes that the scheduler gets for one case: the steps' maker and the task."""
    model, settings = Path("/srv/work/study/model"), batch.Settings()
    asked = segment_steps.Asked(model, SHA256, "cpu", settings)
    known = {
        "segment": (segment_steps.work(asked).make, task()),
        "predict": (
            prediction.work(prediction.Asked(model, SHA256, "cpu", settings, None)).make,
            prediction.Unit(task(), ("fold0",), SHA256),
        ),
    }
    for name, (make, unit) in known.items():
        sizes = len(cluster.message(make)), len(cluster.message(unit))
        print(f"{name}: {sizes[0]} B for the steps + {sizes[1]} B for the case, in each task")
    outcome = batch.Outcome("excluded", {}, Finding(Code.TIME_LIMIT, "case", "details", "how to fix"), SHA256)
    print(f"outcome of an excluded case: {len(pickle.dumps(outcome))} B")


def nothing() -> Steps[batch.Task, str]:
    return Steps(lambda given: Ended(given.case), lambda given: given, lambda given: given)


def lost(given: batch.Task, finding: Finding) -> str:
    return f"{given.case}: {finding.code}"


def started(program: str, *options: str, folder: Path) -> subprocess.Popen[bytes]:
    """A scheduler or worker in a process of its own, which can import this file."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--no-dashboard", *options]
    return subprocess.Popen(
        [*command, "--scheduler-file", str(folder / "scheduler.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(here), str(here.parent)))},
    )


def scheduler_load(tasks: int) -> float:
    """Milliseconds of the scheduler's processor for each unit that does nothing."""
    from distributed import Client

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        processes = [started("scheduler", "--host", "127.0.0.1", "--port", "0", folder=folder)]
        stack.callback(lambda: [(process.terminate(), process.wait()) for process in reversed(processes)])
        while not (folder / "scheduler.json").is_file():
            time.sleep(0.1)
        processes += [started("worker", "--nthreads", "1", folder=folder) for _ in range(2)]
        with Client(scheduler_file=str(folder / "scheduler.json"), set_as_default=False) as client:
            client.wait_for_workers(2)
            address = client.scheduler.address
        scheduler = psutil.Process(processes[0].pid)
        carry_out(address, 100)  # imports and first connections
        used, memory, begun_at = _processor(scheduler), scheduler.memory_info().rss, time.monotonic()
        carry_out(address, tasks)
        seconds, used = time.monotonic() - begun_at, _processor(scheduler) - used
        after = scheduler.memory_info().rss
    print(f"{tasks} units that do nothing, two workers: {seconds:.1f} s, {tasks / seconds:.0f} a second")
    print(
        f"scheduler: {used / tasks * 1000:.2f} ms of processor a unit; "
        f"memory {memory / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after"
    )
    return used / tasks * 1000


def carry_out(address: str, tasks: int) -> None:
    """So many units that do nothing, as a stage would have them carried out."""
    import cluster_cost  # by the name that workers know this file by

    work = Work(cluster_cost.nothing, lost)
    ended = dict(cluster.run([task()] * tasks, work, scheduler=address, limits=Limits()))
    if len(ended) != tasks:
        raise RuntimeError(f"{len(ended)} of {tasks} units have ended")


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def paper(asked: argparse.Namespace, processor_ms: float) -> None:
    """Print what so many scans on so many workers cost."""
    hours = asked.scans * asked.seconds / asked.workers / 3600
    print(f"{asked.scans:,} scans on {asked.workers} workers of {asked.seconds:g} s a scan: {hours:.1f} h")
    print(f"read {asked.scans * asked.mb_in / 1e6:.2f} TB, written {asked.scans * asked.mb_out / 1e6:.2f} TB")
    rate = asked.workers / asked.seconds
    print(f"folder: {rate * asked.mb_in:.0f} MB/s read, {rate * asked.mb_out:.1f} MB/s written")
    print(
        f"scheduler: {rate:.1f} units a second, {rate * processor_ms / 10:.1f} % of one core, "
        f"{asked.scans * processor_ms / 1000:.0f} s of processor in all"
    )
    print(f"tasks that the scheduler holds at once: {2 * asked.workers}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--mb-in", type=float, default=8.0)
    parser.add_argument("--mb-out", type=float, default=0.3)
    asked = parser.parse_args()
    messages()
    paper(asked, scheduler_load(asked.tasks))


if __name__ == "__main__":
    main()
