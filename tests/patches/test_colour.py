"""Colour changes, and that new kinds of draws leave the numbers of the others as they were."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.patches.augment import Augmentation, Augmenter, AugmentParams, draw
from medseg.patches.grey_values import change_colours

BEFORE_COLOURS = {
    "flip_h": "448e5667a7c7",
    "flip_w": "f3600ed29d98",
    "rotate_radians": "ff85af2eaa84",
    "magnify": "77f406e22129",
    "shift_px": "386cde624a47",
    "contrast": "9829207d4c22",
    "brightness": "142f33252b14",
    "gamma": "da069dcb016b",
    "noise": "3261d1d7424e",
    "noise_seed": "3b1b6dfa1eae",
    "elastic_px": "323ec0f65527",
}
"""What was drawn before there were colour changes, as hashes of values rounded to nine digits."""


def numbers(draws: AugmentParams) -> dict[str, str]:
    values = {name: np.round(np.asarray(held, np.float64), 9) + 0.0 for name, held in vars(draws).items()}
    return {name: hashlib.sha256(held.tobytes()).hexdigest()[:12] for name, held in values.items()}


def drawn(**changes: float) -> AugmentParams:
    settings = Augmentation(("left_right", "anterior_posterior"), 30.0, 0.2, 3.0, 0.2, 0.3, 0.4, 0.1, 2.0)
    return draw(replace(settings, **changes), 5, np.random.default_rng((7, 11, 1)))  # type: ignore[arg-type]


def test_the_numbers_of_other_changes_are_those_drawn_before_there_were_colours() -> None:
    for found in (numbers(drawn()), numbers(drawn(saturation=0.5, hue=0.1))):
        assert {name: found[name] for name in BEFORE_COLOURS} == BEFORE_COLOURS


def nothing(batch: int) -> AugmentParams:
    return draw(Augmentation(), batch, np.random.default_rng(0))


def colours(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((2, 3, 4, 5)).astype(np.float32))


def luma(patches: torch.Tensor) -> torch.Tensor:
    return (patches * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)


def test_off_is_the_identity_bit_for_bit() -> None:
    patches = colours()
    assert change_colours(patches, nothing(2)) is patches
    grey = torch.zeros(2, 1, 4, 5)
    assert change_colours(grey, nothing(2)) is grey


def test_saturation_stretches_the_distance_from_grey() -> None:
    patches, factors = colours(), np.array([0.0, 1.5])
    found = change_colours(patches, replace(nothing(2), saturation=factors))
    grey = luma(patches).unsqueeze(1)
    expected = grey + torch.tensor(factors).view(2, 1, 1, 1) * (patches - grey)
    torch.testing.assert_close(found, expected.float(), atol=2e-3, rtol=0)


def test_hue_turns_around_grey_and_keeps_luma_and_saturation_of_chroma() -> None:
    patches = colours(1)
    turned = change_colours(patches, replace(nothing(2), hue_radians=np.array([0.3, 2 * np.pi])))
    torch.testing.assert_close(luma(turned), luma(patches), atol=2e-3, rtol=0)
    torch.testing.assert_close(turned[1], patches[1], atol=1e-5, rtol=0)
    back = change_colours(turned, replace(nothing(2), hue_radians=np.array([-0.3, 0.0])))
    torch.testing.assert_close(back[0], patches[0], atol=1e-5, rtol=0)
    # a third of the circle brings red near the next primary
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    third = change_colours(red, replace(nothing(1), hue_radians=np.array([2 * np.pi / 3])))
    hue = colorsys.rgb_to_hsv(*third.clamp(0, 1).ravel().tolist())[0]
    assert min(abs(hue - 1 / 3), abs(hue - 2 / 3)) < 0.1
    grey = torch.full((1, 3, 1, 1), 0.4)
    kept = change_colours(grey, replace(nothing(1), hue_radians=np.array([1.0])))
    torch.testing.assert_close(kept, grey, atol=1e-3, rtol=0)


def test_an_augmenter_changes_colours_by_seed_and_step_and_never_labels() -> None:
    augmenter = Augmenter(Augmentation(saturation=0.5, hue=0.2), (4, 5), 2, seed=3)
    labels = torch.randint(0, 4, (2, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    patches, same = augmenter(colours(), labels, 4)
    assert torch.equal(same, labels)
    assert torch.equal(augmenter(colours(), labels, 4)[0], patches)
    assert not torch.equal(augmenter(colours(), labels, 5)[0], patches)
    (half, _) = augmenter(colours()[1:], labels[1:], 4, slice(1, None))
    torch.testing.assert_close(half[0], patches[1], rtol=0, atol=0)
    draws = draw(Augmentation(saturation=0.5, hue=0.1), 500, np.random.default_rng(0))
    assert 0.5 <= draws.saturation.min() < 0.6 < 1.4 < draws.saturation.max() <= 1.5
    assert np.abs(draws.hue_radians).max() <= 0.2 * np.pi


def test_other_channels_than_three_colours_are_refused() -> None:
    with pytest.raises(MedsegError, match="patches of 1 channels") as refused:
        change_colours(torch.zeros(2, 1, 4, 5), replace(nothing(2), saturation=np.array([1.0, 0.5])))
    assert refused.value.code == Code.KEYWORD_INVALID
