"""Keys of training rules: parts of a batch, averages, falls of the rate, layers one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.phases import Phase, Plateau
from medseg.config.recipe import Recipe
from medseg.config.training import Train
from medseg.train.plan import FitPlan
from tests.helpers.box_runs import TRAIN, recipe_tree
from tests.helpers.tiny_training import TinyNet

PHASE = {"layers": ["*"], "lr": 0.1, "epochs": 1}


def read(folder: Path, splits: Any = None, **train: Any) -> Recipe:
    tree = recipe_tree(train={**TRAIN, **train})
    if splits is not None:
        tree["data"]["splits"] = splits
    (folder / "rules.yaml").write_text(yaml.safe_dump(tree))
    return load.load(str(folder / "rules.yaml"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"accumulate": 0}, "train.accumulate"),
        ({"accumulate": 1.5}, "train.accumulate"),
        ({"ema": 1}, "train.ema"),
        ({"ema": 0}, "train.ema"),
        ({"schedule": "plateau", "plateau": {"patience": 0}}, "train.plateau.patience"),
        ({"schedule": "plateau", "plateau": {"factor": 1}}, "train.plateau.factor"),
        ({"schedule": "plateau", "plateau": {"patient": 3}}, "did you mean patience"),
        ({"plateau": {"patience": 3}}, "the schedule is poly; set train.schedule: plateau"),
        ({"schedule": "plateau", "patience": 5}, "make it more than train.plateau.patience (5)"),
        ({"schedule": "plateau", "splits": "all"}, "data.splits gives none"),
        ({"schedule": "plateau", "splits": {"val": 0}}, "data.splits gives none"),
        ({"schedule": "plateau", "splits": {"train": ["a"], "test": ["b"]}}, "data.splits gives none"),
        ({"phases": [{**PHASE, "unfreeze": "slowly"}]}, "train.phases.0.unfreeze"),
        ({"minutes": 5, "phases": [{**PHASE, "unfreeze": "one_by_one"}]}, "its epochs are counted"),
    ],
)
def test_what_cannot_be_is_refused_at_load_by_key(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        read(tmp_path, **values)
    assert any(words in str(problem) for problem in refused.value.problems), refused.value.problems


@pytest.mark.parametrize(
    "values",
    [
        {"accumulate": 32, "ema": 0.999},
        {"schedule": "plateau"},
        {"schedule": "plateau", "patience": 6, "plateau": {"patience": 5, "factor": 0.5}},
        {"schedule": "plateau", "splits": {"val": 0.1}},
        {"schedule": "plateau", "splits": "listed"},
        {"phases": [{**PHASE, "unfreeze": "one_at_a_time"}]},
    ],
)
def test_a_recipe_that_is_saved_is_read_again(tmp_path: Path, values: dict[str, Any]) -> None:
    recipe = read(tmp_path, **values)
    load.save(recipe, tmp_path / "saved.yaml")
    assert load.load(str(tmp_path / "saved.yaml")) == recipe


def test_trainings_from_before_there_were_these_keys_are_still_up_to_date() -> None:
    old = Train(phases=(Phase(layers=("*",), lr=0.1, epochs=10),))
    assert not {"accumulate", "ema", "plateau"} & old.used().keys()
    assert old.used()["phases"] == [{"layers": ["*"], "lr": 0.1, "epochs": 10}]
    assert not {"accumulate", "ema", "plateau"} & FitPlan(1, 1).settings(TinyNet()).keys()
    new = Train(accumulate=2, ema=0.9, schedule="plateau", plateau=Plateau(factor=0.5))
    assert {key: new.used()[key] for key in ("accumulate", "ema", "plateau")} == {
        "accumulate": 2,
        "ema": 0.9,
        "plateau": {"patience": 5, "factor": 0.5},
    }
    one_by_one = Train(phases=(Phase(layers=("*",), lr=0.1, epochs=10, unfreeze="one_by_one"),))
    assert one_by_one.used()["phases"][0]["unfreeze"] == "one_by_one"
