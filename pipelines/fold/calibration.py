"""The calibration of a trained model on its validation cases, as they are and with the ladder of corruptions.

A fold's validation cases are labelled by that fold's members alone, on the way that new scans take. No test
case is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.device import choose
from medseg.errors import Code, MedsegError, refusal
from medseg.grid import Array
from medseg.infer import loading, segment
from medseg.infer.loading import Model
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.io.memory import MemoryImage
from medseg.mask_bits import pack_masks
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model.calibration import Calibration, Sample, fit
from medseg.model.description import Description
from medseg.synth.corruptions import LADDER, Step, corrupt
from medseg.volume import Volume
from pipelines import case_tables
from pipelines.workfolder import Work, fold_of

MOST_ROUNDS = 5
"""Each rung of the ladder is tried on at most this many validation cases."""

BLANK = Calibration(structures={}, review_below=0.0)
"""Expects nothing of any structure, but has its signs measured."""

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Trial:
    """A case to label with some members, as it is or corrupted; `seed` is that of the corruption."""

    case: CaseFiles
    members: tuple[str, ...]
    step: Step | None
    seed: int


def require(work: Work, recipe_name: str) -> None:
    """Raise KEYWORD_INVALID for images, SPLIT_INVALID where there is no validation case."""
    where = f"{recipe_name}: predict.calibrate"
    if case_tables.unit(work.ingest) == "px":
        details = "the recipe's cases are images; sizes of what they show say nothing"
        raise MedsegError(Code.KEYWORD_INVALID, where, details, "leave it out")
    if not any(row.role == "val" for row in case_tables.roles(work.ingest)):
        details = "no validation case, and no other may be used"
        raise MedsegError(Code.SPLIT_INVALID, where, details, "name some in data.splits, or leave it out")


def calibrate(work: Work, device: str, progress: Progress | None = None) -> Calibration:
    """Calibrate the model in `W/model` on the validation cases of all its folds.

    `progress` gets the number of label maps made and a case. Raises SPLIT_INVALID where no validation case
    holds any structure.
    """
    samples = list(label_trials(plan(work), work.model, device, progress, anew=True))
    try:
        return fit(samples)
    except ValueError as error:
        details = "no validation case holds a structure to calibrate on"
        how_to_fix = "choose other validation cases, or leave predict.calibrate out"
        raise MedsegError(Code.SPLIT_INVALID, "predict.calibrate", details, how_to_fix) from error


def plan(work: Work) -> list[Trial]:
    """List the trials that the model in `W/model` is calibrated on."""
    members = [member.name for member in model_folder.read(work.model).members]
    return trials(work, members, "val")


def trials(
    work: Work, members: Sequence[str], role: str, most_rounds: int = MOST_ROUNDS, *, seed: int = 0
) -> list[Trial]:
    """List the trials on cases of a role: each as it is, then each rung of the ladder on some in turn."""
    by_name = case_tables.cases(work.ingest)
    clean = []
    for row in case_tables.roles(work.ingest):
        of_fold = tuple(name for name in members if fold_of(name) == row.fold)
        if row.role == role and of_fold:
            clean.append(Trial(case_tables.case_files(by_name[row.case]), of_fold, None, 0))
    rounds = range(min(most_rounds, len(clean)))
    return clean + [
        replace(clean[(number + turn * len(clean) // len(rounds)) % len(clean)], step=step, seed=one_seed)
        for turn in rounds
        for number, step in enumerate(LADDER)
        for one_seed in [seed + turn * len(LADDER) + number]
    ]


def label_trials(
    planned: Sequence[Trial],
    folder: Path,
    device: str,
    progress: Progress | None = None,
    *,
    anew: bool = False,
) -> Iterator[Sample]:
    """Label every trial with the model in a folder; give its signs and true Dice.

    A corrupted scan that is refused, as a new one would be, gives none. `anew` forgets the model's
    calibration, to fit another.
    """
    models: dict[tuple[str, ...], Model] = {}
    for number, trial in enumerate(planned, 1):
        if trial.members not in models:
            model = loading.load(folder, choose(device), members=trial.members)
            if anew or model.description.calibration is None:
                blank = model.description.model_copy(update={"calibration": BLANK})
                model = replace(model, description=blank)
            models[trial.members] = model
        if (sample := label_trial(trial, models[trial.members])) is not None:
            yield sample
        if progress is not None:
            progress(number, trial.case.name)


def label_trial(trial: Trial, model: Model) -> Sample | None:
    """Label one trial; its Dice is that of the corrupted scan's own truth. None if the scan is refused."""
    description, classes = model.description, model.description.class_list()
    case, findings = checks.read_case(trial.case, classes, intensity=description.intensity, n4=description.n4)
    if case is None or case.label is None:
        raise refusal(findings)
    image, truth = case.image, case.label
    if trial.step is not None:
        image, truth = corrupt(image, truth, trial.step, trial.seed)
    channels = {
        name: MemoryImage(f"{trial.case.name}_{name}", image.with_array(image.array[n : n + 1]))
        for n, name in enumerate(description.channels)
    }
    try:
        result = segment.segment(channels, model, accept_domain=True)
    except MedsegError as error:
        if trial.step is None or error.code in (Code.OUT_OF_MEMORY, Code.DISK_FULL):
            raise
        return None
    labels = indices_of(result.labels, description)
    matrix = confusion_matrix.confusion_of(truth.array[0], labels, classes, where=trial.case.name)
    dice = confusion_matrix.foreground_dice(matrix, classes).tolist()
    true = {n: None if math.isnan(d) else d for n, d in zip(classes.foreground_names, dice, strict=True)}
    step = "" if trial.step is None else str(trial.step)
    return Sample(
        case=trial.case.name,
        corruption=step,
        signs=result.judgement.signs,
        dice=true,
        confidence=result.quality,
        expected=result.judgement.mean,
        needs_review=result.to_json()["needs_review"],
    )


def indices_of(labels: Volume, description: Description) -> Array:
    """A result's labels (L, X, Y, Z) in file values as class indices, or bits of masks, (X, Y, Z) uint8."""
    classes = description.class_list()
    if classes.multilabel:
        return pack_masks(labels.array)
    return classes.as_written().to_indices(labels.array[0], "result")
