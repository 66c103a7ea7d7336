"""Augmentation: identities, hand-made moves, and determinism."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.grid import centre_crop
from medseg.patches.augment import (
    Augmentation,
    Augmenter,
    AugmentParams,
    draw,
    field_size,
    move,
)
from medseg.patches.grey_values import change_grey

ALL = Augmentation(("left_right", "anterior_posterior"), 30.0, 0.2, 3.0, 0.2, 0.3, 0.4, 0.1)


def _nothing(batch: int = 2) -> AugmentParams:
    return draw(Augmentation(), batch, np.random.default_rng(0))


def _fields(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(batch, 3, *size, generator=generator)
    labels = torch.randint(0, 5, (batch, *size), generator=generator).to(torch.uint8)
    labels[:, 0, 0] = 255
    return patches, labels


def test_all_off_is_the_identity_bit_for_bit() -> None:
    patches, labels = _fields(4, (6, 8))
    augmenter = Augmenter(Augmentation(), (6, 8), 4, seed=0)
    assert augmenter.field == (6, 8)
    out, out_labels = augmenter(patches, labels, 3)
    assert torch.equal(out, patches)
    assert torch.equal(out_labels, labels)


def test_zero_draws_cut_the_window_out_of_a_larger_field() -> None:
    patches, labels = _fields(2, (10, 12))
    out, out_labels = move(patches, labels, _nothing(), (6, 8))
    assert torch.equal(out, patches[..., 2:8, 2:10])
    assert torch.equal(out_labels, labels[..., 2:8, 2:10])
    assert torch.equal(centre_crop(labels, (6, 8)), out_labels)


def test_resampling_by_nothing_is_the_identity() -> None:
    patches, labels = _fields(2, (10, 12))
    # The second patch turns, so that the first goes through the resampling too.
    draws = replace(_nothing(), rotate_radians=np.array([0.0, 0.3]))
    out, out_labels = move(patches, labels, draws, (6, 8))
    torch.testing.assert_close(out[0], patches[0, :, 2:8, 2:10], rtol=0, atol=1e-5)
    assert torch.equal(out_labels[0], labels[0, 2:8, 2:10])


def test_whole_pixel_shifts_quarter_turns_and_flips_by_hand() -> None:
    patches, labels = _fields(2, (12, 12))
    shifted = replace(_nothing(), shift_px=np.array([[2.0, -1.0], [0.0, 3.0]]))
    out, out_labels = move(patches, labels, shifted, (6, 6))
    torch.testing.assert_close(out[0], patches[0, :, 5:11, 2:8], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[1], patches[1, :, 3:9, 6:12], rtol=0, atol=1e-5)
    assert torch.equal(out_labels[0], labels[0, 5:11, 2:8])
    turned = replace(_nothing(), rotate_radians=np.array([math.pi / 2, math.pi / 2]))
    out, out_labels = move(patches, labels, turned, (6, 6))
    expected = torch.rot90(patches[..., 3:9, 3:9], -1, (-2, -1))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    assert torch.equal(out_labels, torch.rot90(labels[..., 3:9, 3:9], -1, (-2, -1)))
    flipped = replace(_nothing(), flip_h=np.array([True, False]), flip_w=np.array([True, True]))
    out, out_labels = move(patches, labels, flipped, (12, 12))
    assert torch.equal(out[0], patches[0].flip((-2, -1)))
    assert torch.equal(out[1], patches[1].flip(-1))
    assert torch.equal(out_labels[1], labels[1].flip(-1))


def test_magnifying_by_two_shows_half_the_field() -> None:
    row = torch.arange(8.0).expand(8, 8)
    patches, labels = row.expand(1, 1, 8, 8), row.to(torch.uint8).expand(1, 8, 8)
    draws = replace(_nothing(1), magnify=np.array([2.0]))
    out, out_labels = move(patches, labels, draws, (4, 4))
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([2.75, 3.25, 3.75, 4.25]))
    assert out_labels[0, 0].tolist() == [3, 3, 4, 4]


@settings(max_examples=40, deadline=None)
@given(
    window=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    rotate=st.floats(0, 180),
    scale=st.floats(0, 0.9),
    shift=st.floats(0, 5),
    seed=st.integers(0, 2**31),
)
def test_the_field_holds_every_pixel_that_is_asked_for(
    window: tuple[int, int], rotate: float, scale: float, shift: float, seed: int
) -> None:
    setting = Augmentation(rotate_degrees=rotate, scale=scale, shift_px=shift)
    field = field_size(window, setting)
    assert all(f >= w and (f - w) % 2 == 0 for f, w in zip(field, window, strict=True))
    # A field that is 1 inside and 0 in its outermost ring stays 1 in the window, unless the ring is reached.
    ring = torch.zeros(1, 1, *field)
    if setting.resamples:
        ring[..., 1:-1, 1:-1] = 1
        for magnify in (1 / (1 + scale), 1 + scale):
            draws = draw(setting, 1, np.random.default_rng(seed))
            draws = replace(draws, magnify=np.array([magnify]), shift_px=np.array([[shift, -shift]]))
            out, _ = move(ring, ring[0].to(torch.uint8), draws, window)
            assert out.min() > 0.999


def test_grey_values_by_hand() -> None:
    patch = torch.tensor([0.0, 1.0, 2.0, 5.0]).reshape(1, 1, 2, 2)
    nothing = _nothing(1)
    assert torch.equal(change_grey(patch, nothing), patch)
    one = np.array([1.0])
    assert change_grey(patch, replace(nothing, contrast=2 * one)).ravel().tolist() == [-2, 0, 2, 8]
    assert change_grey(patch, replace(nothing, brightness=one)).ravel().tolist() == [1, 2, 3, 6]
    bent = change_grey(patch, replace(nothing, gamma=2 * one)).ravel()
    torch.testing.assert_close(bent, torch.tensor([0.0, 0.2, 0.8, 5.0]))
    flat = torch.full((1, 1, 2, 2), 3.0)
    assert torch.equal(change_grey(flat, replace(nothing, gamma=2 * one)), flat)


def test_noise_has_its_deviation_and_its_own_seed() -> None:
    patches = torch.zeros(2, 1, 100, 100)
    draws = replace(_nothing(), noise=np.array([0.5, 2.0]), noise_seed=np.array([1, 2]))
    out = change_grey(patches, draws)
    assert out[0].std().item() == pytest.approx(0.5, rel=0.05)
    assert out[1].std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(change_grey(patches[1:], draws.of(slice(1, None))), out[1:])


def test_grey_values_cannot_reach_labels() -> None:
    assert list(inspect.signature(change_grey).parameters) == ["patches", "draws"]


def test_a_batch_depends_on_seed_and_step_alone_and_has_rows() -> None:
    augmenter = Augmenter(ALL, (16, 20), 6, seed=5)
    patches, labels = _fields(6, augmenter.field)
    before = patches.clone(), labels.clone(), torch.get_rng_state()
    out, out_labels = augmenter(patches, labels, 9)
    assert out.shape == (6, 3, 16, 20)
    assert out_labels.dtype == torch.uint8
    assert set(out_labels.unique().tolist()) <= set(labels.unique().tolist())
    assert torch.equal(Augmenter(ALL, (16, 20), 6, seed=5)(patches, labels, 9)[0], out)
    assert not torch.equal(augmenter(patches, labels, 10)[0], out)
    assert not torch.equal(Augmenter(ALL, (16, 20), 6, seed=6)(patches, labels, 9)[0], out)
    rows = slice(1, None, 2)
    half, half_labels = augmenter(patches[rows], labels[rows], 9, rows)
    assert torch.equal(half, out[rows])
    assert torch.equal(half_labels, out_labels[rows])
    assert torch.equal(patches, before[0])
    assert torch.equal(labels, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_draws_stay_within_their_settings() -> None:
    draws = draw(ALL, 500, np.random.default_rng(0))
    assert np.abs(draws.rotate_radians).max() <= math.radians(30)
    assert 1 / 1.2 <= draws.magnify.min() < 0.9 < 1.1 < draws.magnify.max() <= 1.2
    assert np.abs(draws.shift_px).max() <= 3
    assert 0.8 <= draws.contrast.min() < draws.contrast.max() <= 1.2
    assert 1 / 1.4 <= draws.gamma.min() < draws.gamma.max() <= 1.4
    assert 0 <= draws.noise.min() < draws.noise.max() <= 0.1
    assert 0.4 < draws.flip_h.mean() < 0.6
    assert not draw(replace(ALL, flip=()), 500, np.random.default_rng(0)).flip_h.any()
