"""Report: gathers what the other stages wrote into one page that opens offline."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.classes import OUTSIDE, ClassList
from medseg.device import choose, in_words
from medseg.errors import Code, MedsegError, refusal
from medseg.evaluate import summary, table
from medseg.evaluate.table import ScoreRow
from medseg.grid import NOUNS, Array
from medseg.infer import results
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.model.description import Description
from medseg.report import charts, html, volume_overlay
from medseg.report.html import CaseView, Chart, Report, Tile
from medseg.volume import Volume
from pipelines import explanations, scoring
from pipelines.case_tables import case_files, cases, unit
from pipelines.job import STAGES, Job

VERSION = 3
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
            html.write(page, _gather(job))
    if must_run or not job.tracked.run.resumed:
        _log(job)
    job.say.result(f"  report: {page}")


def _finished(job: Job, stage: str) -> Any:
    record = job.work.stage_folder(stage) / "stage.json"
    return files.read_json(record) if record.is_file() else None


def _log(job: Job) -> None:
    run = job.tracked.run
    run.artifact(job.work.report / "report.html")
    for folder, kind in ((job.work.evaluation, "evaluation"), (job.work.ingest, "ingest")):
        run.artifact(folder, kind)
    for training, history in job.work.histories.items():
        run.artifact(history, f"train/{training}")


def _gather(job: Job) -> Report:
    scores = table.read(job.work.evaluation / "scores.csv")
    told = files.read_json(job.work.evaluation / "summary.json")
    model = files.read_json(job.work.model / "model.json")
    return Report(
        title=job.recipe.name,
        lead=job.recipe.description,
        facts=_facts(job, model),
        recipe=job.work.recipe.read_text(encoding="utf-8"),
        summary=told,
        scores=scores,
        command=job.command,
        excluded=files.read_csv(job.work.ingest / "quarantine.csv"),
        tiles=_tiles(told, model),
        training=_training(job),
        spread=_spread(job, scores, told),
        times=[_times(job)],
        cases=list(_views(job, scores)),
        unit=unit(job.work.ingest),
    )


def _facts(job: Job, model: dict[str, Any]) -> dict[str, dict[str, str]]:
    data = files.read_json(job.work.ingest / "dataset.json")
    train, description = job.recipe.train, model["description"]
    record = _finished(job, "evaluate") or {}
    shuffled = job.recipe.sampling.order == "shuffled"
    length = "every case once, in batches" if shuffled else f"{train.steps_per_epoch} steps"
    return {
        "Data": {
            "name": data["name"],
            "layout": data["layout"],
            "channels": ", ".join(data["channels"]),
            "classes": _some([c["name"] for c in data["classes"]]),
            "cases": f"{data['usable']} usable, {data['labelled']} labelled, {data['excluded']} excluded",
        },
        "Model": {
            "network": _with_keywords(description["network"], description["keywords"]),
            "parameters": f"{model['parameters']:,}",
            "members": ", ".join(m["name"] for m in model["members"]),
            "input": _input(description),
            "prediction": description["mode"],
            **_decided(model),
        },
        "Training": {
            "steps": f"{train.epochs} epochs × {length} of {train.batch}",
            "optimiser": f"{train.optimiser}, rate {train.lr:g}, {train.schedule}",
            "loss": f"{job.recipe.loss.name}, class weights {job.recipe.loss.class_weights}",
            "seed": str(train.seed),
            "precision": train.precision,
            **_started(description),
        },
        "Run": {
            "finished": str(record.get("finished", "")),
            "medseg": medseg.__version__,
            "torch": str(importlib.metadata.version("torch")),
            "device": in_words(choose("auto")),
        },
    }


def _decided(model: dict[str, Any]) -> dict[str, str]:
    """How members and planes are joined, where there are several, and the thresholds of masks."""
    about = Description.model_validate(model["description"])
    several = len(model["members"]) > 1 or len(about.planes) > 1
    told = {"members and planes": "votes" if about.ensemble == "vote" else "mean probability"}
    thresholds = ", ".join(f"{name} {value:g}" for name, value in about.mask_thresholds().items())
    return {**(told if several else {}), **({"thresholds": thresholds} if thresholds else {})}


def _started(description: dict[str, Any]) -> dict[str, str]:
    """What the members' trainings started from, each once; nothing where all weights were drawn."""
    origins = dict.fromkeys(
        str(t["started from"]) for t in description["trained"].values() if "started from" in t
    )
    return {"started from": "; ".join(origins)} if origins else {}


def _with_keywords(name: str, keywords: dict[str, Any]) -> str:
    """`unet (width=32, depth=3)`."""
    return f"{name} ({', '.join(f'{k}={v}' for k, v in keywords.items())})" if keywords else name


def _some(names: list[str]) -> str:
    """The names, of a long list the first."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"


def _input(description: dict[str, Any]) -> str:
    if description.get("unit") == "px":
        channels = len(description["channels"])
        return f"images of {channels} channel{'' if channels == 1 else 's'}"
    plane = description["plane"]
    planes = plane if isinstance(plane, str) else ", ".join(plane)
    return f"{planes} slabs of {description['depth']} slices"


def _tiles(told: dict[str, Any], model: dict[str, Any]) -> list[Tile]:
    tiles = []
    for name, held in told["sets"].items():
        if held["length_unit"] == "px":
            tiles += _image_tiles(name, held)
            continue
        mean = held["over_classes"]["dice"]
        if mean["mean"] is not None:
            tiles.append(Tile(f"mean Dice, {name}", f"{mean['mean']:.3f}", f"{held['cases']} cases"))
        for class_name, metrics in held["classes"].items():
            if metrics["dice"]["mean"] is not None and len(tiles) < 5:
                tiles.append(Tile(f"Dice {class_name}", f"{metrics['dice']['mean']:.3f}", name))
    tiles.append(Tile("parameters", f"{model['parameters'] / 1e6:.2f} M", model["description"]["network"]))
    return tiles


def _image_tiles(name: str, held: dict[str, Any]) -> list[Tile]:
    """Of a set of images: the numbers over the set that papers print, after the IoU of an only class."""
    cases = f"{name}, {held['cases']} images"
    only = summary.alone(held)
    shown = {f"IoU {only[0]}": only[1]} if only else {}
    shown |= {title: held["over_set"].get(key) for key, title in IMAGE_TILES.items()}
    return [Tile(title, f"{value:.3f}", cases) for title, value in shown.items() if value is not None]


def _training(job: Job) -> list[Chart]:
    made = []
    for training, path in job.work.histories.items():
        rows = files.read_csv(path)
        if rows:
            png = charts.learning_curves(rows)
            by_set = "val/miou" in rows[0]
            scores = "mean IoU and accuracies over the validation images" if by_set else "validation Dice"
            made.append(
                Chart(f"Fold {training.replace('/', ', ')}", png, f"Loss, {scores}, and rate by epoch.")
            )
    return made


def _spread(job: Job, scores: list[ScoreRow], told: dict[str, Any]) -> list[Chart]:
    classes = job.recipe.data.class_list()
    colours = {c.name: c.colour for c in classes.classes}
    made = []
    images = {name: held for name, held in told["sets"].items() if held["length_unit"] == "px"}
    for name, held in images.items():
        bars = charts.class_bars(held["over_set"]["iou_by_class"], colours)
        made.append(
            Chart(f"IoU of each class, {name}", bars, "Over all pixels of the set; void is left out.")
        )
    if len(classes.foreground) <= MOST_BOXES:
        metrics = ("iou", "bf") if images else charts.SPREAD
        boxes = charts.box_plots(scores, metrics, colours)
        spread = ("images", "Each point is an image.") if images else ("cases", "Each point is a case.")
        made.append(Chart(f"Spread over {spread[0]}", boxes, spread[1]))
    names = (OUTSIDE, table.INSIDE) if classes.multilabel else classes.names
    for name, matrix in table.read_confusion(job.work.evaluation / "confusion.csv").items():
        picture = charts.confusion_picture(matrix, names)
        made.append(Chart(f"Confusion, {name}", picture, "Rows are the truth; per cent of each true class."))
    return made


def _times(job: Job) -> Chart:
    stages = {
        name: float(record["seconds"]) for name in STAGES[:-1] if (record := _finished(job, name)) is not None
    }
    told = [files.read_json(about) for about in _told(job)]
    steps: dict[str, float] = {}
    for case in told:
        for step, seconds in case["seconds"].items():
            steps[step] = steps.get(step, 0.0) + seconds / len(told)
    one = f"one {NOUNS[unit(job.work.ingest)]}"
    png = charts.time_bars({"whole run": stages, one: steps} if steps else {"whole run": stages})
    return Chart("Where the time went", png, f"Stages of this run; the steps of {one}, on average.")


def _told(job: Job) -> list[Path]:
    """What is told of each predicted case."""
    return [p for p in sorted(job.work.predictions.rglob("*.json")) if p.name not in results.NOT_CASES]


def _views(job: Job, scores: list[ScoreRow]) -> Iterator[CaseView]:
    """Overlays of predicted cases: the worst scored first, then unlabelled ones; at most `MOST_CASES`."""
    by_name = cases(job.work.ingest)
    wanted = [*html.case_order(scores)]
    predicted = {p.stem: p for p in _told(job)}
    wanted += [name for name in predicted if name not in wanted]
    roles = {row.case: row.role for row in scores}
    for name in wanted[:MOST_CASES]:
        case, about = case_files(by_name[name]), predicted.get(name)
        image, _ = checks.read_image(case.channels)
        if image is None:
            raise MedsegError(
                Code.FILE_UNREADABLE, name, "it was usable at ingest", "run medseg ingest again"
            )
        classes = job.recipe.data.class_list()
        truth = _truth(case, classes, image)
        prediction = None if about is None else _prediction(about, classes, image)
        png = volume_overlay.overlay(image, classes, truth=truth, prediction=prediction)
        explained = list(_explained(job, name)) if job.recipe.report.explain else []
        yield CaseView(name, roles.get(name, "unlabelled"), png, _remark(about), explained)


def _explained(job: Job, case: str) -> Iterator[Chart]:
    """Grad-CAM of the classes that the recipe names."""
    pictures = explanations.draw(job.work, case, job.recipe.report.explain, device=job.recipe.train.device)
    for name, path in pictures.items():
        yield Chart(f"Grad-CAM, {name}", path.read_bytes(), "Outline: predicted. Heat: what speaks for it.")


def _truth(case: CaseFiles, classes: ClassList, image: Volume) -> Array | None:
    """Class indices (X, Y, Z) on the image's grid, None for a case that is not labelled."""
    labels, findings = checks.read_truth(case, classes, image.grid)
    if labels is None and findings:
        raise refusal(findings)
    return None if labels is None else labels.array[0]


def _prediction(about: Path, classes: ClassList, image: Volume) -> Array | None:
    label = results.label_map(about.parent, about.stem, image.grid.unit)
    predicted = scoring.predicted_files(label, classes.masks)
    if predicted is None:
        return None
    indices: Array = scoring.read_labels(predicted, classes.as_written(), image.grid).array[0]
    return indices


def _remark(about: Path | None) -> str:
    if about is None:
        return "no prediction"
    told = files.read_json(about)
    codes = " ".join(n["code"] for n in told["notes"])
    return f"quality {told['quality']:.3f} ({told['quality_kind']}) {codes}".strip()
