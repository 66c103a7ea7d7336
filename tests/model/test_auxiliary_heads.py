"""Auxiliary heads: their losses count in training, and no model folder has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.losses import build as build_loss
from medseg.model import folder as model_folder
from medseg.networks import build
from tests.helpers.model_folders import describe

WITH_HEADS: dict[str, dict[str, Any]] = {
    "pspnet": {"width": 4, "backbone": "resnet18"},
    "fcn_googlenet": {"width": 8},
    "deeplab_aspp": {"width": 2, "hidden": 4, "scales": [0.5, 1]},
}


@pytest.mark.parametrize(("name", "heads"), [("pspnet", 2), ("fcn_googlenet", 3), ("deeplab_aspp", 3)])
def test_a_model_folder_has_no_auxiliary_head_and_gives_the_main_ones_logits(
    name: str, heads: int, tmp_path: Path
) -> None:
    trained = build(name, 3, 3, seed=0, auxiliary=0.4, **WITH_HEADS[name])
    assert len(trained.train()(torch.zeros(2, 3, 32, 32))) == heads == len(trained.head_weights)
    keywords = networks.without_training(name, {"auxiliary": 0.4, **WITH_HEADS[name]})
    description = describe(network=name, keywords=keywords, depth=3)
    model_folder.export(tmp_path, {"fold0": trained.state_dict()}, description)
    read, alone = model_folder.load_network(tmp_path, "fold0")
    assert "auxiliary" not in read.keywords
    assert not [key for key in alone.state_dict() if key.startswith("auxiliary")]
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(alone.eval()(x), trained.eval()(x))


@pytest.mark.parametrize("name", ["ce", "dice", "unetpp"])
def test_the_loss_is_the_weighted_sum_over_heads_and_of_one_head_itself(name: str) -> None:
    loss = build_loss(name)
    logits = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16).view(1, 4, 4) % 3
    aside, main = (float(loss(head, labels)) for head in logits)
    loss.head_weights = (0.4, 1.0)
    assert float(loss(list(logits), labels)) == pytest.approx(0.4 * aside + main)
    assert float(loss(logits[1], labels)) == pytest.approx(main)


def test_without_a_weight_there_is_no_head() -> None:
    network = build("pspnet", 3, 4, width=4, backbone="resnet18", auxiliary=0)
    assert not hasattr(network, "auxiliary") and not network.head_weights


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("deeplab_aspp", {"auxiliary": 1}, "with one scale"),
        ("pspnet", {"auxiliary": -1}, "greater than or equal to 0"),
        ("pspnet", {"auxiliary": "nan"}, "finite"),
        ("upernet", {"auxiliary": 1}, "unknown keyword 'auxiliary'"),
    ],
)
def test_auxiliary_losses_that_cannot_be_are_refused(name: str, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(MedsegError, match=words) as refused:
        build(name, 3, 4, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID
