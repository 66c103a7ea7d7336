"""UNet++ pruned to each level (Figure 3 of its paper): parameters, seconds a batch, IoU and Dice.

    python benchmarks/unetpp_levels.py                            # width 16, drawn weights: time alone
    python benchmarks/unetpp_levels.py --work WORK [--json FILE]  # a trained work folder and its test cases

Batches are 4 slices of 128×128 px. Levels are timed in turn, round after round, in processor time of one
thread, so that what else the machine does hits all alike; the figures are medians over the rounds, and ratios
to the full network. With a work folder each level is exported as by `medseg export --level`, and the exported
folder alone labels the test cases of fold 0: IoU is that of the foreground classes over all voxels together,
Dice the mean over cases. `medseg benchmark --table unetpp-fig3 --scores FILE` shows a file of `--json`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg import files
from medseg.console import Reporter
from medseg.infer import loading, segment
from medseg.ingest import checks
from medseg.metrics import confusion_matrix, summary, table
from medseg.metrics.table import Entry
from medseg.model import folder as model_folder
from medseg.networks.unetpp import UNetPlusPlus
from pipelines import case_tables, saved_recipe
from pipelines.commands import export
from pipelines.fold.calibration import indices_of
from pipelines.workfolder import Work

ROUNDS = 15


def seconds(network: torch.nn.Module, batch: torch.Tensor) -> float:
    """One forward pass."""
    start = time.process_time()
    with torch.inference_mode():
        network(batch)
    return time.process_time() - start


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="a work folder with a trained unetpp of one fold")
    parser.add_argument("--json", type=Path, help="also write the scores of each level to this file")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="height and width of a slice, px")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
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
    found: list[dict[str, Any]] = []
    print(f"{'level':>6}{'parameters':>12}{'seconds':>9}{'of full':>9}{'IoU':>9}{'Dice':>9}", flush=True)
    for name, network in rows.items():
        count = sum(p.numel() for p in network.parameters())
        relative, score = medians[name] / medians["full"], ""
        if options.work is not None:
            level = int(name[1:]) if name in levels else None
            numbers = scores(Work(options.work), level)
            iou, dice = foreground_iou(numbers), numbers["over_classes"]["dice"]["mean"]
            score = f"{iou:9.4f}{dice:9.4f}"
            about = {"level": level, "parameters": count, "seconds": medians[name], "of_full": relative}
            found.append({**about, "iou": iou, "scores": numbers})
        print(f"{name:>6}{count:12,}{medians[name]:9.4f}{relative:9.2f}{score}", flush=True)
    if options.json is not None and options.work is not None:
        recipe = saved_recipe.read(Work(options.work))
        files.write_json(
            options.json, {"recipe": recipe.name, "network": recipe.network.name, "levels": found}
        )


def foreground_iou(numbers: dict[str, Any]) -> float:
    """Mean IoU over the set of the classes that are scored."""
    by_class = numbers["over_set"]["iou_by_class"]
    return float(np.mean([by_class[name] for name in numbers["classes"]]))


def scores(work: Work, level: int | None) -> dict[str, Any]:
    """The set of test cases of `summary.json` by the exported network of a level, or by the whole one."""
    by_name, rows, matrices = case_tables.cases(work.ingest), [], []
    with tempfile.TemporaryDirectory() as scratch:
        export.run(work.root, Path(scratch) / "model", Reporter(quiet=True, results=sys.stderr), level=level)
        model = loading.load(Path(scratch) / "model")
    description, classes = model.description, model.description.class_list()
    for role in case_tables.roles(work.ingest):
        if (role.fold, role.role) != (0, "test"):
            continue
        files_of_case = case_tables.case_files(by_name[role.case])
        case, _ = checks.read_case(files_of_case, classes, intensity=description.intensity, n4=description.n4)
        if case is None or case.label is None:
            raise SystemExit(f"{role.case}: cannot be read any more")
        truth = case.label.array[0]
        labels = indices_of(
            segment.segment(files_of_case.channels, model, accept_domain=True).labels, description
        )
        entry = Entry(role.case, role.subject)
        rows += table.score(entry, truth, labels, case.label.grid, classes)
        matrices.append(confusion_matrix.confusion_of(truth, labels, classes))
    total = {"test": np.sum(matrices, axis=0)}
    numbers = summary.summarise(rows, total, background=classes.background, names=classes.names)
    of_set: dict[str, Any] = numbers["sets"]["test"]
    return of_set


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
