"""The table of few labelled scans: who is trained on and tested, and the curves that are drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import few_labels


@pytest.mark.parametrize("count", few_labels.COUNTS)
def test_no_scan_is_trained_on_and_tested(count: int) -> None:
    splits = few_labels.settings(count, "from scratch", minutes=3, seed=0)[0]
    trained, tested = splits.split("test:")
    assert sum(scan in trained for scan in few_labels.SCANS) == count
    assert all(scan in tested for scan in few_labels.TESTED)
    assert not set(few_labels.SCANS) & set(few_labels.TESTED)


def test_curves_show_both_starts(tmp_path: Path) -> None:
    rows = [
        {"scans": n, "start": start, "mean": 0.9 + n / 100} for n in (1, 4) for start in few_labels.STARTS
    ]
    few_labels.draw({"rows": rows}, tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert all(f">{word}<" in drawn for word in (*few_labels.STARTS, "labelled scans to train on"))
