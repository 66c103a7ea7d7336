"""Time and disk of a run, from one training case and a few training steps on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medseg import files
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.ingest.splits import COLUMNS
from medseg.networks.contract import Network
from pipelines import case_tables
from pipelines.fold.fold import FoldTraining, fold_trainings
from pipelines.fold.network import build_network
from pipelines.job import Job
from pipelines.stages import preprocess
from pipelines.stages.train import trial_seconds
from pipelines.workfolder import Work

_STATES = {"adamw": 4, "sgd": 3}
_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """Seconds of each step of a run, and megabytes of its work folder."""

    seconds: dict[str, float]
    megabytes: dict[str, float]


@dataclass(frozen=True)
class _Voxels:
    """Numbers of voxels: of the case that is measured, and of all cases by what is done to them."""

    measured: int
    prepared: int
    trained: int
    validated: int
    predicted: int


def measure(job: Job, temporary: Path) -> Costs:
    """Prepare the median training case in a folder below `temporary`, train a few steps on it, and scale.

    Validation and prediction are taken as one forward pass over each pixel, and more where windows overlap.
    """
    recipe = job.recipe
    rows = case_tables.cases(job.work.ingest)
    sizes = {name: math.prod(map(int, row["shape"].split())) for name, row in rows.items()}
    case = _median_training_case(job, sizes)
    unheard = Reporter(quiet=True, stream=job.say.stream)
    small = replace(job, work=_with_case_alone(job.work, temporary / "one", case), say=unheard)
    began = time.monotonic()
    preprocess.run(small)
    preparing = time.monotonic() - began
    megabytes = sum(p.stat().st_size for p in (small.work.prepared / case).iterdir()) / 1e6
    voxels = _count(job, sizes, case)
    per_case = voxels.prepared / voxels.measured
    trainings = [t for fold in job.folds or (0,) for t in fold_trainings(recipe, small.work, 0)]
    first = trainings[0]
    step, pixel = _speed(first, build_network(recipe, len(first.cases.train[0].volume.array)))
    steps = first.batches.relative_steps(recipe.train.epochs)
    if recipe.sampling.order == "shuffled":
        steps *= voxels.trained / voxels.measured / len(job.folds or (0,))
    share = math.prod(first.cases.train[0].volume.grid.shape) / voxels.measured
    passes = pixel * share * len(recipe.sampling.planes)
    validations = math.ceil(recipe.train.epochs / recipe.train.validate_every)
    parameters = sum(p.numel() for p in first.shape.parameters())
    return Costs(
        {
            "preprocess": preparing * per_case,
            "train": step * steps * len(trainings) / recipe.train.processes,
            "validate": passes * _overlap(recipe, first.shape) * voxels.validated * validations,
            "predict": passes * _overlap(recipe, first.shape) * _variants(recipe) * voxels.predicted,
        },
        {
            "arrays": round(megabytes * per_case, 3),
            "checkpoints": round(
                parameters * _BYTES * (_STATES[recipe.train.optimiser] + 1) * len(trainings) / 1e6, 3
            ),
            "model": round(parameters * _BYTES * len(trainings) / 1e6, 3),
        },
    )


def _median_training_case(job: Job, sizes: dict[str, int]) -> str:
    names = [row.case for row in case_tables.roles(job.work.ingest) if row.role == "train"]
    return sorted(set(names), key=lambda name: (sizes[name], name))[len(set(names)) // 2]


def _with_case_alone(work: Work, folder: Path, case: str) -> Work:
    """A work folder in which ingest has found one case, to train on."""
    alone = Work(folder, stands_for=work.outputs)
    row = case_tables.cases(work.ingest)[case]
    files.write_csv(alone.ingest / "cases.csv", list(row), [row])
    role = {"fold": 0, "case": case, "subject": row["subject"], "role": "train"}
    files.write_csv(alone.ingest / "splits.csv", COLUMNS, [role])
    files.write_json(alone.ingest / "dataset.json", files.read_json(work.ingest / "dataset.json"))
    return alone


def _count(job: Job, sizes: dict[str, int], case: str) -> _Voxels:
    roles = [row for row in case_tables.roles(job.work.ingest) if row.fold in (job.folds or (0,))]

    def total(wanted: Sequence[str], most: int | None = None) -> int:
        names = [row.case for row in roles if row.role in wanted]
        return sum(sizes[name] for name in names[:most])

    prepared = {row["case"] for row in case_tables.used_cases(job.work.ingest, ("train", "val"))}
    return _Voxels(
        sizes[case],
        sum(sizes[name] for name in prepared),
        total(["train"]),
        total(["val"], job.recipe.train.validate_cases or None),
        total(job.recipe.predict.roles),
    )


def _speed(training: FoldTraining, network: Network) -> tuple[float, float]:
    """Seconds of a training step, and of the forward pass of a pixel."""
    arguments = {**training.arguments(network), "validate": None}
    step = trial_seconds(arguments)
    device, window = training.plan.device, training.recipe.sampling.window
    batch = torch.zeros(4, network.in_channels, *window, device=device)
    network = network.to(device).eval()
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.monotonic()
            network(batch).sum().item()
            seconds.append(time.monotonic() - began)
    return step, min(seconds) / (len(batch) * math.prod(window))


def _overlap(recipe: Recipe, network: Network) -> float:
    """Give the number of times that each pixel is seen in a prediction, by its mode."""
    settings = recipe.predict
    window = settings.window or recipe.sampling.window
    if settings.mode == "tiles":
        return math.prod(side / max(1, side - 2 * network.border) for side in window)
    if settings.mode == "dense":
        return 1.0
    usual = (10, 10) if settings.mode == "vote" else (window[0] // 2, window[1] // 2)
    stride = settings.stride or usual
    return math.prod(max(1.0, side / by) for side, by in zip(window, stride, strict=True))


def _variants(recipe: Recipe) -> float:
    """Give the number of times that an image is segmented by test-time augmentation, by its area."""
    return sum(scale**2 for scale in recipe.predict.scales) * (2 if recipe.predict.flip else 1)
