"""Training rules of a recipe in whole runs: parts of a batch, averages, plateaus, layers one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from medseg import files
from medseg.errors import Code, ExitCode, MedsegError
from medseg.train import state
from pipelines.fold import data, model_spec, network
from pipelines.fold.data import PreparedCases
from pipelines.fold.fold import FoldTraining
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go, recipe_tree
from tests.helpers.box_subjects import make_subjects

SHAKEN = {"flip": ["left_right"], "rotate_degrees": 10, "noise": 0.1, "elastic_px": 1, "gibbs": 0.5}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rules")
    make_subjects(place / "data", labelled=5)
    for stage in ("ingest", "preprocess"):
        go(place / "data", place / "work", only=stage)
    return place


def recipe(**train: Any) -> Any:
    from medseg.config.recipe import Recipe

    return Recipe.model_validate(recipe_tree(train={**TRAIN, **train}))


@pytest.mark.parametrize("order", ["random", "shuffled"])
def test_parts_draw_and_change_the_windows_of_the_whole_batch(prepared: Path, order: str) -> None:
    """So four windows in two parts are, up to batch norm, four windows at once."""
    cases = PreparedCases(Work(prepared / "work")).of_role(0, "train")

    def batches(batch: int, accumulate: int) -> data.Batches:
        wanted = recipe(batch=batch, accumulate=accumulate, augment=SHAKEN)
        wanted = wanted.model_copy(
            update={"sampling": wanted.sampling.model_copy(update={"order": order, "window": (16, 16)})}
        )
        return data.batches(wanted, cases, network.network_without_weights(wanted, 1))

    whole, parts = batches(4, 1), batches(2, 2)
    assert parts.steps_per_epoch == whole.steps_per_epoch
    for t in range(2):
        arrays = [torch.as_tensor(a) for a in whole.sampler(t)]
        expected = whole.augment(arrays[0], arrays[1], t, slice(None), *arrays[2:])
        for part in range(2):
            rows = slice(part, None, 2)
            arrays = [torch.as_tensor(a) for a in parts.sampler(t, rows)]
            found = parts.augment(arrays[0], arrays[1], t, rows, *arrays[2:])
            for one, other in zip(found, expected, strict=True):
                assert len(one) == 2
                np.testing.assert_allclose(one, other[rows], rtol=1e-5, atol=1e-5)


def test_a_run_by_all_rules_goes_on_to_the_same_model(prepared: Path) -> None:
    rules = {
        **{"accumulate": 2, "ema": 0.9, "schedule": "plateau", "plateau": {"patience": 1}, "epochs": 16},
        "phases": [{"layers": ["*"], "lr": 0.01, "epochs": 16, "unfreeze": "one_by_one"}],
    }
    parts = {"train": {**TRAIN, **rules, "steps_per_epoch": 1}}
    ended, said = go(prepared / "data", prepared / "all", parts=parts)
    assert ended == ExitCode.DONE
    assert "16 epochs × 1 step of 2 × 2 patches" in said
    assert "up to date" in go(prepared / "data", prepared / "all", parts=parts)[1]
    folder = prepared / "all/train/0"
    assert len(files.read_csv(folder / "history.csv")) == 16
    checkpoint = state.read_any(folder / "last.ckpt")
    assert len(checkpoint.settings["phases"]) == 15
    member = safetensors.torch.load_file(prepared / "all/model/fold0.safetensors")
    assert all(
        torch.equal(value, member[name]) for name, value in state.read_network(folder / "best.ckpt").items()
    )
    assert not all(torch.equal(value, member[name]) for name, value in checkpoint.network.items())


@pytest.mark.parametrize(
    ("train", "where", "words"),
    [
        (
            {"epochs": 3, "phases": [{"layers": ["*"], "lr": 0.1, "epochs": 3, "unfreeze": "one_by_one"}]},
            "train.phases.0.epochs",
            "make them 15 or more",
        ),
        (
            {"phases": [{"layers": ["no.*"], "lr": 0.1, "epochs": 1, "unfreeze": "one_at_a_time"}]},
            "train.phases",
            "no parameter's name matches 'no.*'",
        ),
        ({"batch": 3, "processes": 2, "accumulate": 2}, "train.batch", "multiple of train.processes"),
    ],
)
def test_what_the_network_cannot_do_is_refused_before_anything_runs(
    train: dict[str, Any], where: str, words: str
) -> None:
    with pytest.raises(MedsegError) as caught:
        network.check_training_step(recipe(**train), 1)
    assert caught.value.code is Code.KEYWORD_INVALID
    assert caught.value.finding.where == where
    assert words in str(caught.value)


def test_auxiliary_heads_weigh_in_the_loss_of_a_training_and_are_not_described(prepared: Path) -> None:
    keywords = {"width": 4, "backbone": "resnet18", "auxiliary": 0.25}
    wanted = recipe()
    part = wanted.network.model_copy(update={"name": "pspnet", "keywords": keywords})
    wanted = wanted.model_copy(update={"network": part})
    arguments = FoldTraining(wanted, Work(prepared / "work"), 0).arguments()
    assert arguments["loss"].head_weights == (0.25, 1.0) == arguments["network"].head_weights
    assert "auxiliary" not in model_spec.described(wanted, {}).keywords
    assert network.check_training_step(wanted, 1) == 2


def test_rates_never_fall_by_test_cases(prepared: Path) -> None:
    """The rate goes by the scores of validation cases alone."""
    wanted = recipe(schedule="plateau")
    training = FoldTraining(wanted, Work(prepared / "work"), 0)
    assert [case.name for case in training.cases.validation] == ["s2"]
    tested = {"s3", "s4"}
    assert not tested & {case.name for case in (*training.cases.train, *training.cases.validation)}
