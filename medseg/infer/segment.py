"""One case from its files to its label map: read, prepare, predict, resample back to the scan's grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.grid import NOUNS, Array
from medseg.infer import objects, predict, quality, slice_tiles
from medseg.infer.brain import BrainMask
from medseg.infer.confidence_tally import ConfidenceTally
from medseg.infer.empty import BoxRule, without_empty_space
from medseg.infer.inferers import choose_inferer
from medseg.infer.loading import Model
from medseg.infer.pieces import Allowance
from medseg.infer.pieces import choose as choose_pieces
from medseg.infer.predict import Prediction
from medseg.infer.results import Result
from medseg.ingest import checks
from medseg.io.scans import Readable
from medseg.mask_bits import to_maps
from medseg.model import domain
from medseg.model.description import Description
from medseg.preprocess import geometry
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.prepare import prepare
from medseg.run_lengths import count_values
from medseg.volume import Volume

Progress = Callable[[int, int], None]


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        """Leave out the time since the last lap: the case was waiting for its turn."""
        self.last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = now - self.last
        self.last = now


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case that was read and prepared: what networks see of it, and the way back to the scan's own grid."""

    path: Readable
    scan: Volume
    volume: NormalizedVolume
    record: geometry.Record
    notes: tuple[Finding, ...]
    measured: Mapping[str, Array]
    """Its figures of the model's domain."""
    clock: _Clock


@dataclass(frozen=True, eq=False)
class Predicted:
    """A prepared case and its prediction: on the prepared grid, or on the scan's own if it was resampled."""

    prepared: Prepared
    prediction: Prediction
    tally: ConfidenceTally | None = None


def segment(
    channels: Mapping[str, Readable],
    model: Model,
    *,
    mode: str | None = None,
    confidence: bool = False,
    accept_domain: bool = False,
    brain: BrainMask | None = None,
    progress: Progress | None = None,
) -> Result:
    """Label one case, whose channels are files, DICOM series or images in memory, in the native image space.

    `mode` is one of the inferers, by default the model's own; with `confidence` the confidence map is kept,
    too. `accept_domain` segments a scan unlike those of the training, with a note. With `brain` nothing but
    the brain is segmented. `progress` gets the slices done and their number. Raises MedsegError with the
    case's code.
    """
    prepared = prepare_case(channels, model.description, accept_domain=accept_domain, brain=brain)
    predicted = predict_case(prepared, model, mode=mode, confidence=confidence, progress=progress)
    return finish_case(predicted, model.description)


def prepare_case(
    channels: Mapping[str, Readable],
    description: Description,
    *,
    accept_domain: bool = False,
    brain: BrainMask | None = None,
) -> Prepared:
    """Read a case, cut its brain out if asked to, prepare it and compare it with the model's domain.

    Raises as :func:`segment` does.
    """
    clock = _Clock()
    path: Readable = next(iter(channels.values()), Path())
    scan, findings = read_scan(channels, description)
    clock.lap("read")
    if brain is not None:
        scan, notes_on_brain = brain.apply(scan, path, accept_domain=accept_domain)
        findings += notes_on_brain
        clock.lap("brain")
    volume, record = prepare(scan, description.preprocessing())
    measured = domain.measure(volume, record, description.foreground)
    outside = domain.check(measured, description.domain, path)
    if outside and not accept_domain:
        cut_out = f"{domain.HOW_TO_STRIP}; " if domain.WHOLE_HEAD in outside[0].details else ""
        how_to_fix = (
            f"{cut_out}look at the {NOUNS[description.unit]}; --accept-domain segments it all the same"
        )
        raise MedsegError(Code.OUT_OF_DOMAIN, path, outside[0].details, how_to_fix)
    clock.lap("preprocess")
    return Prepared(path, scan, volume, record, (*findings, *outside), measured, clock)


def predict_case(
    prepared: Prepared,
    model: Model,
    *,
    mode: str | None = None,
    confidence: bool = False,
    probabilities: bool = False,
    margin: int | None = None,
    allowance: Allowance | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Have the networks label a prepared case; raises KEYWORD_INVALID for a mode that does not suit them.

    What is empty is not computed where that changes nothing; with a ``margin`` (px) nor is what lies farther
    than that from the foreground, see :mod:`medseg.infer.empty`. With an ``allowance`` of memory the pieces
    that go through the network are no larger than it allows; raises OUT_OF_MEMORY where none are small
    enough.
    """
    prepared.clock.restart()
    inferer, predictor = choose_inferer(model.description, mode), model.predictor
    if allowance is not None:
        pieces = choose_pieces(model, inferer, prepared.volume.grid.shape, allowance)
        inferer = pieces.inferer
        if pieces.tile is not None and model.reach is not None:
            predictor = slice_tiles.tiled(predictor, model.reach, pieces.tile)
    onto = prepared.record if prepared.record.resampled else None
    predictor = without_empty_space(predictor, prepared.volume, inferer, lambda: _box_rule(model, margin))
    tally = quality.tally_for(model.description)
    prediction = predict.label(
        prepared.volume,
        predictor,
        inferer,
        confidence=confidence,
        progress=progress,
        onto=onto,
        probabilities=prepared.record if probabilities else None,
        tally=tally,
    )
    prepared.clock.lap("predict")
    return Predicted(prepared, prediction, tally)


def _box_rule(model: Model, margin: int | None) -> BoxRule | None:
    if model.reach is None:
        return None
    return BoxRule.exact(model.reach) if margin is None else BoxRule.within(margin, model.reach)


def finish_case(predicted: Predicted, description: Description) -> Result:
    """Bring a case's labels back onto the scan's own grid and measure them."""
    prepared, prediction = predicted.prepared, predicted.prediction
    scan, record, clock = prepared.scan, prepared.record, prepared.clock
    clock.restart()

    def to_scan(array: Array) -> Array:
        """(X, Y, Z) where labels were decided → (1, X, Y, Z) on the scan's own grid."""
        if record.resampled:
            return array[None]
        return geometry.undo(Volume(array[None], record.grid), record).array

    classes = description.class_list()
    indices = to_scan(prediction.labels)[0]
    labels = Volume(to_maps(indices, classes), scan.grid, scan.source)
    confidences = None
    if prediction.confidence is not None:
        array = to_scan(prediction.confidence).astype(np.float32)
        confidences = Volume(array, scan.grid, scan.source)
    maps = prediction.probabilities
    probabilities = None if maps is None else Volume(maps.array, scan.grid, scan.source)
    instances = None
    if description.instances is not None:
        numbers = objects.split(indices == classes.foreground[0], description.instances, scan.grid.spacing)
        instances = Volume(numbers[None], scan.grid, scan.source)
    clock.lap("undo")
    sizes, notes = measure_sizes(labels, classes), list(prepared.notes)
    if not any(sizes.values()):
        noun = NOUNS[description.unit]
        details = "no foreground"
        notes.append(Finding(Code.EMPTY_PREDICTION, str(prepared.path), details, f"look at the {noun}"))
    judged = quality.judge(indices, scan.grid, description, prepared.measured, predicted.tally)
    notes += judged.findings(prepared.path)
    clock.lap("check")
    return Result(
        labels,
        confidences,
        sizes,
        prediction.quality,
        prediction.quality_kind,
        clock.seconds,
        tuple(notes),
        scan,
        judged,
        probabilities,
        instances,
    )


def read_scan(channels: Mapping[str, Readable], description: Description) -> tuple[Volume, list[Finding]]:
    """Read the model's channels, in its order, as one volume (C, X, Y, Z), with notes.

    Raises the first reason not to use them: CHANNEL_MISSING, UNIT_MISMATCH, and the codes of the checks.
    """
    path: Readable = next(iter(channels.values()), Path())
    if missing := [name for name in description.channels if name not in channels]:
        names = ", ".join(description.channels)
        how_to_fix = (
            f"name the files <case>_<channel>, with the channels {names}, or give --channel NAME=PATTERN"
        )
        raise MedsegError(Code.CHANNEL_MISSING, path, f"no file for {', '.join(missing)}", how_to_fix)
    scan, findings = checks.read_image(
        {name: channels[name] for name in description.channels},
        intensity=description.intensity,
        n4=description.n4,
    )
    if scan is None:
        raise refusal(findings)
    if scan.grid.unit != description.unit:
        details = f"a grid in {scan.grid.unit}, the model was trained on grids in {description.unit}"
        raise MedsegError(Code.UNIT_MISMATCH, path, details, "take a model that was trained on such files")
    return scan, list(findings)


def measure_sizes(labels: Volume, classes: ClassList) -> dict[str, float]:
    """Measure each foreground class, in ml or for images in px, by name; `labels` holds file values.

    Masks that may overlap are measured each by itself, so that the sizes may add up to more than there is.
    """
    unit = labels.grid.voxel_size / (1000.0 if labels.grid.unit == "mm" else 1.0)
    if classes.multilabel:
        masks = zip(classes.names, labels.array, strict=True)
        return {name: int(np.count_nonzero(mask)) * unit for name, mask in masks}
    values, counts = count_values(labels.array)
    voxels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return {c.name: voxels.get(c.value, 0) * unit for c in classes.classes[int(classes.background) :]}
