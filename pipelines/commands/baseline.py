"""`medseg baseline`: fuzzy c-means on a recipe's test cases, scored as its network is.

Its work folder has ingest, predictions and evaluation like that of a run, so that `medseg compare` can
compare the two. Nothing is trained and nothing is tracked; the training cases only tell the order of the
classes by brightness.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg import files
from medseg.baselines import fcm
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.config.reporting import Tracking
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError, refusal
from medseg.infer import results
from medseg.infer.results import Result
from medseg.infer.segment import measure_sizes
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.preprocess import geometry
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.volume import Volume
from pipelines import saved_recipe, scoring
from pipelines.case_tables import case_files, cases, roles
from pipelines.job import Job
from pipelines.run import Request, chosen_folds
from pipelines.stages import evaluate, ingest
from pipelines.tracking import tracked
from pipelines.workfolder import Work, only_one

VERSION = 1
SUFFIX = "_fcm"


@dataclass(frozen=True)
class Task:
    """A case to cluster and the path of its label map."""

    case: CaseFiles
    out: Path


def work_folder(request: Request) -> Path:
    """`--work`, or `./work/<recipe>_fcm`."""
    return request.work or request.work_folder().with_name(request.work_folder().name + SUFFIX)


def run(request: Request, say: Reporter) -> ExitCode:
    """Ingest; cluster and score every labelled case whose role is predicted.

    Excluded cases and missing predictions give SOME_EXCLUDED. Raises USAGE for the work folder of a trained
    network and for classes that overlap or have no background.
    """
    recipe = load.load(request.recipe, request.settings, request.data)
    recipe = recipe.model_copy(update={"name": recipe.name + SUFFIX, "tracking": Tracking(enabled=False)})
    work, folds = Work(work_folder(request)), chosen_folds(recipe, request.fold)
    if work.model.exists():
        raise MedsegError(
            Code.USAGE, work.root, "the work folder of a trained network", "name another with --work"
        )
    classes = recipe.data.class_list()
    if classes.multilabel or not classes.background:
        details = "clusters of grey values need classes that do not overlap, and a background"
        raise MedsegError(Code.USAGE, recipe.name, details, "use a recipe of brain scans")
    ingest.data_folder(recipe)
    with only_one(work):
        saved_recipe.save(recipe, work)
        with tracked(recipe, work, say) as run:
            job = Job(recipe, work, say, run, folds)
            ingest.run(job)
            _predict(job, folds)
            evaluate.score(job, list(evaluate.references(job, folds)))
    excluded = files.read_csv(work.ingest / "quarantine.csv")
    unscored = scoring.is_incomplete(work.evaluation)
    return ExitCode.SOME_EXCLUDED if excluded or unscored else ExitCode.DONE


def _predict(job: Job, folds: Sequence[int]) -> None:
    tasks = {fold: list(_tasks(job, fold, len(folds))) for fold in folds}
    preprocess = job.recipe.preprocess
    used = {
        "classes": job.recipe.data.class_list().to_json(),
        "foreground": preprocess.foreground,
        "n4": preprocess.n4,
        "roles": [[r.fold, r.case, r.role] for r in roles(job.work.ingest)],
        "files": [
            files.stamp(path)
            for case in map(case_files, cases(job.work.ingest).values())
            for path in (*case.channels.values(), *case.label_paths)
        ],
        "out": [str(t.out.relative_to(job.work.root)) for ts in tasks.values() for t in ts],
    }
    with job.stage("predict", VERSION, used, [t.out for ts in tasks.values() for t in ts]) as must_run:
        if must_run:
            shutil.rmtree(job.work.predictions, ignore_errors=True)
            for fold in folds:
                order = darkest_first(job.recipe, _training(job, fold))
                names = (job.recipe.data.class_list().names[k] for k in order)
                job.say.line(f"  fold {fold}: from the darkest, {', '.join(names)}")
                _cluster_all(job, tasks[fold], order)


def _tasks(job: Job, fold: int, folds: int) -> Iterator[Task]:
    by_name = cases(job.work.ingest)
    for role in roles(job.work.ingest):
        row = by_name[role.case]
        if role.fold == fold and role.role in job.recipe.predict.roles and row["label"]:
            out = results.label_map(job.work.fold_predictions(fold, folds), role.case, row["unit"])
            yield Task(case_files(row), out)


def _training(job: Job, fold: int) -> list[CaseFiles]:
    by_name, rows = cases(job.work.ingest), roles(job.work.ingest)
    return [case_files(by_name[r.case]) for r in rows if r.fold == fold and r.role == "train"]


def darkest_first(recipe: Recipe, training: Sequence[CaseFiles]) -> tuple[int, ...]:
    """Foreground class indices by their mean grey value in labelled training cases, scaled case by case.

    Raises NOTHING_USABLE if a class occurs in none of them.
    """
    classes = recipe.data.class_list()
    by_case = [np.full(len(classes), np.nan)]
    for paths in training:
        case, _ = checks.read_case(paths, classes)
        if case is not None and case.label is not None:
            volume, record = prepare(case.image, _plan(recipe))
            label = geometry.apply_to_labels(case.label, record).array[0]
            by_case.append(fcm.class_greys(volume, label, len(classes)))
    greys = np.array(by_case)[:, 1:]
    counts = np.isfinite(greys).sum(axis=0)
    if absent := [name for name, n in zip(classes.foreground_names, counts, strict=True) if not n]:
        raise MedsegError(
            Code.NOTHING_USABLE,
            "training cases",
            f"none holds {', '.join(absent)}, whose brightness is therefore unknown",
            "add labelled training cases with every class",
        )
    means = np.nansum(greys, axis=0) / counts
    return tuple(int(k) + 1 for k in np.argsort(means, kind="stable"))


def _plan(recipe: Recipe) -> PreparePlan:
    """The z-score, the bias field corrected where the recipe says so; neither spacing nor crop."""
    preprocess = recipe.preprocess
    return PreparePlan(GeometryPlan(foreground=preprocess.foreground), preprocess.n4, "zscore")


def _cluster_all(job: Job, tasks: Sequence[Task], order: tuple[int, ...]) -> None:
    classes = job.recipe.data.class_list()
    with job.say.progress("clustering", len(tasks)) as bar:
        for n, task in enumerate(tasks, 1):
            try:
                result = _cluster(job.recipe, task, order)
            except MedsegError as error:  # it is scored as a missing prediction
                job.say.line(f"  {task.case.name}: no prediction: {error.finding}")
                continue
            results.write_label_names(task.out.parent, classes)
            case_info = {"case": task.case.name, "members": ["fuzzy c-means"]}
            results.write(result, classes, task.out, "fuzzy c-means", case_info)
            bar.to(n, task.case.name)


def _cluster(recipe: Recipe, task: Task, order: tuple[int, ...]) -> Result:
    started = time.monotonic()
    image, findings = checks.read_image(task.case.channels)
    if image is None:
        raise refusal(findings)
    read = time.monotonic()
    volume, record = prepare(image, _plan(recipe))
    clustering = fcm.label(volume, order, rule=recipe.preprocess.foreground)
    classes = recipe.data.class_list()
    indices = geometry.undo(Volume(clustering.labels[None], record.grid), record).array
    labels = Volume(classes.to_values(indices), image.grid, image.source)
    seconds = {"read": read - started, "predict": time.monotonic() - read}
    sizes, quality = measure_sizes(labels, classes), (clustering.quality, clustering.quality_kind)
    return Result(labels, None, sizes, *quality, seconds, tuple(findings))
