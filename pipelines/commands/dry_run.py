"""`medseg run --dry-run`: what a run would do, with which cases, for how long; nothing of it is kept.

Ingest is carried out in a temporary folder: the cases, roles and exclusions are those of the run. Times are
measured on one training case; see :mod:`pipelines.commands.estimate`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter, seconds_in_words
from medseg.device import at_hand, choose, resolve_precision
from medseg.errors import ExitCode, printable, some
from medseg.ingest import privacy
from medseg.train import torchrun
from pipelines import case_tables
from pipelines.commands import estimate, machine
from pipelines.fold.planned_length import Planned
from pipelines.job import Job
from pipelines.run import Request, Resolved, resolve
from pipelines.stages import ingest
from pipelines.tracking import untracked
from pipelines.workfolder import DONE, Work

_ROLES = ("train", "val", "test", "unlabelled")
_KEPT = ("ingest", privacy.FOLDER)
"""What a dry run takes over from an earlier run: cases that were read, and the key of their pseudonyms."""


def run(
    request: Request,
    say: Reporter,
    *,
    start: str | None = None,
    overwrite: bool = False,
    as_json: bool = False,
) -> ExitCode:
    """Print the plan of a run. Ends as the run would as far as that follows from recipe, data and disk.

    With `as_json` the plan is one JSON object. Nothing is written but to a temporary folder. Of several
    processes that torchrun started, the first alone plans.
    """
    if torchrun.process_count() and not torchrun.is_first():
        return ExitCode.DONE
    request = request.with_processes()
    here, notes = _on_this_machine(request)
    resolved = resolve(here, start=start, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="medseg-dry-run-") as temporary:
        work = _temporary_work(Path(temporary), resolved.work.root, anew="ingest" in resolved.anew)
        job = _job(here, resolved, work, say)
        ingest.run(job)
        plan = _plan(job, resolved)
        costs = estimate.measure(job, Path(temporary))
    if costs.planned is not None:
        plan |= _length(costs.planned)
    plan |= {"seconds": {k: round(v, 3) for k, v in costs.seconds.items()}, "megabytes": costs.megabytes}
    plan["free_gb"] = machine.free_gb(_existing(resolved.work.root))
    plan["notes"] = notes
    plan["command"] = request.command(request.recipe, resolved.work, with_data=True)
    if as_json:
        say.result(json.dumps(plan, indent=1))
    else:
        for line in _lines(plan):
            say.result(line)
    return ExitCode.SOME_EXCLUDED if plan["excluded"] else ExitCode.DONE


def _on_this_machine(request: Request) -> tuple[Request, list[str]]:
    """The request, or where its recipe is for a GPU that is not here, the same on the CPU, with a note."""
    wanted = load.load(request.recipe, request.settings, request.data).train.device
    if wanted in ("auto", *at_hand()):
        return request, []
    note = (
        f"the recipe is for {wanted}, which this machine lacks: times and lengths here are the CPU's; a run "
        f"needs {wanted}, or --device cpu"
    )
    return replace(request, settings=(*request.settings, "train.device=cpu")), [note]


def _temporary_work(temporary: Path, real: Path, *, anew: bool) -> Work:
    """A work folder that stands for the real one, with what ingest may take over from there."""
    work = Work(temporary / "work", stands_for=real)
    work.root.mkdir()
    for name in () if anew else _KEPT:
        if (real / name).is_dir():
            shutil.copytree(real / name, work.root / name)
    return work


def _job(request: Request, resolved: Resolved, work: Work, say: Reporter) -> Job:
    recipe = resolved.recipe
    tracked = untracked(recipe, work, say)
    return Job(recipe, work, say, tracked, resolved.folds, strict=request.strict)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


# The plan


def _plan(job: Job, resolved: Resolved) -> dict[str, Any]:
    """Describe the run in plain values; names of a DICOM export are pseudonyms."""
    recipe, work = job.recipe, job.work
    dataset = files.read_json(work.ingest / "dataset.json")
    cases = case_tables.cases(work.ingest)
    subjects = {row["subject"] for row in cases.values()}
    return {
        "recipe": recipe.name,
        "work": str(resolved.work.root),
        "data": "" if recipe.data.layout == "dicom" else str(recipe.data.path),
        "layout": dataset["layout"],
        "unit": dataset["unit"],
        "channels": dataset["channels"],
        "classes": _classes(recipe),
        "cases": len(cases),
        "labelled": dataset["labelled"],
        "subjects": len(subjects),
        "shapes": _range([row["shape"] for row in cases.values()]),
        "spacings": _range([row["spacing"] for row in cases.values()]),
        "excluded": dataset["excluded"],
        "folds": [_fold(job, resolved.work, fold, cases) for fold in job.folds or (0,)],
        "network": recipe.network.name,
        "plane": list(recipe.sampling.planes),
        "depth": recipe.sampling.depth,
        "window": list(recipe.sampling.window),
        "epochs": recipe.train.epochs,
        "batch": recipe.train.batch,
        "device": (device := choose(recipe.train.device)),
        "precision": resolve_precision(recipe.train.precision, device),
        "mode": "" if recipe.reconstructs else recipe.predict.mode,
    }


def _length(planned: Planned) -> dict[str, Any]:
    """The length that `train.minutes` plans, with the words for it."""
    warning = [planned.warning] if planned.warning else []
    return {**asdict(planned.length), "minutes": planned.minutes, "length": [planned.words, *warning]}


def _classes(recipe: Recipe) -> dict[str, str]:
    """Names of classes by the values of label files; of masks by the files or values that make them up."""
    data = recipe.data
    if recipe.reconstructs:
        return {}
    if data.masks:
        return {pattern: name for name, pattern in data.masks.items()}
    if data.regions:
        return {" ".join(map(str, values)): name for name, values in data.regions.items()}
    return {str(value): spec.name for value, spec in data.classes.items()}


def _fold(job: Job, real: Work, fold: int, cases: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The cases of each role of a fold, with how many subjects they are of."""
    of_fold = [row for row in case_tables.roles(job.work.ingest) if row.fold == fold]
    roles = {}
    for role in _ROLES:
        names = [row.case for row in of_fold if row.role == role]
        roles[role] = {"cases": names, "subjects": len({cases[name]["subject"] for name in names})}
    return {"fold": fold, "roles": roles, "trained": (real.train(fold) / DONE).is_file()}


def _range(texts: Sequence[str]) -> list[list[float]]:
    """The smallest and the largest of each axis, of cells such as `256 256 128`."""
    rows = [[float(number) for number in text.split()] for text in texts]
    axes = list(zip(*rows, strict=True))
    return [[min(axis) for axis in axes], [max(axis) for axis in axes]]


# Lines


def _lines(plan: dict[str, Any]) -> Iterator[str]:
    classes = [f"{value} {name}" for value, name in plan["classes"].items()]
    yield f"plan of {plan['recipe']} in {plan['work']} (dry run: nothing is written)"
    yield f"data      {printable(plan['data'] or 'a DICOM export')}, layout {plan['layout']}"
    yield f"channels  {', '.join(plan['channels'])}"
    yield f"classes   {some(classes, 12) or 'none: an auto-encoder looks at no label'}"
    usable = f"{plan['cases']} usable ({plan['labelled']} labelled), {plan['excluded']} excluded"
    yield f"cases     {usable}, of {_counted(plan['subjects'], 'subject')}"
    yield f"grids     {_grids(plan)}"
    for fold in plan["folds"]:
        yield from _lines_of_fold(fold)
    window = " × ".join(map(str, plan["window"]))
    slices = f", {' + '.join(plan['plane'])}, {_counted(plan['depth'], 'slice')}"
    yield f"network   {plan['network']}{slices if plan['unit'] == 'mm' else ''}, {window} px"
    yield from _costs(plan)
    yield from (f"note      {note}" for note in plan["notes"])
    yield f"run it:   {plan['command']}"


def _grids(plan: dict[str, Any]) -> str:
    """Voxels and spacings of scans; of images the width and height, as other tables write them."""
    if plan["unit"] == "mm":
        return f"{_in_words(plan['shapes'])} voxels of {_in_words(plan['spacings'])} mm"
    return f"{_in_words([ends[1::-1] for ends in plan['shapes']])} px"


def _lines_of_fold(fold: dict[str, Any]) -> Iterator[str]:
    head = f"fold {fold['fold']}"
    for role, part in fold["roles"].items():
        if count := len(part["cases"]):
            yield (
                f"{head:<9} {role}: {_counted(count, 'case')} of {_counted(part['subjects'], 'subject')}: "
                + (some(part["cases"]))
            )
            head = ""
    if fold["trained"]:
        yield f"{'':<9} trained already: a run goes on with what has changed"


def _costs(plan: dict[str, Any]) -> Iterator[str]:
    seconds, megabytes = plan["seconds"], plan["megabytes"]
    parts = ", ".join(f"{name} {seconds_in_words(value)}" for name, value in seconds.items())
    steps = f"{_counted(plan['epochs'], 'epoch')}, batches of {plan['batch']}"
    yield from (f"length    {line}" for line in plan.get("length", ()))
    prediction = f"; prediction by {plan['mode']}" if plan["mode"] else ""
    yield f"training  {steps}, {plan['precision']} on {plan['device']}{prediction}"
    yield f"time      about {seconds_in_words(sum(seconds.values()))}: {parts}"
    free = "" if plan["free_gb"] is None else f"; {plan['free_gb']:.0f} GB are free"
    disk = ", ".join(f"{name} {value:.0f} MB" for name, value in megabytes.items())
    yield f"disk      about {sum(megabytes.values()):.0f} MB: {disk}{free}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _in_words(ends: list[list[float]]) -> str:
    """Write `1 × 1 × 2`, or `40–50 × 60` where the cases differ."""
    low, high = ends
    pairs = [(round(a, 2), round(b, 2)) for a, b in zip(low, high, strict=True)]
    axes = [f"{a:g}" if a == b else f"{a:g}–{b:g}" for a, b in pairs]
    return " × ".join(axes)
