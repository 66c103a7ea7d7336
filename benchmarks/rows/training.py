"""Training steps with today's settings of process and torch, against those before."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import runtimes
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

WAYS = {"before: glibc's allocator, tensors filled": ("train", "fill"), "medseg": ("train", "keep")}


def run(options: Options) -> Measured:
    """Each way in processes of its own, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    peaks: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.pick(7, 1)):
        for name, words in WAYS.items():
            command = [sys.executable, "-c", runtimes.CHILD, *words]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            step, peak = map(float, ended.stdout.split())
            seconds[name].append(step)
            peaks[name].append(peak)
    ways = {name: Way(tuple(seconds[name]), peak_mb=max(peaks[name])) for name in WAYS}
    return Measured(
        "a step of 32 patches of 40×40 px, U-Net of width 32, fp32, deterministic, one thread",
        ways,
        {"time before over time now": over(*ways.values())},
    )
