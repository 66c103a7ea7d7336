"""Recipes for DICOM: short forms, and keys that do not go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medseg.config.dicom import rules_of
from medseg.config.recipe import Recipe
from medseg.io.dicom.rules import SeriesRules
from pipelines.fold import model_spec

CLASSES = {0: "background", 1: "lesion"}


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "data": {"layout": "dicom", "classes": CLASSES, **data}})


def test_a_text_is_a_pattern_of_the_description_and_one_segment_is_no_list() -> None:
    made_from = recipe(series={"t1": "*t1*", "t2": {"description": "*t2*"}}, segments={1: 3})
    rules = rules_of(made_from.data)
    assert rules.channels["t1"].description == ("*t1*",) and rules.channels["t2"].description == ("*t2*",)
    assert rules.segments.selectors == {1: (3,)} and made_from.data.channel_names() == ("t1", "t2")


def test_without_rules_every_mr_series_is_a_case_of_one_channel() -> None:
    rules = rules_of(recipe().data)
    assert rules.channels == {"image": SeriesRules(modality=("MR",))} and rules.segments.names == {
        1: "lesion"
    }


def test_with_files_rules_of_series_reach_the_model_alone() -> None:
    files = {"layout": "patterns", "channels": {"t1": "{case}.nii"}}
    plain, made_from = recipe(**files), recipe(**files, series={"t1": {"contrast": "t1"}})
    assert made_from.data.used_for_cases() == plain.data.used_for_cases()
    assert model_spec.described(made_from, {}).series == {"t1": SeriesRules(contrast=("t1",))}
    assert (
        recipe(series={"t1": "a"}).data.used_for_cases() != recipe(series={"t1": "b"}).data.used_for_cases()
    )
    assert recipe(layout="plain", series={"t1": "a"}).data.channel_names() == ("image",)


def test_the_background_is_the_class_of_that_name() -> None:
    rules = rules_of(recipe(classes={7: "Background", 0: "lesion"}).data)
    assert rules.background == 7 and rules.segments.names == {0: "lesion"}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"layout": "patterns", "channels": {"t2": "{case}.nii"}, "series": {"t1": "x"}}, "data.series"),
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
        ({"series": {"t1": {"contrast": True}}}, "contrast"),
    ],
)
def test_keys_that_do_not_fit_are_named(data: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        recipe(**data)
