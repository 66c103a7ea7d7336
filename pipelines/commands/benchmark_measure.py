"""Figures that `medseg benchmark` measures of a network: counts, and the time of a forward pass."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from medseg import networks
from medseg.networks import positions
from medseg.networks.contract import Network
from medseg.networks.tools.inference_form import fold_batch_norm
from medseg.networks.tools.measures import Measures, measure
from medseg.networks.tools.receptive_field import receptive_field

MOST_PASSES = 20

INDEX_BYTES = 8
"""What torch takes for the position of a maximum."""


@dataclass(frozen=True)
class Measured:
    """Counts of a network, its receptive field in px (empty: the whole image), and the time of an image."""

    counts: Measures
    receptive_field: tuple[int, ...]
    forward_ms: float | None

    def cells(self) -> dict[str, float | None]:
        """Column → figure; the receptive field is the widest, None for the whole image."""
        counts = self.counts
        return {
            "parameters": counts.parameters / 1e6,
            "conv_layers": counts.conv_layers,
            "receptive_field": max(self.receptive_field, default=None),
            "max_stride": counts.max_stride,
            "storage_multiplier": counts.storage_multiplier,
            "positions_mib": counts.positions * INDEX_BYTES / 2**20,
            "packed_positions_mib": counts.positions * positions.BITS / 8 / 2**20,
            "largest_layer_mib": max((layer.megabytes for layer in counts.layers), default=0.0),
            "all_layers_mib": sum(layer.megabytes for layer in counts.layers),
            "forward_ms": self.forward_ms,
            "frames_per_second": None if self.forward_ms is None else 1000 / self.forward_ms,
        }


def measured(
    name: str,
    keywords: Mapping[str, Any],
    shape: tuple[int, int, int, int],
    *,
    field_of: str = "",
    device: str = "cpu",
    seconds: float = 0.0,
) -> Measured:
    """Measure a network for one image; ``shape`` is its (C, H, W) in px and the number of classes.

    ``field_of`` is the layer whose receptive field counts. Time is measured for ``seconds``, and not at all
    for 0. Raises what building the network does, and SIZE_IMPOSSIBLE.
    """
    channels, height, width, classes = shape
    with torch.device("meta"):
        network = networks.build(name, channels, classes, **keywords)
    counts = measure(network, (height, width))
    seen = receptive_field(network, field_of)
    taken = None
    if seconds:
        real = networks.build(name, channels, classes, seed=0, **keywords)
        taken = 1000 * forward_seconds(real, counts.size, device, seconds)
    return Measured(counts, seen.widths if seen else (), taken)


def forward_seconds(network: Network, size: tuple[int, int], device: str, seconds: float) -> float:
    """Time one image (H, W) through a network as `medseg segment` runs it, in float32.

    The shortest of the passes that fit into ``seconds`` after a first one that warms up: other programs only
    make a pass longer. A pass that takes longer than that alone is the only one. On one thread of a CPU it is
    processor time, which other programs change little.
    """
    placed = fold_batch_norm(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, network.in_channels, *size, generator=generator).to(device)
    passes: list[float] = []
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    with torch.inference_mode():
        while len(passes) <= MOST_PASSES and sum(passes) < seconds:
            start = clock()
            placed(image)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            passes.append(clock() - start)
    return min(passes[1:] or passes)
