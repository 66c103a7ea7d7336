"""Recipes of auto-encoders: no classes are asked for, and what is about labels is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.errors import Code
from tests.helpers.box_runs import TRAIN, recipe_tree

PARTS = {"network": {"name": "autoencoder", "keywords": {"width": 2}}, "loss": {"name": "reconstruction"}}


def read(folder: Path, **parts: Any) -> Recipe:
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe_tree(**{**PARTS, **parts})))
    return load.load(str(folder / "r.yaml"))


def test_classes_may_be_left_out(tmp_path: Path) -> None:
    data = {"layout": "patterns", "channels": {"t1": "{case}.nii.gz"}}
    recipe = read(tmp_path, data=data)
    assert recipe.reconstructs
    load.save(recipe, tmp_path / "saved.yaml")
    assert load.load(str(tmp_path / "saved.yaml")) == recipe
    with pytest.raises(RecipeError) as refused:
        read(tmp_path, data=data, network={"name": "unet"}, loss={"name": "ce"})
    assert any("data.classes: missing; add the key" in str(one) for one in refused.value.problems)


def test_labels_may_stand_in_the_recipe_and_masks_too(tmp_path: Path) -> None:
    assert read(tmp_path).data.class_list().names == ("background", "outer", "inner")
    data = {"channels": {"t1": "{case}.nii.gz"}, "masks": {"a": "{case}_a.nii.gz", "b": "{case}_b.nii.gz"}}
    assert read(tmp_path, data={"layout": "patterns", **data}).reconstructs


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ({"network": {"name": "unet"}}, "loss.name"),
        ({"loss": {"name": "ce_dice"}}, "loss.name"),
        ({"loss": {**PARTS["loss"], "class_weights": [1, 1, 1]}}, "loss.class_weights"),
        ({"loss": {**PARTS["loss"], "weight_map": {}}}, "loss"),
        ({"train": {**TRAIN, "monitor": "miou"}}, "train.monitor"),
        ({"train": {**TRAIN, "resizing": [{"epochs": 1, "scale": 0.5}]}}, "train.resizing"),
        ({"train": {**TRAIN, "keep_at": [1]}}, "train.keep_at"),
        ({"predict": {"mode": "vote"}}, "predict.mode"),
        ({"predict": {"calibrate": True}}, "predict.calibrate"),
        ({"predict": {"crf_search": {"w1": [1, 2]}}}, "predict.crf_search"),
        ({"report": {"explain": ["inner"]}}, "report.explain"),
        ({"tracking": {"register_as": "brains"}}, "tracking.register_as"),
    ],
)
def test_what_an_auto_encoder_has_no_use_for_is_refused(
    tmp_path: Path, parts: dict[str, Any], key: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        read(tmp_path, **parts)
    problems = [p for p in refused.value.problems if p.where.endswith(f": {key}")]
    assert len(problems) == 1, refused.value.problems
    assert problems[0].code == Code.RECIPE_INVALID
