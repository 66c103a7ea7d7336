"""Losses against PAPERS' worked numbers, a slow oracle and MONAI."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.losses import LOSSES, RECONSTRUCTION, TAKE_WEIGHT_MAPS, build
from medseg.losses.overlap import soft_dice
from tests.oracles import losses as oracle

# Two pixels, three classes.
L1 = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]).log().T.reshape(1, 3, 1, 2)
Y1 = torch.tensor([[[0, 2]]])
# Four pixels, two classes: the foreground's probability and truth.
_P = torch.tensor([0.9, 0.6, 0.2, 0.1])
L2 = torch.stack([1 - _P, _P]).log().reshape(1, 2, 1, 4)
Y2 = torch.tensor([[[1, 1, 0, 0]]])


OF_LABELS = [name for name in LOSSES if name != RECONSTRUCTION]


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("name", "keywords", "logits", "labels", "expected"),
    [
        ("ce", {"reduction": "sum"}, L1, Y1, 1.560648),
        ("ce", {}, L1, Y1, 0.780324),
        ("ce", {}, L1, torch.tensor([[[0, 255]]]), 0.356675),
        ("ce", {"class_weights": (1, 1, 4), "reduction": "sum"}, L1, Y1, 5.172566),
        ("ce", {"class_weights": (1, 1, 4)}, L1, Y1, 1.034513),
        ("ce", {"class_weights": (1, 1, 4), "reduction": "pixel_mean"}, L1, Y1, 2.586283),
        ("ce", {"reduction": "pixel_mean"}, L1, torch.tensor([[[0, 255]]]), 0.356675),
        ("focal", {"reduction": "pixel_mean"}, L1, Y1, 0.311024),
        ("focal", {"reduction": "sum"}, L1, Y1, 0.622047),
        ("focal", {}, L1, Y1, 0.311024),
        ("focal", {"gamma": 0}, L1, Y1, 0.780324),
        ("dice", {"background": False}, L2, Y2, 0.210526),
        ("dice", {"background": False, "squared": True}, L2, Y2, 0.068323),
        ("dice", {}, L2, Y2, 1 - (0.809524 + 0.789474) / 2),
        ("dice", {"reduction": "sum"}, L2, Y2, 2 - (0.809524 + 0.789474)),
        ("iou", {"background": False}, L2, Y2, 0.347826),
        ("ce", {}, L2, Y2, 0.236173),
        ("unetpp", {}, L2, Y2, -0.671387),
        ("unetpp", {"smooth": 1.0}, L2, Y2, -0.715247),
        ("ce_dice", {}, L2, Y2, 0.436674),
        ("ce_dice", {"class_weights": (1, 3)}, L2, Y2, 0.472634),
        ("ce_dice", {"reduction": "sum"}, L2, Y2, 4 * 0.236173 + 0.200501),
    ],
)
def test_worked_numbers(
    name: str, keywords: dict[str, object], logits: Tensor, labels: Tensor, expected: float
) -> None:
    assert build(name, **keywords)(logits, labels).item() == pytest.approx(expected, abs=2e-6)


def test_half_a_cross_entropy_and_soft_dice() -> None:
    """The lectures' reading of UNet++'s equation, one more than the paper's."""
    both = build("ce")(L2, Y2) / 2 + build("dice", background=False)(L2, Y2)
    assert both.item() == pytest.approx(0.328613, abs=2e-6)
    assert build("unetpp")(L2, Y2).item() == pytest.approx(both.item() - 1, abs=2e-6)


def _batch(seed: int, classes: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (2, 3, 4))
    labels[rng.random(labels.shape) < 0.2] = 255
    logits = rng.normal(0, 2, (2, classes, 3, 4)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(labels)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 5), gamma=st.sampled_from([0.0, 0.5, 2.0]))
def test_equal_to_the_slow_oracle(seed: int, classes: int, gamma: float) -> None:
    logits, labels = _batch(seed, classes)
    weights = [1.0 + c for c in range(classes)]
    total, weight = oracle.cross_entropy(logits, labels, weights, gamma)
    focal = build("focal", weights, gamma=gamma)
    assert focal(logits, labels).item() == pytest.approx(total / weight, rel=1e-4, abs=1e-6)
    both = np.array(oracle.dice_and_iou(logits, labels))
    assert build("dice")(logits, labels).item() == pytest.approx(1 - both[:, 0].mean(), rel=1e-4, abs=1e-6)
    assert build("iou")(logits, labels).item() == pytest.approx(1 - both[:, 1].mean(), rel=1e-4, abs=1e-6)
    total, weight = oracle.cross_entropy(logits, labels, weights)
    expected = total / weight + 1 - both[:, 0].mean()
    assert build("ce_dice", weights)(logits, labels).item() == pytest.approx(expected, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), gamma=st.sampled_from([0.0, 2.0]))
def test_a_weight_map_is_added_to_the_class_weights(seed: int, gamma: float) -> None:
    logits, labels = _batch(seed, 3)
    weights, weight_map = [0.0, 1.0, 2.5], np.random.default_rng(seed).random(labels.shape) * 10
    total, weight = oracle.cross_entropy(logits, labels, weights, gamma, weight_map)
    given_map, pixels = torch.from_numpy(weight_map), int((labels != 255).sum())
    for reduction, expected in (
        ("sum", total),
        ("mean", total / weight),
        ("pixel_mean", total / pixels),
    ):
        loss = build("focal", weights, gamma=gamma, reduction=reduction)
        assert loss(logits, labels, given_map).item() == pytest.approx(expected, rel=1e-4)
    total, weight = oracle.cross_entropy(logits, labels, weights, 0.0, weight_map)
    dice = build("dice")(logits, labels).item()
    found = build("ce_dice", weights)([logits, logits], labels, given_map).item()
    assert found == pytest.approx(total / weight + dice, rel=1e-4)
    assert build("ce", weights)(logits, labels, given_map).item() == pytest.approx(total / weight, rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_map_is_taken_or_refused_as_the_table_says(name: str) -> None:
    logits, labels = _batch(1, 3)
    nothing = torch.zeros(labels.shape)
    if name in TAKE_WEIGHT_MAPS:
        torch.testing.assert_close(build(name)(logits, labels, nothing), build(name)(logits, labels))
        return
    with pytest.raises(MedsegError, match="takes no weight map") as refusal:
        build(name)(logits, labels, nothing)
    assert refusal.value.code == Code.KEYWORD_INVALID


def test_equal_to_torch_and_monai() -> None:
    logits, labels = _batch(3, 4)
    weights = torch.tensor([1.0, 0.5, 2.0, 3.0])
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255)
    torch.testing.assert_close(build("ce", weights.tolist())(logits, labels), expected)
    labels[labels == 255] = 0
    target = labels.unsqueeze(1)
    dice = DiceLoss(to_onehot_y=True, softmax=True, batch=True, smooth_nr=0.0, smooth_dr=0.0)
    torch.testing.assert_close(build("dice")(logits, labels), dice(logits, target))
    iou = DiceLoss(to_onehot_y=True, softmax=True, batch=True, smooth_nr=0.0, smooth_dr=0.0, jaccard=True)
    torch.testing.assert_close(build("iou")(logits, labels), iou(logits, target))
    focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0, reduction="none")
    torch.testing.assert_close(build("focal", reduction="sum")(logits, labels), focal(logits, target).sum())


@pytest.mark.parametrize("name", OF_LABELS)
def test_void_heads_gradients_and_precision(name: str) -> None:
    logits, labels = _batch(1, 3)
    loss = build(name)
    changed = torch.where((labels == 255).unsqueeze(1), logits + 7, logits)
    torch.testing.assert_close(loss(changed, labels), loss(logits, labels))
    heads = [logits, logits * 2]
    torch.testing.assert_close(loss(heads, labels), (loss(heads[0], labels) + loss(heads[1], labels)) / 2)
    assert torch.equal(loss(logits, labels.to(torch.uint8)), loss(logits, labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(logits, labels), loss(logits, labels))
        assert loss(logits.bfloat16(), labels).dtype == torch.float32
    logits.requires_grad_(True)
    loss(logits, labels).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.abs().sum(dim=1)[labels == 255] == 0).all()


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_batch_of_void_costs_nothing_and_pulls_nowhere(name: str) -> None:
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = build(name)(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == (-1.0 if name == "unetpp" else 0.0)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_focal_below_one_has_finite_gradients_at_certainty() -> None:
    logits = torch.tensor([100.0, -100.0]).reshape(1, 2, 1, 1).requires_grad_(True)
    build("focal", gamma=0.5)(logits, torch.zeros(1, 1, 1, dtype=torch.int64)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_an_empty_class_has_dice_one() -> None:
    p = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert soft_dice(p, p).tolist() == [1.0, 1.0]
    assert soft_dice(p, p.flip(1)).tolist() == [0.0, 0.0]


def test_unetpp_sums_over_heads() -> None:
    summed = build("unetpp", reduction="sum")([L2, L2], Y2)
    assert summed.item() == pytest.approx(2 * -0.671387, abs=4e-6)


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("nll", {}, "there is no loss 'nll'"),
        ("dice", {"class_weights": (1, 2)}, "unknown keyword 'class_weights'"),
        ("ce", {"alpha": 1}, "unknown keyword 'alpha'"),
        ("ce", {"reduction": "none"}, "reduction='none'"),
        ("dice", {"reduction": "none"}, "reduction='none'"),
        ("dice", {"reduction": "pixel_mean"}, "reduction='pixel_mean'"),
        ("ce_dice", {"reduction": "none"}, "reduction='none'"),
        ("ce", {"class_weights": (1, -1)}, "class_weights=-1.0"),
        ("ce", {"class_weights": (0, 0)}, "make one weight positive"),
        ("focal", {"gamma": float("nan")}, "gamma=nan"),
        ("unetpp", {"smooth": -1}, "smooth=-1"),
    ],
)
def test_refusals(name: str, keywords: dict[str, object], words: str) -> None:
    with pytest.raises(MedsegError, match=words) as refusal:
        build(name, **keywords)
    assert refusal.value.code == Code.KEYWORD_INVALID


def test_class_weights_must_fit_the_classes() -> None:
    with pytest.raises(MedsegError, match="2 class weights for 3 classes"):
        build("ce", (1, 2))(L1, Y1)


def test_reconstruction_is_the_mean_squared_difference_in_float32() -> None:
    outputs = torch.tensor([1.0, 2.0, -1.0, 0.5]).reshape(1, 2, 1, 2).requires_grad_(True)
    truth = torch.tensor([1.0, 0.0, 0.0, 0.5]).reshape(1, 2, 1, 2)
    loss = build(RECONSTRUCTION)(outputs.bfloat16(), truth)
    assert loss.item() == pytest.approx((4 + 1) / 4)
    assert loss.dtype == torch.float32
    loss.backward()
    torch.testing.assert_close(outputs.grad, 2 * (outputs.detach() - truth) / 4)
    with pytest.raises(MedsegError, match="class_weights"):
        build(RECONSTRUCTION, [1.0, 2.0])
