"""Scores of objects: cases by hand, the slow oracle, tables and summary."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import files
from medseg.metrics import objects
from medseg.metrics.objects import ObjectCounts, ObjectRow, count
from medseg.metrics.table import Entry
from tests.oracles import objects as oracle


def _row(*numbers: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.array(numbers, np.uint16)


def test_a_row_by_hand() -> None:
    # 1 of 4 px is met by 5 of 4 px in 3: IoU 3/5. 2 of 3 px is met in 1 px of 3 by 6: 1/5. 7 meets nothing.
    truth = _row(1, 1, 1, 1, 0, 2, 2, 2, 0, 0, 0, 0)
    guess = _row(0, 5, 5, 5, 5, 0, 0, 6, 6, 6, 0, 7)
    found = count(truth, guess)
    assert asdict(found) == {
        "reference": 2, "predicted": 3, "pairs": 1, "iou": 0.6, "intersection": 4, "union": 5 + 5 + 1,
    }  # fmt: skip
    assert found.f1 == pytest.approx(2 / 5)
    assert found.sq == pytest.approx(0.6)
    assert found.pq == pytest.approx(0.6 * 2 / 5)
    assert found.aji == pytest.approx(4 / 11)


def test_half_is_no_pair_and_merged_objects_are_one_prediction() -> None:
    half = count(_row(1, 1, 1, 0), _row(0, 2, 2, 2))  # 2 of 4 px
    assert (half.pairs, half.f1, half.aji) == (0, 0.0, 0.5)
    merged = count(_row(1, 1, 2, 2, 2), _row(1, 1, 1, 1, 1))  # 3 of 5 px
    assert (merged.pairs, merged.iou) == (1, 0.6)
    assert merged.f1 == pytest.approx(2 / 3)
    assert (merged.intersection, merged.union) == (5, 10)  # the one predicted object is taken twice


def test_nothing_and_nothing_in_one_of_them() -> None:
    nothing = count(_row(0, 0), _row(0, 0))
    assert (nothing.f1, nothing.pq, nothing.sq, nothing.aji) == (None, None, None, None)
    for found in (count(_row(1, 0), _row(0, 0)), count(_row(0, 0), _row(0, 4)), count(_row(1, 0), None)):
        assert (found.f1, found.pq, found.sq, found.aji) == (0, 0, None, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_equal_to_the_slow_oracle(seed: int, shape: tuple[int, int], ours: int, theirs: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, ours + 1, shape).astype(np.uint16)
    guess = np.where(rng.random(shape) < 0.6, truth * (theirs > 0), rng.integers(0, theirs + 1, shape))
    found, expected = asdict(count(truth, guess)), oracle.scores(truth, guess)
    assert found == pytest.approx(expected)


def test_numbers_may_be_any_and_their_order_does_not_count() -> None:
    rng = np.random.default_rng(1)
    truth, guess = rng.integers(0, 5, (2, 9, 9))
    new = np.array([0, 60_000, 3, 900, 17])
    assert asdict(count(new[truth], guess)) == pytest.approx(asdict(count(truth, guess)))


def test_over_a_set_counts_are_added_up_and_aji_is_the_images_mean(tmp_path: Path) -> None:
    first = ObjectCounts(4, 4, 3, 2.4, 80, 100)
    second = ObjectCounts(1, 0, 0, 0.0, 0, 10)
    empty = ObjectCounts(0, 0, 0, 0.0, 0, 0)
    rows = [ObjectRow(Entry(f"c{n}", f"c{n}"), counts) for n, counts in enumerate((first, second, empty))]
    found = objects.summarise(rows)
    assert (found["objects"], found["predicted"], found["pairs"]) == (5, 4, 3)
    assert found["f1"] == pytest.approx(6 / 9)
    assert found["sq"] == pytest.approx(0.8)
    assert found["pq"] == pytest.approx(0.8 * 6 / 9)
    assert found["aji"] == pytest.approx(0.4)
    assert (found["over_images"]["f1"]["n"], found["over_images"]["f1"]["n_undefined"]) == (2, 1)
    assert found["over_images"]["f1"]["worst"] == {"case": "c1", "value": 0.0}
    objects.write(tmp_path / "objects.csv", rows)
    written = files.read_csv(tmp_path / "objects.csv")
    assert [row["f1"] for row in written] == ["0.75", "0.0", ""]
    assert (written[0]["case"], written[0]["set"], written[0]["predicted"]) == ("c0", "test", "4")
