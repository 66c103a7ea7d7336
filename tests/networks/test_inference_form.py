"""Folded and mask forms of networks against the networks themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.networks import positions
from medseg.networks.blocks import Pool, Unpool
from medseg.networks.contract import Network
from medseg.networks.tools.inference_form import (
    LayoutUnpool,
    MaskPool,
    MaskUnpool,
    fold_batch_norm,
    unpool_by_layout,
    unpool_by_masks,
)
from tests.networks.test_every_network import ROWS, Row, batch, made

UNPOOLING = [
    *(next(row for row in ROWS if row.name == name) for name in ("usegnet", "segnet", "segnet_basic")),
    *(row for row in ROWS if row.name == "deconvnet" or row.keywords.get("up") == "unpool"),
]


def trained(network: Network, seed: int = 0) -> Network:
    """Draw statistics and scales of every normalisation, as a training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.normal_(norm.weight, 1.0, 0.3, generator=generator)
            nn.init.normal_(norm.bias, 0.0, 0.3, generator=generator)
    return network.eval()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_folded_network_gives_the_same_logits(row: Row) -> None:
    network = trained(made(row)).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    x = batch(row).double()
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_every_normalisation_of_the_default_network_is_folded() -> None:
    folded = fold_batch_norm(trained(made(ROWS[0])))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not folded.training


def test_convolutions_that_are_used_twice_or_not_in_a_row_are_left_alone() -> None:
    conv, norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
    norm.running_mean.fill_(1.0)
    network = nn.Sequential(
        nn.Sequential(conv, norm), nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(2))
    ).eval()
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(fold_batch_norm(network)(x), network(x))


def test_transposed_convolutions_are_folded_along_their_outputs() -> None:
    layer, norm = nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False), nn.BatchNorm2d(3, affine=False)
    norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    norm.running_var.copy_(torch.tensor([1.0, 4.0, 9.0]))
    network = nn.Sequential(layer, norm).eval()
    folded = fold_batch_norm(network)
    assert isinstance(folded[1], nn.Identity)
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x))


def pooled_and_back(pool: nn.Module, unpool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    pooled, places = pool(x)
    return pooled, unpool(pooled * 2 - 1, places, x.shape)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10**6))
def test_masks_are_bit_equal_to_positions_also_where_values_are_equal(
    height: int, width: int, seed: int
) -> None:
    x = torch.randint(-2, 3, (2, 3, height, width), generator=torch.Generator().manual_seed(seed)).float()
    by_masks = pooled_and_back(MaskPool(), MaskUnpool(), x)
    by_positions = pooled_and_back(Pool(), Unpool(), x)
    assert all(torch.equal(a, b) for a, b in zip(by_masks, by_positions, strict=True))


@pytest.mark.parametrize("row", UNPOOLING, ids=str)
def test_networks_that_unpool_are_bit_equal_in_their_mask_form(row: Row) -> None:
    network = trained(made(row))
    changed = unpool_by_masks(network)
    assert any(isinstance(module, MaskUnpool) for module in changed.modules())
    assert not any(isinstance(module, MaskUnpool) for module in network.modules())
    with torch.no_grad():
        assert torch.equal(changed(batch(row)), network(batch(row)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 19), st.integers(1, 19), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_packed_positions_are_the_positions(
    height: int, width: int, is_last: bool, by_layout: bool, seed: int
) -> None:
    x = torch.randint(-2, 3, (2, 3, height, width), generator=torch.Generator().manual_seed(seed)).float()
    x = x.contiguous(memory_format=torch.channels_last) if is_last else x
    pooled, index = Pool()(x)
    same, codes = Pool(packed=True).eval()(x)
    assert torch.equal(same, pooled) and codes.dtype == torch.uint8
    assert codes.shape == (2, 3, -(-height // 2), -(-width // 8))
    assert torch.equal(positions.flat(codes, pooled, width), index)
    assert torch.equal(Pool(packed=True).train()(x)[1], index)
    unpool = LayoutUnpool() if by_layout else Unpool()
    assert torch.equal(unpool(pooled, codes, x.shape), Unpool()(pooled, index, x.shape))


@pytest.mark.parametrize("row", [row for row in UNPOOLING if "up" not in row.keywords], ids=str)
@pytest.mark.parametrize("form", [copy.deepcopy, unpool_by_layout, unpool_by_masks])
def test_networks_with_packed_positions_are_bit_equal(row: Row, form: Callable[[Network], Network]) -> None:
    network = trained(made(row))
    packed = trained(made(replace(row, keywords={**row.keywords, "packed_positions": True})))
    with torch.no_grad():
        assert torch.equal(form(packed)(batch(row)), network(batch(row)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.integers(1, 7), st.booleans(), st.integers(0, 10**6))
def test_unpooling_by_layout_is_bit_equal_and_keeps_the_layout(
    height: int, width: int, is_low: bool, seed: int
) -> None:
    x = torch.randint(-2, 3, (2, 3, height, width), generator=torch.Generator().manual_seed(seed)).float()
    x = x.to(torch.bfloat16 if is_low else torch.float32).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_low):
        by_layout = pooled_and_back(Pool(), LayoutUnpool(), x)
        by_scatter = pooled_and_back(Pool(), Unpool(), x)
    assert all(torch.equal(a, b) for a, b in zip(by_layout, by_scatter, strict=True))
    assert by_layout[1].dtype == x.dtype
    assert by_layout[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("row", UNPOOLING, ids=str)
def test_networks_that_unpool_are_bit_equal_in_their_layout_form(row: Row) -> None:
    network = trained(made(row))
    changed = unpool_by_layout(network)
    assert any(isinstance(module, LayoutUnpool) for module in changed.modules())
    with torch.no_grad():
        assert torch.equal(changed(batch(row)), network(batch(row)))
        torch.use_deterministic_algorithms(True)  # where torch refuses its own un-pooling
        try:
            assert torch.equal(changed(batch(row)), network(batch(row)))
        finally:
            torch.use_deterministic_algorithms(False)
