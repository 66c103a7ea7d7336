"""Train: each fold asked for, resumed where it stopped; then the model folder with all folds' members."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medseg import files
from medseg.console import seconds_in_words
from medseg.device import emulation_warning, resolve_precision
from medseg.errors import Code, MedsegError
from medseg.grid import Plane
from medseg.model import domain, pruning
from medseg.model import folder as model_folder
from medseg.model.calibration import Calibration
from medseg.model.description import Description
from medseg.networks.contract import Network
from medseg.tracking import pyfunc
from medseg.tracking.tracker import Run
from medseg.train import torchrun
from medseg.train.fabric import compile_problem
from medseg.train.fit import fit
from medseg.train.plan import Epoch
from medseg.train.processes import fit_in_processes
from medseg.train.state import BEST, HISTORY, LAST
from pipelines.fold import (
    best_weights,
    calibration,
    crf_search,
    data,
    earlier,
    initial_weights,
    kept_weights,
    reconstruction,
    speed,
)
from pipelines.fold.data import PreparedCases
from pipelines.fold.fold import FoldTraining, fold_trainings
from pipelines.fold.validation import DICE, EXPLAINED, LOSS, OVER_SET, absent_classes, scores_in_words
from pipelines.fold.whole_volumes import draw_overlay, overlay_path, validator
from pipelines.job import Job
from pipelines.tracked_data import data_set
from pipelines.tracking import MOST_CHARTED
from pipelines.workfolder import DONE

VERSION = 1


def run(job: Job) -> None:
    """Train what is not trained yet, then export every finished fold of this training as a member."""
    prepared = PreparedCases(job.work)
    trainings = [
        t for fold in job.folds or (0,) for t in fold_trainings(job.recipe, job.work, fold, prepared)
    ]
    trainings = _without_others(job, trainings)
    if job.recipe.predict.calibrate:
        calibration.require(job.work, job.recipe.name)
    used = {
        "keys": {training.member: training.key for training in trainings},
        "export": {
            k: v
            for k, v in job.recipe.predict.used().items()
            if k not in ("roles", "confidence_map", "probabilities")
        },
    }
    for key in ("codes", "series"):  # they reach the model folder without deciding the weights
        if getattr(job.recipe.data, key):
            used[key] = job.recipe.data.model_dump(mode="json", include={key})
    outputs = [job.work.model / "model.json"]
    unfinished = [training for training in trainings if not earlier.is_done(training)]
    for training in trainings:
        if training not in unfinished:
            earlier.record(training)  # keys that changed without changing the arrays
    job.tracked.run.data(data_set(job))
    with job.stage("train", VERSION, used, outputs) as must_run:
        if must_run:
            for training in () if job.recipe.reconstructs else unfinished:
                _require_labels(job, training)
            for training in unfinished:
                _train(job, training)
            outputs += _export(job, trainings)
    for training in trainings:
        if job.tracked.lacks(training.fold, training.plane):
            _log_again(job, training)
    if not (must_run or job.tracked.run.resumed):
        _log_model(job)


def _log_model(job: Job) -> None:
    """Log the model with the run, to be served; an auto-encoder's as files, with what no report will log."""
    run = job.tracked.run
    if not job.recipe.reconstructs:
        pyfunc.log(run, job.work.model, register=job.recipe.tracking.register_as)
        return
    run.artifact(job.work.model, "model")
    for name, history in job.work.histories.items():
        run.artifact(history, f"train/{name}")


def _without_others(job: Job, trainings: Sequence[FoldTraining]) -> list[FoldTraining]:
    """Refuse trainings that stand where others are asked for, or move them aside where the user said so.

    Nothing is moved before all first steps are known to be possible.
    """
    if not job.overwrite:
        for training in trainings:
            earlier.require_same(training)
        return list(trainings)
    others = [training for training in trainings if earlier.other(training)]
    initial_weights.require(job.recipe, job.work, [training.member for training in others])
    for training in others:
        if other := earlier.other(training):  # one move may take the networks of several planes
            place = earlier.move_aside(training, other)
            job.say.line(f"  {training.title}: the earlier training is kept in {place}")
    return [replace(training) for training in trainings]


def _require_labels(job: Job, training: FoldTraining) -> None:
    """Say which classes cannot be learnt or validated; raise NOTHING_USABLE if that is all of them."""
    classes, (trained, validated) = job.recipe.data.class_list(), training.cases
    absent = absent_classes(trained, classes)
    if len(absent) == len(classes.foreground_names):
        raise MedsegError(
            Code.NOTHING_USABLE,
            job.work.ingest / "splits.csv",
            f"{training.title}: no training case has a labelled voxel of {', '.join(absent)}",
            "label some training cases, or correct data.classes or data.splits",
        )
    for name in absent:
        job.say.line(f"  {training.title}: class {name} is in no training case, so it cannot be learnt")
    if validated and (unseen := absent_classes(validated, classes)):
        names, them = ", ".join(unseen), "it" if len(unseen) == 1 else "them"
        job.say.line(
            f"  {training.title}: no validation case holds {names}: validation says nothing about {them}"
        )


def _train(job: Job, training: FoldTraining) -> None:
    initial_weights.fetch(job.recipe.network, job.work, job.say)
    _move_other_planes_aside(job, training)
    earlier.record(training)
    initial_weights.record_init(job.recipe.network, training.member, training.folder)
    best_weights.require_resumable(training, job.say)
    run = job.tracked.fold(training.fold, training.plane)
    run.data(data_set(job, training.fold))
    run.watch()
    overlays = training.cases.validation and job.recipe.tracking.overlays and not job.recipe.reconstructs
    if overlays and not (training.folder / LAST).exists():
        draw_overlay(training)  # MLflow's slider starts at step 0
        _show(training, run, 0)
    started = time.monotonic()
    for epoch in _epochs(job, training):
        _report(job, training, run, epoch)
    if not epoch.informative:
        job.say.line(
            f"  {training.title}: validation cannot tell the epochs apart "
            f"({training.plan.monitor} is undefined or always the same); the last weights are kept"
        )
    best_weights.mark_done(training)
    job.say.line(f"  {training.title}: trained in {seconds_in_words(time.monotonic() - started)}")
    job.tracked.end_fold(training.fold, training.plane)


def _move_other_planes_aside(job: Job, training: FoldTraining) -> None:
    """Keep in place only the folders of the recipe's planes, of a fold with one network per plane."""
    whole, planes = job.work.train(training.fold), job.recipe.sampling.planes
    if training.plane is None or not whole.is_dir():
        return
    for plane in ("axial", "coronal", "sagittal"):
        if plane not in planes and (whole / plane).is_dir():
            place = job.work.move_training_aside(training.fold, plane)
            job.say.line(f"  fold {training.fold}, {plane}: the earlier training is kept in {place}")


def _arguments(training: FoldTraining, network: Network | None = None) -> dict[str, Any]:
    """Make the arguments of :func:`medseg.train.fit.fit`, but for `on_step`."""
    make = reconstruction.validator if training.recipe.reconstructs else validator
    return {**training.arguments(network), "validate": make(training)}


def _epochs(job: Job, training: FoldTraining) -> Iterator[Epoch]:
    """Say what is planned, then train, here or in several processes."""
    network, source = training.initial_network()
    arguments, plan = _arguments(training, network), training.plan
    _say_plan(job, training, arguments, source)
    if source is not None:
        source.write(training.folder)
    with job.say.progress("training", plan.steps) as bar:
        speed = _Speed(training.recipe.train.batch * plan.accumulate)

        def on_step(step: int, _total: int, loss: float) -> None:
            bar.to(step, f"loss {loss:.3f}, {speed.per_second():.0f} patches/s")

        if plan.processes > 1:
            make = partial(_arguments, replace(training, prepared=None))  # open arrays do not travel
            if torchrun.process_count():
                yield from torchrun.fit_together(make, on_step)
            else:
                yield from fit_in_processes(make, plan.processes, on_step)
        else:
            yield from fit(**arguments, on_step=on_step)


class _Speed:
    """Patches a second, smoothed over about twenty steps."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._last = time.monotonic()
        self._seconds = 0.0

    def per_second(self) -> float:
        now = time.monotonic()
        spent, self._last = now - self._last, now
        self._seconds = spent if self._seconds == 0 else 0.95 * self._seconds + 0.05 * spent
        return self._batch / max(self._seconds, 1e-9)


def _say_plan(
    job: Job, training: FoldTraining, arguments: dict[str, Any], source: initial_weights.Taken | None
) -> None:
    """Say before the first step: steps, the time they will take by a few trial steps, the disk they need."""
    plan, network = training.plan, job.recipe.network
    count = sum(p.numel() for p in training.shape.parameters())
    epochs = f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"
    each = f"{plan.steps_per_epoch} step{'' if plan.steps_per_epoch == 1 else 's'}"
    parts = f"{plan.accumulate} × " if plan.accumulate > 1 else ""
    steps = f"{epochs} × {each} of {parts}{job.recipe.train.batch} patches"
    precision = resolve_precision(plan.precision, plan.device)
    job.say.line(f"  {training.title}: {network.name}, {count:,} parameters; {steps}, {precision}")
    if slow := emulation_warning(plan.precision, plan.device):
        job.say.line(f"  {slow}")
    if source is not None:
        job.say.line(f"  {source}; key by key in {training.folder / initial_weights.KEYS}")
    weights = data.class_weights(training.recipe, training.cases.train)
    if weights:
        job.say.line(f"  class weights {dict(zip(job.recipe.data.class_list().names, weights, strict=True))}")
    if plan.compile and (problem := compile_problem(plan.device.partition(":")[0])):
        job.say.line(f"  train.compile is on, but torch cannot compile here ({problem}); training without it")
    if (training.folder / LAST).exists():
        job.say.line("  going on from the last checkpoint")
        return
    if job.recipe.train.minutes is not None:  # measured already
        return
    seconds = speed.seconds_of_step(arguments) * training.batches.relative_steps(plan.epochs) / plan.processes
    copies = 3 + (plan.optimiser.name == "adamw") + (plan.ema is not None)
    disk = count * 4 * copies / 1e6
    job.say.line(f"  about {seconds_in_words(seconds)} and validation; {disk:.0f} MB of checkpoints")


def _report(job: Job, training: FoldTraining, run: Run, epoch: Epoch) -> None:
    """Tell the user and tracking of one finished epoch; of a resumed one they know already."""
    charted = _charted(training)
    values: dict[str, float | None] = {
        "train/loss": epoch.train_loss,
        "train/learning_rate": epoch.lr,
        "train/seconds": epoch.seconds,
        "train/data_wait": epoch.data_wait,
        **{f"val/{k}": v for k, v in (epoch.val or {}).items() if k in charted and math.isfinite(v)},
    }
    run.metrics(values, epoch.number)
    if epoch.resumed:
        return
    if epoch.val is not None:
        _show(training, run, epoch.number)
    scores = scores_in_words(epoch.val or {})
    mark = " (best)" if epoch.is_best and epoch.informative else ""
    job.say.line(
        f"  epoch {epoch.number}: loss {epoch.train_loss:.4f}, {seconds_in_words(epoch.seconds)}, "
        f"{epoch.data_wait:.0%} of training waiting for data"
        + (f"; validation {scores}{mark}" if scores else "")
    )


def _log_again(job: Job, training: FoldTraining) -> None:
    """Log a finished training that its store lacks (its run was deleted, or not tracked) from its history."""
    run = job.tracked.fold(training.fold, training.plane)
    run.data(data_set(job, training.fold))
    charted = {f"val/{name}" for name in _charted(training)}
    names = {"train_loss": "train/loss", "lr": "train/learning_rate"}
    names |= {name: f"train/{name}" for name in ("seconds", "data_wait")}
    for row in (history := files.read_csv(training.folder / HISTORY)):
        named = {names.get(key, key): value for key, value in row.items() if key in names or key in charted}
        run.metrics({key: float(value) for key, value in named.items() if value}, int(row["epoch"]))
    if history and training.cases.validation and job.recipe.tracking.overlays:
        _show(training, run, int(history[-1]["epoch"]))
    job.tracked.end_fold(training.fold, training.plane)


def _charted(training: FoldTraining) -> set[str]:
    """Numbers of validation that are charts: each class by itself as long as there are few."""
    names = training.recipe.data.class_list().foreground_names
    by_class = [f"dice_{name}" for name in names] if len(names) <= MOST_CHARTED else []
    return {DICE, LOSS, EXPLAINED, *OVER_SET, *by_class}


def _show(training: FoldTraining, run: Run, step: int) -> None:
    """Add the overlay of the first validation case to the run's image series."""
    path = overlay_path(training)
    if path.is_file():
        with Image.open(path) as figure:
            pixels = np.asarray(figure.convert("RGB"))
        # By this prefix MLflow's page of a run shows it beside the curves of validation.
        run.image(f"val/{training.cases.validation[0].name}", pixels, step)


def _export(job: Job, trainings: Sequence[FoldTraining]) -> list[Path]:
    """Make every fold whose weights are of the present training a member of `W/model`, or one per plane.

    Give the files that must stay: its weights, and those of the trainings that it was made from.
    """
    members: dict[str, Any] = {}
    descriptions: list[Description] = []
    trained: dict[str, Any] = {}
    planes: dict[str, Plane] = {}
    exported: list[FoldTraining] = []
    prepared = trainings[0].prepared
    for fold in range(job.recipe.data.n_folds()):
        if not job.work.train(fold).is_dir():
            continue
        of_fold = [t for t in trainings if t.fold == fold]
        of_fold = of_fold or list(fold_trainings(job.recipe, job.work, fold, prepared))
        if not all(earlier.is_done(training) for training in of_fold):
            if any(earlier.other(training) for training in of_fold):
                job.say.line(f"  fold {fold} is no member of the model: it was trained with other settings")
            continue
        for training in of_fold:
            descriptions.append(training.description())
            members[training.member] = best_weights.read_best(training, job.say)
            trained[training.member] = _trained(training)
            planes |= {training.member: training.plane} if training.plane else {}
            exported.append(training)
    merged = {
        "trained": trained,
        "domain": domain.merged([d.domain for d in descriptions]),
        "plane": job.recipe.sampling.plane,
    }
    description = descriptions[0].model_copy(update=merged)
    exports, whole = members, description
    if level := job.recipe.predict.level:
        description, exports = pruning.pruned(description, members, level)
    model_folder.export(job.work.model, exports, description, planes)
    outputs: list[Path] = []
    if job.recipe.predict.crf_search is not None:
        crf = {"crf": crf_search.search(job)}
        description, whole = description.model_copy(update=crf), whole.model_copy(update=crf)
        model_folder.export(job.work.model, exports, description, planes)
        outputs.append(job.work.crf_search)
    kept_weights.export(job, exported, whole, planes)
    if job.recipe.predict.calibrate:
        calibrated = {"calibration": _calibrate(job)}
        model_folder.export(job.work.model, exports, description.model_copy(update=calibrated), planes)
    for training in exported:
        best_weights.note_export(training)
    _log_model(job)
    kept = [training.folder / name for training in exported for name in (BEST, HISTORY, DONE)]
    return [*kept, *outputs, *(job.work.model / f"{name}.safetensors" for name in members)]


def _calibrate(job: Job) -> Calibration:
    """Fit the calibration of the exported model, and say how well it does."""
    planned = len(calibration.plan(job.work))
    with job.say.progress("calibrating", planned) as bar:
        fitted = calibration.calibrate(job.work, job.recipe.train.device, bar.to)
    job.say.line(f"  calibrated: {fitted.words()}")
    return fitted


def _trained(training: FoldTraining) -> dict[str, Any]:
    """Describe a member's training for `model.json` and the card."""
    history = files.read_csv(training.folder / "history.csv")
    source = initial_weights.init_source(training.recipe.network, training.member, training.folder)
    monitor = training.plan.monitor
    best = max((float(r[f"val/{monitor}"]) for r in history if r.get(f"val/{monitor}")), default=None)
    return {
        "cases": len(training.cases.train),
        "epochs": len(history),
        "seed": training.recipe.train.seed,
        f"best validation {'Dice' if monitor == DICE else monitor}": best,
        **({} if source is None else {"started from": str(source)}),
    }
