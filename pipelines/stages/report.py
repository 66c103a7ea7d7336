"""Report: gather the results of the other stages in one page that works offline."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.classes import OUTSIDE, ClassList
from medseg.device import choose, in_words
from medseg.errors import MedsegError, refusal
from medseg.grid import NOUNS, Array
from medseg.infer import results
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.metrics import summary, table
from medseg.metrics.table import ScoreRow
from medseg.model.description import Description
from medseg.report import charts, html, volume_overlay
from medseg.report.html import CaseView, Chart, Report, Tile
from medseg.volume import Volume
from pipelines import case_overlays, explanations, scoring
from pipelines.case_tables import case_files, cases, unit
from pipelines.job import STAGES, Job
from pipelines.scored_case import read_labels

VERSION = 4
MOST_CASES = 40
MOST_BOXES = 30
MOST_NAMES = 24
IMAGE_TILES = {"mIoU": "mean IoU", "G": "pixel accuracy G", "C": "class accuracy C", "BF": "boundary F1"}


def run(job: Job) -> None:
    """Write `report/report.html` and log it with the tables."""
    used = {
        "stages": {name: _finished(job, name) for name in STAGES[:-1]},
        "recipe": job.recipe.model_dump(mode="json"),
    }
    page = job.work.report / "report.html"
    with job.stage("report", VERSION, used, [page]) as must_run:
        if must_run:
            gathered = _gather(job)
            html.write(page, gathered)
            case_overlays.write(job.work.overlays, gathered.cases, gathered.scores)
    if must_run or not job.tracked.run.resumed:
        _log(job)
    job.say.result(f"  report: {page}")


def _finished(job: Job, stage: str) -> Any:
    record = job.work.stage_folder(stage) / "stage.json"
    return files.read_json(record) if record.is_file() else None


def _log(job: Job) -> None:
    run = job.tracked.run
    run.artifact(job.work.report / "report.html")
    if job.recipe.tracking.overlays:
        run.artifact(job.work.overlays, "test_cases")
    for folder, kind in ((job.work.evaluation, "evaluation"), (job.work.ingest, "ingest")):
        run.artifact(folder, kind)
    for training, history in job.work.histories.items():
        run.artifact(history, f"train/{training}")


def _gather(job: Job) -> Report:
    scores = table.read(job.work.evaluation / "scores.csv")
    numbers = files.read_json(job.work.evaluation / "summary.json")
    model = files.read_json(job.work.model / "model.json")
    unread = job.work.evaluation / "quarantine.csv"
    return Report(
        title=job.recipe.name,
        lead=job.recipe.description,
        facts=_facts(job, model),
        recipe=job.work.recipe.read_text(encoding="utf-8"),
        summary=numbers,
        scores=scores,
        command=job.command,
        excluded=files.read_csv(job.work.ingest / "quarantine.csv"),
        unread=files.read_csv(unread) if unread.is_file() else (),
        tiles=_tiles(numbers, model),
        training=_training(job),
        spread=_spread(job, scores, numbers),
        times=[_times(job)],
        cases=list(_views(job, scores)),
        unit=unit(job.work.ingest),
    )


def _facts(job: Job, model: dict[str, Any]) -> dict[str, dict[str, str]]:
    data = files.read_json(job.work.ingest / "dataset.json")
    train, description = job.recipe.train, model["description"]
    record = _finished(job, "evaluate") or {}
    shuffled = job.recipe.sampling.order == "shuffled"
    keywords = ", ".join(f"{key}={value}" for key, value in description["keywords"].items())
    length = "every case once" if shuffled else f"{train.steps_per_epoch} steps"
    return {
        "Data": {
            "name": data["name"],
            "layout": data["layout"],
            "channels": ", ".join(data["channels"]),
            "classes": _shortened([c["name"] for c in data["classes"]]),
            "cases": f"{data['usable']} usable, {data['labelled']} labelled, {data['excluded']} excluded",
        },
        "Model": {
            "network": description["network"] + (f" ({keywords})" if keywords else ""),
            "parameters": f"{model['parameters']:,}",
            "folds of the ensemble": ", ".join(m["name"] for m in model["members"]),
            "input": _input(description),
            "prediction mode": description["mode"],
            **_ensemble_facts(model),
        },
        "Training": {
            "length": f"{train.epochs} epochs × {length}, batch size {train.batch}",
            "optimiser": f"{train.optimiser}, learning rate {train.lr:g}, {train.schedule}",
            "loss": f"{job.recipe.loss.name}, class weights {job.recipe.loss.class_weights}",
            "seed": str(train.seed),
            "precision": train.precision,
            **_initial_weights(description),
        },
        "Run": {
            "finished": str(record.get("finished", "")),
            "medseg": medseg.__version__,
            "torch": str(importlib.metadata.version("torch")),
            "device": in_words(choose("auto")),
        },
    }


def _ensemble_facts(model: dict[str, Any]) -> dict[str, str]:
    """The rule that joins folds and planes, where there are several, and the thresholds of masks."""
    description = Description.model_validate(model["description"])
    several = len(model["members"]) > 1 or len(description.planes) > 1
    rule = {"folds and planes joined by": "votes" if description.ensemble == "vote" else "mean probability"}
    thresholds = ", ".join(f"{name} {value:g}" for name, value in description.mask_thresholds().items())
    return {**(rule if several else {}), **({"thresholds": thresholds} if thresholds else {})}


def _initial_weights(description: dict[str, Any]) -> dict[str, str]:
    """The sources of the initial weights, each once; nothing where all weights were drawn at random."""
    sources = dict.fromkeys(
        str(t["started from"]) for t in description["trained"].values() if "started from" in t
    )
    return {"initial weights": "; ".join(sources)} if sources else {}


def _shortened(names: list[str]) -> str:
    """The names; of a long list the first ones."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"


def _input(description: dict[str, Any]) -> str:
    if description.get("unit") == "px":
        channels = len(description["channels"])
        return f"images of {channels} channel{'' if channels == 1 else 's'}"
    plane, depth = description["plane"], description["depth"]
    planes = plane if isinstance(plane, str) else ", ".join(plane)
    return f"{depth} adjacent slices (2.5D), {planes}" if depth > 1 else f"single slices, {planes}"


def _tiles(numbers: dict[str, Any], model: dict[str, Any]) -> list[Tile]:
    tiles = []
    for name, of_set in numbers["sets"].items():
        if of_set["length_unit"] == "px":
            tiles += _image_tiles(name, of_set)
            continue
        mean = of_set["over_classes"]["dice"]
        if mean["mean"] is not None:
            tiles.append(Tile(f"mean Dice, {name}", f"{mean['mean']:.3f}", f"{of_set['cases']} cases"))
        for class_name, metrics in of_set["classes"].items():
            if metrics["dice"]["mean"] is not None and len(tiles) < 5:
                tiles.append(Tile(f"Dice {class_name}", f"{metrics['dice']['mean']:.3f}", name))
    tiles.append(Tile("parameters", f"{model['parameters'] / 1e6:.2f} M", model["description"]["network"]))
    return tiles


def _image_tiles(name: str, of_set: dict[str, Any]) -> list[Tile]:
    """Numbers over a set of images that papers print, after the IoU of an only class."""
    cases = f"{name}, {of_set['cases']} images"
    only = summary.only_class(of_set)
    shown = {f"IoU {only[0]}": only[1]} if only else {}
    shown |= {title: of_set["over_set"].get(key) for key, title in IMAGE_TILES.items()}
    return [Tile(title, f"{value:.3f}", cases) for title, value in shown.items() if value is not None]


def _training(job: Job) -> list[Chart]:
    curves = []
    for training, path in job.work.histories.items():
        rows = files.read_csv(path)
        if rows:
            png = charts.learning_curves(rows)
            by_set = "val/miou" in rows[0]
            scores = "mean IoU and accuracies over the validation images" if by_set else "validation Dice"
            caption = f"Loss, {scores}, and learning rate by epoch."
            curves.append(Chart(f"Fold {training.replace('/', ', ')}", png, caption))
    return curves


def _spread(job: Job, scores: list[ScoreRow], numbers: dict[str, Any]) -> list[Chart]:
    classes = job.recipe.data.class_list()
    colours = {c.name: c.colour for c in classes.classes}
    figures = []
    images = {name: of_set for name, of_set in numbers["sets"].items() if of_set["length_unit"] == "px"}
    for name, of_set in images.items():
        bars = charts.class_bars(of_set["over_set"]["iou_by_class"], colours)
        caption = "Over all pixels of the set; void (ignored label) is left out."
        figures.append(Chart(f"IoU of each class, {name}", bars, caption))
    if len(classes.foreground) <= MOST_BOXES:
        metrics = ("iou", "bf") if images else charts.SPREAD
        boxes = charts.box_plots(scores, metrics, colours)
        spread = ("images", "Each point is an image.") if images else ("cases", "Each point is a case.")
        figures.append(Chart(f"Spread over {spread[0]}", boxes, spread[1]))
    names = (OUTSIDE, table.INSIDE) if classes.multilabel else classes.names
    for name, matrix in table.read_confusion(job.work.evaluation / "confusion.csv").items():
        png = charts.confusion_figure(matrix, names)
        figures.append(
            Chart(f"Confusion, {name}", png, "Rows are the truth, in per cent of each true class.")
        )
    return figures


def _times(job: Job) -> Chart:
    stages = {
        name: float(record["seconds"]) for name in STAGES[:-1] if (record := _finished(job, name)) is not None
    }
    predicted = [files.read_json(path) for path in _metadata(job)]
    steps: dict[str, float] = {}
    for metadata in predicted:
        for step, seconds in metadata["seconds"].items():
            steps[step] = steps.get(step, 0.0) + seconds / len(predicted)
    one = f"one {NOUNS[unit(job.work.ingest)]}"
    png = charts.time_bars({"whole run": stages, one: steps} if steps else {"whole run": stages})
    return Chart("Stages and steps", png, f"Stages of this run, and the mean time of each step for {one}.")


def _metadata(job: Job) -> dict[Path, str]:
    """The JSON files of predicted cases that ingest still knows, each with its case."""
    known = cases(job.work.ingest)
    return {p: case for p, case in results.metadata_files(job.work.predictions).items() if case in known}


def _views(job: Job, scores: list[ScoreRow]) -> Iterator[CaseView]:
    """Overlays of predicted cases: the worst scored first, then unlabelled ones; at most `MOST_CASES`."""
    by_name = cases(job.work.ingest)
    names = [*html.case_order(scores)]
    predicted = {case: path for path, case in _metadata(job).items()}
    names += [name for name in predicted if name not in names]
    roles = {row.case: row.role for row in scores}
    for name in names[:MOST_CASES]:
        case, metadata = case_files(by_name[name]), predicted.get(name)
        image, findings = checks.read_image(case.channels)
        if image is None:
            raise refusal(findings)
        classes = job.recipe.data.class_list()
        truth = _truth(case, classes, image)
        prediction = None if metadata is None else _prediction(metadata, classes, image)
        png = volume_overlay.overlay(image, classes, truth=truth, prediction=prediction)
        explained = list(_explained(job, name)) if job.recipe.report.explain else []
        yield CaseView(name, roles.get(name, "unlabelled"), png, _remark(metadata), explained)


def _explained(job: Job, case: str) -> Iterator[Chart]:
    """Grad-CAM figures of the classes that the recipe names."""
    figures = explanations.draw(job.work, case, job.recipe.report.explain, device=job.recipe.train.device)
    caption = "The outline is the prediction; bright areas contributed most to it."
    for name, path in figures.items():
        yield Chart(f"Grad-CAM, {name}", path.read_bytes(), caption)


def _truth(case: CaseFiles, classes: ClassList, image: Volume) -> Array | None:
    """Class indices (X, Y, Z) on the image's grid, None for a case that is not labelled."""
    labels, findings = checks.read_truth(case, classes, image.grid)
    if labels is None and findings:
        raise refusal(findings)
    return None if labels is None else labels.array[0]


def _prediction(metadata: Path, classes: ClassList, image: Volume) -> Array | None:
    """Class indices (X, Y, Z) on the image's grid, None for a prediction that is missing or unusable."""
    case = results.metadata_files(metadata.parent)[metadata]
    label = results.label_map(metadata.parent, case, image.grid.unit)
    predicted = scoring.predicted_files(label, classes.masks)
    if predicted is None:
        return None
    try:
        indices: Array = read_labels(predicted, classes.as_written(), image.grid).array[0]
    except MedsegError:  # the evaluation names it, with its code
        return None
    return indices


def _remark(metadata: Path | None) -> str:
    if metadata is None:
        return "no prediction"
    values = files.read_json(metadata)
    codes = " ".join(note["code"] for note in values["notes"])
    return f"quality {values['quality']:.3f} ({values['quality_kind']}) {codes}".strip()
