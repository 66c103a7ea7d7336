"""The fuzz run that is kept: of the stated size, without a fault, and the one whose table the page shows."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from benchmarks import fuzz
from tests.helpers.fuzz import driver, seeds


def _kept() -> dict[str, driver.Result]:
    kinds = json.loads(fuzz.RESULTS.read_text())["kinds"]
    return {
        name: driver.Result(
            name, row["inputs"], Counter(row["codes"]), row["faults"], row["slowest_s"], row["most_mb"]
        )
        for name, row in kinds.items()
    }


def test_the_kept_run_has_every_kind_of_input_and_no_fault() -> None:
    kept = _kept()
    assert set(kept) == set(seeds.TARGETS)
    assert sum(result.inputs for result in kept.values()) >= fuzz.KEPT
    assert [fault for result in kept.values() for fault in result.faults] == []


def test_the_page_shows_the_kept_run() -> None:
    shown = fuzz.PAGE.read_text().partition(fuzz.BEGIN)[2].partition(fuzz.END)[0]
    assert shown.strip() == fuzz.table(list(_kept().values()))


def test_a_short_run_is_printed_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(target: str, _seed: int, count: int) -> driver.Result:
        return driver.Result(target, count, Counter(read=count), [{"index": 0}] if target == "itk" else [])

    before = fuzz.RESULTS.read_bytes(), fuzz.PAGE.read_bytes()
    monkeypatch.setattr(driver, "run", run)
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--count", "100"])
    assert fuzz.main() == 1  # for the fault
    assert "nothing is written" in capsys.readouterr().out
    assert (fuzz.RESULTS.read_bytes(), fuzz.PAGE.read_bytes()) == before
