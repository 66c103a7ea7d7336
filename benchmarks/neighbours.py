"""Training beside busy processes and alone: patches a second with two threads, with one, and of older code.

    python -m benchmarks.neighbours [--rounds 3] [--before TREE]

Each way is a process that trains U-SegNet as `medseg train` does, on batches of 16 patches of 40×40 px: small
ones, so that a measurement ends soon after its time however slow a step is. All wait for their turn, and are
measured for some seconds in every round. Two busy neighbours are processes that multiply for ever. What is
printed and written to `benchmarks/results/neighbours.json` are medians of patches a second and of ratios
within a round. TREE is a checkout of another commit (`git worktree add TREE COMMIT`). Give it quiet cores:
`nice -n -19`, which leaves the scheduler as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results/neighbours.json"
BATCH, NEIGHBOURS, SECONDS = 16, 2, 6.0
BUSY = "import numpy as np\na = np.ones((300, 300))\nwhile True: a @ a"
_OF_THREADS = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

Trainer = subprocess.Popen[str]


class Turns:
    """Called after each step: reads a number of seconds, lets steps pass, prints their patches a second."""

    def __init__(self) -> None:
        self._start = self._until = 0.0
        self._steps = 0

    def __call__(self, *_: object) -> None:
        now = time.perf_counter()
        self._steps += 1
        if now < self._until:
            return
        print(self._steps * BATCH / (now - self._start), flush=True)
        if not (line := sys.stdin.readline()):
            sys.exit()
        self._start, self._steps = time.perf_counter(), 0
        self._until = self._start + float(line)


def train(threads: int, *, spinning: bool) -> None:
    """Train in this process until its input ends; ``spinning`` leaves OpenMP's threads as they are."""
    with suppress(ImportError):  # an older tree has no such settings
        from medseg import process

        (process.keep_freed_memory if spinning else process.prepare)()
    import numpy as np
    import torch

    from medseg import networks
    from medseg.train.fit import fit
    from medseg.train.plan import FitPlan

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(BATCH, 3, 40, 40)).astype(np.float32)
    labels = rng.integers(0, 4, (BATCH, 40, 40)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for _ in fit(
            networks.build("usegnet", 3, 4, seed=0),
            lambda _, rows: (patches[rows], labels[rows]),
            lambda logits, truth: torch.nn.functional.cross_entropy(logits, truth.long()),
            FitPlan(epochs=1, steps_per_epoch=10**6, precision="fp32"),
            folder=Path(folder),
            on_step=Turns(),
        ):
            pass


@contextmanager
def training(threads: int, *, tree: Path = ROOT, spinning: bool = False) -> Iterator[Trainer]:
    """A process that trains with the code of a tree; it has made its first step, and waits."""
    environment = {key: value for key, value in os.environ.items() if key not in _OF_THREADS}
    command = [sys.executable, str(Path(__file__)), "--train", str(threads)]
    trainer = subprocess.Popen(
        [*command, *(["--spinning"] if spinning else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": str(tree)},
    )
    try:
        _answer(trainer)
        yield trainer
    finally:
        trainer.communicate()


def rate(trainer: Trainer, seconds: float = SECONDS) -> float:
    """Patches a second of a training process, in so many seconds."""
    if trainer.stdin is None:
        raise RuntimeError("a process without pipes")
    print(seconds, file=trainer.stdin, flush=True)
    return _answer(trainer)


def _answer(trainer: Trainer) -> float:
    if trainer.stdout is None or not (line := trainer.stdout.readline()):
        raise RuntimeError("the training process has ended")
    return float(line)


@contextmanager
def busy(count: int = NEIGHBOURS) -> Iterator[None]:
    """Have so many processes compute while the block runs."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    running = [subprocess.Popen([sys.executable, "-c", BUSY], env=environment) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def one_round(trainers: dict[tuple[str, int], Trainer]) -> dict[str, float]:
    """Each tree alone by two threads, then each way beside the neighbours."""
    values = {f"{name}, {n} threads": rate(one) for (name, n), one in trainers.items() if n > 1}
    with busy():
        beside = {
            f"{name}, {n} threads beside {NEIGHBOURS}": rate(one) for (name, n), one in trainers.items()
        }
    return values | beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, metavar="TREE")
    parser.add_argument("--train", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    parser.add_argument("--spinning", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, spinning=arguments.spinning)
        return
    trees = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    with ExitStack() as stack:
        trainers = {
            (name, threads): stack.enter_context(training(threads, tree=tree))
            for name, tree in trees.items()
            for threads in (2, 1)
        }
        rounds = [one_round(trainers) for _ in range(arguments.rounds)]
    pairs = {
        f"two threads over one beside {NEIGHBOURS}, {name}": (
            f"{name}, 2 threads beside {NEIGHBOURS}",
            f"{name}, 1 threads beside {NEIGHBOURS}",
        )
        for name in trees
    }
    if arguments.before:
        pairs["alone, now over before"] = ("now, 2 threads", "before, 2 threads")
    content = {
        "rounds": arguments.rounds,
        "patches_per_s": {key: round(statistics.median(r[key] for r in rounds), 1) for key in rounds[0]},
        "ratios": {
            name: round(statistics.median(r[one] / r[other] for r in rounds), 2)
            for name, (one, other) in pairs.items()
        },
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
