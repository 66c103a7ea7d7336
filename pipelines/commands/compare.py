"""`medseg compare`: tables of paired differences and of costs, on the terminal and as CSV."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from medseg import files
from medseg.errors import Code, MedsegError, choice
from medseg.metrics.compare import Comparison, Cost, Difference, compare
from medseg.metrics.table import METRICS
from medseg.model import folder as model_folder
from pipelines.workfolder import Work

ROLES = ("test", "val", "train")
_WIDE = 1000


def run(
    folders: Sequence[Path], metrics: Sequence[str], role: str, csv: Path | None, *, as_json: bool = False
) -> None:
    """Print the comparison of work folders, as tables or JSON; write every metric to `csv`, if given.

    Raises USAGE for an unknown metric or role, and for folders that have no case of the role in common.
    """
    if unknown := set(metrics) - set(METRICS):
        raise MedsegError(Code.USAGE, "--metric", ", ".join(sorted(unknown)), choice(min(unknown), METRICS))
    if role not in ROLES:
        raise MedsegError(Code.USAGE, "--role", f"there is no role {role!r}", choice(role, ROLES))
    for folder in folders:
        _refuse_without_segmentations(Work(folder))
    comparison = compare(folders, roles=(role,))
    if not comparison.differences:
        raise MedsegError(
            Code.USAGE,
            "compare",
            f"the folders share no class of a scored case of role {role}",
            "name another --role (predict.roles names those to predict), or use the same class names in both",
        )
    if csv is not None:
        columns = [f.name for f in fields(Difference)]
        files.write_csv(csv, columns, [_cells(d) for d in comparison.differences])
    if as_json:
        shown = [asdict(d) for d in comparison.differences if d.metric in metrics]
        tree = {"differences": shown, "costs": [asdict(cost) for cost in comparison.costs]}
        sys.stdout.write(json.dumps(tree, indent=1) + "\n")
        return
    console = Console()
    if not console.is_terminal:  # a file or another program takes whole lines
        console = Console(width=_WIDE)
    for table in (_scores(comparison, metrics), _costs(comparison.costs)):
        table.box = table.box if console.is_terminal else box.ASCII
        console.print(table)


def _refuse_without_segmentations(work: Work) -> None:
    """Raise SEGMENTS_NOTHING for an auto-encoder's folder: no stage can give it scores."""
    if (work.model / model_folder.MODEL_JSON).is_file() and not (work.evaluation / "scores.csv").is_file():
        model_folder.read(work.model)


def _cells(difference: Difference) -> dict[str, object]:
    row = asdict(difference)
    row["ci95"] = " ".join(map(str, difference.ci95)) if difference.ci95 else None
    return row


def _scores(comparison: Comparison, metrics: Sequence[str]) -> Table:
    table = Table(title="Paired differences (other − first)")
    for name in ("other", "metric", "class", "first", "other ", "difference", "95 % interval", "cases"):
        table.add_column(name, justify="left" if name in ("other", "metric", "class") else "right")
    for d in comparison.differences:
        if d.metric in metrics:
            interval = f"[{d.ci95[0]:+.4f}, {d.ci95[1]:+.4f}]" if d.ci95 else "fewer than five subjects"
            cases = f"{d.pairs}" + (f" ({d.unpaired} unpaired)" if d.unpaired else "")
            numbers = (f"{d.mean_first:.4f}", f"{d.mean_other:.4f}", f"{d.difference:+.4f}")
            table.add_row(d.other, d.metric, d.class_name, *numbers, interval, cases)
    return table


def _costs(costs: Sequence[Cost]) -> Table:
    table = Table(title="Time and size of each run")
    table.add_column("folder")
    for name in ("epochs (all folds)", "s per epoch", "s per scan", "parameters"):
        table.add_column(name, justify="right")
    for c in costs:
        seconds = [f"{s:.1f}" if s is not None else "–" for s in (c.seconds_per_epoch, c.seconds_per_scan)]
        parameters = f"{c.parameters:,}" if c.parameters is not None else "–"
        table.add_row(c.folder, str(c.epochs or "–"), *seconds, parameters)
    return table
