"""Curves from signs to an expected Dice: no sign raises it, and a threshold parts failed from good ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medseg.model.calibration import Calibration, Curve, Sample, fit


def samples(cases: int = 12, seed: int = 0) -> list[Sample]:
    """Cases whose Dice falls with two signs; a third says nothing. Each is clean once, corrupted thrice."""
    rng = np.random.default_rng(seed)
    made_of = []
    for case in range(cases):
        for corruption in ("", "a", "b", "c"):
            hurt = rng.uniform(0, 0.1) if not corruption else rng.uniform(0, 1)
            signs = {"unsure": hurt + rng.normal(0, 0.02), "size": 2 * hurt, "none": rng.uniform(0, 1)}
            signs = {name: max(0.0, value) for name, value in signs.items()}
            dice = max(0.0, 0.92 - 0.9 * hurt)
            of = {"x": dice, "y": max(0.0, dice - 0.05)}
            made_of.append(Sample(f"c{case}", corruption, {"x": signs, "y": signs}, of, 0.9))
    return made_of


def test_the_expected_dice_follows_the_true_one() -> None:
    fitted = fit(samples())
    new = samples(seed=1)
    errors = [abs(fitted.expect(s.signs)[name] - s.dice[name]) for s in new for name in ("x", "y")]
    assert np.mean(errors) < 0.03
    assert fitted.fitted["correlation"] > 0.95 and fitted.fitted["cases"] == 12


def test_the_threshold_parts_failed_cases_from_good_clean_ones() -> None:
    fitted = fit(samples())
    flagged = {True: [0, 0], False: [0, 0]}  # failed or good clean: number flagged, number
    for one in samples(seed=2):
        mean = float(np.mean(list(fitted.expect(one.signs).values())))
        true = one.mean_dice
        assert true is not None
        if true < 0.7 or (true > 0.8 and not one.corruption):
            counts = flagged[true < 0.7]
            counts[0] += mean < fitted.review_below
            counts[1] += 1
    assert flagged[True][0] == flagged[True][1] > 10
    assert flagged[False][0] <= 0.1 * flagged[False][1]


@settings(max_examples=50, deadline=None)
@given(
    signs=st.dictionaries(st.sampled_from(["unsure", "size", "none", "unknown"]), st.floats(0, 4)),
    more=st.floats(0, 4),
    name=st.sampled_from(["unsure", "size", "none"]),
)
def test_no_sign_can_raise_the_expected_dice(signs: dict[str, float], more: float, name: str) -> None:
    curve = FITTED.structures["x"]
    worse = {**signs, name: signs.get(name, 0.0) + more}
    assert 0 <= curve.expect(worse) <= curve.expect(signs) <= 1


FITTED = fit(samples())


def test_a_calibration_comes_back_from_its_numbers() -> None:
    again = Calibration.model_validate_json(FITTED.model_dump_json())
    assert again == FITTED
    assert "flags" in again.words() and str(again.fitted["failed"]) in again.words()


def test_a_negative_weight_and_an_unknown_key_are_refused() -> None:
    good: dict[str, Any] = {"weights": {"unsure": 0.1}, "scores": (0.0,), "dice": (0.9,)}
    Curve.model_validate(good)
    for change in ({"weights": {"unsure": -0.1}}, {"dice": (1.1,)}, {"scores": ()}, {"other": 1}):
        with pytest.raises(ValidationError):
            Curve.model_validate({**good, **change})


def test_structures_that_are_nowhere_are_left_out_and_none_at_all_is_refused() -> None:
    without = [Sample(s.case, s.corruption, s.signs, {"x": s.dice["x"], "y": None}, 0.9) for s in samples()]
    assert fit(without).structures.keys() == {"x"}
    with pytest.raises(ValueError, match="no sample"):
        fit([Sample("c", "", {}, {"x": None}, 0.9)])


def test_few_samples_do_not_fail() -> None:
    one = fit(samples()[:1])
    assert 0 <= one.review_below <= 1 and one.fitted["correlation"] is None
    alike = [Sample("c", "", {"x": {"unsure": 0.1}}, {"x": 0.9}, 0.9)] * 3
    assert fit(alike).expect({"x": {"unsure": 0.1}})["x"] == pytest.approx(0.9)


def test_where_all_failed_or_none_did_the_threshold_lies_beyond_them() -> None:
    failed = [s for s in samples() if (s.mean_dice or 0) < 0.6]
    means = [float(np.mean(list(fit(failed).expect(s.signs).values()))) for s in failed]
    assert fit(failed).review_below > np.median(means)
    good = [s for s in samples() if not s.corruption]
    assert 0.7 < fit(good).review_below <= 0.8
