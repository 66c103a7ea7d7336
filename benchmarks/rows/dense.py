"""Whole slices against voting: time, and Dice of a trained network on the scans of its test set."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.runtimes import dice, scans
from benchmarks.suite import brains
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over
from medseg.infer import loading
from medseg.infer.loading import Model
from medseg.infer.segment import Prepared, finish_case, predict_case, prepare_case


def run(options: Options) -> Measured:
    """Each test scan once by votes and once by whole slices, both in torch, empty space left out in both."""
    work, folder = brains.trained(options.cache, quick=options.quick)
    model = loading.load(folder)
    seconds: dict[str, list[float]] = {"vote": [], "dense": []}
    scores: dict[str, list[float]] = {"vote": [], "dense": []}
    warm_up(model)
    for _, channels, truth in scans(work, "test")[: options.pick(None, 1)]:
        prepared = prepare_case(channels, model.description, accept_domain=True)
        for mode in seconds:
            start = time.perf_counter()
            labels = labelled(prepared, model, mode)
            seconds[mode].append(time.perf_counter() - start)
            scores[mode].append(dice(labels, truth, model))
    ways = {
        "medseg, windows at stride 10 vote": Way(tuple(seconds["vote"])),
        "medseg, whole slices": Way(tuple(seconds["dense"])),
    }
    loss = max(vote - dense for vote, dense in zip(scores["vote"], scores["dense"], strict=True))
    shown = "; ".join(
        f"{vote:.4f} by votes, {dense:.4f} by whole slices"
        for vote, dense in zip(*scores.values(), strict=True)
    )
    return Measured(
        f"{len(seconds['vote'])} synthetic test brains of 256×128×256 voxels, U-SegNet of width 24",
        ways,
        {
            "time of voting over that of whole slices": over(*ways.values()),
            "most that a test scan's mean Dice is lower": loss,
        },
        notes=[f"mean Dice of each test scan: {shown}"],
    )


def labelled(prepared: Prepared, model: Model, mode: str) -> Any:
    """Labels (X, Y, Z) on the scan's grid."""
    return finish_case(predict_case(prepared, model, mode=mode), model.description).labels.array[0]


def warm_up(model: Model) -> None:
    """Call the network on both forms of input."""
    predictor: Any = model.predictor
    depth = predictor.spec.channels * predictor.spec.depth
    with torch.inference_mode():
        for batch in (torch.zeros(64, depth, 40, 40), torch.zeros(4, depth, 160, 128)):
            predictor(batch)
