"""Time and disk of a run, from one training case and a few training steps on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg import files
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.ingest.splits import COLUMNS
from pipelines import case_tables
from pipelines.fold import length, planned_length, speed
from pipelines.fold.fold import FoldTraining, fold_trainings
from pipelines.fold.network import build_network
from pipelines.fold.planned_length import Planned
from pipelines.job import Job
from pipelines.stages import preprocess
from pipelines.workfolder import Work

_STATES = {"adamw": 4, "sgd": 3}
_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """Seconds of each step of a run, and megabytes of its work folder."""

    seconds: dict[str, float]
    megabytes: dict[str, float]
    planned: Planned | None = None
    """The length of a recipe with `train.minutes`."""


@dataclass(frozen=True)
class _Voxels:
    """Numbers of voxels: of the case that is measured, and of all cases by what is done to them."""

    measured: int
    prepared: int
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
    network = build_network(recipe, len(first.cases.train[0].volume.array))
    step = speed.seconds_of_step({**first.arguments(network), "validate": None})
    pixel = speed.seconds_of_pixel(first, network)
    share = math.prod(first.cases.train[0].volume.grid.shape) / voxels.measured
    passes = pixel * share * len(recipe.sampling.planes) * speed.overlap(recipe, first.shape)
    steps_of_epoch = first.batches.steps_per_epoch
    if recipe.sampling.order == "shuffled":
        folds = job.folds or (0,)
        trained = [r for r in case_tables.roles(job.work.ingest) if r.fold in folds and r.role == "train"]
        steps_of_epoch = math.ceil(len(trained) / len(folds) / first.batches.sampler.batch)
    planned = _planned(job, first, step, passes * voxels.validated, steps_of_epoch)
    if planned is not None:
        recipe = planned_length.with_length(recipe, planned.length)
        steps_of_epoch = planned.length.steps_per_epoch
    longer = steps_of_epoch / first.batches.steps_per_epoch
    steps = first.batches.relative_steps(recipe.train.epochs) * longer
    validations = math.ceil(recipe.train.epochs / recipe.train.validate_every)
    parameters = sum(p.numel() for p in first.shape.parameters())
    return Costs(
        {
            "preprocess": preparing * per_case,
            "train": step * steps * len(trainings) / recipe.train.processes,
            "validate": passes * voxels.validated * validations,
            "predict": passes * _variants(recipe) * voxels.predicted,
        },
        {
            "arrays": round(megabytes * per_case, 3),
            "checkpoints": round(
                parameters * _BYTES * (_STATES[recipe.train.optimiser] + 1) * len(trainings) / 1e6, 3
            ),
            "model": round(parameters * _BYTES * len(trainings) / 1e6, 3),
        },
        planned,
    )


def _planned(
    job: Job, training: FoldTraining, step: float, validation: float, steps_of_epoch: int
) -> Planned | None:
    """The length that `train.minutes` plans, or planned in the work folder; None for a recipe without it.

    ``step`` and ``validation`` are seconds of a step and of the validations of all folds.
    """
    recipe, folds = job.recipe, job.folds or (0,)
    if recipe.train.minutes is None:
        return None
    if (known := length.known(recipe, Work(job.work.outputs))) is not None:
        return known
    roles = [row for row in case_tables.roles(job.work.ingest) if row.fold in folds and row.role == "val"]
    cases = min(len(roles), recipe.train.validate_cases * len(folds) or len(roles))
    of_case = validation / cases if cases else 0.0
    of_fold = len(list(fold_trainings(recipe, job.work, 0)))
    epoch = steps_of_epoch if recipe.sampling.order == "shuffled" else None
    return length.fill(recipe, training.plan.device, step, (cases // len(folds), of_case), epoch, of_fold)


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
        total(["val"], job.recipe.train.validate_cases or None),
        total(() if job.recipe.reconstructs else job.recipe.predict.roles),
    )


def _variants(recipe: Recipe) -> float:
    """Give the number of times that an image is segmented by test-time augmentation, by its area."""
    return sum(scale**2 for scale in recipe.predict.scales) * (2 if recipe.predict.flip else 1)
