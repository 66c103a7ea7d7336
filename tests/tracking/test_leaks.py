"""A patient's name in a run's parameters, tags or artifacts is seen by the scan for leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.tracking.tracker import Tracker
from tests.helpers.leaks import Words, leaks

WORDS = Words.of(["ZZMEIER^CANARYANNA"], ["ZZ[A-Z]{2,}"])


@pytest.mark.parametrize("channel", ["nothing", "param", "tag", "artifact"])
def test_a_name_in_mlflow_is_seen(channel: str, work: Path, tracker: Tracker, tmp_path: Path) -> None:
    (page := tmp_path / "report.html").write_text(
        "CANARYANNA" if channel == "artifact" else "mr-0123456789ab"
    )
    params = {"data": "/export/ZZMEIER" if channel == "param" else "mr-0123456789ab"}
    tags = {"medseg.cases": "CANARYANNA" if channel == "tag" else "7"}
    with tracker.start("fold 0", params=params, tags=tags) as run:
        run.artifact(page)
    assert bool(leaks(work, WORDS)) == (channel != "nothing")
