"""Old keys are refused with their new names; unknown keys with the nearest there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import class_file, load, renamed
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.errors import MedsegError

SMALL: dict[str, Any] = {"name": "small", "data": {"classes": {0: "background", 1: "lesion"}}}


def lines(folder: Path, tree: dict[str, Any], *settings: str) -> list[str]:
    """The lines that a recipe is refused with, without its path."""
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(RecipeError) as caught:
        load.load(str(path), settings)
    return [str(p).removeprefix(f"RECIPE_INVALID {path}: ") for p in caught.value.problems]


@pytest.mark.parametrize(("old", "new"), renamed.KEYS.items())
def test_an_old_key_is_refused_with_its_new_name(tmp_path: Path, old: str, new: str) -> None:
    section, key = old.split(".")
    expected = [f"{old}: renamed; use {new}"]
    assert lines(tmp_path, {**SMALL, section: {key: "anything"}}) == expected
    assert lines(tmp_path, SMALL, f"{old}=0.5") == expected
    known = list(load.keys_of(Recipe))
    assert new in known and old not in known


def test_the_share_of_patches_around_a_class_has_its_usual_name() -> None:
    assert renamed.KEYS["sampling.class_share"] == "sampling.foreground_oversampling"


@pytest.mark.parametrize("key", renamed.VALUES)
def test_an_old_value_is_refused_with_its_new_name(tmp_path: Path, key: str) -> None:
    for old, new in renamed.VALUES[key].items():
        expected = [f"{key}: {old} is renamed; use {new}"]
        section, name = key.split(".")
        assert lines(tmp_path, {**SMALL, section: {name: old}}) == expected
        assert lines(tmp_path, SMALL, f"{key}={old}") == expected
        path = tmp_path / "r.yaml"
        assert load.load(str(path), [f"{key}={new}"]).name == "small"


def test_old_keys_are_told_beside_other_problems(tmp_path: Path) -> None:
    tree = {**SMALL, "sampling": {"class_share": 1, "order": "each_once", "depth": 2}}
    assert len(lines(tmp_path, tree, "train.keep_best_by=G", "predict.mode=magic")) == 5


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("train.epohcs=5", "train.epohcs: unknown key; did you mean epochs?"),
        ("trian.epochs=5", "trian: unknown key; did you mean train?"),
        ("batch=5", "batch: unknown key; did you mean train.batch or predict.batch?"),
        ("predict.epochs=5", "predict.epochs: unknown key; did you mean train.epochs"),
        ("train.augment.rotate_degree=5", "did you mean rotate_degrees?"),
        (
            "train.phases=[{layer: ['*'], lr: 1, epochs: 10}]",
            "train.phases.0.layer: unknown key; did you mean layers?",
        ),
        ("data.splits.fold=3", "data.splits.fold: unknown key; did you mean folds?"),
        ("data.classes.1={nam: a}", "data.classes.1.nam: unknown key; did you mean name?"),
        ("network.weights.fiel=a", "network.weights.fiel: unknown key; did you mean file?"),
        ("predict.crf.sigma_alfa=3", "predict.crf.sigma_alfa: unknown key; did you mean sigma_alpha?"),
        ("evaluate.zzz=3", "evaluate.zzz: unknown key; known keys here: nsd_tolerance, bf_tolerance"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path, setting: str, line: str) -> None:
    assert any(line in text for text in lines(tmp_path, SMALL, setting)), lines(tmp_path, SMALL, setting)


def test_an_unknown_key_of_a_class_file_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("classes: {0: a, 1: b}\nviod: 3\n")
    with pytest.raises(MedsegError, match="unknown key viod; did you mean void"):
        class_file.read(str(tmp_path / "mine.yaml"))
