"""`medseg init`: the part of a recipe that is fitted to the data and to this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from medseg.config.dicom import rules_of
from medseg.config.fitted import plan
from medseg.config.fitted.choice import Choice, Choices
from medseg.config.fitted.training import Budget
from medseg.config.recipe import Recipe
from medseg.errors import Finding, MedsegError
from medseg.ingest import checks, dicom_folder
from medseg.ingest.patterns import FolderContents
from medseg.preprocess import fingerprint as fingerprints
from medseg.preprocess.fingerprint import Fingerprint
from pipelines.commands import machine
from pipelines.commands.init_speed import device_kind, seconds_of_step
from pipelines.stages import ingest

Splits = Literal["listed", "drawn", "given"]

MEASURED = 24
"""Cases that the fingerprint is measured on, spread over the training cases."""


@dataclass(frozen=True)
class Fitted:
    """The choices, and remarks for the user; whether a training case could be read; labelled cases found."""

    choices: Choices
    remarks: tuple[str, ...] = ()
    is_usable: bool = True
    n_labelled: int = 0


def fit(
    recipe: Recipe,
    minutes: float,
    splits: Splits = "drawn",
    clock: Callable[[], float] = time.perf_counter,
) -> Fitted:
    """Choose the splits and what follows the data section, for a training of some minutes on this machine.

    Of the recipe the section data is read alone; ``splits`` says that the data set lists the roles, that
    they are drawn, or that the recipe's stay. Test cases are not looked at. ``clock`` measures the speed.
    Where no training case can be read, values are the usual ones and a remark says why.
    """
    multilabel = recipe.data.class_list().multilabel
    chosen: Choices = {}
    subjects: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            contents = _contents(recipe, Path(scratch))
            subjects = [case.subject for case in contents.cases if case.label_paths]
            if not subjects:
                return _nothing_labelled(contents, plan.unfitted("mm", multilabel=multilabel))
            if splits != "given":
                chosen = {"data.splits": plan.splits(len({*subjects}), listed=splits == "listed")}
            fingerprint, findings = measure(_with_splits(recipe, chosen), contents)
    except MedsegError as error:
        remark = f"nothing is fitted to the data: {error.finding.details}"
        return Fitted(
            plan.unfitted("mm", multilabel=multilabel) | chosen, (remark,), n_labelled=len(subjects)
        )
    if fingerprint is None:
        remark = "nothing is fitted to the data: no labelled training case can be used"
        remark += "".join(f"; {finding}" for finding in findings[:1]) or "; see medseg check"
        usual = plan.unfitted(contents.unit, multilabel=multilabel) | chosen
        return Fitted(usual, (remark,), is_usable=not findings, n_labelled=len(subjects))
    measured = partial(seconds_of_step, fingerprint.n_channels, fingerprint.classes, clock=clock)
    chosen |= plan.choose(fingerprint, budget(minutes), measured)
    if splits == "listed":
        chosen["predict.roles"] = Choice(["val", "test"], "a set's test images are often not published")
    return Fitted(chosen, _of_one_patient(recipe, subjects), n_labelled=len(subjects))


def _nothing_labelled(contents: FolderContents, usual: Choices) -> Fitted:
    """Tell that the recipe finds no labelled case, with the first reason."""
    reasons = [f"; {stray.code}: {stray.details}; {stray.how_to_fix}" for stray in contents.strays[:1]]
    return Fitted(usual, (f"no case can be used with its labels{''.join(reasons)}",), is_usable=False)


def _of_one_patient(recipe: Recipe, subjects: Sequence[str]) -> tuple[str, ...]:
    """A remark where all labelled cases of an export have one PatientID, as some programs write it."""
    if recipe.data.layout != "dicom" or len(subjects) < 2 or len({*subjects}) > 1:
        return ()
    return (
        "all labelled series have one PatientID and count as one subject's, so that nothing can be tested: if"
        " they are several patients', export them again with a PatientID each",
    )


def _with_splits(recipe: Recipe, chosen: Choices) -> Recipe:
    """The recipe with the chosen splits, if there are any."""
    if not chosen:
        return recipe
    data = {**recipe.data.model_dump(), "splits": chosen["data.splits"].value}
    return recipe.model_copy(update={"data": recipe.data.model_validate(data)})


def _contents(recipe: Recipe, scratch: Path) -> FolderContents:
    """The recipe's cases; of a DICOM export references to its files, which are kept in ``scratch``."""
    root = ingest.data_folder(recipe)
    if recipe.data.layout != "dicom":
        return ingest.contents_of(recipe, root, None)
    rules = rules_of(recipe.data)
    return dicom_folder.find(root, dicom_folder.sources(root, scratch), rules, scratch).contents


def budget(minutes: float) -> Budget:
    """The time, the device that `auto` takes, and its free memory."""
    kind, memory = device_kind()
    free = machine.free_memory_gb()
    if memory is None and free is not None:
        memory = free * 1e9
    return Budget(60 * minutes, kind, memory)


def measure(recipe: Recipe, contents: FolderContents) -> tuple[Fingerprint | None, list[Finding]]:
    """Measure a recipe's training cases, of many some; None where none can be read. And why cases cannot."""
    labelled = [case for case in contents.cases if case.label_paths]
    rows = [row for row in ingest.split(recipe, contents, labelled, ()).rows if row.fold == 0]
    roles = {row.case: row.role for row in rows}
    train = [case for case in labelled if roles.get(case.name) == "train"]
    n_val = sum(role == "val" for role in roles.values())
    classes, step = recipe.data.class_list(), max(1, -(-len(train) // MEASURED))
    measured, refused = [], []
    for paths in train[::step]:
        case, findings = checks.read_case(paths, classes)
        if case is None:
            refused += [finding for finding in findings if not finding.is_note]
        elif case.label is not None:
            measured.append(fingerprints.of_case(case, classes))
    if not measured:
        return None, refused
    return Fingerprint(measured, len(train), n_val, classes, contents.unit), refused
