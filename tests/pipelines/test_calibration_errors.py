"""The expected calibration errors that a run logs, and the diagram of the report."""

from __future__ import annotations

from typing import Any

import pytest

from medseg.metrics.table import ScoreRow
from medseg.report import charts
from pipelines import tracked_scores


def row(case: str, name: str, dice: float | None, role: str = "test") -> ScoreRow:
    undefined: dict[str, Any] = dict.fromkeys(("iou", "precision", "recall", "hd95", "assd", "nsd", "size"))
    return ScoreRow(
        **{"fold": 0, "case": case, "subject": case, "role": role, "class_name": name, "dice": dice},
        **undefined,
        **{"length_unit": "mm", "reference_size": 1.0, "size_unit": "ml", "size_error_percent": None},
    )


ROWS = [row("a", "x", 0.9), row("a", "y", 0.7), row("b", "x", 0.5), row("b", "y", None), row("c", "x", 0.1)]
PREDICTED = {
    (0, "a"): {"predicted_dice": 0.85, "quality": 0.95},
    (0, "b"): {"predicted_dice": 0.52, "quality": 0.95},
    (0, "c"): {"quality": 0.5},  # predicted before the model was calibrated
}


def test_errors_are_over_the_cases_whose_dice_was_predicted() -> None:
    errors = tracked_scores.calibration_errors(ROWS, PREDICTED)
    assert errors["test_calibration_error"] == pytest.approx((abs(0.85 - 0.8) + abs(0.52 - 0.5)) / 2)
    assert errors["test_calibration_error_of_confidence"] == pytest.approx(0.95 - (0.8 + 0.5) / 2)


def test_nothing_is_logged_without_a_calibration() -> None:
    assert tracked_scores.calibration_errors(ROWS, {(0, "a"): {"quality": 0.9}}) == {}


def test_the_diagram_names_both_errors() -> None:
    true = {"a": 0.8, "b": 0.5}
    figure = charts.reliability_diagram({"a": 0.95, "b": 0.95}, {"a": 0.85, "b": 0.52}, true).decode()
    assert "<svg" in figure and figure.count("calibration error") >= 2
    assert "0.035" in figure and "0.300" in figure
