"""UNet++ pruned to each level (Figure 3 of its paper): parameters, seconds a batch, IoU on test cases.

    python benchmarks/unetpp_levels.py                # width 16, drawn weights: time alone
    python benchmarks/unetpp_levels.py --work WORK    # a trained work folder's model and test cases

Batches are 4 slices of 128×128 px. Levels are timed in turn, round after round, so that what else the machine
does hits all alike; the figures are medians over the rounds, and ratios to the full network. IoU is the mean
over the foreground classes, of all test cases' voxels together; each level predicts by the weights of the
work folder, whole slices at a time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from medseg.infer import loading, predict
from medseg.infer.inferers import choose_inferer
from medseg.infer.predictor import NetworkPredictor
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.networks.unetpp import UNetPlusPlus
from pipelines.fold.data import PreparedCases
from pipelines.workfolder import Work

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
    parser.add_argument("--work", type=Path, help="a work folder with a trained unetpp of one fold")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="height and width of a slice, px")
    options = parser.parse_args(arguments)
    full = _drawn(options.width) if options.work is None else _trained(options.work)
    levels = {f"L{level}": full.pruned(level).eval() for level in range(1, full.depth + 1)}
    rows = {**levels, "full": full}
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(4, full.in_channels, options.side, options.side, generator=generator)
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS + 1):
        for name, network in rows.items():
            taken[name].append(seconds(network, batch))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}  # the first warms up
    print(f"{'level':>6}{'parameters':>12}{'seconds':>9}{'of full':>9}{'IoU':>9}")
    for name, network in rows.items():
        count = sum(p.numel() for p in network.parameters())
        score = "" if options.work is None else f"{iou(options.work, network):9.4f}"
        print(f"{name:>6}{count:12,}{medians[name]:9.3f}{medians[name] / medians['full']:9.2f}{score}")


def iou(work: Path, network: UNetPlusPlus) -> float:
    """Mean IoU of the foreground over all voxels of the test cases of fold 0."""
    description = model_folder.read(Work(work).model).description
    classes, spec = description.class_list(), loading.spec(description, network)
    predictor, inferer = (
        NetworkPredictor(network, spec, channels_last=False),
        choose_inferer(description, "dense"),
    )
    cases = PreparedCases(Work(work)).of_role(0, "test")
    matrices = [
        confusion_matrix.confusion_of(
            np.asarray(case.label), predict.label(case.volume, predictor, inferer).labels, classes
        )
        for case in cases
    ]
    return float(np.nanmean(confusion_matrix.iou(np.sum(matrices, axis=0))[classes.foreground]))


def _drawn(width: int) -> UNetPlusPlus:
    with torch.random.fork_rng():
        return UNetPlusPlus(in_channels=3, classes=4, width=width).eval()


def _trained(work: Path) -> UNetPlusPlus:
    folder = Work(work).model
    network = model_folder.load_network(folder, model_folder.read(folder).members[0].name)[1]
    if not isinstance(network, UNetPlusPlus):
        raise SystemExit(f"{folder}: the network is no unetpp")
    return network


if __name__ == "__main__":
    main(sys.argv[1:])
