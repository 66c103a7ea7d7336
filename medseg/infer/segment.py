"""One scan in, one label map out: what the command, the predict stage and the MLflow model share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError, refusal
from medseg.grid import Grid
from medseg.infer import inferers, predict, results
from medseg.infer.loading import Model
from medseg.ingest import checks
from medseg.mask_bits import to_maps
from medseg.model.description import Description
from medseg.preprocess import geometry, intensity
from medseg.volume import Volume

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """A case's label map in file values on the scan's own grid, and what is told about it.

    `labels` is (1, X, Y, Z), or (L, X, Y, Z) of 0 and 1 where L masks may overlap.
    """

    labels: Volume
    confidence: Volume | None
    sizes: dict[str, float]
    quality: float
    quality_kind: str
    seconds: dict[str, float]
    notes: tuple[Finding, ...]
    label_paths: tuple[Path, ...] = ()
    confidence_path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """What `<case>.json` holds of it."""
        return {
            "sizes": {k: round(v, 4) for k, v in self.sizes.items()},
            "size_unit": results.SIZE_UNITS[self.labels.grid.unit],
            "quality": round(self.quality, 6),
            "quality_kind": self.quality_kind,
            "needs_review": bool({f.code for f in self.notes} & {Code.EMPTY_PREDICTION, Code.OUT_OF_DOMAIN}),
            "notes": [{"code": str(f.code), "details": f.details} for f in self.notes],
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
        }


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = now - self.last
        self.last = now


def segment(
    channels: Mapping[str, Path],
    model: Model,
    *,
    mode: str | None = None,
    confidence: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Read a case's channels, label it, and bring the labels back to the scan's own grid.

    `margin` also keeps the per-voxel margin map (float32). Raises MedsegError with the case's code.
    """
    clock = _Clock()
    about = model.description
    scan, notes = _read(channels, about)
    _check_unit(scan, about, next(iter(channels.values())))
    clock.lap("read")
    notes += check_domain(scan, about.domain)
    ready, record = prepare(scan, about)
    clock.lap("preprocess")
    how = inferers.choose_inferer(about, mode)
    onto = None if isinstance(how, inferers.MajorityVote) else full_size(record, about)
    made = predict.label(ready, model.predictor, how, confidence=confidence, progress=progress, onto=onto)
    clock.lap("predict")
    indices = _undone(made.labels, record, onto)
    labels = indices.with_array(to_maps(indices.array[0], about.class_list()))
    back = _undone(made.confidence, record, onto) if made.confidence is not None else None
    clock.lap("undo")
    sizes = measure_sizes(labels, about.class_list())
    if not any(sizes.values()):
        notes.append(
            Finding(
                Code.EMPTY_PREDICTION, str(next(iter(channels.values()))), "no foreground", "look at the scan"
            )
        )
    source = scan.source
    placed = Volume(labels.array, scan.grid, source)
    return Result(
        placed,
        None if back is None else Volume(back.array.astype(np.float32), scan.grid, source),
        sizes,
        made.quality,
        made.quality_kind,
        clock.seconds,
        tuple(notes),
    )


def prepare(scan: Volume, about: Description) -> tuple[intensity.NormalizedVolume, geometry.Record]:
    """A scan as the model's networks see it, and what brings label maps back to its grid."""
    if about.n4:
        scan = intensity.correct_bias(scan)
    prepared, record = geometry.apply(scan, about.geometry())
    normalization = intensity.measure(prepared, about.foreground, about.intensity)
    return intensity.NormalizedVolume(prepared.array, prepared.grid, normalization), record


def full_size(record: geometry.Record, about: Description) -> Grid | None:
    """An image's own grid where it was resized and nothing else: labels are decided there, at full size."""
    return record.original if record.resized_image and about.plane == "axial" else None


def _read(channels: Mapping[str, Path], about: Description) -> tuple[Volume, list[Finding]]:
    """The wanted channels in their order, and notes; raises the first reason not to use them."""
    wanted = about.channels
    if missing := [name for name in wanted if name not in channels]:
        where = next(iter(channels.values()), Path())
        found = f"no file for {', '.join(missing)}"
        how_to_fix = f"name the files <case>_<channel>, channels being {', '.join(wanted)}"
        raise MedsegError(Code.CHANNEL_MISSING, where, found, how_to_fix)
    scan, findings = checks.read_image(
        {name: channels[name] for name in wanted}, intensity=about.intensity, n4=about.n4
    )
    if scan is None:
        raise refusal(findings)
    return scan, list(findings)


def _check_unit(scan: Volume, about: Description, path: Path) -> None:
    if scan.grid.unit != about.unit:
        found = f"a grid in {scan.grid.unit}, the model was trained on grids in {about.unit}"
        raise MedsegError(Code.UNIT_MISMATCH, path, found, "take a model that was trained on such files")


def segment_file(
    channels: Mapping[str, Path],
    model: Model,
    out: Path,
    *,
    mode: str | None = None,
    confidence: bool = False,
    progress: Progress | None = None,
) -> Result:
    """:func:`segment`, written to `out` (see :func:`results.label_map`), the margin map beside it.

    Masks that may overlap are written to `<case>_<mask>.nii.gz` instead, each to its own. A margin map that
    an earlier result left is removed if none is asked for.
    """
    made = segment(channels, model, mode=mode, confidence=confidence, progress=progress)
    started = time.monotonic()
    confidence_path = None
    if made.confidence is None:
        results.confidence_path(out).unlink(missing_ok=True)
    else:
        confidence_path = results.confidence_path(out)
        results.write_confidence(made.confidence, out)
    paths = results.write(made.labels, model.description.class_list(), out)
    seconds = {**made.seconds, "write": time.monotonic() - started}
    return Result(
        made.labels,
        made.confidence,
        made.sizes,
        made.quality,
        made.quality_kind,
        seconds,
        made.notes,
        paths,
        confidence_path,
    )


def write_label_names(folder: Path, classes: ClassList) -> None:
    """`labels.json`: value, name, colour of every class."""
    files.write_json(folder / "labels.json", classes.to_json())


def measure_sizes(labels: Volume, classes: ClassList) -> dict[str, float]:
    """Volume of each foreground class in ml (or px for images), by name; `labels` holds file values.

    Masks that may overlap each have their own, so that the volumes may add up to more than there is.
    """
    unit = labels.grid.voxel_size / (1000.0 if labels.grid.unit == "mm" else 1.0)
    if classes.multilabel:
        held = zip(classes.names, labels.array, strict=True)
        return {name: int(np.count_nonzero(mask)) * unit for name, mask in held}
    values, counts = np.unique(labels.array, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return {c.name: found.get(c.value, 0) * unit for c in classes.classes[int(classes.background) :]}


def check_domain(scan: Volume, domain: Mapping[str, Any]) -> list[Finding]:
    """OUT_OF_DOMAIN if a voxel edge is more than half again outside the range seen in training (mm).

    Images have no such range: nobody knows how large a pixel is.
    """
    low, high = domain.get("spacing_min_mm"), domain.get("spacing_max_mm")
    if low is None or high is None:
        return []
    spacing = scan.grid.spacing
    for size, least, most in zip(sorted(spacing), sorted(low), sorted(high), strict=True):
        if not least / 1.5 <= size <= most * 1.5:
            found = f"voxels of {' × '.join(f'{s:.2f}' for s in spacing)} mm; trained on {low} to {high}"
            return [Finding(Code.OUT_OF_DOMAIN, "grid", found, "review the result")]
    return []


def _undone(array: Any, record: geometry.Record, onto: Grid | None) -> Volume:
    """A map (X, Y, Z) on the scan's own grid, from there or from where the network saw it."""
    if onto is not None:
        return Volume(array[None], onto)
    return geometry.undo(Volume(array[None], record.ready), record)
