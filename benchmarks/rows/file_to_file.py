"""A brain from file to file by the fastest runtime, over its network's time alone, and over how it was."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.runtimes import dice, unfolded, whole
from benchmarks.suite import brains
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import in_turn, over
from benchmarks.suite.windows import Recording, network_alone
from medseg.infer import loading, results, timing
from medseg.infer.loading import Model
from medseg.infer.segment import predict_case, prepare_case, segment
from medseg.io import nifti
from medseg.volume import Volume

NOW, BEFORE = "medseg, file to file", "medseg before, file to file"
COMPUTED, EVERYTHING = "its network alone, what is computed", "its network alone, all slices"


def run(options: Options) -> Measured:
    """The first test brain by the trained network; the runtime is the one that `--runtime auto` takes."""
    _, folder = brains.trained(options.cache, quick=options.quick)
    scan, truth = brains.brain(options.cache, 6)
    choice = timing.choose(folder, "cpu", precision=None, threads=1)
    model, before = loading.load(folder, numerics=choice.numerics), unfolded(folder)
    channels = {model.description.channels[0]: scan}
    steps: list[Mapping[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        calls = {
            BEFORE: partial(as_before, channels, before, Path(name, "before.nii.gz")),
            NOW: partial(as_now, channels, model, Path(name), steps),
            COMPUTED: network_alone(model.predictor, batches_of(channels, model, skipping=True)),
            EVERYTHING: network_alone(model.predictor, batches_of(channels, model, skipping=False)),
        }
        ways = in_turn(calls, options.pick(5, 1))
        scores = [dice(call(), truth, model) for call in (calls[BEFORE], calls[NOW])]
    parts = {f"of it: {step}": Way(tuple(one[step] for one in steps[1:-2])) for step in steps[0]}
    return Measured(
        f"a synthetic brain, {choice.numerics} in one thread (the fastest of {', '.join(choice.seconds)})",
        ways | parts,
        {
            "time over the fastest runtime's network alone, all slices": over(ways[NOW], ways[EVERYTHING]),
            "the same, of the slices that are not skipped": over(ways[NOW], ways[COMPUTED]),
            "time before (plain torch, nothing skipped) over time now": over(ways[BEFORE], ways[NOW]),
            "change of mean Dice": abs(scores[1] - scores[0]),
        },
        {"the network alone on what is computed": statistics.median(ways[COMPUTED].runs)},
        [
            f"mean Dice {scores[0]:.4f} before, {scores[1]:.4f} now",
            "before: torch, batch norm not folded, all of each slice; the allocator is set as today",
        ],
    )


def as_before(channels: Mapping[str, Path], model: Model, out: Path) -> Any:
    """Read, prepare, label all of each slice, write."""
    prepared = prepare_case(channels, model.description, accept_domain=True)
    labels = whole(prepared, model)
    nifti.write(Volume(labels[None], prepared.scan.grid, prepared.scan.source), out)
    return labels


def as_now(channels: Mapping[str, Path], model: Model, out: Path, steps: list[Any]) -> Any:
    """What `segment` does with one scan and a loaded model."""
    result = segment(channels, model, accept_domain=True)
    metadata = results.write(
        result, model.description.class_list(), results.label_map(out, "now", "mm"), "benchmark", {}
    )
    steps.append(metadata["seconds"])
    return result.labels.array[0]


def batches_of(channels: Mapping[str, Path], model: Model, *, skipping: bool) -> list[Any]:
    """The batches that labelling the scan asks the network for."""
    prepared = prepare_case(channels, model.description, accept_domain=True)
    recording = Recording(model.predictor)
    recorded = replace(model, predictor=recording)
    (predict_case if skipping else whole)(prepared, recorded)
    return recording.batches
