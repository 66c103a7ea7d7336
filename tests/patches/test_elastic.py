"""Elastic deformation: identities, a slow oracle, and windows that are pieces of whole deformed slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from medseg.grid import PLANE_AXIS, Array, Grid, Plane
from medseg.patches import elastic
from medseg.patches.augment import Augmentation, Augmenter, AugmentParams, draw, move
from medseg.patches.sampler import PatchSampler
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase
from tests.oracles import elastic as oracle

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 30))


def _places(shape: tuple[int, int]) -> Tensor:
    """Every pixel of a slice, (1, H, W, 2)."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    return torch.stack([rows, columns], dim=-1).unsqueeze(0)


def _whole(shape: tuple[int, int], nodes: Array) -> tuple[AugmentParams, Tensor]:
    """Draws that only bend, and the placement of a window that is the slice, in a field that is the slice."""
    draws = replace(draw(Augmentation(), 1, np.random.default_rng(0)), elastic_px=nodes[None])
    return draws, torch.tensor([[[0, 0], shape, [0, 0]]])


def _slice(shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 2, *shape, generator=generator)
    return image, torch.randint(0, 5, (1, *shape), generator=generator).to(torch.uint8)


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_the_field_equals_the_slow_oracle_inside_and_beyond_the_slice(
    shape: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    nodes = elastic.draw_nodes(10.0, 1, rng)
    at = rng.uniform(-20, 50, (1, 3, 4, 2))
    found = elastic.displacement(
        torch.from_numpy(nodes).float(), torch.from_numpy(at).float(), torch.tensor([shape])
    )
    expected = [oracle.displacement(nodes[0], tuple(p), shape) for p in at.reshape(-1, 2)]
    np.testing.assert_allclose(found.reshape(-1, 2), expected, rtol=0, atol=2e-4)


def test_the_field_equals_torchs_bicubic_resizing_with_nodes_at_the_corners() -> None:
    nodes = torch.from_numpy(elastic.draw_nodes(10.0, 2, np.random.default_rng(0))).float()
    found = elastic.displacement(nodes, _places((9, 14)).expand(2, -1, -1, -1), torch.tensor([[9, 14]] * 2))
    expected = F.interpolate(nodes, (9, 14), mode="bicubic", align_corners=True)
    torch.testing.assert_close(found.movedim(-1, 1), expected, rtol=0, atol=1e-4)
    corners = found[:, ::8, ::13].movedim(-1, 1)
    torch.testing.assert_close(corners, nodes[..., ::2, ::2], rtol=0, atol=1e-4)


def test_nodes_are_gaussian_with_their_deviation() -> None:
    nodes = elastic.draw_nodes(10.0, 2000, np.random.default_rng(0))
    assert nodes.shape == (2000, 2, 3, 3)
    assert nodes.std() == pytest.approx(10, rel=0.02)
    assert abs(nodes.mean()) < 0.2
    kurtosis = ((nodes / nodes.std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_a_zero_grid_is_the_identity(shape: tuple[int, int], seed: int) -> None:
    image, label = _slice(shape, seed)
    draws, placement = _whole(shape, np.zeros((2, 3, 3)))
    out, out_label = move(image, label, draws, shape, placement=placement)
    torch.testing.assert_close(out, image, rtol=0, atol=1e-4)
    assert torch.equal(out_label, label)


def test_equal_nodes_are_a_translation() -> None:
    image, label = _slice((12, 15))
    nodes = np.stack([np.full((3, 3), 2.0), np.full((3, 3), -3.0)])
    draws, placement = _whole((12, 15), nodes)
    out, out_label = move(image, label, draws, (12, 15), placement=placement)
    torch.testing.assert_close(out[..., :10, 3:], image[..., 2:, :12], rtol=0, atol=1e-4)
    assert torch.equal(out_label[..., :10, 3:], label[..., 2:, :12])


@pytest.mark.parametrize(("side", "folded"), [(40, (0.85, 1.0)), (128, (0.0, 0.02))])
def test_ten_pixels_fold_small_slices_and_not_those_twelve_times_as_long(
    side: int, folded: tuple[float, float]
) -> None:
    """A field folds where moving along the rows, then the columns, no longer turns the same way."""
    at = _places((side, side)).expand(200, -1, -1, -1)
    nodes = torch.from_numpy(elastic.draw_nodes(10.0, 200, np.random.default_rng(1))).float()
    moved = at + elastic.displacement(nodes, at, torch.tensor([[side, side]] * 200))
    down, right = moved[:, 1:, :-1] - moved[:, :-1, :-1], moved[:, :-1, 1:] - moved[:, :-1, :-1]
    turn = down[..., 0] * right[..., 1] - down[..., 1] * right[..., 0]
    share = (turn <= 0).any(dim=2).any(dim=1).float().mean().item()
    assert folded[0] <= share <= folded[1]


def _case(name: str, shape: tuple[int, int, int], seed: int) -> PreprocessedCase:
    rng = np.random.default_rng(seed)
    array = rng.integers(-50, 50, (1, *shape)).astype(np.int16)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), shape)
    ready = NormalizedVolume(array, Grid(shape, np.eye(4)), Normalization((1.0,), (2.0,)))
    record = Record.__new__(Record)  # drawing does not look at it
    extras = {"weight_map": rng.random(shape).astype(np.float16)}
    return PreprocessedCase(name, name, ready, label, np.empty((0, 4), np.int16), record, extras, {})


def _slow_patch(
    case: PreprocessedCase, plane: Plane, place: tuple[int, int, int], nodes: Array, window: int
) -> Array:
    """Image, weight map and label of a window, each pixel looked up in its whole slice: (3, h, w)."""
    index, row, column = place
    volumes = (case.volume.array[0], case.extras["weight_map"], case.label)
    image, weights, label = (np.moveaxis(volume, PLANE_AXIS[plane], 0)[index] for volume in volumes)
    out = np.zeros((3, window, window))
    for i, j in np.ndindex(window, window):
        at = (row + i, column + j)
        dr, dc = oracle.displacement(nodes, at, image.shape)
        at = (at[0] + dr, at[1] + dc)
        out[:, i, j] = (
            oracle.bilinear((image - 1.0) / 2, at),
            oracle.bilinear(weights, at),
            oracle.nearest(label, at),
        )
    return out


@pytest.mark.parametrize("plane", tuple(PLANE_AXIS))
def test_drawn_windows_are_pieces_of_whole_deformed_slices(plane: Plane) -> None:
    """Slices of two sizes, one smaller than the window; fields that reach beyond their slices."""
    cases = [_case("a", (30, 26, 22), 1), _case("b", (5, 9, 6), 2)]
    augmenter = Augmenter(Augmentation(elastic_px=3.0), (8, 8), 6, seed=3)
    drawer = PatchSampler(cases, plane, 1, (8, 8), 6, 3, 0.0, None, ("weight_map",), augmenter.boxes)
    batch = [torch.from_numpy(array) for array in drawer(5)]
    assert {place.case for place in drawer.places(5)} == {0, 1}
    patches, labels, weights = augmenter(*batch[:2], 5, slice(None), *batch[2:])
    nodes = augmenter._draws(5).elastic_px
    for n, place in enumerate(drawer.places(5)):
        expected = _slow_patch(cases[place.case], plane, place[1:4], nodes[n], 8)
        np.testing.assert_allclose(patches[n, 0], expected[0], rtol=0, atol=5e-3)
        np.testing.assert_allclose(weights[n], expected[1], rtol=0, atol=1e-3)
        np.testing.assert_array_equal(labels[n], expected[2])


ALL = Augmentation(("left_right", "anterior_posterior"), 30.0, 0.2, 3.0, 0.2, 0.3, 0.4, 0.1, 4.0)


def test_a_batch_and_its_shares_depend_on_seed_and_step_alone() -> None:
    cases = [_case("a", (60, 50, 4), 1)]

    def make(t: int, rows: slice, seed: int = 5) -> tuple[Tensor, ...]:
        augmenter = Augmenter(ALL, (16, 20), 6, seed=seed)
        drawer = PatchSampler(cases, "axial", 3, (16, 20), 6, 7, 0.0, augmenter.field, (), augmenter.boxes)
        patches, labels, placement = map(torch.from_numpy, drawer(t, rows))
        return augmenter(patches, labels, t, rows, placement)

    out, labels = make(9, slice(None))
    assert out.shape == (6, 3, 16, 20)
    assert labels.dtype == torch.uint8
    assert torch.equal(make(9, slice(None))[0], out)
    assert not torch.equal(make(9, slice(None), seed=6)[0], out)
    for rank in range(2):
        share, share_labels = make(9, slice(rank, None, 2))
        assert torch.equal(share, out[rank::2])
        assert torch.equal(share_labels, labels[rank::2])


def test_places_of_the_cut_are_those_of_the_augmentation_whatever_was_drawn_between() -> None:
    """Bit for bit, with several batches drawn ahead, out of order, or by another augmenter."""
    cases = [_case("a", (60, 50, 4), 1)]
    augmenter, other = (Augmenter(ALL, (16, 20), 6, seed=5) for _ in range(2))
    sampler = PatchSampler(cases, "axial", 3, (16, 20), 6, 7, 0.0, augmenter.field, (), augmenter.boxes)
    batches = {t: [torch.from_numpy(array) for array in sampler(t)] for t in (3, 1, 2, 200)}
    for t, (patches, labels, placement) in batches.items():
        kept = augmenter(patches, labels, t, slice(None), placement)
        again = augmenter(patches, labels, t, slice(None), placement)  # kept no longer
        anew = other(patches, labels, t, slice(None), placement)
        assert torch.equal(kept[0], anew[0]) and torch.equal(kept[1], anew[1])
        assert torch.equal(again[0], anew[0])
    assert not augmenter._places
    sampler(1)
    moved = batches[2][2]  # of other windows: what is kept for batch 1 does not hold for them
    assert torch.equal(
        augmenter(*batches[2][:2], 1, slice(None), moved)[0], other(*batches[2][:2], 1, slice(None), moved)[0]
    )


def test_places_are_kept_for_few_batches() -> None:
    augmenter = Augmenter(ALL, (16, 20), 6, seed=5)
    sampler = PatchSampler(
        [_case("a", (60, 50, 4), 1)], "axial", 1, (16, 20), 6, 7, 0.0, augmenter.field, (), augmenter.boxes
    )
    for t in range(100):
        sampler(t)
    assert sorted(augmenter._places) == list(range(36, 100))


def test_the_kernel_is_the_written_polynomial_bit_for_bit() -> None:
    d = torch.cat(
        [torch.rand(4000, generator=torch.Generator().manual_seed(0)) * 3, torch.arange(0, 3.5, 0.5)]
    )
    near = (1.25 * d - 2.25) * d * d + 1
    far = -0.75 * (((d - 5) * d + 8) * d - 4)
    assert torch.equal(elastic._cubic(d), torch.where(d <= 1, near, torch.where(d < 2, far, 0.0)))


def test_turning_is_done_in_the_deformed_slice() -> None:
    image, label = _slice((31, 31))
    bent = replace(
        draw(Augmentation(), 1, np.random.default_rng(0)),
        elastic_px=elastic.draw_nodes(1.5, 1, np.random.default_rng(4)),
    )
    whole = torch.tensor([[[0, 0], [31, 31], [0, 0]]])
    deformed, _ = move(image, label, bent, (31, 31), placement=whole)
    window = torch.tensor([[[11, 11], [31, 31], [0, 0]]])
    turned = replace(bent, rotate_radians=np.array([np.pi / 2]))
    out, _ = move(image, label, turned, (9, 9), placement=window)
    expected = torch.rot90(deformed[..., 11:20, 11:20], -1, (-2, -1))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


def test_only_what_the_field_points_at_is_read() -> None:
    nodes = torch.zeros(2, 2, 3, 3)
    nodes[1, 0], nodes[1, 1] = 7.5, -39.5
    at = _places((4, 6)).expand(2, -1, -1, -1) + 10
    first, size = elastic.box(at + elastic.displacement(nodes, at, torch.tensor([[100, 100]] * 2)))
    assert first.tolist() == [[10, 10], [17, -30]]
    assert size == (5, 7)  # the window's and one pixel more, for the interpolation


def test_without_elastic_deformation_fields_are_of_one_size() -> None:
    assert Augmenter(Augmentation(rotate_degrees=5), (8, 8), 2, seed=0).boxes is None
    assert Augmenter(ALL, (8, 8), 2, seed=0).boxes is not None


def test_an_extra_array_that_a_case_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="cases without all of"):
        PatchSampler([_case("a", (9, 9, 3), 0)], "axial", 1, (4, 4), 2, 0, extras=("distances",))
