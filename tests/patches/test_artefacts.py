"""Artefacts of batches: off is the identity, and on they are MONAI's own for the same numbers."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.patches.artefacts import ArtefactAugmenter, ArtefactParams, Artefacts, draw
from medseg.patches.artefacts import add as add_to_batch
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer

monai = pytest.importorskip("monai.transforms")
oracle = pytest.importorskip("tests.oracles.artefacts")

ALL = Artefacts(0.2, 0.6, 0.5, 0.5, 0.8, 0.3)
KINDS = [field.name for field in fields(Artefacts)]
STRONG = {
    "bias_field": 0.3,
    "gibbs": 0.9,
    "ghosting": 0.9,
    "low_resolution": 0.9,
    "histogram_shift": 1.0,
    "coarse_dropout": 0.5,
}


def window(seed: int = 0, shape: tuple[int, ...] = (3, 12, 16)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def nothing() -> ArtefactParams:
    return draw(Artefacts(), 1, np.random.default_rng(0))


def plain(patches: Tensor, labels: Tensor, t: int, rows: slice, *more: Tensor) -> tuple[Tensor, ...]:
    return patches, labels, *more


def labels(batch: int) -> Tensor:
    return (
        torch.arange(batch * 12 * 16, dtype=torch.int64).remainder(250).to(torch.uint8).reshape(batch, 12, 16)
    )


def add(patch: Tensor, params: ArtefactParams) -> Tensor:
    """Add the artefacts of a batch of one."""
    return add_to_batch(patch[None], params)[0]


def test_off_is_the_same_tensor() -> None:
    patches = window()[None]
    assert not Artefacts().any
    assert add_to_batch(patches, nothing()) is patches


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 20), st.integers(2, 20)),
    seed=st.integers(0, 2**31),
    kinds=st.sets(st.sampled_from(KINDS), min_size=1),
)
def test_a_batch_equals_monais_transforms_patch_by_patch(
    shape: tuple[int, int, int], seed: int, kinds: set[str]
) -> None:
    patches = window(seed, (4, *shape))
    params = draw(Artefacts(**{kind: STRONG[kind] for kind in kinds}), 4, np.random.default_rng(seed))
    expected = torch.stack([oracle.add(patch, params.of(slice(n, n + 1))) for n, patch in enumerate(patches)])
    torch.testing.assert_close(add_to_batch(patches, params), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_grey_values_by_seed_and_step_alone(kind: str) -> None:
    artefacts = Artefacts(**{kind: STRONG[kind]})
    assert artefacts.any
    patches, before = window(1, (6, 3, 12, 16)), labels(6)
    weights = torch.rand(6, 12, 16)
    augmenter = ArtefactAugmenter(plain, artefacts, 6, seed=4)
    out, same, moved = augmenter(patches, before, 2, slice(None), weights)
    assert same is before
    assert moved is weights
    assert out.dtype == torch.float32
    assert type(out) is Tensor
    assert out.isfinite().all()
    assert not torch.equal(out, patches)
    assert torch.equal(patches, window(1, (6, 3, 12, 16)))
    assert torch.equal(ArtefactAugmenter(plain, artefacts, 6, seed=4)(patches, before, 2)[0], out)
    assert not torch.equal(augmenter(patches, before, 3)[0], out)
    assert not torch.equal(ArtefactAugmenter(plain, artefacts, 6, seed=5)(patches, before, 2)[0], out)
    rows = slice(1, None, 2)
    assert torch.equal(augmenter(patches[rows], before[rows], 2, rows)[0], out[rows])


def test_other_draws_stay_as_they_are() -> None:
    """Neither those of augmentation, nor those of one artefact when another is switched on."""
    augmenter = Augmenter(Augmentation(("left_right",), noise=0.1), (12, 16), 6, seed=4)
    patches = window(1, (6, 3, 12, 16))
    moved, _ = augmenter(patches, labels(6), 2)
    params = draw(ALL, 6, np.random.default_rng((4, 2, 4)))
    out = ArtefactAugmenter(augmenter, ALL, 6, seed=4)(patches, labels(6), 2)[0]
    assert torch.equal(out, add_to_batch(moved, params))
    for kind in KINDS:
        alone = draw(Artefacts(**{kind: getattr(ALL, kind)}), 6, np.random.default_rng((4, 2, 4)))
        name = "holes" if kind == "coarse_dropout" else kind
        assert np.array_equal(getattr(alone, name), getattr(params, name))


def test_all_slices_and_modalities_of_a_window_change_alike() -> None:
    one = window(3, (1, 12, 16))
    params = replace(draw(ALL, 5, np.random.default_rng(1)).of(slice(3, 4)))
    out = add(one.expand(3, -1, -1).contiguous(), params)
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


def test_a_bias_field_is_monais_above_the_lowest_value() -> None:
    patch, coefficients = window(), np.linspace(-0.2, 0.3, 10)
    theirs = monai.RandBiasField(degree=3, prob=1.0)
    theirs.set_random_state(0)
    theirs.randomize(patch.shape[1:])
    theirs._coeff = coefficients.tolist()
    low = patch.min()
    expected = theirs(patch - low, randomize=False).as_tensor() + low
    out = add(patch, replace(nothing(), bias_field=coefficients[None]))
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
    assert out.min() == low  # air stays dark


def test_gibbs_ringing_is_monais() -> None:
    patch = window()
    expected = monai.GibbsNoise(0.55)(patch).as_tensor()
    torch.testing.assert_close(add(patch, replace(nothing(), gibbs=np.array([0.55]))), expected)


def test_a_low_resolution_is_monais() -> None:
    patch = window()
    theirs = monai.RandSimulateLowResolution(prob=1.0, zoom_range=(0.6, 0.6), upsample_mode="bilinear")
    expected = theirs(patch)
    out = add(patch, replace(nothing(), low_resolution=np.array([0.4])))
    torch.testing.assert_close(out, torch.as_tensor(expected.as_tensor()))


def test_a_histogram_shift_is_monais_and_keeps_the_order_of_grey_values() -> None:
    patch = window()
    theirs = monai.RandHistogramShift(num_control_points=10, prob=1.0).set_random_state(3)
    expected = theirs(patch).as_tensor()
    out = add(patch, replace(nothing(), histogram_shift=np.asarray(theirs.floating_control_points)[None]))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    curve = draw(ALL, 1, np.random.default_rng(0)).histogram_shift[0]
    ours = add(patch, replace(nothing(), histogram_shift=curve[None]))
    order = patch.ravel().argsort()
    assert (ours.ravel()[order].diff() >= -1e-6).all()
    assert ours.min() == pytest.approx(patch.min().item(), abs=1e-5)
    assert ours.max() == pytest.approx(patch.max().item(), abs=1e-5)


def test_coarse_dropout_is_monais_with_the_windows_mean() -> None:
    patch = window()
    holes = np.zeros((4, 2, 2))
    holes[0] = (0.25, 0.5), (0.5, 0.25)  # rows 3 to 8, columns 8 to 11
    holes[1] = (0.0, 0.0), (0.01, 0.5)  # less than half a row: none
    theirs = monai.RandCoarseDropout(1, 1, fill_value=float(patch.mean()), prob=1.0)
    theirs._do_transform, theirs.hole_coords = True, [(slice(None), slice(3, 9), slice(8, 12))]
    expected = theirs(patch.clone(), randomize=False).as_tensor()
    out = add(patch, replace(nothing(), holes=holes[None]))
    torch.testing.assert_close(out, expected)
    assert (out != patch).sum() == 3 * 24


@pytest.mark.parametrize(("axis", "spacing"), [(0, 3), (1, 4), (1, 2)])
def test_ghosts_are_copies_at_equal_distances(axis: int, spacing: int) -> None:
    """Weakening every n-th line subtracts n copies, a window's n-th part apart, and adds the mean."""
    patch, strength = window(), 0.4
    values = {
        "ghosting": np.array([strength]),
        "ghost_spacing": np.array([spacing]),
        "ghost_axis": np.array([axis]),
    }
    out = add(patch, replace(nothing(), **values))  # type: ignore[arg-type]
    size = patch.shape[1 + axis]
    copies = sum(patch.roll(k * size // spacing, 1 + axis) for k in range(spacing))
    mean = patch.mean(dim=1 + axis, keepdim=True)
    expected = patch - strength / spacing * copies + strength * mean
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.mean(), patch.mean(), rtol=1e-4, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 20), st.integers(2, 20)),
    seed=st.integers(0, 2**31),
    flat=st.booleans(),
)
def test_values_stay_finite_whatever_is_drawn(shape: tuple[int, int, int], seed: int, flat: bool) -> None:
    patch = torch.full(shape, 0.7) if flat else window(seed, shape)
    out = add(patch, draw(Artefacts(**STRONG), 3, np.random.default_rng(seed)).of(slice(1, 2)))
    assert out.shape == patch.shape
    assert out.isfinite().all()


def test_draws_stay_within_their_settings() -> None:
    params = draw(ALL, 500, np.random.default_rng(0))
    assert np.abs(params.bias_field).max() <= 0.2
    for kind in ("gibbs", "ghosting", "low_resolution"):
        assert (
            0 <= getattr(params, kind).min() < 0.1 < 0.4 < getattr(params, kind).max() <= getattr(ALL, kind)
        )
    assert set(params.ghost_spacing) == set(range(2, 9))
    assert set(params.ghost_axis) == {0, 1}
    assert (np.diff(params.histogram_shift, axis=1) > 0).all()
    starts, sizes = params.holes[:, :, 0], params.holes[:, :, 1]
    assert sizes.max() <= 0.3
    assert (starts + sizes <= 1).all()
    assert set((sizes[..., 0] > 0).sum(axis=1)) == {0, 1, 2, 3, 4}


def test_artefacts_come_before_windows_are_made_small() -> None:
    artefacts = ArtefactAugmenter(plain, ALL, 2, seed=1)
    resizer = Resizer(artefacts, [(1, 0.5)], 10, lambda n: n)
    patches = window(1, (2, 3, 12, 16))
    assert resizer(patches, labels(2), 0)[0].shape == (2, 3, 6, 8)
