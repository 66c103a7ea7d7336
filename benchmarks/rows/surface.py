"""HD95, ASSD and NSD of four classes: medseg and MONAI."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import surface_peers
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import in_turn, over


def run(options: Options) -> Measured:
    """Both get the same class indices; MONAI as one-hot masks, made before the clock starts."""
    side = options.pick(256, 96)
    ways: dict[str, Way] = {}
    figures, difference = {}, 0.0
    for name, truth, prediction in surface_peers.pairs(side):
        masks = [
            torch.stack([torch.from_numpy(labels == value) for value in surface_peers.CLASSES])[None]
            for labels in (truth, prediction)
        ]
        values = {}

        def ours(values: dict[str, np.ndarray] = values, pair: tuple = (truth, prediction)) -> None:
            values["medseg"] = surface_peers.by_medseg(*pair)

        def theirs(values: dict[str, np.ndarray] = values, pair: list = masks) -> None:
            values["MONAI"] = surface_peers.by_monai(*pair)

        both = in_turn({"medseg": ours, "MONAI": theirs}, options.pick(2, 1), warm=0)
        ways |= {f"{name}: {tool}": way for tool, way in both.items()}
        figures[f"{name} masks: MONAI's time over medseg's"] = over(both["MONAI"], both["medseg"])
        apart = np.abs(values["medseg"] - values["MONAI"]) / np.abs(values["MONAI"])
        difference = max(difference, float(apart.max()))
    figures["largest relative difference of values"] = difference
    return Measured(f"{side}³ voxels, 4 classes", ways, figures)
