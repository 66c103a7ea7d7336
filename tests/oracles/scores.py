"""Class scores on the scan's grid: all of them at once, in float64, through the affines."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medseg.grid import Array
from medseg.preprocess.geometry import Record


def on_scan(scores: Array, record: Record) -> tuple[Array, Array]:
    """Scores (K, box) → linearly interpolated (K, X, Y, Z), and where the model saw the scan (X, Y, Z)."""
    shape, whole = record.original.shape, record.whole
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    to_whole = np.linalg.inv(whole.affine) @ record.original.affine
    place = to_whole[:3, :3] @ index + to_whole[:3, 3:]
    start, stop = np.array(record.box).T[:, :, None]
    nearest = np.ceil(place - 0.5 - 1e-6).clip(0, np.array(whole.shape)[:, None] - 1)
    seen = ((nearest >= start) & (nearest < stop)).all(axis=0)
    inside = (place - start).clip(0, stop - start - 1)
    values = [ndimage.map_coordinates(one.astype(np.float64), inside, order=1) for one in scores]
    return np.reshape(values, (len(scores), *shape)), seen.reshape(shape)


def soft_max(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=0))
    probabilities: Array = powers / powers.sum(axis=0)
    return probabilities


def decide(probabilities: Array, seen: Array) -> tuple[Array, Array]:
    """Labels and the lead of the first over the second; 0 and 0 where the model saw nothing."""
    second, first = np.sort(probabilities, axis=0)[-2:]
    return np.where(seen, probabilities.argmax(axis=0), 0), np.where(seen, first - second, 0)
