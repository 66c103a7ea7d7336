"""Segmentation from Python: load a model, segment a scan, look at the result and save it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy.typing as npt

from medseg.api.arguments import ImageLike, PathLike, images_of, naming, path_of, require_kind
from medseg.api.series import channels_of_export
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.device import choose
from medseg.errors import Code, Finding, MedsegError
from medseg.infer import figure, loading, results
from medseg.infer.batch import LESS_MEMORY
from medseg.infer.brain import BrainMask
from medseg.infer.loading import Model, Numerics
from medseg.infer.results import Result
from medseg.infer.segment import finish_case, predict_case, prepare_case
from medseg.ingest.hidden import hidden_inputs
from medseg.io import nifti
from medseg.io.dicom.series import SeriesVolume
from medseg.io.scans import Readable
from medseg.model import folder as model_folder
from medseg.model import packaged
from medseg.model.description import Description
from medseg.model.graphs import PRECISIONS, RUNTIMES, Precision, Runtime
from medseg.names import check_name
from medseg.resources import coded_out_of_memory

MODES: tuple[str, ...] = get_args(Description.model_fields["mode"].annotation)


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """A segmented scan, as `medseg.segment` gives it: labels in the native image space, sizes and notes.

    In notebooks it shows itself as its figure.
    """

    result: Result
    class_list: ClassList
    model_sha256: str

    @cached_property
    def labels(self) -> nib.Nifti1Image:
        """The label map (X, Y, Z) on the scan's grid; its values are those of `classes`.

        Of a model whose masks may overlap it is (X, Y, Z, L), 0 and 1, in the order of `sizes`.
        """
        return nifti.to_image(self.result.labels)

    @cached_property
    def confidence(self) -> nib.Nifti1Image | None:
        """The confidence map (X, Y, Z) float32: the difference of the two highest probabilities, 0 to 1.

        In mode `vote` it is that of the vote shares; None if it was not asked for.
        """
        return None if self.result.confidence is None else nifti.to_image(self.result.confidence)

    @cached_property
    def probabilities(self) -> nib.Nifti1Image | None:
        """The probabilities of all classes (X, Y, Z, K), in the order of `classes`; None if not asked for.

        They are stored in steps of 1/255, and 0 to 1 when they are read: `get_fdata`, `dataobj[..., k]`. The
        arg-max of a voxel is its label. In mode `vote` they are shares of votes.
        """
        stored = self.result.probabilities
        return None if stored is None else nifti.steps_image(stored)

    @property
    def classes(self) -> dict[int, str]:
        """Names of the classes by their values in `labels`, or of masks by their index on its last axis."""
        if self.class_list.multilabel:
            return dict(enumerate(self.class_list.names))
        return {c.value: c.name for c in self.class_list.classes}

    @property
    def volumes_ml(self) -> dict[str, float]:
        """The volume of each foreground class in ml. Raises UNIT_MISMATCH for an image, which has `sizes`."""
        if self.size_unit != "ml":
            raise MedsegError(Code.UNIT_MISMATCH, "volumes_ml", "an image has areas in px", "take sizes")
        return dict(self.result.sizes)

    @property
    def sizes(self) -> dict[str, float]:
        """The size of each foreground class: volumes in ml, of an image areas in px; see `size_unit`."""
        return dict(self.result.sizes)

    @property
    def size_unit(self) -> str:
        """The unit of `sizes`: `ml`, or `px` for an image."""
        return results.SIZE_UNITS[self.result.labels.grid.unit]

    @property
    def quality(self) -> float:
        """The mean confidence over the predicted foreground, 0 to 1: it orders cases for review."""
        return self.result.quality

    @property
    def predicted_dice(self) -> dict[str, float]:
        """The Dice to expect of each structure; empty unless the model is calibrated."""
        return dict(self.result.judgement.expected)

    @property
    def needs_review(self) -> bool:
        """True where a person should look at the result.

        That is an empty or implausible label map, a predicted Dice below the model's threshold, a scan unlike
        those of the training, and a brain that was cut out.
        """
        return bool(self.result.to_json()["needs_review"])

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Remarks about the scan and the result, each with `code`, `where`, `details` and `how_to_fix`."""
        return self.result.notes

    def save(self, path: PathLike) -> Path:
        """Write the label map as `path`, and `<case>.json` and the maps that were asked for beside it.

        The name ends in `.nii.gz`, for an image in `.png`; overlapping masks become files `<case>_<mask>`.
        The folder is made if it is not there. Returns the path. Raises USAGE for another name or a folder
        that cannot be written, NAME_INVALID, DISK_FULL.
        """
        label = path_of("path", path)
        ending = results.ENDINGS[self.result.labels.grid.unit]
        case = label.name.removesuffix(ending)
        if case in ("", label.name):
            raise MedsegError(Code.USAGE, "path", f"{label.name!r} does not end in {ending}", f"case{ending}")
        content = {"case": check_name(case, "path"), "model_sha256": self.model_sha256}
        try:
            results.write(self.result, self.class_list, label, self.model_sha256, content)
        except OSError as error:
            how_to_fix = "name a path in a folder that can be written"
            raise MedsegError(Code.USAGE, "path", f"{label}: {error.strerror}", how_to_fix) from error
        return label

    def figure(self) -> bytes:
        """Draw three planes of the scan, plain and with the classes' outlines and volumes, as PNG.

        Raises UNIT_MISMATCH for an image, BURNED_IN where text may be burned into the scan's pixels.
        """
        if reason := self._reason_against_figure():
            raise MedsegError(reason, "figure", "there is none of this result", "look at labels")
        return figure.draw_result(self.result, self.class_list)

    def _repr_png_(self) -> bytes | None:
        """Show the figure in notebooks."""
        return None if self._reason_against_figure() else self.figure()

    def _reason_against_figure(self) -> Code | None:
        if self.size_unit != "ml":
            return Code.UNIT_MISMATCH
        return next((note.code for note in self.notes if note.code is Code.BURNED_IN), None)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {size:.1f} {self.size_unit}" for name, size in self.sizes.items())
        return f"Segmentation({sizes}; quality {self.quality:.3f})"


def load_model(
    folder: PathLike = packaged.DEFAULT,
    device: str = "auto",
    *,
    runtime: Runtime = "torch",
    precision: Precision = "fp32",
) -> Model:
    """Load a model folder: a run's work folder or its `model/`, or one that `medseg export` wrote.

    By default it is the model of brain tissue that ships with medseg; `brain-tissue/ibsr` and
    `brain-tissue/all-csf` are the same network with other classes.
    `device` is `auto` (the fastest one here), `cpu`, `cuda`, `cuda:1` or `mps`. Every file's sha256 is
    checked; no code of the folder is run. `runtime` is `torch`, or `onnx` or `openvino` for a graph that
    `medseg export --runtime` wrote, in `precision` `fp32`, `bf16` or `int8`, on the CPU. Raises USAGE for a
    device or graph that is not there, EXTRA_MISSING, NOT_A_MODEL, MODEL_TAMPERED, NETWORK_UNKNOWN,
    WEIGHTS_DO_NOT_FIT.

    >>> model = load_model("work/demo/model", device="cpu")
    >>> model.description.channels
    ('t1',)
    """
    path = path_of("folder", folder)
    with naming("device"):
        chosen = choose("cpu" if device == "auto" and runtime != "torch" else device)
    for name, value, allowed in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise MedsegError(Code.USAGE, name, f"no {name} {value!r}", f"use one of {', '.join(allowed)}")
    with naming("folder"):
        return loading.load(model_folder.locate(path), chosen, numerics=Numerics(runtime, precision))


def segment(
    scan: ImageLike | SeriesVolume | Mapping[str, ImageLike | SeriesVolume],
    model: Model,
    *,
    affine: npt.ArrayLike | None = None,
    mode: str | None = None,
    confidence: bool = True,
    probabilities: bool = False,
    accept_domain: bool = False,
    mask: PathLike | None = None,
    strip: bool = False,
) -> Segmentation:
    """Segment one scan as `medseg segment` does; nothing is written.

    `scan` is a path, a nibabel image, an array (X, Y, Z) with its `affine` (4, 4) from voxel indices to RAS+
    in mm, a folder of DICOM in which one series fits the model, or a volume of a series. For a model of
    several channels it is a mapping of their names to one scan each, or one scan with the channels along its
    fourth axis. Images of a model in px are paths. Arrays and images are not changed.

    `mode` is `dense`, `vote`, `tiles` or `gaussian`, by default the model's own. Without `confidence` no
    confidence map is kept; with `probabilities` those of each class are. `accept_domain` segments a
    scan unlike those of the training, with a note. `mask` is a file that is not 0 in the brain, and `strip`
    cuts the brain out of a T1-weighted head (extra `[strip]`): nothing else is segmented then.

    Raises MedsegError: USAGE for an argument of another kind, OUT_OF_DOMAIN, UNIT_MISMATCH, CHANNEL_MISSING,
    OUT_OF_MEMORY, and the code of every reason not to use a scan (NAN_OR_INF, CONSTANT, SHEARED, …).

    >>> import nibabel
    >>> model = load_model("work/demo/model")
    >>> image = nibabel.load("work/demo/subjects/sub-11/sub-11.nii.gz")
    >>> result = segment(image.get_fdata(), model, affine=image.affine)
    >>> result.labels.shape == image.shape
    True
    >>> list(result.volumes_ml)
    ['csf', 'gm', 'wm']
    """
    require_kind("model", model, Model, "give what medseg.load_model gives")
    if mask is not None and strip:
        raise MedsegError(Code.USAGE, "strip", "mask gives the brain already", "leave one of them out")
    if mode not in (None, *MODES):
        raise MedsegError(Code.USAGE, "mode", f"no mode {mode!r}", f"use one of {', '.join(MODES)}")
    brain = BrainMask(None if mask is None else path_of("mask", mask)) if strip or mask is not None else None
    channels, folders = _channels(scan, model, affine)
    with (
        naming("scan", paths=not folders, also={"mask": mask, "mode": "mode"}),
        _hidden(folders),
        coded_out_of_memory("scan", LESS_MEMORY),
    ):
        prepared = prepare_case(channels, model.description, accept_domain=accept_domain, brain=brain)
        predicted = predict_case(
            prepared, model, mode=mode, confidence=confidence, probabilities=probabilities
        )
        result = finish_case(predicted, model.description)
    return Segmentation(result, model.description.class_list(), model.sha256)


def _channels(
    scan: Any, model: Model, affine: npt.ArrayLike | None
) -> tuple[dict[str, Readable], Sequence[Path]]:
    """The scan's channels, and the folders of DICOM that they are in, whose names may name a patient."""
    channels = images_of("scan", scan, affine, model.description.channels)
    sources = list(channels.values())
    if isinstance(sources[0], Path) and sources[0].is_dir() and sources.count(sources[0]) == len(sources):
        folders = [sources[0].absolute()]
        with naming("scan", paths=False), _hidden(folders):
            return {**channels_of_export(folders[0], model.description)}, folders
    files = [file for source in sources if isinstance(source, SeriesVolume) for file in source.files]
    return channels, sorted({file.path.absolute().parent for file in files})


def _hidden(folders: Sequence[Path]) -> AbstractContextManager[None]:
    """Keep the names of DICOM folders out of errors, warnings and logs."""
    return hidden_inputs(folders, None, Reporter(quiet=True)) if folders else nullcontext()
