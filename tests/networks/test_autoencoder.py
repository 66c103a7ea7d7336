"""The auto-encoder: U-Net's contracting path under the same names, and nothing else that a U-Net takes."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.networks import build
from medseg.networks.weights.init_from import start


@pytest.mark.parametrize("down", ["pool", "conv"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_unet_starts_from_its_encoder(down: str, padding: str) -> None:
    shape = {"width": 2, "depth": 2, "down": down}
    encoder, unet = build("autoencoder", 3, 3, seed=1, **shape), build("unet", 3, 3, padding=padding, **shape)
    taken = start(unet, encoder)
    path = ("encoders.", "downs.", "bottom.")
    assert set(taken.tensors) == {name for name in unet.state_dict() if name.startswith(path)}
    assert not taken.adapted
    assert set(taken.unused) == {name for name in encoder.state_dict() if not name.startswith(path)}


def test_features_of_the_unet_that_started_are_the_encoders() -> None:
    encoder, unet = (
        build("autoencoder", 1, 1, seed=1, width=2, depth=2),
        build("unet", 1, 4, width=2, depth=2),
    )
    unet.load_state_dict(start(unet, encoder).tensors, strict=False)
    bottoms = []
    for network in (encoder, unet):
        network.get_submodule("bottom").register_forward_hook(lambda *args: bottoms.append(args[-1]))
        network.eval()(torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(*bottoms)


def test_one_channel_starts_a_unet_of_three_slices() -> None:
    encoder, unet = build("autoencoder", 1, 1, width=2, depth=1), build("unet", 3, 2, width=2, depth=1)
    assert list(start(unet, encoder).adapted) == ["encoders.0.0.0.weight"]


def test_another_width_is_refused() -> None:
    encoder, unet = build("autoencoder", 1, 1, width=2, depth=2), build("unet", 1, 2, width=3, depth=2)
    with pytest.raises(MedsegError) as refused:
        start(unet, encoder)
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT


def test_nothing_passes_the_bottom_by() -> None:
    """With the features of the bottom set to zero, every image gives the same reconstruction."""
    network = build("autoencoder", 2, 2, seed=3, width=2, depth=2).eval()
    network.get_submodule("bottom").register_forward_hook(lambda *args: torch.zeros_like(args[-1]))
    one, other = torch.randn(2, 1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(one), network(other))
