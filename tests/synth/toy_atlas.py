"""A brain of nested balls as an atlas: ventricles in white matter in grey matter in fluid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medseg.synth.atlas import Atlas

SHAPE = (56, 64, 56)


def toy_atlas() -> Atlas:
    place = (np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2).astype(np.float32)
    radius = np.sqrt((place**2).sum(axis=0))

    def ball(size: float) -> np.ndarray:
        return ndimage.gaussian_filter((radius < size).astype(np.float32), 1.0)

    ventricles, white, grey, hull = ball(5), ball(13), ball(19), ball(22)
    csf = ventricles + 1 - grey
    wm = np.clip(white - ventricles, 0, 1)
    signed = radius - 5
    outward = np.stack(np.gradient(ndimage.gaussian_filter(signed, 2.0)))
    return Atlas(
        csf=np.clip(csf, 0, 1),
        gm=np.clip(1 - csf - wm, 0, 1),
        wm=wm,
        inside=hull,
        ventricle=ball(9),
        outward=outward.astype(np.float32),
        near=np.exp(-((np.maximum(signed, 0) / 6) ** 2)).astype(np.float32),
        deep=(0.5 * ball(8)).astype(np.float32),
        texture=np.zeros(SHAPE, np.float32),
    )
