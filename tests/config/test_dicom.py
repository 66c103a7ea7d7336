"""Recipes for DICOM: short forms, and keys that do not go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medseg.config.dicom import rules_of
from medseg.config.recipe import Recipe

CLASSES = {0: "background", 1: "lesion"}


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "data": {"layout": "dicom", "classes": CLASSES, **data}})


def test_a_text_is_a_pattern_of_the_description_and_one_segment_is_no_list() -> None:
    made_from = recipe(series={"t1": "*t1*", "t2": {"description": "*t2*"}}, segments={1: 3})
    rules = rules_of(made_from.data)
    assert rules.channels["t1"].description == ("*t1*",) and rules.channels["t2"].description == ("*t2*",)
    assert rules.segments.selectors == {1: (3,)} and made_from.data.channel_names() == ("t1", "t2")


def test_without_rules_every_series_is_a_case_of_one_channel() -> None:
    rules = rules_of(recipe().data)
    assert list(rules.channels) == ["image"] and rules.segments.names == {1: "lesion"}


def test_the_background_is_the_class_of_that_name() -> None:
    rules = rules_of(recipe(classes={7: "Background", 0: "lesion"}).data)
    assert rules.background == 7 and rules.segments.names == {0: "lesion"}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"layout": "plain", "series": {"t1": "x"}}, "data.series"),
        ({"layout": "auto", "segments": {1: "x"}}, "data.segments"),
        ({"channels": {"t1": "{case}.nii"}}, "data.channels"),
        ({"subject": "{subject}_*"}, "data.subject"),
        ({"label_form": {"above": 3}}, "data.label_form"),
        ({"background": False}, "data.background"),
        ({"splits": "listed"}, "data.splits"),
        ({"segments": {4: "x"}}, "data.segments"),
        ({"series": {"t1": {"descripton": "x"}}}, "descripton"),
        ({"segments": {1: []}}, "segments"),
        ({"series": {"t1": {"min_slices": 0}}}, "min_slices"),
    ],
)
def test_keys_that_do_not_fit_are_named(data: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        recipe(**data)
