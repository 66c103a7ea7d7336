"""A scan brought to voxels of 1 mm, linear: medseg, SimpleITK, scipy."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its users' name for it
from scipy import ndimage

from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured
from benchmarks.suite.timing import in_turn, over
from medseg.grid import Array, Grid
from medseg.preprocess import geometry
from medseg.volume import Volume

SHAPE, SPACING = (256, 128, 256), (0.9375, 1.5, 0.9375)


def run(options: Options) -> Measured:
    """Noise of a scan's size; all give float32, in one thread."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    shape = options.pick(SHAPE, (64, 32, 64))
    array = np.random.default_rng(0).integers(0, 300, shape).astype(np.int16)
    volume = Volume(array[None], Grid(shape, np.diag([*SPACING, 1.0])))
    plan = geometry.GeometryPlan(spacing_mm=(1.0, 1.0, 1.0))
    calls = {
        "medseg": lambda: geometry.apply(volume, plan)[0].array,
        "SimpleITK": lambda: by_simpleitk(array),
        "scipy.ndimage.zoom": lambda: ndimage.zoom(array, SPACING, order=1, output=np.float32),
    }
    ways = in_turn(calls, options.pick(7, 1))
    size = array.nbytes + 4 * np.prod(np.array(shape) * SPACING)
    return Measured(
        f"{'×'.join(map(str, shape))} int16 → 1 mm float32",
        ways,
        {
            "SimpleITK's time over medseg's": over(ways["SimpleITK"], ways["medseg"]),
            "scipy's time over medseg's": over(ways["scipy.ndimage.zoom"], ways["medseg"]),
        },
        {"bytes read and written once at the rate of copies": options.copy_floor(float(size))},
    )


def by_simpleitk(array: Array) -> Array:
    """The filter and what its users write around it."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    sides = [round(n * s) for n, s in zip(image.GetSize(), SPACING[::-1], strict=True)]
    resampled = sitk.Resample(
        image,
        sides,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        (1.0, 1.0, 1.0),
        image.GetDirection(),
        0.0,
        sitk.sitkFloat32,
    )
    return sitk.GetArrayFromImage(resampled)
