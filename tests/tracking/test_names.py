"""Names that MLflow takes: by hand, and no two alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.tracking.names import MAX_KEY, metric_name

HARD = st.text(st.sampled_from("_0x28/.() -aé:g"), max_size=12)


def undone(name: str) -> str:
    """The key of a short name: every `_0x…_` is a character."""
    return re.sub(r"_0x([0-9a-f]*)_", lambda found: chr(int(found[1], 16)) if found[1] else "", name)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("val/dice_GM", "val/dice_GM"),
        ("val/dice_white-matter 2.5", "val/dice_white-matter 2.5"),
        ("val/dice_Großhirn", "val/dice_Großhirn"),
        ("val/dice_GM (left)", "val/dice_GM _0x28_left_0x29_"),
        ("val/dice_GM [left]", "val/dice_GM _0x5b_left_0x5d_"),
        ("a//b", "a/_0x2f_b"),
        ("a/", "a_0x2f_"),
        ("/a", "_0x2f_a"),
        ("a/../b", "a/_0x2e_./b"),
        (".", "_0x2e_"),
        ("..a", "_0x2e_.a"),
        ("a..b", "a..b"),
        ("_0x28_", "_0x5f_0x28_"),
        ("_x", "_x"),
        ("", "_0x_"),
    ],
)
def test_by_hand(key: str, name: str) -> None:
    assert metric_name(key) == name


@pytest.mark.parametrize("ascii_only", [False, True])
@settings(deadline=None)  # MLflow is imported on the way
@given(key=st.one_of(st.text(max_size=30), HARD, st.text("a(", min_size=200, max_size=300)))
def test_mlflow_takes_every_name(key: str, ascii_only: bool) -> None:
    from mlflow.utils.validation import _validate_metric_name

    name = metric_name(key, ascii_only=ascii_only)
    _validate_metric_name(name)
    assert len(name) <= MAX_KEY
    assert name.isascii() or not ascii_only


@given(st.one_of(st.text(max_size=30), HARD))
def test_short_names_can_be_undone(key: str) -> None:
    assert undone(metric_name(key)) == key


@given(
    st.one_of(HARD, st.text("a(_", min_size=240, max_size=260)),
    st.one_of(HARD, st.text("a(_", min_size=240, max_size=260)),
)
def test_different_keys_have_different_names(one: str, other: str) -> None:
    assert (metric_name(one) == metric_name(other)) == (one == other)


def test_long_names_differ_by_their_ends() -> None:
    one, other = (metric_name("x" * 300 + end) for end in "ab")
    assert one != other
    assert len(one) == len(other) == MAX_KEY
