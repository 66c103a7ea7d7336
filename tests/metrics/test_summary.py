from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from medseg.metrics import summary
from medseg.metrics.table import METRICS, MISSING, ScoreRow, metrics_of
from tests.oracles import metrics as oracle


def row(case: str, class_name: str = "GM", role: str = "test", **values) -> ScoreRow:
    empty = dict.fromkeys(("dice", "iou", "precision", "recall", "hd95", "assd", "nsd"))
    return ScoreRow(
        fold=0,
        case=case,
        subject=values.pop("subject", case),
        role=role,
        class_name=class_name,
        length_unit="mm",
        size_unit="ml",
        note=values.pop("note", ""),
        **{**empty, "size": 1.0, "reference_size": 1.0, "size_error_percent": None, **values},
    )


SIX = [row(f"c{i}", dice=d, hd95=h) for i, (d, h) in enumerate(
    [(0.9, 1.0), (0.8, 2.0), (0.7, 7.0), (0.95, 1.0), (0.85, 3.0), (None, None)]
)]  # fmt: skip


def gm(rows, metric="dice", **keywords):
    return summary.summarise(rows, {}, **keywords)["sets"]["test"]["classes"]["GM"][metric]


def test_statistics_by_hand():
    found = gm(SIX)
    assert found["mean"] == pytest.approx(0.84)
    assert found["median"] == pytest.approx(0.85)
    assert found["sd"] == pytest.approx(np.std([0.9, 0.8, 0.7, 0.95, 0.85], ddof=1))
    assert (found["n"], found["n_undefined"]) == (5, 1)
    assert found["worst"] == {"case": "c2", "value": 0.7}
    low, high = found["ci95"]
    assert 0.7 < low < 0.84 < high < 0.95


def test_worst_is_the_largest_distance_and_the_largest_size_error_either_way():
    assert gm(SIX, "hd95")["worst"] == {"case": "c2", "value": 7.0}
    rows = [row("a", size_error_percent=-30.0), row("b", size_error_percent=20.0)]
    assert gm(rows, "size_error_percent")["worst"] == {"case": "a", "value": -30.0}


def test_nothing_defined():
    assert gm([row("a"), row("b")]) == {
        "mean": None, "median": None, "sd": None, "ci95": None, "n": 0, "n_undefined": 2, "worst": None,
    }  # fmt: skip


def test_one_case_has_no_spread():
    found = gm([row("a", dice=0.5)])
    assert (found["mean"], found["sd"], found["ci95"]) == (0.5, None, None)


def test_no_interval_below_five_subjects_however_many_cases():
    rows = [row(f"c{i}", subject=f"s{i % 4}", dice=i / 10) for i in range(10)]
    assert gm(rows)["ci95"] is None
    assert gm([*rows, row("c10", subject="s4", dice=0.5)])["ci95"] is not None


def test_the_interval_is_seeded():
    rows = [row(f"c{i}", dice=1 / (i + 1)) for i in range(12)]
    assert gm(rows, seed=1) == gm(rows, seed=1)
    assert gm(rows, seed=1)["ci95"] != gm(rows, seed=2)["ci95"]


def test_the_bootstrap_draws_whole_subjects():
    # Two scans a subject, equal within it: the interval is that of the subjects, not of ten cases.
    subjects = [f"s{i}" for i in range(5)]
    values = [0.1, 0.3, 0.5, 0.7, 0.9]
    twice = summary.interval(np.repeat(values, 2), list(np.repeat(subjects, 2)))
    assert twice == pytest.approx(summary.interval(np.array(values), subjects))


def test_the_bootstrap_agrees_with_drawing_one_by_one():
    values = [0.2, 0.4, 0.9, 0.5, 0.6, 0.1, 0.3]
    subjects = ["a", "a", "a", "b", "c", "d", "e"]
    drawn = np.random.default_rng(7).integers(5, size=(300, 5))
    expected = np.percentile(oracle.bootstrap_means(values, subjects, drawn), [2.5, 97.5])
    assert summary.interval(np.array(values), subjects, seed=7, draws=300) == pytest.approx(tuple(expected))


def test_blocks_do_not_change_the_draws(monkeypatch):
    values, subjects = np.linspace(0, 1, 9), [f"s{i}" for i in range(9)]
    whole = summary.interval(values, subjects, draws=500)
    monkeypatch.setattr(summary, "_BLOCK", 9 * 64)
    assert summary.interval(values, subjects, draws=500) == whole


def test_the_second_mean_of_distances_is_over_missed_and_invented_classes_too():
    rows = [
        row("a", hd95=2.0, assd=1.0, hd95_penalised=2.0, assd_penalised=1.0),
        row("b", hd95_penalised=100.0, assd_penalised=100.0),
        row("c"),  # in neither truth nor prediction
    ]
    distance, penalised = gm(rows, "hd95"), gm(rows, "hd95_penalised")
    assert (distance["mean"], distance["n"], distance["n_undefined"]) == (2.0, 1, 2)
    assert (penalised["mean"], penalised["n"], penalised["n_undefined"]) == (51.0, 2, 1)
    assert penalised["worst"] == {"case": "b", "value": 100.0}
    assert gm(rows, "assd_penalised")["mean"] == 50.5


def test_over_classes_is_the_mean_of_the_cases_means():
    rows = [
        row("a", "GM", dice=0.8),
        row("a", "WM", dice=0.6),
        row("b", "GM", dice=0.4),
        row("b", "WM"),  # undefined: b's mean is over GM alone
        row("c", "GM"),
        row("c", "WM"),
    ]
    found = summary.summarise(rows, {})["sets"]["test"]["over_classes"]["dice"]
    assert found["mean"] == pytest.approx((0.7 + 0.4) / 2)
    assert (found["n"], found["n_undefined"]) == (2, 1)
    assert found["worst"]["case"] == "b"


def test_a_missing_prediction_stays_in_the_denominator_and_is_named():
    rows = [row("a", dice=0.8), row("b", dice=0.0, note=MISSING)]
    found = summary.summarise(rows, {})["sets"]["test"]
    assert found["classes"]["GM"]["dice"]["mean"] == pytest.approx(0.4)
    assert found["missing"] == ["b"]


def test_sets_are_apart():
    rows = [row("a", dice=0.8), row("b", role="val", dice=0.2)]
    matrices = {"test": np.array([[8, 0], [0, 2]]), "val": np.array([[4, 1], [2, 3]])}
    found = summary.summarise(rows, matrices, costs=(1.0, 5.0))["sets"]
    assert found["test"]["classes"]["GM"]["dice"]["mean"] == 0.8
    assert found["val"]["classes"]["GM"]["dice"]["mean"] == 0.2
    assert found["test"]["over_set"]["G"] == 1.0
    assert found["val"]["over_set"]["weighted_error"] == 1 + 5 * 2
    assert (found["val"]["cases"], found["val"]["subjects"]) == (1, 1)


def test_a_case_scored_in_two_folds_counts_twice():
    rows = [row("a", dice=0.8), replace(row("a", dice=0.6), fold=1)]
    found = summary.summarise(rows, {})["sets"]["test"]
    assert (found["cases"], found["subjects"], found["over_classes"]["dice"]["n"]) == (2, 1, 2)


def test_the_summary_is_plain_json():
    matrices = {"test": np.zeros((2, 2), dtype=np.int64)}  # undefined numbers become null
    text = json.dumps(summary.summarise(SIX, matrices), allow_nan=False)
    assert json.loads(text)["sets"]["test"]["over_set"]["mIoU"] is None
    assert tuple(json.loads(text)["sets"]["test"]["over_classes"]) == metrics_of("mm")


def test_iou_by_class_stands_beside_the_numbers_over_the_set():
    matrices = {"test": np.array([[4, 1, 0], [0, 2, 0], [0, 0, 0]])}
    of_set = summary.summarise(SIX, matrices, names=("background", "GM", "WM"))["sets"]["test"]["over_set"]
    assert of_set["iou_by_class"] == {"background": 4 / 5, "GM": 2 / 3, "WM": None}
    of_set = summary.summarise(SIX, matrices)["sets"]["test"]["over_set"]
    assert list(of_set["iou_by_class"]) == ["0", "1", "2"]
    assert "BF" not in of_set


def test_bf_over_the_set_is_the_mean_over_images_of_their_means_over_classes():
    images = [
        row("a", "car", bf=0.8),
        row("a", "sky", bf=0.6),
        row("b", "car", bf=0.3),
        row("b", "sky"),  # not in b's truth
        row("c", "car"),
        row("c", "sky"),
    ]
    images = [replace(image, length_unit="px", size_unit="px") for image in images]
    held = summary.summarise(images, {"test": np.eye(2, dtype=np.int64)})["sets"]["test"]
    assert held["over_set"]["BF"] == pytest.approx((0.7 + 0.3) / 2)
    assert held["classes"]["car"]["bf"]["mean"] == pytest.approx(0.55)
    assert tuple(held["over_classes"]) == METRICS
