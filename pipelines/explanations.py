"""`medseg explain`, and the report when asked: Grad-CAM pictures of a case of a work folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg import files
from medseg.device import choose
from medseg.errors import Code, MedsegError, refusal
from medseg.explain import gradcam
from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.infer import inferers, loading, predict
from medseg.infer.predictor import NetworkPredictor
from medseg.infer.segment import prepare
from medseg.ingest import checks
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.networks.contract import Network
from medseg.patches.slabs import plane_view, read_slab
from medseg.preprocess.intensity import NormalizedVolume
from medseg.report.gradcam_figure import GradCamSlice, gradcam_figure
from medseg.report.image_overlay import colours_of
from medseg.volume import Volume
from pipelines.case_tables import case_files, cases, roles
from pipelines.workfolder import Work, fold_of

_SHOWN = 3
_NAMED = 20


def draw(
    work: Work, case: str, class_names: Sequence[str], layer: str | None = None, device: str = "auto"
) -> dict[str, Path]:
    """Write `report/explain_<case>_<class>.png` for each class; class name → picture.

    The network is the member that was not trained on the case, where there is one, and is seen along one
    plane: the member's, or the first. Raises STAGE_MISSING without a trained model, USAGE for an unknown case
    or class, KEYWORD_INVALID for an unknown layer.
    """
    row = _row(work, case)
    about, network = model_folder.load_network(work.model, _member(work, case))
    device, (plane, *_) = choose(device), about.planes
    indices = {name: _class_index(about, name) for name in class_names}
    layer = gradcam.chosen_layer(network, layer)
    ready, _ = prepare(_scan(row, about), about)
    labels, classes = _labels(ready, network, about, device), about.class_list()
    thresholds, made = about.mask_thresholds(), {}
    for name, index in indices.items():
        predicted = plane_view(classes.holds(labels, index), plane)
        slices = []
        for at in _middles(predicted):
            slab = read_slab(ready, plane, at, about.depth)
            heat = gradcam.gradcam(network, slab, index, layer, thresholds.get(name))
            grey, pixel = slab[about.depth // 2], _pixel(ready, plane)
            colours = colours_of(ready.array[..., at]) if about.unit == "px" else None
            where = f"{plane} {at}" if colours is None else ""
            slices.append(GradCamSlice(where, grey, heat, predicted[at], pixel, colours))
        path = work.report / f"explain_{_file_part(case)}_{_file_part(name)}.png"
        files.write_bytes(path, gradcam_figure(_title(work, case, name, layer, plane), slices))
        made[name] = path
    return made


def _title(work: Work, case: str, name: str, layer: str, plane: Plane) -> str:
    """What stands over a picture; of a model of several planes it says which one is shown."""
    several = len(model_folder.read(work.model).description.planes) > 1
    return f"{case}: {name}, layer {layer}" + (f", {plane} plane alone" if several else "")


def _row(work: Work, case: str) -> dict[str, str]:
    if not (work.model / "model.json").is_file() or not (work.ingest / "cases.csv").is_file():
        raise MedsegError(Code.STAGE_MISSING, work.root, "no trained model", "medseg run RECIPE --work W")
    known = cases(work.ingest)
    if case not in known:
        names = ", ".join(list(known)[:_NAMED]) + (", …" if len(known) > _NAMED else "")
        raise MedsegError(Code.USAGE, "CASE", f"no case {case!r}", f"use one of {names}")
    return known[case]


def _member(work: Work, case: str) -> str:
    """The first member whose fold tests the case, else validates it, else the first of all."""
    members = [str(m["name"]) for m in files.read_json(work.model / "model.json")["members"]]
    rank = {"test": 0, "val": 1}
    held_out = sorted((rank[r.role], r.fold) for r in roles(work.ingest) if r.case == case and r.role in rank)
    return next((m for _, fold in held_out for m in members if fold_of(m) == fold), members[0])


def _class_index(about: Description, name: str) -> int:
    names = about.class_list().names
    if name not in names:
        raise MedsegError(Code.USAGE, "--class", f"no class {name!r}", f"use one of {', '.join(names)}")
    return names.index(name)


def _scan(row: dict[str, str], about: Description) -> Volume:
    channels = case_files(row).channels
    scan, findings = checks.read_image({name: channels[name] for name in about.channels})
    if scan is None:
        raise refusal(findings)
    return scan


def _labels(ready: NormalizedVolume, network: Network, about: Description, device: str) -> Array:
    """Class indices (X, Y, Z) as the network alone gives them."""
    how = inferers.choose_inferer(about.model_copy(update={"crf": None}))
    predictor = NetworkPredictor(network, loading.spec(about, network), device, "fp32")
    return predict.label(ready, predictor, how).labels


def _middles(predicted: Array) -> list[int]:
    """Three of (slices, H, W): where a quarter, half and three quarters of what was predicted are passed.

    Where nothing was predicted, slices at a quarter, half and three quarters of the volume. Fewer where they
    are the same.
    """
    weights = predicted.sum(axis=(1, 2), dtype=np.int64)
    passed = np.cumsum(weights if weights.any() else np.ones_like(weights))
    parts = np.arange(1, _SHOWN + 1) / (_SHOWN + 1)
    return sorted({int(np.searchsorted(passed, part * passed[-1])) for part in parts})


def _pixel(ready: NormalizedVolume, plane: Plane) -> tuple[float, float]:
    """Size of a slice's pixel along H and W."""
    height, width = (s for axis, s in enumerate(ready.grid.spacing) if axis != PLANE_AXIS[plane])
    return height, width


def _file_part(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)
