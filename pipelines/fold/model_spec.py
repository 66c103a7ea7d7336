"""What a model folder says of a network that a recipe trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.config.recipe import Recipe
from medseg.model.description import Description
from medseg.preprocess.store import PreprocessedCase


def described(recipe: Recipe, domain: dict[str, Any]) -> Description:
    """What a model folder says of a network trained by this recipe on scans of this domain."""
    r = recipe
    return Description(
        name=r.name,
        network=r.network.name,
        keywords=r.network.keywords,
        channels=r.data.channel_names(),
        plane=r.sampling.plane,
        depth=r.sampling.depth,
        classes=tuple(r.data.class_list().to_json()),
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
        domain=domain,
        trained={},
    )


def domain_of(trained: Sequence[PreprocessedCase]) -> dict[str, Any]:
    """Voxel edges (mm) seen in training, or images' rows and columns (px), on the scans' own grids."""
    grids = [c.record.original for c in trained]
    if all(grid.unit == "px" for grid in grids):
        sizes = np.array([grid.shape[:2] for grid in grids])
        bounds = {"size_min_px": sizes.min(axis=0).tolist(), "size_max_px": sizes.max(axis=0).tolist()}
        return {"cases": len(grids), **bounds}
    spacings = np.array([grid.spacing for grid in grids])
    return {
        "cases": len(grids),
        "spacing_min_mm": [round(float(s), 6) for s in spacings.min(axis=0)],
        "spacing_max_mm": [round(float(s), 6) for s in spacings.max(axis=0)],
    }
