"""Stored probabilities: sums of 1, an arg-max that is the label map, and values that are the oracle's."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Plane
from medseg.infer import predict
from medseg.infer.decide import highest
from medseg.infer.ensemble import EnsembleRule, MultiPlaneEnsemble
from medseg.infer.inferers import Inferer, MajorityVote, WholeSlice
from medseg.infer.probability_maps import steps_of_classes, steps_of_masks
from medseg.io.nifti_writer import SHARE_STEP
from medseg.preprocess import geometry
from medseg.preprocess.geometry import Record
from medseg.volume import Volume
from tests.infer.test_onto_scan import (
    ALL,
    HOWS,
    ORIENTATIONS,
    Known,
    members_of,
    numbered,
    record_of,
    records,
)
from tests.oracles import scores as of_scores
from tests.oracles import steps as oracle

STRAIGHT = ((0, 1, 2), (1, 1, 1))


@st.composite
def cropped(draw: Any) -> Record:
    """Records of scans in any orientation that were cut and not resampled."""
    shape, turned = draw(st.tuples(*[st.integers(1, 7)] * 3)), draw(st.sampled_from(ORIENTATIONS))
    record = record_of(shape, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), turned)
    starts = [draw(st.integers(0, n - 1)) for n in record.whole.shape]
    box = tuple((a, draw(st.integers(a + 1, n))) for a, n in zip(starts, record.whole.shape, strict=True))
    return replace(record, box=box)


def stored(found: predict.Prediction) -> Array:
    assert found.probabilities is not None
    return found.probabilities.array


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=9), min_size=1, max_size=20))
def test_steps_are_those_of_the_oracle(votes: list[list[int]]) -> None:
    for row in votes:
        whole = [*row, 64 - sum(row)]  # shares in 64ths: exact in float32, ties and all
        label = whole.index(max(whole))
        shares = torch.tensor(whole, dtype=torch.float32).view(-1, 1, 1) / 64
        made = steps_of_classes(shares, torch.tensor([[label]], dtype=torch.uint8))
        assert made.flatten().tolist() == oracle.of_classes([Fraction(n, 64) for n in whole], label)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 60),
    spread=st.sampled_from([0.0, 1e-6, 0.01, 0.3, 3.0, 30.0, 500.0]),
)
def test_sums_are_1_and_the_arg_max_is_the_label(seed: int, classes: int, spread: float) -> None:
    logits = torch.randn(classes, 7, 5, generator=torch.Generator().manual_seed(seed)) * spread
    logits = logits.round(decimals=1) if seed % 2 else logits  # with ties
    shares, labels = logits.softmax(dim=0), highest(logits)
    steps = steps_of_classes(shares, labels)
    assert steps.dtype == torch.uint8
    assert torch.equal(steps.sum(dim=0), torch.full((7, 5), 255))
    assert np.array_equal(steps.numpy().argmax(axis=0), labels)
    error = (steps / 255 - shares).abs()
    assert error.max() < 2 / 255 + 1e-6
    assert ((error > 1 / 255 + 1e-6).sum(dim=0) <= 2).all()


def test_a_label_that_is_not_alone_takes_a_step_from_the_first() -> None:
    shares = torch.tensor([0.49999, 0.50001, 0.0]).view(3, 1, 1)  # 127.497 and 127.503 steps
    assert steps_of_classes(shares, torch.tensor([[1]])).flatten().tolist() == [127, 128, 0]
    thirds = torch.full((3, 1, 1), 1 / 3)  # of logits that float32 still told apart
    assert [steps_of_classes(thirds, torch.tensor([[k]])).flatten().tolist() for k in range(3)] == [
        [85, 85, 85],
        [84, 86, 85],
        [84, 85, 86],
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, width=32), st.floats(1e-4, 0.9999) | st.sampled_from([0.2, 0.4, 0.5, 0.8])),
        min_size=1,
        max_size=7,
    )
)
def test_a_stored_value_is_above_the_threshold_where_the_mask_is(masks: list[tuple[float, float]]) -> None:
    shares = torch.tensor([p for p, _ in masks]).view(-1, 1, 1)
    inside = [share > least for share, least in masks]
    bits = torch.tensor([[sum(one << k for k, one in enumerate(inside))]], dtype=torch.uint8)
    steps = steps_of_masks(shares, bits, [least for _, least in masks]).flatten().tolist()
    for step, one, (share, least) in zip(steps, inside, masks, strict=True):
        assert (step * SHARE_STEP > least) == one
        assert abs(step / 255 - share) <= 1 / 255 + 1e-6


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    record=records() | cropped(),
    classes=st.integers(2, 4),
    planes=st.permutations(ALL).flatmap(lambda order: st.sampled_from([order[:1], order])),
    inferer=st.sampled_from(HOWS),
    rule=st.sampled_from(["mean", "vote"]),
)
def test_maps_lie_on_the_scan_and_agree_with_labels_and_oracle(
    seed: int, record: Record, classes: int, planes: list[Plane], inferer: Inferer, rule: EnsembleRule
) -> None:
    generator = np.random.default_rng(seed)
    shape = (classes, *record.grid.shape)
    logits = [generator.normal(0, 2, shape).astype(np.float32) for _ in planes]
    predictor = members_of(logits, planes, inferer, rule)
    onto = record if record.resampled else None
    made = predict.label(numbered(record), predictor, inferer, onto=onto, probabilities=record)
    plain = predict.label(numbered(record), predictor, inferer, onto=onto)
    np.testing.assert_array_equal(made.labels, plain.labels)
    assert made.quality == pytest.approx(plain.quality, abs=1e-5)
    labels = made.labels
    if onto is None:
        labels = geometry.undo(Volume(labels[None], record.grid), record).array[0]
    steps = stored(made)
    np.testing.assert_array_equal(steps.argmax(axis=0), labels)
    assert (steps.sum(axis=0, dtype=int) == 255).all()
    expected, seen = _expected(logits, record, inferer, rule)
    assert np.abs(steps / 255 - expected)[:, seen].max(initial=0) <= 2 / 255 + 2e-3
    assert (steps[0][~seen] == 255).all()


def _expected(
    logits: list[Array], record: Record, inferer: Inferer, rule: EnsembleRule
) -> tuple[Array, Array]:
    """Probabilities, or shares of votes of windows that agree, (K, X, Y, Z), and where the model saw any."""
    if rule == "vote" or isinstance(inferer, MajorityVote):
        shares = np.mean([np.eye(len(one))[one.argmax(axis=0)] for one in logits], axis=0)
        return of_scores.on_scan(np.moveaxis(shares, -1, 0), record)
    if len(logits) > 1:
        mean = np.mean([of_scores.soft_max(one.astype(np.float64)) for one in logits], axis=0)
        return of_scores.on_scan(mean, record)
    scores, seen = of_scores.on_scan(logits[0], record)
    return of_scores.soft_max(scores), seen


@pytest.mark.parametrize("inferer", HOWS)
@pytest.mark.parametrize("planes", [("coronal",), ALL])
@pytest.mark.parametrize("rule", ["mean", "vote"])
@pytest.mark.parametrize("to", [(1.0, 1.0, 1.0), (1.4, 0.8, 1.0)])
def test_each_mask_has_a_map_that_its_threshold_cuts_out(
    inferer: Inferer, planes: tuple[Plane, ...], rule: EnsembleRule, to: tuple[float, float, float]
) -> None:
    record, thresholds = record_of((6, 5, 4), (1.0, 1.0, 1.0), to, STRAIGHT), (0.2, 0.7)
    generator = np.random.default_rng(3)
    along: list[Any] = [
        Known(generator.normal(0, 2, (2, *record.grid.shape)), plane, inferer, *thresholds)
        for plane in planes
    ]
    predictor = MultiPlaneEnsemble(tuple(along), rule) if len(along) > 1 else along[0]
    onto = record if record.resampled else None
    made = predict.label(numbered(record), predictor, inferer, onto=onto, probabilities=record)
    plain = predict.label(numbered(record), predictor, inferer, onto=onto)
    np.testing.assert_array_equal(made.labels, plain.labels)
    by_votes = isinstance(inferer, MajorityVote) or (rule == "vote" and len(planes) > 1)
    for mask, (steps, least) in enumerate(zip(stored(made), thresholds, strict=True)):
        inside = steps * SHARE_STEP > (0.5 if by_votes else least)
        np.testing.assert_array_equal(inside, made.labels >> mask & 1)


def test_a_full_disk_is_known_before_anything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    record = record_of((4, 4, 2), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), STRAIGHT)
    network = Known(np.zeros((3, *record.grid.shape), np.float32), "axial", WholeSlice())
    with pytest.raises(MedsegError) as refusal:
        predict.label(numbered(record), network, WholeSlice(), probabilities=record)
    assert refusal.value.code is Code.DISK_FULL
