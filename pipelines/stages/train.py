"""Train: each fold asked for, resumed where it stands; then the model folder with all folds' members."""

from __future__ import annotations

import math
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
from medseg.config.recipe import Recipe
from medseg.console import seconds_in_words
from medseg.device import emulation_warning, resolve_precision
from medseg.grid import Plane
from medseg.ingest.splits import SplitRow
from medseg.model import domain
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.tracking import pyfunc
from medseg.tracking.tracker import DataSet, Run
from medseg.train import state
from medseg.train.fabric import compile_problem
from medseg.train.fit import BEST, LAST, fit
from medseg.train.plan import Epoch
from medseg.train.processes import fit_in_processes
from pipelines import case_tables
from pipelines.fold import initial_weights
from pipelines.fold.fold import FoldTraining
from pipelines.fold.validation import DICE, OVER_SET, absent_classes
from pipelines.job import Job, remove_others
from pipelines.tracking import MOST_CHARTED
from pipelines.workfolder import DONE, Work

VERSION = 1
TRIAL_STEPS = 4


def run(job: Job) -> None:
    """Train what is not trained yet, then export every finished fold of this training as a member."""
    keys = {_place(training): training.key() for training in _trainings(job)}
    used = {
        "keys": keys,
        "export": {
            k: v for k, v in job.recipe.predict.used().items() if k not in ("roles", "confidence_map")
        },
    }
    with job.stage("train", VERSION, used, [job.work.model / "model.json"]) as must_run:
        if must_run:
            for training in _trainings(job):
                _train(job, training, keys[_place(training)])
            _export(job)
    for training in _trainings(job):
        _log_again(job, training)
    if not (must_run or job.tracked.run.resumed):
        pyfunc.log(job.tracked.run, job.work.model)


def _trainings(job: Job) -> Iterator[FoldTraining]:
    for fold in job.folds or (0,):
        yield from of_fold(job.recipe, job.work, fold)


def of_fold(recipe: Recipe, work: Work, fold: int) -> Iterator[FoldTraining]:
    """All trainings of a fold: one, or one a plane, each as by the recipe of that plane alone."""
    if recipe.sampling.plane_networks == "shared":
        yield FoldTraining(recipe, work, fold)
        return
    for plane in recipe.sampling.planes:
        alone = recipe.sampling.model_copy(update={"plane": plane, "plane_networks": "shared"})
        yield FoldTraining(recipe.model_copy(update={"sampling": alone}), work, fold, plane)


def _place(training: FoldTraining) -> int | str:
    """Which training of a recipe it is, in a hash: the fold, with a network a plane its name."""
    return training.fold if training.plane is None else training.member


def _title(training: FoldTraining) -> str:
    """`fold 0`, or `fold 0, axial`."""
    return f"fold {training.fold}" + (f", {training.plane}" if training.plane else "")


def _train(job: Job, training: FoldTraining, key: str) -> None:
    folder = training.folder
    if _done_key(training) == key:
        return
    initial_weights.fetch(job.recipe.network, job.work, job.say)
    _make_room(job, training, key)
    files.write_json(folder / "key.json", key)
    initial_weights.note(job.recipe.network, training.member, folder)
    run = job.tracked.fold(training.fold, training.plane)
    run.data(_data_set(job, training.fold))
    run.watch()
    if training.validated and job.recipe.tracking.overlays and not (folder / LAST).exists():
        training.draw()  # MLflow's slider starts at step 0
        _show(training, run, 0)
    _say_plan(job, training)
    started = time.monotonic()
    for epoch in _epochs(job, training):
        _tell(job, training, run, epoch)
    if not epoch.informative:
        job.say.line(
            f"  {_title(training)}: validation cannot tell the epochs apart "
            f"({training.best_by} is undefined or always the same); the last weights are kept"
        )
    weights = files.sha256(folder / BEST)
    files.write_json(folder / DONE, {"key": key, "weights": weights})
    job.say.line(f"  {_title(training)}: trained in {seconds_in_words(time.monotonic() - started)}")
    job.tracked.end_fold(training.fold, training.plane)


def _done_key(training: FoldTraining) -> str | None:
    """The key of the training that ended in its folder, None where none did."""
    done = training.folder / DONE
    return str(files.read_json(done)["key"]) if done.is_file() else None


def _make_room(job: Job, training: FoldTraining, key: str) -> None:
    """A folder of another training is emptied, once its first step is known to be possible; the same
    training goes on in it.

    With a network a plane, a fold's folder holds those of the recipe's planes alone.
    """
    folder, whole = training.folder, job.work.train(training.fold)
    mark = folder / "key.json"
    of_all_planes = training.plane is not None and (whole / "key.json").is_file()
    if of_all_planes or (folder.is_dir() and not (mark.is_file() and files.read_json(mark) == key)):
        initial_weights.require(job.recipe, job.work, [training.member])
        title = _title(training)
        job.say.line(f"  {title}: data or settings have changed, training starts from its first step")
        shutil.rmtree(whole if of_all_planes else folder)
    if training.plane is not None:
        remove_others(whole, job.recipe.sampling.planes)
    folder.mkdir(parents=True, exist_ok=True)


def _epochs(job: Job, training: FoldTraining) -> Iterator[Epoch]:
    plan = training.plan()
    with job.say.progress("training", plan.steps) as bar:
        speed = _Speed(training.recipe.train.batch)

        def on_step(step: int, _total: int, loss: float) -> None:
            bar.to(step, f"loss {loss:.3f}, {speed.per_second():.0f} patches/s")

        if plan.processes > 1:
            fresh = replace(training)  # open arrays do not travel
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
    plan, (network, initial_network) = training.plan(), training.initial_network()
    count = sum(p.numel() for p in network.parameters())
    done = training.folder / LAST
    steps = f"{plan.epochs} epochs × {plan.steps_per_epoch} steps of {job.recipe.train.batch} patches"
    precision = resolve_precision(plan.precision, plan.device)
    job.say.line(
        f"  {_title(training)}: {job.recipe.network.name}, {count:,} parameters; {steps}, {precision}"
    )
    if slow := emulation_warning(plan.precision, plan.device):
        job.say.line(f"  {slow}")
    if initial_network is not None:
        job.say.line(f"  {initial_network}")
    weights = training.class_weights()
    if weights:
        job.say.line(f"  class weights {dict(zip(job.recipe.data.class_list().names, weights, strict=True))}")
    if training.validated and (absent := absent_classes(training.validated, job.recipe.data.class_list())):
        job.say.line(f"  no validation case holds {', '.join(absent)}: validation says nothing about it")
    if plan.compile and (problem := compile_problem(plan.device.partition(":")[0])):
        job.say.line(f"  train.compile is on, but torch cannot compile here ({problem}); training without it")
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
        **{
            f"val/{k}": v
            for k, v in (epoch.val or {}).items()
            if k in _charted(training) and math.isfinite(v)
        },
    }
    run.metrics(values, epoch.number)
    if epoch.resumed:
        return
    if epoch.val is not None:
        _show(training, run, epoch.number)
    told = _validated(epoch.val or {})
    mark = " (best)" if epoch.is_best and epoch.informative else ""
    job.say.line(
        f"  epoch {epoch.number}: loss {epoch.train_loss:.4f}, {seconds_in_words(epoch.seconds)}"
        + (f"; validation {told}{mark}" if told else "")
    )


def _log_again(job: Job, training: FoldTraining) -> None:
    """Log a finished training that its store lacks (its run was deleted, or not tracked) from its history."""
    if _done_key(training) is None or not job.tracked.lacks(training.fold, training.plane):
        return
    run = job.tracked.fold(training.fold, training.plane)
    run.data(_data_set(job, training.fold))
    charted = {f"val/{name}" for name in _charted(training)}
    names = {"train_loss": "train/loss", "lr": "train/learning_rate", "seconds": "train/seconds"}
    for row in (history := files.read_csv(training.folder / "history.csv")):
        named = {names.get(key, key): value for key, value in row.items() if key in names or key in charted}
        run.metrics({key: float(value) for key, value in named.items() if value}, int(row["epoch"]))
    if history and job.recipe.tracking.overlays:
        _show(training, run, int(history[-1]["epoch"]))
    job.tracked.end_fold(training.fold, training.plane)


def _charted(training: FoldTraining) -> set[str]:
    """What of validation is a chart: each class by itself as long as there are few."""
    names = training.recipe.data.class_list().foreground_names
    by_class = [f"dice_{name}" for name in names] if len(names) <= MOST_CHARTED else []
    return {DICE, *OVER_SET, *by_class}


def _validated(val: dict[str, float]) -> str:
    """Validation in a few words: the numbers over the set where there are any, else each class's Dice."""
    words = {k: f"{v:.4f}" if math.isfinite(v) else "not defined" for k, v in val.items()}
    if over_set := [f"{k} {text}" for k, text in words.items() if k in OVER_SET]:
        return ", ".join(over_set)
    dice = ", ".join(f"{k.removeprefix('dice_')} {text}" for k, text in words.items())
    return f"Dice {dice}" if dice else ""


def _show(training: FoldTraining, run: Run, step: int) -> None:
    """Add the overlay of the first validation case to the run's image series."""
    if training.overlay.is_file():
        with Image.open(training.overlay) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        run.image(training.validated[0].name, pixels, step)


def _data_set(job: Job, fold: int) -> DataSet:
    about = files.read_json(job.work.ingest / "dataset.json")
    rows: list[SplitRow] = [r for r in case_tables.roles(job.work.ingest) if r.fold == fold]
    counts = {role: sum(r.role == role for r in rows) for role in ("train", "val", "test", "unlabelled")}
    digest = files.sha256_of_value([[r.case, r.role] for r in rows])
    columns = {**dict.fromkeys(about["channels"], "scan"), "label": "label map"}
    return DataSet(job.recipe.name, digest[:16], job.recipe.data.path or job.work.root, columns, counts)


def _export(job: Job) -> None:
    """Every fold whose weights are of the present training becomes a member of `W/model`, or one a plane."""
    members: dict[str, Any] = {}
    descriptions: list[Description] = []
    trained: dict[str, Any] = {}
    planes: dict[str, Plane] = {}
    for fold in sorted(int(path.name) for path in (job.work.root / "train").iterdir() if path.is_dir()):
        finished = list(of_fold(job.recipe, job.work, fold))
        if not all((held := _done_key(t)) and held == t.key() for t in finished):
            continue
        for training in finished:
            name = training.member
            descriptions.append(training.description())
            members[name] = state.read_network(training.folder / BEST)
            trained[name] = _about(training)
            planes |= {name: training.plane} if training.plane else {}
    seen = domain.merged([d.domain for d in descriptions])
    told = {"trained": trained, "domain": seen, "plane": job.recipe.sampling.plane}
    model_folder.export(job.work.model, members, descriptions[0].model_copy(update=told), planes)
    pyfunc.log(job.tracked.run, job.work.model)


def _about(training: FoldTraining) -> dict[str, Any]:
    history = files.read_csv(training.folder / "history.csv")
    initial_network = initial_weights.origin(training.recipe.network, training.member, training.folder)
    key = f"val/{training.best_by}"
    best = max((float(r[key]) for r in history if r.get(key)), default=None)
    return {
        "cases": len(training.trained),
        "epochs": len(history),
        "seed": training.recipe.train.seed,
        f"best validation {'Dice' if training.best_by == DICE else training.best_by}": best,
        **({} if initial_network is None else {"started from": str(initial_network)}),
    }
