"""The curves of docs/performance.md: what is measured for each point, and what the figure shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import growth
from medseg.infer import loading


def test_the_steps_of_a_scan_add_up_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "WIDTH", 2)
    model = loading.load(growth.write_model(tmp_path / "model", classes=3, depth=1, stride=20))
    scan = growth.write_scan(tmp_path / "scan.nii.gz", (40, 44, 4))
    for mode in ("dense", "vote"):
        seconds = growth.one_scan(model, scan, mode)
        assert set(seconds) == {"total", *growth.STEPS}
        assert all(value >= 0 for value in seconds.values())
        assert sum(seconds[step] for step in growth.STEPS) == pytest.approx(
            seconds["total"], rel=0.2, abs=0.05
        )
        assert seconds["network"] > 0


def test_medians_are_taken_of_each_value() -> None:
    runs = [{"total": 3.0, "read": 1.0}, {"total": 1.00004, "read": 5.0}, {"total": 1.0, "read": 2.0}]
    assert growth.medians(runs) == {"total": 1.0, "read": 2.0}


def test_the_figure_shows_each_curve_that_was_measured(tmp_path: Path) -> None:
    content = json.loads(growth.RESULT.read_text())
    growth.draw(content, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    for title, _ in growth.TITLES.values():
        assert f">{title}<" in text
    assert f"{content['curves']['voxels'][-1]['network']:.3f} s" in text
    assert list(content["curves"]) == list(growth.TITLES)


def test_the_page_has_the_figure_of_what_was_measured() -> None:
    row = json.loads(growth.RESULT.read_text())["curves"]["voxels"][-1]
    shown = growth.FIGURE.read_text()
    for step in growth.STEPS:
        assert f">{row[step]:.3f} s<" in shown, "run `python -m benchmarks.growth --draw`"
