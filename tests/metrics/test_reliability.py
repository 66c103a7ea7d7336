"""The expected calibration error against sums by hand."""

from __future__ import annotations

import math

import pytest

from medseg.metrics import reliability
from medseg.metrics.reliability import Bin


def test_bins_and_error_by_hand() -> None:
    predicted, true = [0.05, 0.95, 0.91, 1.0], [0.25, 0.95, 0.71, 0.8]
    assert reliability.bins(predicted, true) == [
        Bin(1, 0.05, 0.25),
        Bin(3, pytest.approx(2.86 / 3), pytest.approx(2.46 / 3)),
    ]
    error = (1 * 0.2 + 3 * abs(2.86 / 3 - 2.46 / 3)) / 4
    assert reliability.expected_calibration_error(predicted, true) == pytest.approx(error)


def test_predictions_that_are_right_have_no_error_and_none_are_undefined() -> None:
    assert reliability.expected_calibration_error([0.1, 0.55, 0.9], [0.1, 0.55, 0.9]) == 0
    assert math.isnan(reliability.expected_calibration_error([], []))


def test_errors_within_a_bin_cancel_and_between_bins_do_not() -> None:
    assert reliability.expected_calibration_error([0.81, 0.89], [0.89, 0.81]) == pytest.approx(0)
    assert reliability.expected_calibration_error([0.2, 0.8], [0.8, 0.2]) == pytest.approx(0.6)
