"""Grad-CAM against the formula written out, and on networks whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.explain.gradcam import chosen_layer, gradcam
from medseg.networks import build
from medseg.networks.contract import Network


class Known(Network):
    """Two features, each pixel's value and its negative; class 1 follows the first, class 2 the second."""

    size_divisor = 2

    def __init__(self) -> None:
        super().__init__(1, 3)
        self.split = nn.Conv2d(1, 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Conv2d(2, 3, 1, bias=False)
        self.up = nn.Upsample(scale_factor=2)
        self.split.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        self.head.weight.data = torch.tensor([[0.0, 0.0], [1, 0], [0, 1]]).reshape(3, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.require(x)
        return self.up(self.head(self.pool(self.split(x))))  # type: ignore[no-any-return]


def blob() -> Any:
    """A slab (1, 9, 11): bright in one corner, dark in the other, else zero."""
    slab = np.zeros((1, 9, 11), np.float32)
    slab[0, :4, :4], slab[0, 5:, 6:] = 2.0, -2.0
    return slab


def test_the_map_lies_where_the_class_is() -> None:
    bright, dark = (gradcam(Known(), blob(), k) for k in (1, 2))
    assert bright.shape == dark.shape == (9, 11) and bright.dtype == np.float32
    assert bright.max() == dark.max() == 1 and bright.min() == dark.min() == 0
    assert bright[:3, :3].min() > 0.99 and bright[5:, 6:].max() == 0
    assert dark[7:, 7:].min() > 0.9 and dark[:4, :4].max() == 0


def test_nothing_speaks_for_a_class_without_features() -> None:
    assert not gradcam(Known(), blob(), 0).any()
    assert not gradcam(Known(), np.zeros((1, 4, 4), np.float32), 1).any()


def test_it_is_the_formula() -> None:
    network = build("unet", 3, 4, seed=0, width=4, depth=2).double().eval()
    slab = np.random.default_rng(0).normal(size=(3, 16, 24))
    features = []
    hook = network.get_submodule("decoders.1").register_forward_hook(lambda *a: features.append(a[2]))
    logits = network(torch.from_numpy(slab[None]))
    hook.remove()
    score = logits[0, 2][logits[0].argmax(0) == 2].sum()
    (gradient,) = torch.autograd.grad(score, features[0])
    alpha = gradient[0].mean((1, 2))
    heat = F.relu((alpha[:, None, None] * features[0][0]).sum(0))
    heat = F.interpolate(heat[None, None], size=(16, 24), mode="bilinear")[0, 0]
    expected = (heat / heat.max()).detach().numpy()
    found = gradcam(network, slab, 2, "decoders.1")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "keywords", "layer"),
    [
        ("unet", {"width": 4}, "decoders.0"),
        ("unet", {"width": 4, "depth": 2, "padding": "valid"}, "decoders.0"),
        ("unetpp", {"width": 2, "depth": 2}, "nodes.0_2"),
        ("usegnet", {"width": 8}, None),
        ("segnet", {"width": 8}, None),
        ("fcn32s", {"width": 2, "hidden": 8}, "top"),
        ("fcn8s", {"width": 2, "hidden": 64}, "top"),
        ("deeplab_v3plus", {"width": 4, "hidden": 5, "backbone": "resnet18"}, None),
        ("pixelwise", {"width": 4, "hidden": 8}, "scores.0"),
        ("monai.networks.nets:BasicUNet", {"features": [4, 4, 8, 8, 8, 4]}, None),
    ],
)
def test_the_chosen_layer_is_what_the_head_is_given(name: str, keywords: Any, layer: str | None) -> None:
    network = build(name, 3, 4, seed=0, **keywords)
    found = chosen_layer(network)
    assert layer in (None, found)
    slab = np.random.default_rng(0).normal(size=(3, 41, 50)).astype(np.float32)
    heat = gradcam(network, slab, 1)
    assert heat.shape == (41, 50)
    assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1
    np.testing.assert_array_equal(heat, gradcam(network, slab, 1, found))


def test_the_pixels_of_a_mask_are_those_above_its_threshold() -> None:
    network = build("unet", 1, 2, seed=0, width=4, depth=2).eval()
    slab = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    with torch.no_grad():
        own = network(torch.from_numpy(slab[None]))[0, 1].sigmoid()
    threshold = float(own.quantile(0.9))
    assert threshold > 0
    features: list[Tensor] = []
    hook = network.get_submodule("encoders.0").register_forward_hook(lambda *a: features.append(a[2]))
    logits = network(torch.from_numpy(slab[None]))
    hook.remove()
    score = logits[0, 1][logits[0, 1].sigmoid() > threshold].sum()
    (gradient,) = torch.autograd.grad(score, features[0])
    heat = F.relu((gradient[0].mean((1, 2))[:, None, None] * features[0][0]).sum(0))
    expected = (heat / heat.max()).detach().numpy()
    found = gradcam(network, slab, 1, "encoders.0", threshold)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, gradcam(network, slab, 1, "encoders.0", 0.01), atol=1e-3)


def test_the_network_is_left_as_it_was() -> None:
    network = build("usegnet", 1, 3, seed=0, width=2).train()
    network.get_submodule("encoders.0").eval()
    modes = [m.training for m in network.modules()]
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.inference_mode(False):
        gradcam(network, blob(), 1)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_an_unknown_layer_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(MedsegError) as refused:
        gradcam(Known(), blob(), 1, "bottom")
    assert refused.value.code is Code.KEYWORD_INVALID
    assert "split, pool, head, up" in str(refused.value)


def test_of_a_shrinking_network_layers_of_another_size_are_refused() -> None:
    network = build("unet", 1, 2, seed=0, width=2, depth=2, padding="valid")
    with pytest.raises(MedsegError, match="as large as the output"):
        gradcam(network, blob(), 1, "bottom")
