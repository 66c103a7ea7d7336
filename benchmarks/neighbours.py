"""Training beside busy processes and alone: patches a second with two threads, with one, and of older code.

    python -m benchmarks.neighbours [--rounds 3] [--before TREE]

Each measurement is a process that trains U-SegNet on batches of 64 patches of 40×40 px, with the settings of
the process that the command line makes. Two busy neighbours are processes of this program that multiply for
ever. All ways are measured in turn in every round; what is printed and written to
`benchmarks/results/neighbours.json` are medians of patches a second and of ratios within a round. TREE is a
checkout of another commit (`git worktree add TREE COMMIT`). Give it quiet cores: `nice -n -19`, which leaves
the scheduler as it is.
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
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results/neighbours.json"
BATCH, STEPS, NEIGHBOURS = 64, 12, 2
BUSY = "import numpy as np\na = np.ones((300, 300))\nwhile True: a @ a"


def train(threads: int) -> None:
    """Train for some steps in this process; print patches a second, the first steps left out."""
    with suppress(ImportError):  # an older tree has no such settings
        from medseg import process

        process.prepare()
    import numpy as np
    import torch

    from medseg import networks
    from medseg.train.fit import fit
    from medseg.train.plan import FitPlan

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(BATCH, 3, 40, 40)).astype(np.float32)
    labels = rng.integers(0, 4, (BATCH, 40, 40)).astype(np.uint8)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in fit(
            networks.build("usegnet", 3, 4, seed=0),
            lambda _, rows: (patches[rows], labels[rows]),
            lambda logits, truth: torch.nn.functional.cross_entropy(logits, truth.long()),
            FitPlan(epochs=1, steps_per_epoch=STEPS, precision="fp32"),
            folder=Path(folder),
            on_step=lambda *_: moments.append(time.perf_counter()),
        ):
            pass
    print((len(moments) - 3) * BATCH / (moments[-1] - moments[2]))


def rate(tree: Path, threads: int) -> float:
    """Patches a second of a process that trains with the code of a tree."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, str(Path(__file__)), "--train", str(threads)]
    environment["PYTHONPATH"] = str(tree)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Have so many processes compute while the block runs."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    running = [subprocess.Popen([sys.executable, "-c", BUSY], env=environment) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, metavar="TREE")
    parser.add_argument("--train", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
        return
    trees = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        values = {f"{name}, 2 threads": rate(tree, 2) for name, tree in trees.items()}
        with busy(NEIGHBOURS):
            for name, tree in trees.items():
                for threads in (2, 1):
                    values[f"{name}, {threads} threads beside {NEIGHBOURS}"] = rate(tree, threads)
        rounds.append(values)
        print(values, file=sys.stderr, flush=True)
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
