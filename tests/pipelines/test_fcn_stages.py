"""FCN-32s, 16s and 8s, each from the model of the one before, and FCN-32s-fixed, by the packaged recipes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.networks.weights.init_from import start
from medseg.train import optim
from pipelines import run as pipeline
from pipelines.fold import plan
from pipelines.fold.network import build_network
from pipelines.run import Request
from tests.helpers.image_sets import SAMPLES, VOC

SMALL = ("network.keywords={width: 2, hidden: 4}",)
QUIET = ("train.threads=1", "tracking.enabled=false", "train.precision=fp32")


@pytest.mark.parametrize(
    ("coarse", "fine"), [("voc_fcn32s", "voc_fcn16s"), ("voc_fcn16s", "voc_fcn8s_staged")]
)
def test_each_stage_starts_from_the_one_before(coarse: str, fine: str) -> None:
    recipe = load.load(fine, SMALL)
    named = recipe.network.init_from
    assert named is not None and named.parts[-3:] == ("work", coarse, "model")
    before, after = build_network(load.load(coarse, SMALL), 3), build_network(recipe, 3)
    taken = start(after, before)
    assert taken.tensors.keys() == before.state_dict().keys()
    assert all(name.startswith(("skip_scores.", "ups.")) for name in taken.fresh)
    fresh = [after.state_dict()[name] for name in taken.fresh if name.startswith("skip_scores.")]
    assert fresh and not any(bool(value.any()) for value in fresh)


def test_a_stage_without_the_model_before_is_refused_at_once(tmp_path: Path) -> None:
    SAMPLES["voc"].build(tmp_path)
    absent = f"network.init_from={tmp_path / 'nowhere'}"
    request = Request("voc_fcn16s", tmp_path / VOC, tmp_path / "work", (*SMALL, absent))
    with pytest.raises(MedsegError, match="train that model first") as refused:
        pipeline.run(request, Reporter(stream=io.StringIO()))
    assert refused.value.code is Code.PATH_MISSING


def test_fixed_trains_the_last_layer_alone() -> None:
    recipe = load.load("voc_fcn32s_fixed", SMALL)
    network = build_network(recipe, 3)
    (phase,) = plan.phases(recipe, network)
    optim.free_layers(phase, network)
    free = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert free == {"score.weight", "score.bias"}
    assert torch.equal(network.get_parameter("score.weight"), torch.zeros(21, 4, 1, 1))


def test_stages_are_as_the_paper_has_them() -> None:
    rates = {name: load.load(name).train for name in ("voc_fcn32s", "voc_fcn16s", "voc_fcn8s_staged")}
    assert {train.batch * train.accumulate for train in rates.values()} == {20}
    assert [train.lr for train in rates.values()] == [1e-4, 1e-6, 1e-6]
    assert {(train.optimiser, train.momentum, train.schedule) for train in rates.values()} == {
        ("sgd", 0.9, "constant")
    }


def test_the_stages_train_one_after_the_other(tmp_path: Path) -> None:
    SAMPLES["voc"].build(tmp_path)
    small = ("sampling.window=[32, 32]", "train.epochs=2", "train.batch=2", "train.accumulate=1")
    names = ("voc_fcn32s", "voc_fcn16s", "voc_fcn8s_staged")
    for before, name in zip((None, *names), names, strict=False):
        start_from = () if before is None else (f"network.init_from={tmp_path / 'work' / before / 'model'}",)
        request = Request(
            name, tmp_path / VOC, tmp_path / "work" / name, (*SMALL, *small, *QUIET, *start_from)
        )
        said = io.StringIO()
        for stage in ("ingest", "preprocess", "train"):
            assert pipeline.run(request, Reporter(stream=said), only=stage) == ExitCode.DONE
        assert before is None or f"{before}/model: " in said.getvalue()
    coarse, fine = (load_file(tmp_path / "work" / name / "model/fold0.safetensors") for name in names[1:])
    assert set(coarse) < set(fine)
    assert all(torch.allclose(fine[name], value, atol=1e-3) for name, value in coarse.items())
