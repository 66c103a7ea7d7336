"""Training beside two busy processes on two processors: one thread, two threads, two that spin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

CORES = 2
CHILD = """
import sys, time
threads, tamed = int(sys.argv[1]), sys.argv[2] == "tamed"
from medseg import process
if tamed: process.prepare()
else: process.keep_freed_memory()
import torch
from medseg import networks
torch.set_num_threads(threads)
torch.manual_seed(0)
net = networks.build("unet", 3, 4, width=32, depth=3, seed=0).to(memory_format=torch.channels_last)
x = torch.randn(32, 3, 40, 40).contiguous(memory_format=torch.channels_last)
y = torch.randint(0, 4, (32, 40, 40))
optimiser = torch.optim.AdamW(net.parameters())
def step():
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimiser.step()
step()
print("waiting", flush=True)
for line in sys.stdin:
    step()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < float(line):
        step(); steps += 1
    print(32 * steps / (time.perf_counter() - start), flush=True)
"""
"""A training process that, for each number of seconds in a line, says how many patches a second it did."""

WAYS = {"1 thread": (1, "tamed"), "2 threads": (2, "tamed"), "2 threads that spin": (2, "spinning")}


def run(options: Options) -> Measured:
    """Each way for some seconds, in turn, in processes of their own; the others wait meanwhile."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with on_two_cores(), ExitStack() as stack:
        children = {name: stack.enter_context(training(*way)) for name, way in WAYS.items()}
        stack.enter_context(busy_neighbours())
        for _ in range(options.pick(5, 1)):
            for name, child in children.items():
                rates[name].append(rate(child, options.pick(6.0, 0.5)))
    measured = {name: Way(tuple(of), unit="patches/s") for name, of in rates.items()}
    return Measured(
        "a step of 32 patches of 40×40 px, U-Net of width 32; two processes that only count, two processors",
        measured,
        {
            "patches/s of two threads over one": over(measured["2 threads"], measured["1 thread"]),
            "the same without tamed spinning": over(measured["2 threads that spin"], measured["1 thread"]),
        },
    )


@contextmanager
def training(threads: int, waiting: str) -> Iterator[subprocess.Popen[str]]:
    """A training process that has made its first step."""
    left_out = ("GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    command = [sys.executable, "-c", CHILD, str(threads), waiting]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        answer(child)
        yield child
    finally:
        child.kill()
        child.wait()


def rate(child: subprocess.Popen[str], seconds: float) -> float:
    """Patches a second of a training process."""
    if child.stdin is None:
        raise RuntimeError("a process without pipes")
    print(seconds, file=child.stdin, flush=True)
    return float(answer(child))


def answer(child: subprocess.Popen[str]) -> str:
    """A line of a process."""
    if child.stdout is None or not (line := child.stdout.readline()):
        raise RuntimeError("the training process has ended")
    return line


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """Two processes that never wait, with the priority of everyone: real-time ones would stop the machine."""
    counting = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(counting) for _ in range(CORES)]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


@contextmanager
def on_two_cores() -> Iterator[None]:
    """Confine this process, and those that it starts, to two processors (Linux)."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:CORES]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
