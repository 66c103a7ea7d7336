"""UNet++ pruned to each level: parameters, and seconds a batch beside the full network's.

    python benchmarks/unetpp_levels.py            # width 16, batches of 4 slices of 128×128

Levels are timed in turn, round after round, so that what else the machine does hits all alike; the figures
are medians over the rounds, and ratios to the full network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from medseg.networks.unetpp import UNetPlusPlus

ROUNDS = 15


def seconds(network: torch.nn.Module, batch: torch.Tensor) -> float:
    """One forward pass."""
    start = time.perf_counter()
    with torch.inference_mode():
        network(batch)
    return time.perf_counter() - start


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="height and width of a slice, px")
    options = parser.parse_args(arguments)
    with torch.random.fork_rng():
        full = UNetPlusPlus(in_channels=3, classes=4, width=options.width).eval()
    levels = {f"L{level}": full.pruned(level).eval() for level in (1, 2, 3, 4)}
    rows = {**levels, "full": full}
    batch = torch.randn(4, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS + 1):
        for name, network in rows.items():
            taken[name].append(seconds(network, batch))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}  # the first warms up
    print(f"{'level':>6}{'parameters':>12}{'seconds':>9}{'of full':>9}")
    for name, network in rows.items():
        count = sum(p.numel() for p in network.parameters())
        print(f"{name:>6}{count:12,}{medians[name]:9.3f}{medians[name] / medians['full']:9.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
