"""Many small scans in one run: throughput of two workers over one, and the time outside steps."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import batch
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over
from pipelines.commands.segment import Settings
from pipelines.execution.engines import Execution

SIZE, WIDTH = (96, 96, 40), 24


def run(options: Options) -> Measured:
    """Scans of noise; a processor and a thread for each worker, start-up counted."""
    scans, pairs = options.pick(40, 2), options.pick(2, 1)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, model = batch.make(folder, scans, SIZE, WIDTH)
        settings = Settings(model, device="cpu")
        outside = batch.outside(source, folder, settings)
        for pair in range(pairs):
            for workers in seconds:
                with batch.processors(workers):
                    changed = replace(settings, execution=Execution(workers))
                    seconds[workers].append(batch.run(source, folder / f"out-{pair}-{workers}", changed))
    ways = {f"{n} worker{'s' if n > 1 else ''}": Way(tuple(of)) for n, of in seconds.items()}
    return Measured(
        f"{scans} scans of {'×'.join(map(str, SIZE))} voxels, U-SegNet of width {WIDTH}",
        ways,
        {
            "throughput of two workers over one": over(*ways.values()),
            "share of time outside reading, network and writing": outside.share,
        },
    )
