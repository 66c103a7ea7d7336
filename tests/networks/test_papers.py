"""What single papers say of their networks, beyond the counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.networks.deconvnet import DeconvNet
from medseg.networks.deeplab import DeepLabASPP, DeepLabLargeFOV
from medseg.networks.fcn import FCN8s, FCN16s, FCN32s
from medseg.networks.icnet import ICNet
from medseg.networks.segnet_basic import SegNetBasic
from medseg.networks.unet import UNet
from medseg.networks.unetpp import UNetPlusPlus, log_mean
from medseg.networks.upsample import Bilinear


@pytest.fixture(autouse=True)
def seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def image(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(3))


def test_unet_makes_388_of_572() -> None:
    with torch.device("meta"):
        assert UNet(1, 2, padding="valid")(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)


@pytest.mark.parametrize(("depth", "eaten"), [(1, 16), (2, 40), (3, 88), (4, 184)])
def test_unet_context_is_half_of_what_valid_convolutions_eat(depth: int, eaten: int) -> None:
    assert UNet(1, 2, width=1, depth=depth, padding="valid").border * 2 == eaten


@pytest.mark.parametrize(("side", "out"), [(188, 4), (204, 20)])
def test_unet_smallest_sizes(side: int, out: int) -> None:
    network = UNet(1, 2, width=1, padding="valid").eval()
    assert network(torch.zeros(1, 1, side, side)).shape[-1] == out
    assert network.size_from(side - 15) == side
    for wrong in (side - 16 if out == 4 else side - 1, side + 4):
        with pytest.raises(MedsegError) as refused:
            network(torch.zeros(1, 1, wrong, side))
        assert refused.value.code is Code.SIZE_IMPOSSIBLE


def test_unet_dropout_stands_after_the_last_two_levels_alone() -> None:
    network = UNet(1, 2, width=1, depth=3, dropout=0.5)
    dropped = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropped == ["encoders.2.2", "bottom.2"]


def test_valid_unet_sees_the_same_as_on_a_larger_canvas_when_aligned() -> None:
    network = UNet(1, 2, width=2, depth=2, padding="valid").double().eval()
    canvas = image(1, 60, 60).double()
    whole, step, side = network(canvas), network.size_divisor, 44
    for offset in (0, step, 2 * step):
        tile = network(canvas[:, :, offset : offset + side, :])
        torch.testing.assert_close(tile, whole[:, :, offset : offset + 4], rtol=0, atol=1e-12)
    assert not torch.allclose(network(canvas[:, :, 1 : 1 + side, :]), whole[:, :, 1:5], atol=1e-9)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_unetpp_pruned_equals_the_full_networks_head(level: int) -> None:
    network, x = UNetPlusPlus(2, 3, width=2), image(2, 16, 32)
    network(x)  # moves the running statistics
    heads = dict(zip((1, 2, 3, 4), _heads(network, x), strict=True))
    small = network.eval().pruned(level)
    torch.testing.assert_close(small(x), heads[level], rtol=0, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) <= sum(p.numel() for p in network.parameters())
    rebuilt = UNetPlusPlus(2, 3, width=2, depth=level, deep_supervision=False).eval()
    rebuilt.load_state_dict(small.state_dict())
    assert torch.equal(rebuilt(x), small(x)) and rebuilt.size_divisor == small.size_divisor
    assert len(network.heads) == 4


def _heads(network: UNetPlusPlus, x: Tensor) -> list[Tensor]:
    """All heads' logits under the running statistics."""
    network.eval()
    network.training = True  # the network alone, not its normalisation
    heads = network(x)
    network.eval()
    return list(heads)


def test_unetpp_accurate_is_the_mean_probability_and_fast_the_deepest_head() -> None:
    network, x = UNetPlusPlus(1, 3, width=2, depth=3), image(1, 8, 16)
    heads = _heads(network, x)
    mean = torch.stack([h.softmax(1) for h in heads]).mean(0)
    torch.testing.assert_close(network(x).softmax(1), mean)
    torch.testing.assert_close(network(x).exp(), mean)
    network.mode = "fast"
    assert torch.equal(network(x), heads[-1])


def test_unetpp_accurate_with_sigmoid_heads() -> None:
    logits = [torch.tensor([[[[30.0, 0.0]]]]), torch.tensor([[[[-1.0, 2.0]]]])]
    mean = torch.stack([h.double().sigmoid() for h in logits]).mean(0)
    torch.testing.assert_close(log_mean(logits, sigmoid=True).double().sigmoid(), mean)
    assert UNetPlusPlus(1, 1, width=1).sigmoid


def test_unetpp_refuses_to_prune_to_a_head_it_lacks() -> None:
    for network, level in ((UNetPlusPlus(1, 2, width=1), 5), (UNetPlusPlus(1, 2, width=1).pruned(2), 1)):
        with pytest.raises(MedsegError) as refused:
            network.pruned(level)
        assert refused.value.code is Code.KEYWORD_INVALID


def _trained(network: FCN32s) -> FCN32s:
    for layer in (network.score, *network.skip_scores):
        torch.nn.init.normal_(layer.weight)
    return network.eval()


def test_fcn_scores_start_at_zero() -> None:
    assert not FCN32s(3, 4, width=2, hidden=4).eval()(image(3, 32, 32)).any()


def test_fcn16s_starts_as_fcn32s_enlarged_twice_then_sixteen_times() -> None:
    coarse, fine = _trained(FCN32s(3, 4, width=2, hidden=4)), FCN16s(3, 4, width=2, hidden=4).eval()
    fine.init_from(coarse)
    x = image(3, 96, 64)
    scores = coarse.score(coarse.top(coarse.backbone(x)[4]))
    torch.testing.assert_close(fine(x), Bilinear(16)(Bilinear(2)(scores)), rtol=0, atol=1e-5)


def test_fcn8s_starts_as_fcn16s_enlarged_in_its_steps() -> None:
    coarse, fine = _trained(FCN16s(3, 4, width=2, hidden=4)), FCN8s(3, 4, width=2, hidden=4).eval()
    fine.init_from(coarse)
    x = image(3, 64, 96)
    *_, pool4, pool5 = coarse.backbone(x)
    scores = coarse.ups[0](coarse.score(coarse.top(pool5))) + coarse.skip_scores[0](pool4)
    torch.testing.assert_close(fine(x), Bilinear(8)(Bilinear(2)(scores)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("coarser", "finer"), [(FCN32s, FCN16s), (FCN16s, FCN8s)])
def test_a_learned_last_enlarging_starts_bilinear_also_from_a_coarser_net(
    coarser: type[FCN32s], finer: type[FCN32s]
) -> None:
    coarse = _trained(coarser(3, 4, width=2, hidden=4, learned_last=True))
    learned = finer(3, 4, width=2, hidden=4, learned_last=True).eval()
    fixed = finer(3, 4, width=2, hidden=4).eval()
    for fine in (learned, fixed):
        fine.init_from(coarse)
    x = image(3, 64, 96)
    assert not torch.equal(coarse(x), learned(x))
    torch.testing.assert_close(learned(x), fixed(x), rtol=0, atol=1e-5)
    assert learned.enlarge.weight.requires_grad


def share_changed(coarser: type[FCN32s], finer: type[FCN32s], seed: int) -> float:
    """The share of pixels that the finer net, just started, gives another class than the coarser one does.

    Both enlarge the same scores: the coarser net in one step, the finer one in two. Random weights, widths an
    eighth of the paper's, one image of noise, 3 channels of 512×512 px, 4 classes.
    """
    torch.default_generator.manual_seed(seed)
    coarse = _trained(coarser(3, 4, width=8, hidden=32))
    fine = finer(3, 4, width=8, hidden=32).eval()
    fine.init_from(coarse)
    x = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        return (fine(x).argmax(1) != coarse(x).argmax(1)).float().mean().item()


SHARES_CHANGED = {"16s": 0.0236, "8s": 0.0034}
"""Means over five seeds, as docs/networks.md states them."""


@pytest.mark.parametrize(("coarser", "finer", "name"), [(FCN32s, FCN16s, "16s"), (FCN16s, FCN8s, "8s")])
def test_fcn_steps_change_the_classes_of_as_few_pixels_as_stated(
    coarser: type[FCN32s], finer: type[FCN32s], name: str
) -> None:
    mean = sum(share_changed(coarser, finer, seed) for seed in range(5)) / 5
    assert mean == pytest.approx(SHARES_CHANGED[name], abs=0.001)
    page = (Path(__file__).parents[2] / "docs/networks.md").read_text()
    assert f"{100 * SHARES_CHANGED[name]:.2f} % ({name})" in page


def test_fcn_does_not_start_from_a_finer_or_other_net() -> None:
    for coarser in (FCN8s(3, 4, width=2, hidden=4), FCN32s(3, 5, width=2, hidden=4)):
        with pytest.raises(MedsegError) as refused:
            FCN16s(3, 4, width=2, hidden=4).init_from(coarser)
        assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT


def test_deeplab_features_have_stride_8() -> None:
    backbone = DeepLabLargeFOV(3, 4, width=1, hidden=1).backbone
    assert [level.shape[-1] for level in backbone(image(3, 64, 64))] == [32, 16, 8, 8, 8]


def test_deeplab_aspp_sums_its_branches() -> None:
    network, x = DeepLabASPP(3, 4, width=2, hidden=4).eval(), image(3, 32, 32)
    features = network.backbone(x)[4]
    scores = sum(branch(features) for branch in network.branches)
    expected = F.interpolate(scores, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), expected)


def test_deeplab_fuses_scales_by_their_maximum() -> None:
    network, x = DeepLabLargeFOV(3, 4, width=2, hidden=4, scales=(0.5, 1.0)).eval(), image(3, 32, 32)
    fused = network(x)
    single = []
    for scale in (0.5, 1.0):
        network.scales = (scale,)
        single.append(network(x))
    assert torch.equal(fused, torch.maximum(*single))
    assert not torch.equal(fused, single[1])


def test_segnet_basic_decoder_has_no_relu() -> None:
    decoders = SegNetBasic(3, 4, width=2).decoders
    assert not any(isinstance(layer, torch.nn.ReLU) for layer in decoders.modules())


def test_deconvnet_needs_seven_features_a_side() -> None:
    network = DeconvNet(1, 2, width=1, hidden=2)
    with pytest.raises(MedsegError) as refused:
        network(torch.zeros(2, 1, 192, 224))
    assert "at least 224; pad it to 224×224" in str(refused.value)


def test_icnet_gives_three_heads_in_training_and_the_finest_in_evaluation() -> None:
    network, x = ICNet(1, 2, backbone="resnet18", width=4, hidden=4), image(1, 64, 64)
    assert [head.shape for head in network(x)] == [(2, 2, 64, 64)] * 3
    assert network.eval()(x).shape == (2, 2, 64, 64)
