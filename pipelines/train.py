"""Train: each fold asked for, resumed where it stands; then the model folder with all folds' members."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medseg import files
from medseg.infer import domain, modelfolder
from medseg.infer.modelfolder import Description
from medseg.ingest.splits import SplitRow
from medseg.tracking import pyfunc
from medseg.tracking.run import DataSet, Run
from medseg.train import state
from medseg.train.fit import BEST, LAST, fit
from medseg.train.plan import Epoch
from medseg.train.processes import fit_in_processes
from pipelines import ingested
from pipelines.reporter import seconds_in_words
from pipelines.stage import Job
from pipelines.training import DICE, OVER_SET, FoldTraining

VERSION = 1
DONE = "done.json"
TRIAL_STEPS = 4


def run(job: Job) -> None:
    """Train what is not trained yet, then export every finished fold of this training as a member."""
    folds = job.folds or (0,)
    keys = {fold: FoldTraining(job.recipe, job.work, fold).key() for fold in folds}
    used = {
        "keys": keys,
        "export": {k: v for k, v in job.recipe.predict.used().items() if k not in ("roles", "margin_map")},
    }
    with job.stage("train", VERSION, used, [job.work.model / "model.json"]) as must_run:
        if must_run:
            for fold in folds:
                _train_fold(job, fold, keys[fold])
            _export(job)


def _train_fold(job: Job, fold: int, key: str) -> None:
    training = FoldTraining(job.recipe, job.work, fold)
    folder = job.work.train(fold)
    if _is_done(job, fold, key):
        return
    _make_room(job, fold, key)
    files.write_json(folder / "key.json", key)
    run = job.tracked.fold(fold)
    run.data(_data_set(job, fold))
    run.watch()
    if training.validated and job.recipe.tracking.overlays and not (folder / LAST).exists():
        training.draw()  # MLflow's slider starts at step 0
        _show(training, run, 0)
    _say_plan(job, training)
    started = time.monotonic()
    for epoch in _epochs(job, training):
        _tell(job, training, run, epoch)
    weights = files.sha256(folder / BEST)
    files.write_json(folder / DONE, {"key": key, "weights": weights})
    job.say.line(f"  fold {fold}: trained in {seconds_in_words(time.monotonic() - started)}")
    job.tracked.end_fold(fold)


def _is_done(job: Job, fold: int, key: str) -> bool:
    done = job.work.train(fold) / DONE
    return done.is_file() and files.read_json(done)["key"] == key


def _make_room(job: Job, fold: int, key: str) -> None:
    """A folder of another training is emptied; the same training goes on in it."""
    folder = job.work.train(fold)
    mark = folder / "key.json"
    if folder.is_dir() and not (mark.is_file() and files.read_json(mark) == key):
        job.say.line(f"  fold {fold}: data or settings have changed, training starts from its first step")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _epochs(job: Job, training: FoldTraining) -> Iterator[Epoch]:
    plan = training.plan()
    with job.say.progress("training", plan.steps) as bar:
        speed = _Speed(training.recipe.train.batch)

        def on_step(step: int, _total: int, loss: float) -> None:
            bar.to(step, f"loss {loss:.3f}, {speed.per_second():.0f} patches/s")

        if plan.processes > 1:
            fresh = FoldTraining(training.recipe, training.work, training.fold)  # open arrays do not travel
            yield from fit_in_processes(fresh.arguments, plan.processes, on_step)
        else:
            yield from fit(**training.arguments(), on_step=on_step)


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


def _say_plan(job: Job, training: FoldTraining) -> None:
    """Before the first step: steps, the time they will take by a few trial steps, the disk they need."""
    plan, network = training.plan(), training.network()
    count = sum(p.numel() for p in network.parameters())
    done = job.work.train(training.fold) / LAST
    steps = f"{plan.epochs} epochs × {plan.steps_per_epoch} steps of {job.recipe.train.batch} patches"
    job.say.line(f"  fold {training.fold}: {job.recipe.network.name}, {count:,} parameters; {steps}")
    weights = training.class_weights()
    if weights:
        job.say.line(f"  class weights {dict(zip(job.recipe.data.class_list().names, weights, strict=True))}")
    if done.exists():
        job.say.line("  going on from the last checkpoint")
        return
    seconds = _trial_seconds(training)
    disk = count * 4 * (4 if plan.optimiser.name == "adamw" else 3) / 1e6
    told = seconds_in_words(seconds * training.relative_steps() / plan.processes)
    job.say.line(f"  about {told} and validation; {disk:.0f} MB of checkpoints")


def _trial_seconds(training: FoldTraining) -> float:
    """Seconds of a step, from a few steps of the same loop on a network that is thrown away."""
    arguments = training.arguments()
    short = replace(arguments["plan"], epochs=1, steps_per_epoch=TRIAL_STEPS, phases=(), processes=1)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        trial = {**arguments, "plan": short, "folder": Path(scratch), "validate": None}
        for _ in fit(**trial, on_step=lambda *_: moments.append(time.monotonic())):
            pass
    return min(after - before for before, after in pairwise(moments))


def _tell(job: Job, training: FoldTraining, run: Run, epoch: Epoch) -> None:
    """One finished epoch, to the user and to tracking; a resumed one is already told."""
    values: dict[str, float | None] = {
        "train/loss": epoch.train_loss,
        "train/learning_rate": epoch.lr,
        "train/seconds": epoch.seconds,
        **{f"val/{k}": v for k, v in (epoch.val or {}).items()},
    }
    run.metrics(values, epoch.number)
    if epoch.resumed:
        return
    if epoch.val is not None:
        _show(training, run, epoch.number)
    told = _validated(epoch.val or {})
    mark = " (best)" if epoch.is_best else ""
    job.say.line(
        f"  epoch {epoch.number}: loss {epoch.train_loss:.4f}, {seconds_in_words(epoch.seconds)}"
        + (f"; validation {told}{mark}" if told else "")
    )


def _validated(val: dict[str, float]) -> str:
    """Validation in a few words: the numbers over the set where there are any, else each class's Dice."""
    if over_set := [f"{k} {v:.4f}" for k, v in val.items() if k in OVER_SET]:
        return ", ".join(over_set)
    dice = ", ".join(f"{k.removeprefix('dice_')} {v:.4f}" for k, v in val.items())
    return f"Dice {dice}" if dice else ""


def _show(training: FoldTraining, run: Run, step: int) -> None:
    """Add the overlay of the first validation case to the run's image series."""
    if training.overlay.is_file():
        with Image.open(training.overlay) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        run.image(training.validated[0].name, pixels, step)


def _data_set(job: Job, fold: int) -> DataSet:
    about = files.read_json(job.work.ingest / "dataset.json")
    rows: list[SplitRow] = [r for r in ingested.roles(job.work.ingest) if r.fold == fold]
    counts = {role: sum(r.role == role for r in rows) for role in ("train", "val", "test", "unlabelled")}
    digest = files.sha256_of_value([[r.case, r.role] for r in rows])
    columns = {**dict.fromkeys(about["channels"], "scan"), "label": "label map"}
    return DataSet(job.recipe.name, digest[:16], job.recipe.data.path or job.work.root, columns, counts)


def _export(job: Job) -> None:
    """Every fold whose weights are of the present training becomes a member of `W/model`."""
    members: dict[str, Any] = {}
    descriptions: list[Description] = []
    trained: dict[str, Any] = {}
    for done in sorted(job.work.root.glob(f"train/*/{DONE}"), key=lambda p: int(p.parent.name)):
        training = FoldTraining(job.recipe, job.work, int(done.parent.name))
        if files.read_json(done)["key"] != training.key():
            continue
        descriptions.append(training.description())
        members[f"fold{training.fold}"] = state.read_network(done.parent / BEST)
        trained[f"fold{training.fold}"] = _about(job, training)
    seen = domain.merged([d.domain for d in descriptions])
    description = descriptions[0].model_copy(update={"trained": trained, "domain": seen})
    modelfolder.export(job.work.model, members, description)
    pyfunc.log(job.tracked.run, job.work.model)


def _about(job: Job, training: FoldTraining) -> dict[str, Any]:
    history = files.read_csv(job.work.train(training.fold) / "history.csv")
    key = f"val/{training.best_by}"
    best = max((float(r[key]) for r in history if r.get(key)), default=None)
    return {
        "cases": len(training.trained),
        "epochs": len(history),
        "seed": job.recipe.train.seed,
        f"best validation {'Dice' if training.best_by == DICE else training.best_by}": best,
    }
