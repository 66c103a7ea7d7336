"""Overlap-tiles give what one forward pass gives; Gaussian blends equal the slow oracle."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.infer import predict
from medseg.infer.ensemble import Ensemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.predictor import NetworkPredictor, Spec
from medseg.infer.stitch import GaussianStitcher, TileStitcher, gaussian
from medseg.infer.tiles import check_tiles, lay_out, tiled
from medseg.networks.unet import UNet
from medseg.patches.windows import covering_grid, cut, mirrored
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from tests.oracles import tiling as oracle

Pair = tuple[int, int]


def spec(depth: int, **changes: Any) -> Spec:
    """A valid U-Net's, on slabs of three slices."""
    step = 2**depth
    values = {"size_divisor": step, "border": 6 * step - 4, "size_remainder": -4 % step, **changes}
    return Spec("axial", 3, 1, 3, **values)


@cache
def unet(depth: int) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(depth)
        keywords: dict[str, Any] = {"padding": "valid", "batch_norm": depth % 2 == 0, "dropout": 0.5}
        network = UNet(3, 3, width=2, depth=depth, **keywords).eval()
        side = network.size_from(250)
        with torch.no_grad():
            spread = network(torch.randn(1, 3, side, side)).std(dim=(2, 3)).mean()
            network.head.weight /= spread  # logits of spread 1: dead ones would agree anyhow
    return network


def ready(array: Array) -> NormalizedVolume:
    x, y, z = array.shape[1:]
    return NormalizedVolume(array, Grid((x, y, z), np.eye(4)), Normalization((0.0,), (1.0,)))


def scan(shape: Pair, slices: int = 2, seed: int = 0) -> NormalizedVolume:
    return ready(np.random.default_rng(seed).normal(size=(1, *shape, slices)).astype(np.float32))


def one_shot(scan: NormalizedVolume, network: UNet) -> Tensor:
    """Logits (slices, K, H, W), each slice mirrored by the context and run whole."""
    _, height, width, slices = scan.array.shape
    sides = [network.size_from(n + 2 * network.border) for n in (height, width)]
    made = []
    for index in range(slices):
        around = np.clip([index - 1, index, index + 1], 0, slices - 1)
        slab = np.moveaxis(scan.array[0][..., around], -1, 0)
        canvas = torch.from_numpy(oracle.canvas(slab, network.border, (sides[0], sides[1])))
        with torch.inference_mode():
            made.append(network(canvas[None])[0, :, :height, :width])
    return torch.stack(made)


def in_tiles(scan: NormalizedVolume, network: UNet, depth: int, how: OverlapTile, **changes: Any) -> Tensor:
    with torch.inference_mode():
        return torch.stack(list(tiled(scan, NetworkPredictor(network, spec(depth, **changes)), how)))


@st.composite
def tilings(draw: st.DrawFn) -> tuple[int, Pair, OverlapTile]:
    """Depth, slice, and tiles with or without a stride; slices smaller and larger than context and tile."""
    depth = draw(st.integers(1, 4))
    step, border = 2**depth, 6 * 2**depth - 4
    least = 2 * border + step + (-4 - 2 * border - step) % step
    side = st.integers(0, 5).map(lambda n: least + n * step)
    tile = draw(st.tuples(side, side))
    most = [(t - 2 * border) // step for t in tile]
    stride = draw(st.none() | st.tuples(*(st.integers(1, m).map(lambda n: n * step) for m in most)))
    shape = draw(st.tuples(*(st.integers(1, 4 * step + 30) for _ in tile)))
    return depth, shape, OverlapTile(tile, batch=draw(st.integers(1, 5)), stride=stride)


@given(tilings(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_tiles_equal_one_forward_pass(tiling: tuple[int, Pair, OverlapTile], seed: int) -> None:
    depth, shape, how = tiling
    image = scan(shape, slices=2, seed=seed)
    found = in_tiles(image, unet(depth), depth, how)
    assert (found - one_shot(image, unet(depth))).abs().max() <= 1e-4


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (40, 1)])
def test_slices_smaller_than_the_context(depth: int, shape: Pair) -> None:
    image = scan(shape)
    found = in_tiles(image, unet(depth), depth, OverlapTile())
    assert (found - one_shot(image, unet(depth))).abs().max() <= 1e-4


@given(
    st.integers(1, 4),
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.floats(1, 60),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_layouts_cover_align_and_fit(
    depth: int, shape: Pair, memory: float, batch: int, own_stride: bool
) -> None:
    about = spec(depth, bytes_per_pixel=40.0)
    stride = (about.size_divisor, 2 * about.size_divisor) if own_stride else None
    needed = (2 * about.border + 3 * about.size_divisor) ** 2 * batch * about.bytes_per_pixel / 2**20
    how = OverlapTile(memory_mb=int(needed * memory) + 1, batch=batch, stride=stride)
    layout = lay_out(shape, how, about)
    assert layout.tile[0] * layout.tile[1] * batch * 40 <= how.memory_mb * 2**20
    assert tuple(about.size_from(t) for t in layout.tile) == layout.tile
    assert not (layout.starts % about.size_divisor).any()
    assert tuple(layout.starts.max(axis=0) + layout.tile) == layout.canvas
    seen = np.zeros(shape, bool)
    for row, column in layout.starts:
        seen[row:, column:][: layout.tile[0] - 2 * about.border, : layout.tile[1] - 2 * about.border] = True
    assert seen.all()


def test_the_papers_tiles_stand_384_apart() -> None:
    layout = lay_out((1000, 388), OverlapTile(572), spec(4))
    assert layout.canvas == (1196, 572)  # 1000 + 184 is 0 modulo 16, where 12 is wanted
    assert layout.starts[:, 0].tolist() == [0, 384, 624]
    assert layout.starts[:, 1].tolist() == [0, 0, 0]


def test_more_memory_gives_larger_tiles_and_the_same_logits() -> None:
    image, whole = scan((90, 70)), one_shot(scan((90, 70)), unet(2))
    sizes = []
    for megabytes in (1, 2, 8):
        how = OverlapTile(memory_mb=megabytes, batch=2)
        layout = lay_out((90, 70), how, spec(2, bytes_per_pixel=100.0))
        sizes.append(layout.tile[0] * layout.tile[1])
        found = in_tiles(image, unet(2), 2, how, bytes_per_pixel=100.0)
        assert (found - whole).abs().max() <= 1e-4
    assert sizes[0] < sizes[1] < sizes[2] == 132 * 112


def test_poolings_see_other_pixels_at_an_offset_that_is_no_multiple_of_the_step() -> None:
    network = unet(3)
    canvas = torch.randn(1, 3, 140, 140, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network(canvas)
        aligned, shifted = (network(canvas[..., o : o + 100, o : o + 100]) for o in (8, 4))
    assert (whole[..., 8:20, 8:20] - aligned).abs().max() <= 1e-5
    assert (whole[..., 4:16, 4:16] - shifted).abs().max() > 1e-2


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_labels_by_tiles_along_every_plane(plane: Any, batch: int) -> None:
    def function(slabs: Tensor) -> Tensor:
        numbers = torch.arange(3).reshape(1, -1, 1, 1)
        return -((slabs[:, 1:2, 2:-2, 2:-2] - numbers) ** 2)

    class Middle:
        spec = Spec(plane, 3, 1, 3, size_divisor=4, border=2)

        def __call__(self, slabs: Tensor) -> Tensor:
            assert len(slabs) <= batch
            return function(slabs)

    array = np.random.default_rng(0).integers(0, 3, (1, 9, 6, 7)).astype(np.int16)
    made = predict.label(ready(array), Middle(), OverlapTile(8, batch=batch), confidence=True)
    assert np.array_equal(made.labels, array[0])
    assert made.quality_kind == "probability"


def test_members_of_valid_networks_are_tiled_together() -> None:
    both = Ensemble([NetworkPredictor(unet(2), spec(2, bytes_per_pixel=b)) for b in (1.0, 9.0)], "mean")
    assert both.spec.bytes_per_pixel == 9
    image = scan((30, 25))
    made = predict.label(image, both, OverlapTile(52))
    expected = one_shot(image, unet(2)).argmax(dim=1)
    assert np.array_equal(np.moveaxis(made.labels, -1, 0), expected.numpy())


@pytest.mark.parametrize(
    ("how", "about", "code", "how_to_fix"),
    [
        (OverlapTile(572, stride=(388, 384)), spec(4), Code.SIZE_IMPOSSIBLE, "use 384"),
        (OverlapTile(572, stride=(384, 400)), spec(4), Code.SIZE_IMPOSSIBLE, "use 384"),
        (OverlapTile(stride=(10, 8)), spec(3), Code.SIZE_IMPOSSIBLE, "use 8"),
        (OverlapTile(stride=(3, 8)), spec(3), Code.SIZE_IMPOSSIBLE, "use 8"),
        (OverlapTile(188), spec(4), Code.SIZE_IMPOSSIBLE, "use 204"),  # gives 4 px, less than a step
        (OverlapTile((572, 570)), spec(4), Code.SIZE_IMPOSSIBLE, "use 572"),
        (
            OverlapTile(8),
            spec(2, size_divisor=4, border=0, size_remainder=0),
            Code.KEYWORD_INVALID,
            "gaussian",
        ),
        (
            OverlapTile(memory_mb=1, batch=8),
            spec(4, bytes_per_pixel=100.0),
            Code.KEYWORD_INVALID,
            "at least 32",
        ),
        (WholeSlice(), spec(2), Code.KEYWORD_INVALID, "tiles"),
        (MajorityVote(), spec(2), Code.KEYWORD_INVALID, "tiles"),
        (GaussianWindow(), spec(2), Code.KEYWORD_INVALID, "tiles"),
        (GaussianWindow((42, 40)), spec(2, border=0, size_remainder=0), Code.SIZE_IMPOSSIBLE, "(44, 40)"),
        (
            MajorityVote((8, 8), (4, 4)),
            spec(2, border=0, size_remainder=0, min_size=32),
            Code.SIZE_IMPOSSIBLE,
            "(32, 32)",
        ),
    ],
)
def test_what_a_network_cannot_do_is_refused_with_the_remedy(
    how: Inferer, about: Spec, code: Code, how_to_fix: str
) -> None:
    with pytest.raises(MedsegError) as caught:
        predict.check(how, about)
    assert caught.value.code == code
    assert how_to_fix in caught.value.finding.how_to_fix


def test_what_is_asked_of_a_tile_is_allowed() -> None:
    for how in (
        OverlapTile(),
        OverlapTile(572),
        OverlapTile((204, 572), stride=(16, 384)),
        OverlapTile(memory_mb=1),
    ):
        check_tiles(how, spec(4))


def test_the_spec_takes_the_sizes_that_the_network_takes() -> None:
    for depth in (1, 2, 3, 4):
        sizes = range(1, 300, 7)
        assert [spec(depth).size_from(n) for n in sizes] == [unet(depth).size_from(n) for n in sizes]


def test_tiles_by_hand() -> None:
    tiles = TileStitcher((2, 3), classes=1)
    tiles.add(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]]), np.array([[0, 0], [1, 2]]))
    expected = torch.tensor([[[1, 2, torch.nan], [torch.nan, torch.nan, 3]]])
    assert torch.equal(tiles.result().nan_to_num(-1), expected.nan_to_num(-1))


@st.composite
def windowings(draw: st.DrawFn) -> tuple[Pair, Pair, Pair]:
    """Shape, window and stride; windows may be larger than the slice."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    window = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    stride = draw(st.tuples(st.integers(1, window[0]), st.integers(1, window[1])))
    return shape, window, stride


@given(windowings(), st.integers(2, 4), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_the_blend_equals_the_oracle(
    windowing: tuple[Pair, Pair, Pair], classes: int, batch: int, seed: int
) -> None:
    shape, window, stride = windowing
    starts = covering_grid(shape, window, stride).starts
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(starts), classes, *window)) * 3)
    blend = GaussianStitcher(shape, window, classes)
    for first in range(0, len(starts), batch):
        blend.add(logits[first : first + batch].float(), starts[first : first + batch])
    said = zip(map(tuple, starts.tolist()), logits.softmax(dim=1).numpy(), strict=True)
    expected = oracle.blend(shape, [((row, column), patch) for (row, column), patch in said])
    assert blend.result().dtype == torch.float32
    assert np.allclose(blend.result().softmax(dim=0), expected, atol=1e-5)


@given(windowings(), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_blending_what_was_cut_is_the_identity(windowing: tuple[Pair, Pair, Pair], seed: int) -> None:
    shape, window, stride = windowing
    truth = np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)
    grid = covering_grid(shape, window, stride)
    blend = GaussianStitcher(shape, window, 3)
    slab = torch.from_numpy(mirrored(truth[None], window))
    blend.add(cut(slab, grid, window), grid.starts)
    expected = torch.from_numpy(truth).log_softmax(dim=0)
    assert torch.allclose(blend.result(), expected, atol=1e-4)


def test_weights_by_hand() -> None:
    weights = gaussian((8, 5))  # σ = 1 along rows
    assert weights[:, 2].tolist() == pytest.approx(np.exp(-((np.arange(8) - 3.5) ** 2) / 2).tolist())
    assert weights.shape == (8, 5)
    assert torch.equal(weights, weights.flip(0, 1))


def test_windows_are_blended_by_half_unless_told() -> None:
    seen: list[int] = []

    class Flat:
        spec = Spec("axial", 1, 1, 2, size_divisor=4)

        def __call__(self, slabs: Tensor) -> Tensor:
            seen.append(len(slabs))
            return torch.zeros(len(slabs), 2, *slabs.shape[2:])

    for stride in (None, (8, 8)):
        predict.label(scan((16, 16), slices=1), Flat(), GaussianWindow((8, 8), stride))
    assert seen == [9, 4]
