"""Starting from another network's weights: what is taken, what adapts, what stays fresh."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import Code, MedsegError
from medseg.networks.fcn import FCN8s, FCN16s, FCN32s
from medseg.networks.segnet import SegNetSmall
from medseg.networks.unet import UNet
from medseg.networks.usegnet import USegNet
from medseg.networks.weights.init_from import start


def drawn(network: nn.Module, seed: int) -> nn.Module:
    """Every tensor of the state, running statistics too, drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network


def segnet(channels: int = 3, classes: int = 12) -> SegNetSmall:
    network = SegNetSmall(channels, classes, width=2)
    drawn(network, 1)
    return network


def test_usegnet_takes_all_of_segnet_but_classifier_and_skip() -> None:
    trained, network = segnet(), USegNet(3, 4, width=2)
    initial_network = start(network, trained)
    assert set(initial_network.fresh) == {"joins.0.weight", "joins.0.bias", "head.weight", "head.bias"}
    assert initial_network.adapted == {}
    assert "not used: head.weight, head.bias; 4 tensors of the network stay as drawn" in str(initial_network)
    network.load_state_dict(initial_network.tensors, strict=False)
    own, given = network.state_dict(), trained.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in initial_network.tensors)
    assert "decoders.0.0.1.running_mean" in initial_network.tensors


def test_layers_named_as_fresh_are_left_out() -> None:
    initial_network = start(USegNet(3, 4, width=2), segnet(), ["decoders.0.*"])
    assert any(name.startswith("decoders.0.") for name in initial_network.fresh)
    assert not any(name.startswith("decoders.0.") for name in initial_network.tensors)
    with pytest.raises(MedsegError) as refused:
        start(USegNet(3, 4, width=2), segnet(), ["decoder.*"])
    assert refused.value.code is Code.KEYWORD_INVALID
    assert "'decoder.*'" in str(refused.value)


@pytest.mark.parametrize(("before", "now"), [(3, 9), (1, 3), (3, 1)])
def test_the_first_layer_answers_an_image_of_equal_channels_alike(before: int, now: int) -> None:
    trained, network = segnet(before), USegNet(now, 4, width=2)
    initial_network = start(network, trained)
    assert initial_network.adapted == {"encoders.0.0.0.weight": (2, before, 3, 3)}
    network.load_state_dict(initial_network.tensors, strict=False)
    grey = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = network.encoders[0][0][0](grey.expand(1, now, 8, 8))
    theirs = trained.encoders[0][0][0](grey.expand(1, before, 8, 8))
    torch.testing.assert_close(ours, theirs)


def test_a_network_on_meta_tells_what_it_would_take() -> None:
    with torch.device("meta"):
        network = USegNet(3, 4, width=2)
    assert start(network, segnet()).fresh == start(USegNet(3, 4, width=2), segnet()).fresh


def test_a_network_of_other_layers_is_refused() -> None:
    with pytest.raises(MedsegError) as refused:
        start(UNet(3, 4, width=4), segnet())
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
    assert "SegNetSmall" in str(refused.value)


def test_fcn_starts_as_from_its_coarser_net_and_from_no_other() -> None:
    coarse, fine, twin = FCN32s(3, 4, width=2, hidden=4), *(FCN16s(3, 4, width=2, hidden=4) for _ in "ab")
    drawn(coarse, 2)
    fine.load_state_dict(start(fine, coarse).tensors, strict=False)
    twin.load_state_dict(fine.state_dict())
    twin.init_from(coarse)
    assert all(torch.equal(twin.state_dict()[k], t) for k, t in fine.state_dict().items())
    assert set(start(fine, coarse).fresh) == {"skip_scores.0.weight", "skip_scores.0.bias", "ups.0.weight"}
    with pytest.raises(MedsegError) as refused:
        start(FCN8s(3, 4, width=2, hidden=4), FCN32s(3, 5, width=2, hidden=4))
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT


def test_fcn_of_the_same_kind_takes_what_agrees() -> None:
    initial_network = start(FCN16s(3, 4, width=2, hidden=4), FCN16s(3, 21, width=2, hidden=4))
    assert {"score.weight", "score.bias", "skip_scores.0.weight"} <= set(initial_network.fresh)
