"""Losses of overlapping masks against PAPERS' worked numbers, a slow oracle, torch and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.losses import build
from tests.oracles import losses as oracle

# Four pixels of one mask: its probability and truth.
P = torch.tensor([0.9, 0.6, 0.2, 0.1]).logit().reshape(1, 1, 1, 4)
Y = torch.tensor([[[1, 1, 0, 0]]], dtype=torch.uint8)


def test_worked_numbers() -> None:
    bce = build("bce")(P, Y).item()
    assert bce == pytest.approx(0.236173, abs=2e-6)
    assert build("bce", reduction="sum")(P, Y).item() == pytest.approx(4 * 0.236173, abs=4e-6)
    assert build("bce_dice")(P, Y).item() - bce == pytest.approx(0.210526, abs=2e-6)
    both = build("bce_dice", reduction="sum")(P, Y).item()
    assert both == pytest.approx(4 * 0.236173 + 0.210526, abs=4e-6)


def _batch(seed: int, masks: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2**masks, (2, 3, 4)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    return torch.from_numpy(rng.normal(0, 2, (2, masks, 3, 4)).astype(np.float32)), torch.from_numpy(labels)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), masks=st.integers(1, 7))
def test_equal_to_the_slow_oracle(seed: int, masks: int) -> None:
    logits, labels = _batch(seed, masks)
    weights = [0.5 + m for m in range(masks)]
    total, weight, dice = oracle.masks(logits, labels, weights)
    assert build("bce", weights)(logits, labels).item() == pytest.approx(total / weight, rel=1e-4)
    assert build("bce", weights, reduction="sum")(logits, labels).item() == pytest.approx(total, rel=1e-4)
    expected = total / weight + 1 - np.mean(dice)
    assert build("bce_dice", weights)(logits, labels).item() == pytest.approx(expected, rel=1e-4)


def test_equal_to_torch_and_monai() -> None:
    logits, labels = _batch(3, 3)
    labels[labels == 255] = 0
    target = ((labels.int().unsqueeze(1) >> torch.arange(3).view(1, 3, 1, 1)) & 1).float()
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(build("bce")(logits, labels), expected)
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=0.0, smooth_dr=0.0)
    torch.testing.assert_close(build("bce_dice")(logits, labels), expected + dice(logits, target))
    both = DiceCELoss(sigmoid=True, batch=True, smooth_nr=0.0, smooth_dr=0.0)
    one = labels & 1
    torch.testing.assert_close(build("bce_dice")(logits[:, :1], one), both(logits[:, :1], target[:, :1]))


def test_void_counts_nowhere_and_an_empty_mask_has_dice_one() -> None:
    void = torch.full((1, 1, 4), 255, dtype=torch.uint8)
    logits = P.clone().requires_grad_(True)
    loss = build("bce_dice")(logits, void)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
    half = torch.tensor([[[1, 255, 0, 255]]], dtype=torch.uint8)
    kept = build("bce")(P[..., ::2], half[..., ::2])
    torch.testing.assert_close(build("bce")(P, half), kept)


@pytest.mark.parametrize("name", ["bce", "bce_dice"])
def test_refusals(name: str) -> None:
    with pytest.raises(MedsegError, match="2 class weights for 1 masks") as refusal:
        build(name, (1, 2))(P, Y)
    assert refusal.value.code == Code.KEYWORD_INVALID
    with pytest.raises(MedsegError, match="reduction='pixel_mean'"):
        build(name, reduction="pixel_mean")
