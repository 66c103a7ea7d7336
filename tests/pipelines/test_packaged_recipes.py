"""Packaged recipes on generated samples of their data: each checks its folder and trains two steps."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.fold import network
from pipelines.run import Request
from tests.helpers.recipe_samples import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_takes_the_sizes_of_the_recipe(name: str) -> None:
    recipe = load.load(name)
    network.check_sizes(recipe, network.network_without_weights(recipe, len(recipe.data.channel_names())))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_checks_its_folder_and_trains_two_steps(name: str, tmp_path: Path) -> None:
    sample, say = RECIPES[name], Reporter(stream=io.StringIO())
    request = Request(name, tmp_path / "data", tmp_path / "work", sample.settings)
    (tmp_path / "data").mkdir()
    with pytest.raises(MedsegError) as refused:
        pipeline.run(request, say, only="ingest")
    assert refused.value.code is Code.NOTHING_USABLE
    sample.build(tmp_path / "data")
    for stage in ("ingest", "preprocess", "train"):
        assert pipeline.run(request, say, only=stage) == ExitCode.DONE
    assert len(files.read_csv(tmp_path / "work/ingest/cases.csv")) == sample.cases
    assert files.read_csv(tmp_path / "work/ingest/quarantine.csv") == []
    epochs = files.read_csv(tmp_path / "work/train/0/history.csv")
    assert len(epochs) == 2 and int(epochs[-1]["step"]) >= 2
    assert all(math.isfinite(float(epoch["train_loss"])) for epoch in epochs)
    assert (tmp_path / "work/model/model.json").is_file()
