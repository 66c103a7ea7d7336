"""The description of a network that a recipe trains, for its model folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg import networks
from medseg.classes import ClassList
from medseg.config.recipe import Recipe
from medseg.model import domain, shapes
from medseg.model.description import Description
from medseg.preprocess.intensity import Foreground
from medseg.preprocess.store import PreprocessedCase


def described(recipe: Recipe, trained_on: dict[str, Any]) -> Description:
    """Describe a network that this recipe trains on scans of a domain."""
    r = recipe
    return Description(
        name=r.name,
        network=r.network.name,
        keywords=networks.without_training(r.network.name, r.network.keywords),
        channels=r.data.channel_names(),
        plane=r.sampling.plane,
        depth=r.sampling.depth,
        classes=tuple(r.data.class_list().to_json(codes=True)),
        foreground=r.preprocess.foreground,
        spacing_mm=r.preprocess.spacing_mm,
        spacing_px=r.preprocess.spacing_px,
        crop=r.preprocess.crop,
        crop_margin=r.preprocess.crop_margin,
        n4=r.preprocess.n4,
        intensity=r.preprocess.intensity,
        mode=r.predict.mode,
        window=r.predict.window or r.sampling.window,
        stride=r.predict.stride,
        tile=r.predict.tile,
        memory_mb=r.predict.memory_mb,
        batch=r.predict.batch,
        crf=r.predict.crf,
        scales=r.predict.scales,
        scale_fusion=r.predict.scale_fusion,
        flip=r.predict.flip,
        thresholds=r.predict.thresholds,
        ensemble=r.predict.ensemble,
        instances=r.predict.instances,
        series=r.data.series,
        domain=trained_on,
        trained={},
    )


def domain_of(trained: Sequence[PreprocessedCase], rule: Foreground, classes: ClassList) -> dict[str, Any]:
    """The domain of training cases: sizes, grey values with the recipe's rule of foreground, and structures.

    Structures of images are left out: nobody knows how large a pixel is.
    """
    measured = domain.of_cases([domain.measure(case.volume, case.record, rule) for case in trained])
    known = shapes.ranges(
        [
            shapes.measure(np.asarray(case.label), case.volume.grid, classes)
            for case in trained
            if case.label is not None and case.volume.grid.unit == "mm"
        ]
    )
    if known:
        measured["structures"] = {name: one.model_dump(mode="json") for name, one in known.items()}
    return measured
