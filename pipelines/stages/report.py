"""Report: gather the results of the other stages in one page that works offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medseg import files
from medseg.classes import OUTSIDE, Colour
from medseg.grid import NOUNS
from medseg.infer import results
from medseg.metrics import summary, table
from medseg.metrics.table import ScoreRow
from medseg.report import charts, curves, html, viewer
from medseg.report.html import CaseView, Chart, Report, Tile, counted
from pipelines import case_overlays, case_views, explanations, report_facts
from pipelines.case_tables import case_files, cases, unit
from pipelines.case_views import Shown, View
from pipelines.fold import kept_steps
from pipelines.fold.initial_weights import KEYS
from pipelines.job import STAGES, Job

VERSION = 6
MOST_CASES = 40
MOST_BOXES = 30
OBJECT_TILES = {"f1": "object F1", "pq": "object PQ", "aji": "object AJI"}
IMAGE_TILES = {"mIoU": "mean IoU", "G": "pixel accuracy G", "C": "class accuracy C", "BF": "boundary F1"}


def run(job: Job) -> None:
    """Write `report/report.html` and log it with the tables."""
    used = {
        "stages": {name: _finished(job, name) for name in STAGES[:-1]},
        "recipe": job.recipe.model_dump(mode="json"),
    }
    page = job.work.report / "report.html"
    scores = table.read(job.work.evaluation / "scores.csv")
    shown = _shown(job, scores)
    makes = [page, *(one.page for one in shown if one.page)]
    with job.stage("report", VERSION, used, makes) as must_run:
        if must_run:
            _remove_stale(job, shown)
            gathered = _gather(job, scores, shown)
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
        if (keys := history.with_name(KEYS)).is_file():
            run.artifact(keys, f"train/{training}")


def _gather(job: Job, scores: Sequence[ScoreRow], shown: Sequence[Shown]) -> Report:
    numbers = files.read_json(job.work.evaluation / "summary.json")
    model = files.read_json(job.work.model / "model.json")
    unread = job.work.evaluation / "quarantine.csv"
    return Report(
        title=job.recipe.name,
        lead=job.recipe.description,
        facts=report_facts.facts(job, model, _finished(job, "evaluate") or {}),
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
        cases=list(_views(job, shown, scores)),
        viewers={one.case.name: viewer.address(one.page) for one in shown if one.page and one.page.is_file()},
        unit=unit(job.work.ingest),
        colours=_colours(job),
        unscored=report_facts.why_unscored(job),
        steps=kept_steps.table(job),
    )


def _tiles(numbers: dict[str, Any], model: dict[str, Any]) -> list[Tile]:
    tiles = []
    for name, of_set in numbers["sets"].items():
        if of_set["length_unit"] == "px":
            tiles += _image_tiles(name, of_set)
            continue
        mean = of_set["over_classes"]["dice"]
        if mean["mean"] is not None:
            tiles.append(Tile(f"mean Dice, {name}", f"{mean['mean']:.3f}", counted(of_set["cases"], "case")))
        for class_name, metrics in of_set["classes"].items():
            if metrics["dice"]["mean"] is not None and len(tiles) < 5:
                tiles.append(Tile(f"Dice {class_name}", f"{metrics['dice']['mean']:.3f}", name))
    tiles.append(Tile("parameters", f"{model['parameters'] / 1e6:.2f} M", model["description"]["network"]))
    return tiles


def _image_tiles(name: str, of_set: dict[str, Any]) -> list[Tile]:
    """Numbers over a set of images that papers print, after the IoU of an only class."""
    cases = f"{name}, {counted(of_set['cases'], 'image')}"
    only = summary.only_class(of_set)
    shown = {f"IoU {only[0]}": only[1]} if only else {}
    shown |= {title: of_set["over_set"].get(key) for key, title in IMAGE_TILES.items()}
    shown |= {title: of_set["objects"][key] for key, title in OBJECT_TILES.items() if "objects" in of_set}
    return [Tile(title, f"{value:.3f}", cases) for title, value in shown.items() if value is not None]


def _training(job: Job) -> list[Chart]:
    figures = []
    for training, path in job.work.histories.items():
        rows = files.read_csv(path)
        if rows:
            figure = curves.learning_curves(rows, _colours(job))
            by_set = "val/miou" in rows[0]
            scores = (
                "mean IoU, accuracies and boundary F1 of the validation images"
                if by_set
                else "validation Dice"
            )
            kept = "" if curves.best_epoch(rows) is None else " The weights of the marked epoch are kept."
            caption = f"Loss, {scores}, and learning rate by epoch.{kept}"
            figures.append(Chart(f"Fold {training.replace('/', ', ')}", figure, caption))
    return figures


def _spread(job: Job, scores: Sequence[ScoreRow], numbers: dict[str, Any]) -> list[Chart]:
    classes, colours = job.recipe.data.class_list(), _colours(job)
    figures = []
    images = {name: of_set for name, of_set in numbers["sets"].items() if of_set["length_unit"] == "px"}
    for name, of_set in images.items():
        bars = charts.class_bars(of_set["over_set"]["iou_by_class"], colours)
        caption = "Over all pixels of the set; void (ignored label) is left out."
        figures.append(Chart(f"IoU of each class, {name}", bars, caption))
    if len(classes.foreground) <= MOST_BOXES:
        metrics = ("iou", "bf") if images else charts.SPREAD
        boxes = charts.box_plots(scores, metrics, colours)
        spread = ("images", "an image") if images else ("cases", "a case")
        caption = f"Each point is {spread[1]}; from {charts.FEWEST_IN_A_BOX} on a class has a box."
        figures.append(Chart(f"Spread over {spread[0]}", boxes, caption))
    figures += _scatters(job, scores)
    names = (OUTSIDE, table.INSIDE) if classes.multilabel else classes.names
    for name, matrix in table.read_confusion(job.work.evaluation / "confusion.csv").items():
        figure = charts.confusion_figure(matrix, names)
        figures.append(
            Chart(f"Confusion, {name}", figure, "Rows are the truth, in per cent of each true class.")
        )
    return figures


def _scatters(job: Job, scores: Sequence[ScoreRow]) -> list[Chart]:
    """Predicted against true sizes, and confidence against the mean score, where there are two points."""
    means = html.case_order(scores)
    quality = {case: files.read_json(path)["quality"] for path, case in _metadata(job).items()}
    noun, score = ("area", "IoU") if unit(job.work.ingest) == "px" else ("volume", "Dice")
    figures = []
    few = len(job.recipe.data.class_list().foreground) <= MOST_BOXES
    if few and sum(row.size is not None for row in scores) > 1:
        caption = "A point per case and class; on the line both are equal."
        sizes = charts.volume_scatter(scores, _colours(job))
        figures.append(Chart(f"Predicted against true {noun}", sizes, caption))
    expected = _expected(job)
    if unit(job.work.ingest) == "mm" and len(means.keys() & expected.keys()) > 1:
        caption = "A point per case, and means of ten bins; on the line the prediction is right."
        diagram = charts.reliability_diagram(quality, expected, means)
        figures.append(Chart("Predicted against true Dice", diagram, caption))
    if len(means.keys() & quality.keys()) > 1:
        caption = f"A point per case: does low confidence find the cases with a low {score}?"
        figure = charts.confidence_scatter(quality, means, score)
        figures.append(Chart(f"Confidence against {score}", figure, caption))
    return figures


def _expected(job: Job) -> dict[str, float]:
    """The predicted Dice of cases that have one."""
    by_case = {case: files.read_json(path) for path, case in _metadata(job).items()}
    return {case: row[results.PREDICTED] for case, row in by_case.items() if results.PREDICTED in row}


def _colours(job: Job) -> dict[str, Colour]:
    return {c.name: c.colour for c in job.recipe.data.class_list().classes}


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
    figure = curves.time_bars({"whole run": stages, one: steps} if steps else {"whole run": stages})
    return Chart("Stages and steps", figure, f"Stages of this run, and the mean time of each step for {one}.")


def _metadata(job: Job) -> dict[Path, str]:
    """The JSON files of predicted cases that ingest still knows, each with its case."""
    known = cases(job.work.ingest)
    return {p: case for p, case in results.metadata_files(job.work.predictions).items() if case in known}


def _shown(job: Job, scores: Sequence[ScoreRow]) -> list[Shown]:
    """List the cases that get a figure or a viewer page: the worst scored first, then unlabelled ones.

    A case that was scored and that ingest does not know any more gets none: its files may be gone.
    """
    rows_of: dict[str, list[ScoreRow]] = {}
    for row in scores:
        rows_of.setdefault(row.case, []).append(row)
    by_name, means = cases(job.work.ingest), html.case_order(scores)
    predicted = {case: path for path, case in _metadata(job).items()}
    names = [name for name in dict.fromkeys((*means, *predicted)) if name in by_name]
    with_viewer, classes = names[: job.recipe.report.viewers], job.recipe.data.class_list()
    shown = []
    for number, name in enumerate(names[: max(MOST_CASES, len(with_viewer))]):
        case, metadata = case_files(by_name[name]), predicted.get(name)
        label = metadata and results.label_map(metadata.parent, name, by_name[name]["unit"])
        heading = viewer.Heading(
            name,
            job.recipe.name,
            _case_facts(rows_of.get(name, ()), means.get(name), metadata),
            html.class_scores(rows_of.get(name, ())),
            worse=next(iter(with_viewer[number - 1 : number]), None),
            better=next(iter(with_viewer[number + 1 : number + 2]), None),
        )
        page = viewer.path_of(job.work.viewers, name) if number < len(with_viewer) else None
        key = case_views.key(case, label, heading, classes)
        shown.append(Shown(case, label, heading, page, key, number < MOST_CASES))
    return shown


def _case_facts(rows: Sequence[ScoreRow], mean: float | None, metadata: Path | None) -> list[str]:
    role = rows[0].role if rows else "unlabelled"
    score = [] if mean is None else [f"mean {'IoU' if rows[0].length_unit == 'px' else 'Dice'} {mean:.3f}"]
    return [role, *score, _remark(metadata)]


def _views(job: Job, shown: Sequence[Shown], scores: Sequence[ScoreRow]) -> Iterator[CaseView]:
    """Write the viewer pages that are not up to date, and give the cases' figures."""
    views: dict[int, View] = {}
    predicted = {case: path for path, case in _metadata(job).items()}
    roles = {row.case: row.role for row in scores}
    with job.say.progress("drawing", len(shown)) as bar:
        for number, view in job.execution.carry_out(shown, case_views.work(job.recipe.data.class_list())):
            views[number] = view
            if view.finding is not None:
                job.say.line(f"  {view.finding}")
            bar.to(len(views), shown[number].case.name)
    for number, one in enumerate(shown):
        if figure := views[number].figure:
            name = one.case.name
            explained = list(_explained(job, name)) if job.recipe.report.explain else []
            yield CaseView(
                name, roles.get(name, "unlabelled"), figure, _remark(predicted.get(name)), explained
            )


def _remove_stale(job: Job, shown: Sequence[Shown]) -> None:
    """Delete the viewer pages of cases that are shown no longer."""
    kept = {one.page for one in shown}
    for path in job.work.viewers.glob(f"*{viewer.SUFFIX}"):
        if path not in kept:
            path.unlink()


def _explained(job: Job, case: str) -> Iterator[Chart]:
    """Grad-CAM figures of the classes that the recipe names."""
    figures = explanations.draw(job.work, case, job.recipe.report.explain, device=job.recipe.train.device)
    caption = "The outline is the prediction; bright areas contributed most to it."
    for name, path in figures.items():
        yield Chart(f"Grad-CAM, {name}", path.read_bytes(), caption)


def _remark(metadata: Path | None) -> str:
    if metadata is None:
        return "no prediction"
    values = files.read_json(metadata)
    codes = " ".join(dict.fromkeys(note["code"] for note in values["notes"]))
    predicted = f"predicted Dice {values[results.PREDICTED]:.2f}, " if results.PREDICTED in values else ""
    return f"{predicted}quality {values['quality']:.3f} ({values['quality_kind']}) {codes}".strip()
