"""Many small scans in one run: throughput of two workers over one, and the time outside steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import batch
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over
from pipelines.commands.segment import Settings

SIZE, WIDTH = (96, 96, 40), 24


def run(options: Options) -> Measured:
    """Scans of noise; whole commands, a processor and a thread for each worker."""
    scans, pairs = options.pick(40, 2), options.pick(3, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, model = batch.make(folder, scans, SIZE, WIDTH)
        outside = batch.outside(source, folder, Settings(model, device="cpu"))
        seconds = batch.throughput(source, folder, model, pairs)
    ways = {f"{n} worker{'s' if n > 1 else ''}": Way(tuple(of)) for n, of in seconds.items()}
    return Measured(
        f"{scans} scans of {'×'.join(map(str, SIZE))} voxels, U-SegNet of width {WIDTH}",
        ways,
        {
            "throughput of two workers over one": over(*ways.values()),
            "share of time outside reading, network and writing": outside.share,
        },
    )
