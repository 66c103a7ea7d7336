"""Labels on the scan's own grid: scores are interpolated as the slow oracle does it, then decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.grid import Array, Grid, Plane
from medseg.infer import predict
from medseg.infer.ensemble import Ensemble, EnsembleRule, MultiPlaneEnsemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.onto_scan import ScoreResampler
from medseg.infer.predictor import Spec
from medseg.preprocess import geometry
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.preprocess.intensity import Box, Normalization, NormalizedVolume
from medseg.volume import Volume
from tests.oracles import pixels
from tests.oracles import scores as oracle

ALL: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))
HOWS: list[Inferer] = [
    WholeSlice(batch=3),
    MajorityVote((4, 2), (3, 2), batch=5),
    GaussianWindow((4, 2), batch=5),
    OverlapTile(batch=2),
]
FLOAT16 = 2e-3
CLEAR = 1e-3
"""How far apart the two best scores must be for rounding not to decide."""

Triple = tuple[int, int, int]


class Known:
    """Logits (K, X, Y, Z) that each voxel has, whose number the volume holds."""

    def __init__(self, logits: Array, plane: Plane, inferer: Inferer, *thresholds: float) -> None:
        border = 2 if isinstance(inferer, OverlapTile) else 0
        self.spec = Spec(plane, 1, 1, len(logits), size_divisor=2, border=border, thresholds=thresholds)
        self._table = torch.from_numpy(logits.reshape(len(logits), -1).T.copy())

    def __call__(self, batch: Tensor) -> Tensor:
        border = self.spec.border
        inside = batch[:, 0, border : batch.shape[2] - border, border : batch.shape[3] - border]
        return self._table[inside.long()].permute(0, 3, 1, 2)


def record_of(shape: Triple, spacing: tuple[float, ...], to: tuple[float, ...], turned: Any) -> Record:
    """The record of a scan (X, Y, Z) of ``spacing`` that was resampled ``to`` another, in any orientation."""
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (ras, sense) in enumerate(zip(*turned, strict=True)):
        affine[ras, axis] = sense * spacing[axis]
    affine[:3, 3] = (-31.7, 12.3, 5.9)
    scan = Volume(np.zeros((1, *shape), np.float32), Grid(shape, affine))
    return geometry.apply(scan, GeometryPlan(spacing_mm=(to[0], to[1], to[2])))[1]


def numbered(record: Record) -> NormalizedVolume:
    array = np.arange(np.prod(record.grid.shape), dtype=np.float32).reshape(1, *record.grid.shape)
    return NormalizedVolume(array, record.grid, Normalization((0.0,), (1.0,)))


@st.composite
def records(draw: Any) -> Record:
    lengths = st.floats(0.6, 2.5)
    record = record_of(
        draw(st.tuples(*[st.integers(1, 7)] * 3)),
        draw(st.tuples(lengths, lengths, lengths)),
        draw(st.tuples(lengths, lengths, lengths)),
        draw(st.sampled_from(ORIENTATIONS)),
    )
    starts = [draw(st.integers(0, n - 1)) for n in record.whole.shape]
    box = tuple((a, draw(st.integers(a + 1, n))) for a, n in zip(starts, record.whole.shape, strict=True))
    return replace(record, box=box) if draw(st.booleans()) else record


def members_of(logits: list[Array], planes: list[Plane], inferer: Inferer, rule: EnsembleRule) -> Any:
    known = [Known(one, plane, inferer) for one, plane in zip(logits, planes, strict=True)]
    if len(planes) > 1:
        return MultiPlaneEnsemble(tuple(known), rule)
    return known[0] if rule == "mean" else Ensemble(known, rule)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    record=records().filter(lambda record: record.resampled),
    classes=st.integers(2, 4),
    planes=st.permutations(ALL).flatmap(lambda order: st.sampled_from([order[:1], order[:2], order])),
    inferer=st.sampled_from(HOWS),
    rule=st.sampled_from(["mean", "vote"]),
)
def test_labels_and_confidence_are_those_of_the_oracle(
    seed: int, record: Record, classes: int, planes: list[Plane], inferer: Inferer, rule: EnsembleRule
) -> None:
    generator = np.random.default_rng(seed)
    shape = (classes, *record.grid.shape)
    logits = [generator.normal(0, 2, shape).astype(np.float32) for _ in planes]
    predictor = members_of(logits, planes, inferer, rule)
    made = predict.label(numbered(record), predictor, inferer, confidence=True, onto=record)
    if rule == "vote" or isinstance(inferer, MajorityVote):  # windows that agree: shares of 0 and 1
        shares = np.mean([np.eye(classes)[one.argmax(axis=0)] for one in logits], axis=0)
        scores, seen = oracle.on_scan(np.moveaxis(shares, -1, 0), record)
        probabilities = scores
    elif len(planes) > 1:
        mean = np.mean([oracle.soft_max(one.astype(np.float64)) for one in logits], axis=0)
        scores, seen = oracle.on_scan(mean, record)
        probabilities = scores
    else:
        scores, seen = oracle.on_scan(logits[0], record)
        probabilities = oracle.soft_max(scores)
    labels, confidences = oracle.decide(probabilities, seen)
    clear = (np.diff(np.sort(scores, axis=0)[-2:], axis=0)[0] > 2 * CLEAR) | ~seen
    np.testing.assert_array_equal(made.labels[clear], labels[clear])
    assert made.confidence is not None
    np.testing.assert_allclose(made.confidence, confidences, atol=FLOAT16)
    again = predict.label(numbered(record), predictor, inferer, onto=record)
    np.testing.assert_array_equal(again.labels, made.labels)
    assert again.quality == pytest.approx(made.quality, abs=1e-6)
    inside = made.labels > 0
    expected = confidences[inside].mean() if inside.any() else 0
    assert again.quality == pytest.approx(expected, abs=FLOAT16)


@pytest.mark.parametrize("inferer", HOWS)
@pytest.mark.parametrize("planes", [("coronal",), ALL])
@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_overlapping_masks_are_decided_each_by_its_own_threshold(
    inferer: Inferer, planes: tuple[Plane, ...], rule: EnsembleRule
) -> None:
    record = record_of((5, 6, 4), (1.0, 1.5, 2.0), (1.3, 1.2, 1.1), ORIENTATIONS[17])
    record = replace(record, box=((1, 4), (0, 5), (2, record.whole.shape[2])))
    thresholds = (0.3, 0.6)
    logits = np.random.default_rng(1).normal(0, 2, (2, *record.grid.shape)).astype(np.float32)
    known = tuple(Known(logits, plane, inferer, *thresholds) for plane in planes)
    predictor = MultiPlaneEnsemble(known, rule) if len(planes) > 1 else Ensemble(known, rule)
    made = predict.label(numbered(record), predictor, inferer, confidence=True, onto=record)
    shares, least = 1 / (1 + np.exp(-logits.astype(np.float64))), np.array(thresholds)[:, None, None, None]
    if rule == "vote" or isinstance(inferer, MajorityVote):
        shares, least = (shares > least).astype(float), np.full_like(least, 0.5)
    if len(planes) > 1 or set(np.unique(shares)) == {0, 1}:
        shares, seen = oracle.on_scan(shares, record)
    else:
        scores, seen = oracle.on_scan(logits, record)
        shares = 1 / (1 + np.exp(-scores))
    expected = ((shares > least) * np.array([1, 2])[:, None, None, None]).sum(axis=0) * seen
    clear = (np.abs(shares - least) > CLEAR).all(axis=0) | ~seen
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(made.labels[clear], expected[clear])
    assert made.confidence is not None
    sure = np.abs(2 * shares - 1).min(axis=0) * seen
    np.testing.assert_allclose(made.confidence, sure, atol=FLOAT16)


def test_half_way_between_two_classes_the_lowest_wins() -> None:
    record = record_of((3, 1, 1), (1.0, 1.0, 1.0), (2.0, 1.0, 1.0), ORIENTATIONS[0])
    assert record.whole.shape == (2, 1, 1)  # voxels at 0 and 2, the scan's at 0, 1 and 2
    for first, second in ((0, 1), (1, 0), (1, 2), (2, 1)):
        logits = np.full((3, 2, 1, 1), -4, np.float32)
        logits[first, 0] = logits[second, 1] = 4
        for plane in ALL:
            made = predict.label(
                numbered(record), Known(logits, plane, WholeSlice()), WholeSlice(), onto=record
            )
            assert made.labels.ravel().tolist() == [first, min(first, second), second]


def test_impossible_classes_do_not_spoil_their_neighbours() -> None:
    record = record_of((4, 1, 1), (1.0, 1.0, 1.0), (4 / 3, 1.0, 1.0), ORIENTATIONS[0])
    logits = np.array([[0, -np.inf, -np.inf], [-np.inf, 0, 0]], np.float32)[..., None, None]
    made = predict.label(
        numbered(record), Known(logits, "axial", WholeSlice()), WholeSlice(), confidence=True, onto=record
    )
    assert made.labels.ravel().tolist() == [0, 1, 1, 1]
    assert np.isfinite(np.asarray(made.confidence)).all()


@pytest.mark.parametrize("spacing", [(2.0, 2.0), (1.7, 0.6), (0.5, 0.8)])
def test_cropped_images_are_decided_at_full_size(spacing: tuple[float, float]) -> None:
    scan = Volume(np.zeros((1, 12, 9, 1), np.uint8), Grid((12, 9, 1), np.eye(4), "px"))
    small, record = geometry.apply(scan, GeometryPlan(spacing_px=spacing))
    x, y, _ = small.grid.shape
    box: Box = ((1, x - 1), (0, y - 1), (0, 1))
    record = replace(record, box=box)
    logits = np.random.default_rng(2).normal(0, 2, (3, *record.grid.shape)).astype(np.float32)
    known = Known(logits, "axial", WholeSlice())
    made = predict.label(numbered(record), known, WholeSlice(), onto=record)
    edged = np.pad(
        logits, ((0, 0), (1, 1), (0, 1), (0, 0)), mode="edge"
    )  # a mean at the border is over the box
    full = np.stack([pixels.resize(one[..., 0], small.grid, scan.grid) for one in edged])
    ones = np.ones((1, *record.grid.shape), np.uint8)
    seen = geometry.undo(Volume(ones, record.grid), record).array[0, ..., 0] > 0
    clear = (np.diff(np.sort(full, axis=0)[-2:], axis=0)[0] > CLEAR) | ~seen
    assert 0 < np.count_nonzero(seen) < seen.size
    np.testing.assert_array_equal(made.labels[..., 0][clear], np.where(seen, full.argmax(0), 0)[clear])


def test_no_slice_is_read_before_it_is_needed_and_all_are_read() -> None:
    record = record_of((3, 3, 9), (1.0, 1.0, 1.0), (1.5, 1.5, 1.5), ORIENTATIONS[0])
    asked: list[int] = []

    def slices() -> Iterator[Tensor]:
        for index in range(record.grid.shape[2]):
            asked.append(index)
            yield torch.zeros(2, *record.grid.shape[:2])

    read = [asked[-1] for _ in ScoreResampler(record, "axial")(slices())]
    places = (np.arange(9) - 4) / 1.5 + 2.5
    assert read == np.ceil(places.clip(0, 5) - 1e-9).astype(int).tolist()
    assert asked == list(range(6))


def test_a_box_between_the_scans_voxels_is_background_and_the_network_is_asked_all_the_same() -> None:
    record = record_of((2, 2, 1), (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), ORIENTATIONS[0])
    record = replace(record, box=((5, 7), (5, 7), (2, 3)))
    logits = np.stack([np.zeros(record.grid.shape), np.ones(record.grid.shape)]).astype(np.float32)
    done: list[tuple[int, int]] = []
    made = predict.label(
        numbered(record),
        Known(logits, "axial", WholeSlice()),
        WholeSlice(),
        onto=record,
        progress=lambda *counts: done.append(counts),
    )
    assert not made.labels.any()
    assert made.quality == 0
    assert done == [(1, 1)]
