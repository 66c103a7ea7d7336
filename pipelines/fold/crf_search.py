"""The search for a CRF's values on validation cases (`predict.crf_search`); no test case is looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from medseg import files
from medseg.device import choose
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer import crf_trials, inferers, loading
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import MajorityVote
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model.description import CRFSettings
from medseg.patches.slabs import plane_view
from medseg.preprocess.store import PreprocessedCase
from pipelines.fold import plan, validation
from pipelines.fold.data import PreparedCases
from pipelines.fold.validation import BF
from pipelines.job import Job
from pipelines.workfolder import fold_of

COLUMNS = (*CRFSettings.model_fields, "score", "chosen")


def candidates(start: CRFSettings, grid: dict[str, tuple[float, ...]]) -> list[CRFSettings]:
    """List all combinations of the grid's values, the last key changing fastest; other keys are `start`'s."""
    rows = product(*grid.values())
    return [
        CRFSettings.model_validate({**start.model_dump(), **dict(zip(grid, row, strict=True))})
        for row in rows
    ]


def search(job: Job) -> CRFSettings:
    """Choose the values by which the model in `W/model` has the highest score on its validation cases.

    The score is the one that chose the best weights; of equal ones the first counts. A fold's cases are
    labelled by its own members. Writes the table of all scores to `train/crf_search.csv`.

    Raises SPLIT_INVALID without a validation case that holds a class.
    """
    wanted = job.recipe.predict.crf_search
    if wanted is None:
        raise ValueError("the recipe searches no CRF")
    tried = candidates(job.recipe.predict.crf or CRFSettings(), wanted.grid())
    cases = _cases(job, wanted.cases)
    if not cases:
        details, how_to_fix = "no validation case, and no other may be used", "name some, or leave it out"
        raise MedsegError(Code.SPLIT_INVALID, "predict.crf_search", details, how_to_fix)
    monitor = plan.monitor(job.recipe, cases[0][1].volume.grid.unit)
    scores = _scores(job, cases, tried, monitor)
    if not any(map(math.isfinite, scores)):
        details, how_to_fix = "no validation case holds a class", "choose other validation cases"
        raise MedsegError(Code.SPLIT_INVALID, "predict.crf_search", details, how_to_fix)
    best = 1 + int(np.nanargmax(scores[1:]))
    _write(job, tried, scores, best)
    values = ", ".join(f"{key} {value:g}" for key, value in tried[best - 1].model_dump().items())
    comparison = "without a CRF" if scores[best] >= scores[0] else "better without a CRF:"
    job.say.line(
        f"  CRF of {len(tried)} tried on {len(cases)} validation cases: {values}; "
        f"{monitor} {scores[best]:.4f}, {comparison} {scores[0]:.4f}"
    )
    return tried[best - 1]


def _cases(job: Job, most: int) -> list[tuple[int, PreprocessedCase]]:
    """The validation cases of the model's folds, each with its fold."""
    prepared = PreparedCases(job.work)
    folds = sorted({fold_of(member.name) for member in model_folder.read(job.work.model).members})
    return [(fold, case) for fold in folds for case in prepared.of_role(fold, "val")[: most or None]]


def _scores(
    job: Job, cases: Sequence[tuple[int, PreprocessedCase]], tried: Sequence[CRFSettings], monitor: str
) -> list[float]:
    """Score all cases without a CRF, and with each of those tried."""
    description = model_folder.read(job.work.model).description
    inferer, classes = inferers.choose_inferer(description), description.class_list()
    names = [member.name for member in model_folder.read(job.work.model).members]
    if isinstance(inferer, MajorityVote):
        raise ValueError("votes have no probabilities to refine")
    matrices: list[list[Array]] = [[] for _ in range(len(tried) + 1)]
    contours: list[list[float]] = [[] for _ in range(len(tried) + 1)]
    loaded: dict[int, Any] = {}
    with job.say.progress("searching the CRF", len(cases)) as bar:
        for done, (fold, case) in enumerate(cases, 1):
            if fold not in loaded:
                members = [name for name in names if fold_of(name) == fold]
                device = choose(job.recipe.train.device)
                loaded[fold] = loading.load(job.work.model, device, members=members).predictor
            predictor = loaded[fold]
            if isinstance(predictor, MultiPlaneEnsemble) or case.label is None:
                raise ValueError(f"{case.name}: several planes, or no label")
            truth = plane_view(np.asarray(case.label), predictor.spec.plane)
            of_case = [np.zeros((len(classes), len(classes)), np.int64) for _ in matrices]
            labelled = crf_trials.labels_of_slices(case.volume, predictor, inferer, tried)
            for true, several in zip(truth, labelled, strict=True):
                for n, labels in enumerate(several):
                    of_case[n] += confusion_matrix.confusion_of(true, labels, classes, where=case.name)
                    if monitor == BF:
                        contours[n] += validation.boundary_f1(true, labels)
            for n, matrix in enumerate(of_case):
                matrices[n].append(matrix)
            bar.to(done, case.name)
    pairs = zip(matrices, contours, strict=True)
    return [validation.score(monitor, of_one, lines, classes) for of_one, lines in pairs]


def _write(job: Job, tried: Sequence[CRFSettings], scores: Sequence[float], best: int) -> None:
    rows = [{"score": scores[0], "chosen": ""}]
    rows += [
        {**one.model_dump(), "score": score, "chosen": "yes" if n == best else ""}
        for n, (one, score) in enumerate(zip(tried, scores[1:], strict=True), 1)
    ]
    files.write_csv(job.work.crf_search, COLUMNS, rows)
