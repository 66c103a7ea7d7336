"""The model folder of `make model`: classes, conventions, domain and card of the tissue model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medseg import files
from medseg.console import Reporter
from medseg.grid import Grid, Plane
from medseg.infer import loading
from medseg.model import domain
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.preprocess.prepare import prepare
from medseg.synth import stream
from medseg.synth.anatomy import CLASSES
from medseg.synth.atlas import Atlas
from medseg.train.state import BEST, HISTORY, read_network
from medseg.volume import Volume
from pipelines.commands.brain_tissue_balance import answers, best_factors

NAME = "brain-tissue"
NETWORK = "unet"
KEYWORDS: dict[str, Any] = {"width": 16, "depth": 4}
DEPTH = 5
SIDE = 128
SEED = 1

LAST_BIAS = "head.bias"
"""Name of the biases of the last layer, one for each class."""

MEASURED = 40
"""Synthetic scans whose grey values and volumes the domain is made of."""

BALANCED, BALANCE_SEED = 16, 3
"""Synthetic scans, and their seed, on which the odds of the classes are balanced."""

FINEST_MM, COARSEST_MM = 0.7, 6.0
"""Resolutions of the synthetic scans along each axis."""

USED_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
TRAINED = "synthetic people, drawn from the ICBM152 maps"

_BACKGROUND = {"value": 0, "name": "background", "colour": (0, 0, 0)}
_GM = {"value": 2, "name": "GM", "colour": (90, 160, 90)}
_WM = {"value": 3, "name": "WM", "colour": (240, 240, 200)}
_BLUE, _VIOLET = (60, 120, 220), (150, 90, 200)

CLASS_ROWS: tuple[dict[str, Any], ...] = (
    _BACKGROUND,
    {"value": 1, "name": "ventricles", "colour": _BLUE},
    _GM,
    _WM,
    {"value": 4, "name": "sulcal CSF", "colour": _VIOLET},
)
"""Classes of the model, in the order of :data:`CLASSES`."""

_CSF = {"value": 1, "name": "CSF", "colour": _BLUE}
CONVENTIONS: dict[str, tuple[tuple[dict[str, Any], ...], tuple[int, ...]]] = {
    "ibsr": ((_BACKGROUND, _CSF, _GM, _WM), (0, 1, 2, 3, 2)),
    "all-csf": ((_BACKGROUND, _CSF, _GM, _WM), (0, 1, 2, 3, 1)),
}
"""Other classes of the same network: those of IBSR, where CSF is that of the ventricles and sulci are grey
matter, and all CSF as one class."""

CARD = Path(__file__).with_name("brain_tissue_card.md")
"""What is added to the card that every model has; in braces the Dice of people that were held out."""


def export(
    maps: Atlas, work: Path, out: Path, say: Reporter, measured: int = MEASURED, balanced: int = BALANCED
) -> None:
    """Write the best weights of a training as the model folder ``out``, and its conventions below it.

    The odds of the classes are balanced on ``balanced`` scans, see
    :mod:`pipelines.commands.brain_tissue_balance`; the domain is that of ``measured`` scans.
    """
    state = {name: _half(values) for name, values in read_network(work / BEST).items()}
    description = described(CLASS_ROWS, (), trained_on := measured_domain(maps, measured, say))
    model_folder.export(out, {NAME: state}, description)
    factors = _balanced(maps, out, balanced, say)
    state[LAST_BIAS] = state[LAST_BIAS] + torch.from_numpy(np.log(factors))
    model_folder.export(out, {NAME: state}, description)
    tree = files.read_json(out / model_folder.MODEL_JSON)
    for convention, (rows, outputs) in CONVENTIONS.items():
        joined = described(rows, outputs, trained_on).model_dump(mode="json")
        members = [{**member, "shared": True} for member in tree["members"]]
        files.write_json(
            out / convention / model_folder.MODEL_JSON, {**tree, "members": members, "description": joined}
        )
    card = (out / model_folder.CARD).read_text(encoding="utf-8")
    odds = ", ".join(f"{factor:g} for {name}" for name, factor in zip(CLASSES[1:], factors[1:], strict=True))
    added = CARD.read_text(encoding="utf-8").format(**_scores(work), odds=odds)
    files.write_text(out / model_folder.CARD, card + added)


def _balanced(maps: Atlas, folder: Path, count: int, say: Reporter) -> npt.NDArray[np.float32]:
    """The factors (K,) of the classes' odds that suit a model best, on scans that training never drew."""
    model, given = loading.load(folder), []
    with say.progress("balancing the classes on synthetic scans", count) as bar:
        for number, answer in enumerate(answers(model, stream.scans(maps, BALANCE_SEED, count)), 1):
            given.append(answer)
            bar.to(number)
    return best_factors(given)


def _scores(work: Path) -> dict[str, str]:
    """Dice of the best weights on the people that were held out, by class, in words."""
    rows = [row for row in files.read_csv(work / HISTORY) if row["is_best"] == "1"]
    return {
        key.removeprefix("val/").replace(" ", "_"): f"{float(value):.3f}"
        for key, value in rows[-1].items()
        if key.startswith("val/")
    }


def _half(values: torch.Tensor) -> torch.Tensor:
    """Weights of convolutions at half precision; statistics, whose range is wider, as they are."""
    return values.half() if values.ndim > 1 else values


def described(
    rows: Sequence[dict[str, Any]], outputs: tuple[int, ...], trained_on: dict[str, Any]
) -> Description:
    """Describe the model with these classes."""
    return Description(
        name=NAME,
        network=NETWORK,
        keywords=KEYWORDS,
        channels=("t1",),
        plane=USED_PLANES,
        depth=DEPTH,
        classes=tuple(rows),
        outputs=outputs,
        foreground="auto",
        spacing_mm=(1.0, 1.0, 1.0),
        crop=True,
        crop_margin=8,
        n4=False,
        intensity="zscore",
        mode="dense",
        window=(SIDE, SIDE),
        stride=None,
        batch=4,
        ensemble="mean",
        domain=trained_on,
        trained={NAME: {"data": TRAINED}},
    )


def measured_domain(maps: Atlas, count: int, say: Reporter) -> dict[str, Any]:
    """The domain of scans as they are drawn for the training, at the resolutions that they are given."""
    plan = described(CLASS_ROWS, (), {}).preprocessing()
    figures = []
    with say.progress("measuring synthetic scans", count) as bar:
        for number, scan in enumerate(stream.scans(maps, SEED, count), 1):
            grid = Grid(scan.image.shape, np.eye(4))
            volume, record = prepare(Volume(scan.image.astype(np.float32)[None], grid), plan)
            figures.append(domain.measure(volume, record, plan.geometry.foreground))
            bar.to(number)
    return {
        **domain.of_cases(figures),
        "spacing_min_mm": (FINEST_MM,) * 3,
        "spacing_max_mm": (COARSEST_MM,) * 3,
        "skull_stripped": True,
    }
