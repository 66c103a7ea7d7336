"""The one way from a scan to what networks see: bias field, geometry, grey values, in this order.

volume, record = prepare(scan, plan)
labels = geometry.undo(labels_on_the_prepared_grid, record)     # on the scan's own grid again
"""

from __future__ import annotations

from dataclasses import dataclass, field

from medseg.preprocess import geometry, intensity
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.preprocess.intensity import Intensity, NormalizedVolume
from medseg.volume import Volume


@dataclass(frozen=True)
class PreparePlan:
    """Settings of :func:`prepare`: N4 bias correction or not, geometry, and the scaling of grey values.

    The foreground that grey values are measured on is that of the ``geometry``.
    """

    geometry: GeometryPlan = field(default_factory=GeometryPlan)
    n4: bool = False
    intensity: Intensity = "zscore"


def prepare(scan: Volume, plan: PreparePlan) -> tuple[NormalizedVolume, Record]:
    """Prepare a scan (C, X, Y, Z): N4, then RAS+, spacing and crop, then each channel's mean and deviation.

    The array keeps the scan's dtype, and is a view of it, unless N4 or resampling make a float32 one. The
    record takes label maps there (:func:`geometry.apply_to_labels`) and back (:func:`geometry.undo`). Raises
    KEYWORD_INVALID for a plan that does not suit the volume's unit or number of channels.
    """
    if plan.n4:
        scan = intensity.correct_bias(scan)
    prepared, record = geometry.apply(scan, plan.geometry)
    normalization = intensity.measure(prepared, plan.geometry.foreground, plan.intensity)
    return NormalizedVolume(prepared.array, prepared.grid, normalization), record
