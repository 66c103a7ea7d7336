"""The identities of enlarging, un-pooling and convolution, each by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.networks import build
from medseg.networks.blocks import Pool, Unpool, halver
from medseg.networks.contract import he_
from medseg.networks.upsample import (
    BedOfNails,
    Bilinear,
    BilinearTransposed,
    IcnrConv,
    bilinear_kernel,
    bilinear_size,
    doubler,
    enlarged,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None]


def test_max_pool_keeps_maxima_and_their_positions() -> None:
    pooled, index = Pool()(rows([1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]))
    assert pooled[0, 0].tolist() == [[5, 6], [7, 8]]
    assert index[0, 0].tolist() == [[5, 2], [12, 15]]


def test_unpool_puts_values_where_the_maxima_were() -> None:
    index = torch.tensor([[[[5, 2], [12, 15]]]])
    full = Unpool()(rows([1, 2], [3, 4]), index, torch.Size((4, 4)))
    assert full[0, 0].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]


def test_pool_tie_goes_to_the_first_in_raster_order() -> None:
    assert Pool()(torch.zeros(1, 1, 2, 4))[1].tolist() == [[[[0, 2]]]]


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_unpool_equals_max_unpool2d_and_keeps_odd_sizes(height: int, width: int, seed: int) -> None:
    x = drawn(2, 3, height, width, seed=seed)
    pooled, index = Pool()(x)
    assert pooled.shape[2:] == (-(-height // 2), -(-width // 2))
    full = Unpool()(pooled, index, x.shape)
    assert torch.equal(full, F.max_unpool2d(pooled, index, 2, output_size=(height, width)))
    assert torch.equal(full[full != 0], x[full != 0])


def test_unpool_is_accepted_and_repeats_under_deterministic_algorithms() -> None:
    x = drawn(2, 3, 7, 6).requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        found = [torch.autograd.grad((Unpool()(*Pool()(x), x.shape) ** 3).sum(), x)[0] for _ in range(2)]
        with pytest.raises(RuntimeError, match="deterministic"):
            F.max_unpool2d(*Pool()(x), 2)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*found)


def test_a_levels_maxima_say_where_features_are_put() -> None:
    up = doubler("unpool", 1, 1)
    torch.nn.init.ones_(up.reduce.weight)
    torch.nn.init.zeros_(up.reduce.bias)
    level = rows([1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]).float()
    full = enlarged(up, rows([1, 2], [3, 4]).float(), level)
    assert full[0, 0].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]


@settings(max_examples=10, deadline=None)
@given(side=st.sampled_from([8, 12, 20]), seed=st.integers(0, 99))
def test_unets_unpooling_takes_the_positions_of_its_poolings(side: int, seed: int) -> None:
    network, x = build("unet", 1, 2, seed=seed, width=2, depth=2, up="unpool").eval(), drawn(1, 1, side, side)
    found = network(x.float())
    first = network.encoders[0](x.float())
    pooled, upper = Pool()(first)
    second = network.encoders[1](pooled)
    bottom, lower = Pool()(second)
    y = Unpool()(network.ups[1].reduce(network.bottom(bottom)), lower, second.shape)
    y = network.decoders[1](torch.cat((second, y), 1))
    y = Unpool()(network.ups[0].reduce(y), upper, first.shape)
    assert torch.equal(found, network.head(network.decoders[0](torch.cat((first, y), 1))))


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("unet", {"up": "unpool", "padding": "valid"}, "same padding"),
        ("unet", {"down": "conv", "backbone": "resnet18"}, "down='conv' with a backbone"),
        ("unetpp", {"down": "conv", "backbone": "resnet18"}, "down='conv' with a backbone"),
        ("pspnet", {"up": "unpool"}, "unknown keyword 'up'"),
        ("segnet", {"down": "conv"}, "unknown keyword 'down'"),
    ],
)
def test_ways_that_a_network_cannot_go_are_refused(name: str, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(MedsegError, match=words) as refused:
        build(name, 3, 4, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID


def test_learned_downsampling_can_take_the_mean_of_each_window() -> None:
    down = halver("conv", 1, batch_norm=False)
    torch.nn.init.constant_(down[0].weight, 0.25)
    torch.nn.init.zeros_(down[0].bias)
    assert down(rows([1, 2, 6, 3], [3, 6, 2, 1]).float())[0, 0].tolist() == [[3, 3]]


def test_bed_of_nails() -> None:
    assert BedOfNails(2)(rows([1, 2]))[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]


def test_bilinear_kernels_of_size_3_and_4() -> None:
    assert bilinear_kernel(3).tolist() == [0.5, 1, 0.5]
    assert bilinear_kernel(4).tolist() == [0.25, 0.75, 0.75, 0.25]


def test_transposed_bilinear_3x3_equals_aligned_corners() -> None:
    x = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    kernel = torch.outer(bilinear_kernel(3), bilinear_kernel(3)).double()[None, None]
    wide = F.conv_transpose2d(x, kernel, stride=2)
    assert wide[0, 0, -1].tolist() == [3, 6, 6.25, 6.5, 6.75, 7, 7.25, 7.5, 3.75]
    aligned = F.interpolate(x, size=(7, 7), mode="bilinear", align_corners=True)
    torch.testing.assert_close(F.conv_transpose2d(x, kernel, stride=2, padding=1), aligned, atol=0, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bilinear_start_equals_interpolation_inside_the_border(factor: int) -> None:
    x = drawn(1, 3, 6, 7)
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    learned = BilinearTransposed(3, factor).double()(x)
    fixed = Bilinear(factor).double()(x)
    assert learned.shape == fixed.shape == expected.shape
    torch.testing.assert_close(learned[inside], expected[inside], rtol=0, atol=1e-6)
    torch.testing.assert_close(fixed, learned, rtol=0, atol=1e-12)
    assert not torch.allclose(learned, expected)


def test_larger_bilinear_kernel_starts_like_the_smallest() -> None:
    x = drawn(1, 2, 5, 4)
    large, small = (BilinearTransposed(2, 2, kernel=k).double()(x) for k in (8, None))
    torch.testing.assert_close(large, small)


@pytest.mark.parametrize(("k", "s", "p", "extra"), [(3, 2, 1, 0), (4, 2, 1, 0), (5, 3, 2, 1), (2, 2, 0, 0)])
def test_transposed_convolution_equals_convolution_of_zero_interleaved_input(
    k: int, s: int, p: int, extra: int
) -> None:
    x, weight = drawn(2, 3, 5, 4), drawn(3, 2, k, k, seed=1)
    transposed = F.conv_transpose2d(x, weight, stride=s, padding=p, output_padding=extra)
    sparse = BedOfNails(s)(x)[:, :, : 4 * s + 1, : 3 * s + 1]
    around = k - 1 - p
    padded = F.pad(sparse, (around, around + extra, around, around + extra))
    turned = weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(F.conv2d(padded, turned), transposed, rtol=0, atol=1e-13)
    if k > 2:
        assert not torch.allclose(F.conv2d(padded, weight.transpose(0, 1)), transposed)


def test_transposed_convolution_is_the_adjoint() -> None:
    x, weight = drawn(1, 3, 8, 8), drawn(2, 3, 4, 4, seed=1)
    y = F.conv2d(x, weight, stride=2, padding=1)
    v = drawn(*y.shape, seed=2)
    back = F.conv_transpose2d(v, weight, stride=2, padding=1)
    torch.testing.assert_close((y * v).sum(), (x * back).sum())


def test_one_dimensional_example_of_the_lectures() -> None:
    kernel = torch.tensor([[[2.0, 3.0, 5.0]]])
    spread = F.conv_transpose1d(torch.tensor([[[7.0, 11.0]]]), kernel, stride=2, output_padding=1)
    assert spread.tolist() == [[[14, 21, 57, 33, 55, 0]]]
    gathered = F.conv1d(torch.tensor([[[7.0, 11.0, 13.0, 17.0]]]), kernel, stride=2, padding=1)
    assert gathered.tolist() == [[[76, 146]]]


def test_sub_pixel_with_icnr_starts_as_nearest_neighbour() -> None:
    conv, x = IcnrConv(3, 8, 3, padding=1).double(), drawn(1, 3, 5, 6)
    shuffled = F.pixel_shuffle(conv(x), 2)
    small = F.conv2d(x, conv.weight[::4], padding=1)
    torch.testing.assert_close(shuffled, F.interpolate(small, scale_factor=2), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rate", [2, 3])
def test_dilated_convolution_equals_zero_stuffed_kernel(rate: int) -> None:
    x, weight = drawn(1, 2, 12, 11), drawn(3, 2, 3, 3, seed=1)
    stuffed = BedOfNails(rate)(weight)[:, :, : 2 * rate + 1, : 2 * rate + 1]
    torch.testing.assert_close(F.conv2d(x, weight, dilation=rate), F.conv2d(x, stuffed), rtol=0, atol=1e-13)


def test_convolution_of_every_second_pixel_equals_dilated_convolution() -> None:
    x, weight = drawn(1, 2, 12, 12), drawn(3, 2, 3, 3, seed=1)
    dilated = F.conv2d(x, weight, dilation=2)
    torch.testing.assert_close(F.conv2d(x[..., ::2, ::2], weight), dilated[..., ::2, ::2], rtol=0, atol=1e-13)


def test_fully_connected_layer_as_convolution_equals_every_window() -> None:
    features, full = nn.Conv2d(1, 4, 7).double(), nn.Linear(4, 6).double()
    image = drawn(1, 1, 12, 13)
    fully = F.conv2d(features(image).relu(), full.weight[:, :, None, None], full.bias)
    assert fully.shape == (1, 6, 6, 7)
    for row in range(6):
        for column in range(7):
            window = image[..., row : row + 7, column : column + 7]
            torch.testing.assert_close(full(features(window).relu().flatten(1)), fully[..., row, column])


def test_fully_convolutional_net_with_a_pooling_equals_windows_at_stride_2() -> None:
    features, full = nn.Conv2d(1, 4, 7).double(), nn.Linear(4, 6).double()
    image = drawn(1, 1, 12, 14)
    fully = F.conv2d(F.max_pool2d(features(image), 2), full.weight[:, :, None, None], full.bias)
    for row in range(3):
        for column in range(4):
            window = image[..., 2 * row : 2 * row + 8, 2 * column : 2 * column + 8]
            alone = full(F.max_pool2d(features(window), 2).flatten(1))
            torch.testing.assert_close(alone, fully[..., row, column])


def test_he_start_keeps_the_variance_of_a_relu_layer() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        conv, up, kept = (
            nn.Conv2d(64, 128, 3),
            nn.ConvTranspose2d(64, 32, 2, stride=2),
            BilinearTransposed(3, 2),
        )
        for layer in (conv, up, kept):
            he_(layer)
    assert conv.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert up.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)
    assert conv.bias is not None and not conv.bias.any()
    assert torch.equal(kept.weight, BilinearTransposed(3, 2).weight)
    assert bilinear_size(3) == 5
