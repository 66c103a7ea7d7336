"""Grad-CAM figures of a case of a work folder, for `medseg explain` and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch

from medseg import files
from medseg.device import choose
from medseg.errors import Code, MedsegError, choice
from medseg.explain import gradcam
from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.infer import crf, inferers, loading, predict, slice_scores
from medseg.infer.predictor import NetworkPredictor
from medseg.infer.segment import read_scan
from medseg.model import folder as model_folder
from medseg.model.description import CRFSettings, Description
from medseg.names import joined
from medseg.networks.contract import Network
from medseg.patches.slabs import plane_view, read_slab
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.prepare import prepare
from medseg.report.crf_figure import CRFStep, crf_figure
from medseg.report.gradcam_figure import GradCamSlice, gradcam_figure
from medseg.report.image_overlay import colours_of
from pipelines.case_tables import case_files, cases, roles
from pipelines.workfolder import Work, fold_of

_SHOWN = 3

_PLAIN = " ()[]+,=@~"
"""Characters beside letters, digits and _.- that a figure's file name may have; others are quoted."""


def draw(
    work: Work, case: str, class_names: Sequence[str], layer: str | None = None, device: str = "auto"
) -> dict[str, Path]:
    """Write `report/explain_<case>_<class>.png` for each class; class name → figure.

    The network is the member that was not trained on the case, where there is one, and is seen along one
    plane: the member's, or the first. Raises STAGE_MISSING without a trained model, USAGE for an unknown case
    or class, KEYWORD_INVALID for an unknown layer.
    """
    row = _row(work, case)
    description, network = model_folder.load_network(work.model, _member(work, case))
    device, (plane, *_) = choose(device), description.planes
    indices = {name: _class_index(description, name) for name in class_names}
    layer = gradcam.chosen_layer(network, layer)
    scan, _ = read_scan(case_files(row).channels, description)
    volume, _ = prepare(scan, description.preprocessing())
    labels, classes = _labels(volume, network, description, device), description.class_list()
    several = len(model_folder.read(work.model).description.planes) > 1
    plane_shown = f", {plane} plane alone" if several else ""
    thresholds, figures = description.mask_thresholds(), {}
    for name, index in indices.items():
        predicted = plane_view(classes.holds(labels, index), plane)
        slices = []
        for at in _middles(predicted):
            slab = read_slab(volume, plane, at, description.depth)
            heat = gradcam.gradcam(network, slab, index, layer, thresholds.get(name))
            grey, pixel = slab[description.depth // 2], _pixel(volume, plane)
            colours = colours_of(volume.array[..., at]) if description.unit == "px" else None
            where = f"{plane} {at}" if colours is None else ""
            slices.append(GradCamSlice(where, grey, heat, predicted[at], pixel, colours))
        path = work.report / f"explain_{joined([quote(case, safe=_PLAIN), quote(name, safe=_PLAIN)])}.png"
        files.write_bytes(path, gradcam_figure(f"{case}: {name}, layer {layer}{plane_shown}", slices))
        figures[name] = path
    return figures


def draw_crf(work: Work, case: str, class_name: str, device: str = "auto") -> Path:
    """Write `report/crf_<case>_<class>.png`: a slice's score and belief maps before and after each CRF step.

    The slice is in the middle of what is predicted of the class; the values are the model's, or those of
    `predict.crf: {}` for a model without a CRF. Raises as :func:`draw` does, and USAGE for a model of masks
    or votes, which no CRF refines.
    """
    row = _row(work, case)
    description, network = model_folder.load_network(work.model, _member(work, case))
    index, classes = _class_index(description, class_name), description.class_list()
    inferer = inferers.choose_inferer(description.model_copy(update={"crf": None}))
    if classes.multilabel or isinstance(inferer, inferers.MajorityVote):
        details = "a CRF refines probabilities of classes that exclude each other, not masks or votes"
        raise MedsegError(Code.USAGE, "--crf", details, "leave --crf out")
    device, (plane, *_) = choose(device), description.planes
    scan, _ = read_scan(case_files(row).channels, description)
    volume, _ = prepare(scan, description.preprocessing())
    spec = loading.spec(description, network)
    predictor = NetworkPredictor(network, replace(spec, plane=plane), device, "fp32")
    *_, at = _middles(plane_view(predict.label(volume, predictor, inferer).labels == index, plane))[:2]
    with torch.inference_mode():
        logits = next(islice(slice_scores.logits(volume, predictor, inferer), at, None))
    guide = next(islice(crf.guides(volume, plane), at, None))
    settings = description.crf or CRFSettings()
    course = crf.course(logits.softmax(dim=0).cpu().numpy(), guide, settings)
    image = description.unit == "px"
    rgb = colours_of(volume.array[..., at]) if image else np.repeat(guide[0][..., None] / 255, 3, axis=2)
    upright = partial(_upright, image=image)
    steps = [
        CRFStep("before" if n == 0 else f"step {n}", upright(scores[index]), upright(beliefs[index]))
        for n, (scores, beliefs) in enumerate(course)
    ]
    values = ", ".join(f"{key} {value:g}" for key, value in settings.model_dump().items())
    pixel = _pixel(volume, plane)
    aspect = 1.0 if image else pixel[1] / pixel[0]
    where = "" if image else f", {plane} {at}"
    figure = crf_figure(f"{case}: {class_name}{where}\nCRF {values}", upright(rgb), steps, aspect)
    path = work.report / f"crf_{joined([quote(case, safe=_PLAIN), quote(class_name, safe=_PLAIN)])}.png"
    files.write_bytes(path, figure)
    return path


def _upright(array: Array, *, image: bool) -> Array:
    """Turn an array (H, W, …) for display: an image stays as it is, a scan is seen as radiologists do."""
    return array if image else np.swapaxes(array[::-1, ::-1], 0, 1)


def _row(work: Work, case: str) -> dict[str, str]:
    if not (work.model / "model.json").is_file() or not (work.ingest / "cases.csv").is_file():
        raise MedsegError(Code.STAGE_MISSING, work.root, "no trained model", "medseg run RECIPE --work W")
    known = cases(work.ingest)
    if case not in known:
        raise MedsegError(Code.USAGE, "CASE", f"no case {case!r}", choice(case, known))
    return known[case]


def _member(work: Work, case: str) -> str:
    """The first member whose fold tests the case, else validates it, else the first of all."""
    members = [member.name for member in model_folder.read(work.model).members]
    rank = {"test": 0, "val": 1}
    held_out = sorted((rank[r.role], r.fold) for r in roles(work.ingest) if r.case == case and r.role in rank)
    return next((m for _, fold in held_out for m in members if fold_of(m) == fold), members[0])


def _class_index(description: Description, name: str) -> int:
    names = description.class_list().names
    if name not in names:
        raise MedsegError(Code.USAGE, "--class", f"no class {name!r}", choice(name, names))
    return names.index(name)


def _labels(volume: NormalizedVolume, network: Network, description: Description, device: str) -> Array:
    """Class indices (X, Y, Z) as the network alone gives them."""
    inferer = inferers.choose_inferer(description.model_copy(update={"crf": None}))
    predictor = NetworkPredictor(network, loading.spec(description, network), device, "fp32")
    return predict.label(volume, predictor, inferer).labels


def _middles(predicted: Array) -> list[int]:
    """Choose up to three of (slices, H, W), at a quarter, half and three quarters of what was predicted.

    Where nothing was predicted, they are at a quarter, half and three quarters of the volume.
    """
    weights = predicted.sum(axis=(1, 2), dtype=np.int64)
    passed = np.cumsum(weights if weights.any() else np.ones_like(weights))
    parts = np.arange(1, _SHOWN + 1) / (_SHOWN + 1)
    return sorted({int(np.searchsorted(passed, part * passed[-1])) for part in parts})


def _pixel(volume: NormalizedVolume, plane: Plane) -> tuple[float, float]:
    """Size of a slice's pixel along H and W."""
    height, width = (s for axis, s in enumerate(volume.grid.spacing) if axis != PLANE_AXIS[plane])
    return height, width
