"""What an auto-encoder is to give again: its window as it is moved, before noise and artefacts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.patches.artefacts import ArtefactAugmenter, Artefacts
from medseg.patches.augment import Augmentation, Augmenter

MOVES = {"flip": ("left_right",), "rotate_degrees": 20.0, "scale": 0.2, "shift_px": 1.0}
GREY = {"contrast": 0.3, "brightness": 0.3, "gamma": 0.3, "noise": 0.2}
ARTEFACTS = Artefacts(bias_field=0.3, gibbs=0.5, coarse_dropout=0.4)


def augmented(settings: Augmentation, t: int, *, reconstructs: bool) -> tuple[Tensor, ...]:
    """Windows of six slices of slabs, and what the loss gets beside them."""
    augmenter = Augmenter(settings, (8, 10), 6, 3, reconstructs=reconstructs)
    generator = np.random.default_rng(t)
    fields = torch.from_numpy(generator.normal(size=(6, 3, *augmenter.field)).astype(np.float32))
    labels = torch.zeros(6, *augmenter.field, dtype=torch.uint8)
    return ArtefactAugmenter(augmenter, ARTEFACTS, 6, 3)(fields, labels, t)


@settings(max_examples=20, deadline=None)
@given(t=st.integers(0, 10**6), moves=st.booleans())
def test_the_target_is_the_window_of_the_same_moves_without_changes_of_grey_values(
    t: int, moves: bool
) -> None:
    moved = MOVES if moves else {}
    patches, target = augmented(Augmentation(**moved, **GREY), t, reconstructs=True)
    assert target.dtype == torch.float32
    plain = Augmenter(Augmentation(**moved), (8, 10), 6, 3)
    fields = torch.from_numpy(np.random.default_rng(t).normal(size=(6, 3, *plain.field)).astype(np.float32))
    expected, _ = plain(fields, torch.zeros(6, *plain.field, dtype=torch.uint8), t)
    assert torch.equal(target, expected)
    assert not torch.equal(patches, target)


@pytest.mark.parametrize("t", [0, 7])
def test_the_windows_are_those_of_any_other_training(t: int) -> None:
    own, _ = augmented(Augmentation(**MOVES, **GREY), t, reconstructs=True)
    usual, labels = augmented(Augmentation(**MOVES, **GREY), t, reconstructs=False)
    assert torch.equal(own, usual)
    assert labels.shape == (6, 8, 10)
