"""FCN-32s, 16s and 8s, each from the model of the one before, and FCN-32s-fixed, by the packaged recipes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
import yaml

from medseg.config import load
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.model import folder as model_folder
from medseg.train import state
from pipelines import run as pipeline
from pipelines.fold.network import build_network
from pipelines.run import Request
from tests.helpers.image_sets import SAMPLES, VOC

SMALL = (
    *("train.epochs=2", "train.batch=2", "train.accumulate=2", "train.validate_every=1", "train.threads=1"),
    *("sampling.window=[32,32]", "network.keywords={width: 2, hidden: 4}", "train.device=cpu"),
    *("tracking.enabled=false", "train.precision=fp32"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voc")
    SAMPLES["voc"].build(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a training is not measured before it: that takes longer than two steps."""
    monkeypatch.setattr("pipelines.fold.speed.seconds_of_step", lambda _: 0.01)


def go(place: Path, recipe: str, *settings: str) -> str:
    """Train two steps by a packaged recipe, made small; what was said."""
    stream = io.StringIO()
    request = Request(recipe, place / VOC, place / recipe, (*SMALL, *settings))
    for stage in ("ingest", "preprocess", "train"):
        assert pipeline.run(request, Reporter(stream=stream), only=stage) == ExitCode.DONE
    return stream.getvalue()


def test_three_stages_each_from_the_model_before(place: Path) -> None:
    go(place, "voc_fcn32s", "train.lr=0.1")
    for coarse, fine in (("voc_fcn32s", "voc_fcn16s"), ("voc_fcn16s", "voc_fcn8s_staged")):
        named = load.load(fine).network.init_from
        assert named is not None and named.parts[-3:] == ("work", coarse, "model")
        said = go(place, fine, f"network.init_from={place / coarse / 'model'}", "train.lr=1e-9")
        assert f"starts from {place / coarse / 'model'}" in said
        before = model_folder.load_network(place / coarse / "model", "fold0")[1].state_dict()
        after = state.read_network(place / fine / "train/0/last.ckpt")
        assert before["score.weight"].any()
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-5)
        fresh = after.keys() - before.keys()
        assert all(float(after[name].abs().max()) < 1e-4 for name in fresh if name.startswith("skip_scores."))


def test_a_stage_without_the_model_before_is_refused_at_once(place: Path) -> None:
    absent = f"network.init_from={place / 'nowhere'}"
    with pytest.raises(RecipeError) as refused:
        pipeline.run(
            Request("voc_fcn16s", place / VOC, place / "refused", (*SMALL, absent)),
            Reporter(stream=io.StringIO()),
        )
    assert any("train that model first" in str(problem) for problem in refused.value.problems)
    assert not (place / "refused").exists()


def test_fixed_trains_the_last_layer_alone(place: Path) -> None:
    (phase,) = load.load("voc_fcn32s_fixed").train.phases
    short = yaml.safe_dump([{"layers": [*phase.layers], "lr": 0.1, "epochs": 2}], default_flow_style=True)
    go(place, "voc_fcn32s_fixed", f"train.phases={short.strip()}")
    start = build_network(load.load("voc_fcn32s_fixed", [*SMALL, f"train.phases={short.strip()}"]), 3)
    trained = state.read_network(place / "voc_fcn32s_fixed/train/0/last.ckpt")
    moved = {name for name, value in start.state_dict().items() if not torch.equal(value, trained[name])}
    assert moved == {"score.weight", "score.bias"}


def test_stages_are_as_the_paper_has_them() -> None:
    rates = {name: load.load(name).train for name in ("voc_fcn32s", "voc_fcn16s", "voc_fcn8s_staged")}
    assert {train.batch * train.accumulate for train in rates.values()} == {20}
    assert [train.lr for train in rates.values()] == [1e-4, 1e-6, 1e-6]
    assert {(train.optimiser, train.momentum, train.schedule) for train in rates.values()} == {
        ("sgd", 0.9, "constant")
    }
