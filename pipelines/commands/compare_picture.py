"""`medseg compare --picture`: a case's image and truth beside what each work folder's model makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from medseg import files
from medseg.classes import VOID, ClassList
from medseg.console import Reporter
from medseg.device import choose
from medseg.errors import Code, MedsegError, choice, refusal
from medseg.grid import Array
from medseg.infer import loading, results, segment
from medseg.infer.loading import Model
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.report import volume_overlay
from medseg.volume import Volume
from pipelines.case_tables import case_files, cases, roles
from pipelines.fold.calibration import indices_of
from pipelines.scored_case import read_labels
from pipelines.scoring import predicted_files
from pipelines.workfolder import Work, fold_of

_LONGEST = 30
_PLAIN = " ()[]+,=@~"
"""Characters beside letters, digits and _.- that a figure's file name may have; others are quoted."""

_NO_CRF = "before CRF"


def draw(folders: Sequence[Path], case: str, out: Path | None, device: str, say: Reporter) -> None:
    """Write the figure of a case: image, truth, then each folder's prediction, with its mean Dice (or IoU).

    The label maps are those of the folders' predictions, or are made now where a folder has none of the case.
    Of a model with a CRF the label map before it stands to the left of it. Colours are the class list's of
    the first folder; the others' classes are predicted by name.

    Raises PATH_MISSING and STAGE_MISSING for a folder without a trained model, and USAGE for an unknown case
    or for other class names.
    """
    works = [Work(folder) for folder in folders]
    rows = [_row(work, case) for work in works]
    first = model_folder.read(works[0].model).description
    classes = first.class_list()
    image, truth = _image_and_truth(case_files(rows[0]), classes)
    models: dict[str, Array] = {}
    with say.progress("comparing", len(works)) as bar:
        for number, (work, row) in enumerate(zip(works, rows, strict=True), 1):
            for title, labels in _label_maps(work, case_files(row), row["unit"], image, classes, device):
                heading = f"{_shortened(title)}\n{_score(truth, labels, classes, row['unit'])}".rstrip()
                while heading in models:  # two folders of one name
                    heading = f"{number}: {heading}"
                models[heading] = labels
            bar.to(number, str(work.root))
    figure = volume_overlay.overlay(image, classes, truth=truth, models=models, case=_shortened(case))
    path = out or Path(f"compare_{quote(case, safe=_PLAIN)}.png")
    files.write_bytes(path, _as_png(figure))
    say.result(str(path))


def _as_png(figure: bytes) -> bytes:
    """The figure as PNG, losslessly, if it is a photograph's JPEG."""
    if figure.startswith(b"\x89PNG"):
        return figure
    whole = BytesIO()
    with Image.open(BytesIO(figure)) as picture:
        picture.save(whole, format="PNG")
    return whole.getvalue()


def _row(work: Work, case: str) -> dict[str, str]:
    if not work.root.is_dir():
        raise MedsegError(
            Code.PATH_MISSING, work.root, files.why_no_folder(work.root), "name the work folders of runs"
        )
    if not (work.model / "model.json").is_file() or not (work.ingest / "cases.csv").is_file():
        raise MedsegError(Code.STAGE_MISSING, work.root, "no trained model", "medseg run RECIPE --work W")
    known = cases(work.ingest)
    if case not in known:
        details = f"{work.root} has no case {case!r}"
        raise MedsegError(Code.USAGE, "--picture", details, choice(case, known))
    return known[case]


def _image_and_truth(case: CaseFiles, classes: ClassList) -> tuple[Volume, Array | None]:
    image, findings = checks.read_image(case.channels)
    if image is None:
        raise refusal(findings)
    truth, findings = checks.read_truth(case, classes, image.grid)
    if truth is None and findings:
        raise refusal(findings)
    return image, None if truth is None else truth.array[0]


def _label_maps(
    work: Work, case: CaseFiles, unit: str, image: Volume, classes: ClassList, device: str
) -> Iterator[tuple[str, Array]]:
    """A folder's label maps with their titles: before its CRF if it has one, and as it predicts."""
    description = model_folder.read(work.model).description
    name = work.root.resolve().name
    model: Model | None = None
    if description.crf is not None:
        model = _model(work, case.name, device)
        plain = replace(model, description=model.description.model_copy(update={"crf": None}))
        yield f"{name}, {_NO_CRF}", _by_name(_segmented(case, plain), description, classes, work)
        name = f"{name}, after CRF"
    label = _predicted(work, case.name, unit)
    files_there = None if label is None else predicted_files(label, description.class_list().masks)
    if files_there is not None:
        written = description.class_list().as_written()
        labels = read_labels(files_there, written, image.grid).array[0]
    else:
        labels = _segmented(case, model or _model(work, case.name, device))
    yield name, _by_name(labels, description, classes, work)


def _predicted(work: Work, case: str, unit: str) -> Path | None:
    """The path of the case's label map among the predictions, of the first fold that has one."""
    predicted = sorted(
        path for path, name in results.metadata_files(work.predictions).items() if name == case
    )
    return results.label_map(predicted[0].parent, case, unit) if predicted else None


def _model(work: Work, case: str, device: str) -> Model:
    """Load the members that were not trained on the case, where there are such; else all."""
    names = [member.name for member in model_folder.read(work.model).members]
    rank = {"test": 0, "val": 1}
    held_out = sorted((rank[r.role], r.fold) for r in roles(work.ingest) if r.case == case and r.role in rank)
    of_folds = ([name for name in names if fold_of(name) == fold] for _, fold in held_out)
    members = next((chosen for chosen in of_folds if chosen), names)
    return loading.load(work.model, choose(device), members=members)


def _segmented(case: CaseFiles, model: Model) -> Array:
    result = segment.segment(case.channels, model, accept_domain=True)
    return indices_of(result.labels, model.description)


def _by_name(labels: Array, description: Description, classes: ClassList, work: Work) -> Array:
    """Labels in the indices of another class list; its classes are predicted by their names."""
    own = description.class_list()
    if own.multilabel != classes.multilabel or set(own.names) != set(classes.names):
        details = (
            f"its classes are {', '.join(own.names)}, those of the first folder {', '.join(classes.names)}"
        )
        raise MedsegError(Code.USAGE, work.root, details, "compare models with the same classes")
    if own.names == classes.names:
        return labels
    if own.multilabel:
        bits = [np.uint8(classes.holds(labels, own.names.index(n))) << i for i, n in enumerate(classes.names)]
        joined: Array = np.bitwise_or.reduce(bits)
        return joined
    table = np.full(256, VOID, np.uint8)
    table[: len(own)] = [classes.names.index(name) for name in own.names]
    return table[labels]


def _score(truth: Array | None, labels: Array, classes: ClassList, unit: str) -> str:
    """The mean Dice over the foreground classes, of images the mean IoU; nothing without a truth."""
    if truth is None:
        return ""
    matrix = confusion_matrix.confusion_of(truth, labels, classes)
    if unit == "px" and not classes.multilabel:
        return f"IoU {np.nanmean(confusion_matrix.iou(matrix)[classes.foreground]):.3f}"
    values = confusion_matrix.foreground_dice(matrix, classes)
    return f"Dice {np.nanmean(values):.3f}" if np.isfinite(values).any() else ""


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST else f"…{title[-_LONGEST + 1 :]}"
