"""Patches a second that are drawn and augmented: medseg, TorchIO's queue, MONAI's cached data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks import drawing
from benchmarks.batch import processors
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

ONE, TWO = "medseg, 1 core", "medseg, 2 cores"
TORCHIO, MONAI = "TorchIO Queue, 1 core", "MONAI CacheDataset, 1 core"
ONE_MORE, MONAI_MORE = f"{ONE}, with artefacts", f"{MONAI}, with artefacts"


def run(options: Options) -> Measured:
    """Each draws for some seconds, in turn; its queue, cache and threads stay for the next round."""
    seconds, rounds = options.pick(2.0, 0.2), options.pick(4, 1)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        cases = drawing.make(folder)
        tools: dict[str, tuple[int, Iterator[Any]]] = {
            ONE: (1, drawing.medseg_batches(cases, 1)),
            TWO: (2, drawing.medseg_batches(cases, 2)),
            TORCHIO: (1, drawing.torchio_batches(folder)),
            MONAI: (1, drawing.monai_batches(folder)),
            ONE_MORE: (1, drawing.medseg_batches(cases, 1, drawing.ARTEFACTS)),
            MONAI_MORE: (1, drawing.monai_batches(folder, with_artefacts=True)),
        }
        rates: dict[str, list[float]] = {tool: [] for tool in tools}
        for _, batches in tools.values():
            stack.enter_context(closing(batches))  # type: ignore[type-var]
        for _ in range(rounds):
            for tool, (cores, batches) in tools.items():
                with processors(cores):  # threads that a tool starts keep to them
                    rates[tool].append(drawing.rate(batches, seconds))
    ways = {tool: Way(tuple(of), unit="patches/s") for tool, of in rates.items()}
    return Measured(
        f"{drawing.VOLUMES} volumes, patches of 40×40 px and 3 slices, batches of {drawing.BATCH}",
        ways,
        {
            "medseg's patches/s over TorchIO Queue's, one core": over(ways[ONE], ways[TORCHIO]),
            "medseg's patches/s over MONAI CacheDataset's, one core": over(ways[ONE], ways[MONAI]),
            "the same with artefacts (bias field, Gibbs ringing, …) on both sides": over(
                ways[ONE_MORE], ways[MONAI_MORE]
            ),
            "medseg on two cores over one": over(ways[TWO], ways[ONE]),
        },
        notes=[
            "MONAI changes patches one by one, TorchIO whole volumes before its queue cuts them",
            "artefacts: bias field, Gibbs ringing, low resolution, histogram shift, rectangles of the mean; "
            "medseg adds ghosts, too",
            "two cores: a process draws on each, as beside a training that waits for its batches",
        ],
    )
