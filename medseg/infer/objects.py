"""Objects of a label map: connected components, or a watershed of the distance to the background."""

from __future__ import annotations

import numpy as np

from medseg.extras import needs_extra
from medseg.grid import Array
from medseg.model.description import InstanceSettings

_FEWEST_HELD = np.iinfo(np.uint16).max


def split(
    foreground: Array, settings: InstanceSettings, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Array:
    """Number the objects of a mask (X, Y, Z) from 1, 0 outside: uint16, or uint32 where they are many.

    Pixels that touch at a corner alone are not connected. By ``watershed`` a component is cut along the lines
    farthest from the places that lie deepest in it, of which no two are within ``min_distance_px`` pixels;
    depths are measured with ``spacing``. Objects of fewer than ``min_size_px`` pixels are left out.
    """
    from scipy import ndimage  # here, as every worker imports this module, and this takes 0.2 s

    mask = np.asarray(foreground, np.bool_)
    numbers = ndimage.label(mask)[0]
    if settings.method == "watershed":
        numbers = _cut(mask, numbers, settings.min_distance_px, spacing)
    sizes = np.bincount(numbers.ravel())
    kept = sizes >= max(1, settings.min_size_px)
    kept[0] = False
    new = np.where(kept, np.cumsum(kept), 0)
    of_type: Array = new.astype(np.min_scalar_type(max(_FEWEST_HELD, int(new.max()))))
    return np.asarray(np.take(of_type, numbers))


def _cut(mask: Array, pieces: Array, min_distance_px: int, spacing: tuple[float, float, float]) -> Array:
    """Flood numbered components (X, Y, Z) from their deepest places, each from one at least.

    Raises EXTRA_MISSING without scikit-image.
    """
    needs_extra("train")
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(mask, spacing)
    seeds = np.zeros(mask.shape, np.int64)
    peaks = peak_local_max(depth, min_distance=min_distance_px, labels=pieces, exclude_border=False)
    with_peak = {int(pieces[tuple(place)]) for place in peaks}
    without = [number for number in range(1, int(pieces.max(initial=0)) + 1) if number not in with_peak]
    places = [*map(tuple, peaks), *ndimage.maximum_position(depth, pieces, without)]
    for number, place in enumerate(places, 1):
        seeds[place] = number
    return np.asarray(watershed(-depth, seeds, mask=mask))
