"""Overlays of scored cases as files, the worst first, for the run's artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from medseg import files
from medseg.metrics.table import ScoreRow
from medseg.report import html
from medseg.report.html import CaseView

_JPEG = b"\xff\xd8"


def write(folder: Path, views: Sequence[CaseView], scores: Sequence[ScoreRow]) -> list[Path]:
    """Write the overlay of each scored case among `views` to `folder`, in place of what lies there.

    The names put the worst case first: `01_0.893_sub-12.png`, with its mean Dice, or IoU of images.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    means = html.case_order(scores)
    scored = sorted((view for view in views if view.case in means), key=lambda view: means[view.case])
    return [_write(folder, rank, view, means[view.case]) for rank, view in enumerate(scored, 1)]


def _write(folder: Path, rank: int, view: CaseView, mean: float) -> Path:
    ending = "jpg" if view.png.startswith(_JPEG) else "png"
    path = folder / f"{rank:02d}_{mean:.3f}_{view.case}.{ending}"
    files.write_bytes(path, view.png)
    return path
