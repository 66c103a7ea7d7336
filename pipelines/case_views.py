"""A case's figure and viewer page for the report as a unit of work: read, draw, write; in any process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Finding, MedsegError, refusal
from medseg.grid import Array, same_grid
from medseg.infer import results
from medseg.ingest import checks
from medseg.ingest.patterns import CaseFiles
from medseg.io import png, scans
from medseg.report import viewer, volume_overlay
from medseg.volume import Volume
from pipelines import scoring
from pipelines.execution import lost
from pipelines.execution.steps import Ended, Steps, Work
from pipelines.scored_case import read_labels


@dataclass(frozen=True)
class Shown:
    """A case to show: its files, and the path of its label map if it was predicted.

    ``page`` is the place of its viewer, None for none; ``key`` is a hash of what that depends on. With
    ``drawn`` the case gets a figure, too.
    """

    case: CaseFiles
    label: Path | None
    heading: viewer.Heading
    page: Path | None
    key: str
    drawn: bool


@dataclass(frozen=True)
class View:
    """A case's figure (PNG or JPEG), if one was asked for; or why nothing could be made."""

    figure: bytes = b""
    finding: Finding | None = None


@dataclass(frozen=True, eq=False)
class _Arrays:
    """A case's arrays on the image's grid; class indices (X, Y, Z) or bits of masks."""

    shown: Shown
    image: Volume
    truth: Array | None
    prediction: Array | None
    confidence: Array | None


def key(case: CaseFiles, label: Path | None, heading: viewer.Heading, classes: ClassList) -> str:
    """Hash what a case's viewer depends on: its files, the words around them, and the class list."""
    paths = (*case.channels.values(), *case.label_paths)
    predicted: tuple[Path, ...] = ()
    if label is not None:
        predicted = (*results.label_files(label, classes.masks), results.confidence_path(label))
    used = {
        "version": viewer.VERSION,
        "files": [files.stamp(path) for path in paths if path.exists()],
        "predicted": [(path.name, *files.stamp(path)[1:]) for path in predicted if path.is_file()],
        "heading": asdict(heading),
        "classes": [*classes.to_json(), *classes.void_values],
    }
    return files.sha256_of_value(used)


def work(classes: ClassList) -> Work[Shown, View]:
    """The unit of work, for an engine."""
    return Work(partial(make, classes), _lost)


def make(classes: ClassList) -> Steps[Shown, View]:
    """Make the steps in a process."""
    return Steps(partial(_read, classes), partial(_draw, classes), _write)


def _lost(shown: Shown, finding: Finding) -> View:
    return View(finding=lost.of_case(shown.case.name, finding))


def _read(classes: ClassList, shown: Shown) -> _Arrays | Ended[View]:
    """Read the case's arrays, unless there is nothing to do.

    Raises the code of an image or reference that cannot be read any more.
    """
    if not shown.drawn and not _is_needed(shown):
        return Ended(View())
    image, findings = checks.read_image(shown.case.channels)
    if image is None:
        raise refusal(findings)
    truth, findings = checks.read_truth(shown.case, classes, image.grid)
    if truth is None and findings:
        raise refusal(findings)
    prediction = None if shown.label is None else _prediction(shown.label, classes, image)
    confidence = None if shown.label is None else _confidence(results.confidence_path(shown.label), image)
    return _Arrays(shown, image, None if truth is None else truth.array[0], prediction, confidence)


def _is_needed(shown: Shown) -> bool:
    return shown.page is not None and viewer.key_of(shown.page) != shown.key


def _prediction(label: Path, classes: ClassList, image: Volume) -> Array | None:
    """Class indices (X, Y, Z) on the image's grid, None for a prediction that is missing or unusable."""
    predicted = scoring.predicted_files(label, classes.masks)
    if predicted is None:
        return None
    try:
        indices: Array = read_labels(predicted, classes.as_written(), image.grid).array[0]
    except MedsegError:  # the evaluation names it, with its code
        return None
    return indices


def _confidence(path: Path, image: Volume) -> Array | None:
    """Shares (X, Y, Z) in 0 to 1 on the image's grid, None where there is no such map."""
    if not path.is_file():
        return None
    try:
        volume = scans.read(path)
    except MedsegError:  # a view less; the label map is what counts
        return None
    if not same_grid(volume.grid, image.grid):
        return None
    full = png.FULL_SHARE if image.grid.unit == "px" else 1.0
    share: Array = volume.array[0].astype(np.float32) / full
    return share


def _draw(classes: ClassList, arrays: _Arrays) -> tuple[Shown, bytes, str]:
    shown, image = arrays.shown, arrays.image
    truth, prediction = arrays.truth, arrays.prediction
    figure = b""
    if shown.drawn:
        figure = volume_overlay.overlay(image, classes, truth=truth, prediction=prediction)
    if not _is_needed(shown):
        return shown, figure, ""
    page = viewer.render(
        shown.heading,
        image,
        list(shown.case.channels),
        classes,
        truth=truth,
        prediction=prediction,
        confidence=arrays.confidence,
        key=shown.key,
    )
    return shown, figure, page


def _write(drawn: tuple[Shown, bytes, str]) -> View:
    shown, figure, page = drawn
    if page and shown.page is not None:
        files.write_text(shown.page, page)
    return View(figure)
