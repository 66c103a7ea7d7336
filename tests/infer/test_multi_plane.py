"""Several planes of one volume: joined as the slow oracle joins them, in little memory."""

from __future__ import annotations

import errno
import os
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Grid, Plane
from medseg.infer import predict, slice_scores
from medseg.infer.ensemble import Ensemble, EnsembleRule, MultiPlaneEnsemble, combine_planes
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.plane_fusion import MeanOverPlanes
from medseg.infer.predictor import NetworkPredictor, Spec
from medseg.model.description import CRFSettings
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from tests.oracles import planes as oracle

ALL: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
HOWS: list[Inferer] = [
    WholeSlice(batch=3),
    MajorityVote((4, 2), (3, 2), batch=5),
    GaussianWindow((4, 2), batch=5),
    OverlapTile(batch=2),
]
FLOAT16 = 2e-3
"""How far a mean of three probabilities, kept in float16, may be off."""


class Known:
    """What each plane says of every voxel: logits (K, X, Y, Z), found by the numbers that the voxels hold."""

    def __init__(self, plane: Plane, logits: Array, how: Inferer) -> None:
        border = 2 if isinstance(how, OverlapTile) else 0
        self.spec = Spec(plane, 1, 1, len(logits), size_divisor=2, border=border)
        self._table = torch.from_numpy(logits.reshape(len(logits), -1).T.copy())

    def __call__(self, batch: Tensor) -> Tensor:
        border = self.spec.border
        inside = batch[:, 0, border : batch.shape[2] - border, border : batch.shape[3] - border]
        return self._table[inside.long()].permute(0, 3, 1, 2)


def ready(array: Array) -> NormalizedVolume:
    x, y, z = array.shape[1:]
    return NormalizedVolume(array, Grid((x, y, z), np.eye(4)), Normalization((0.0,), (1.0,)))


def numbered(shape: tuple[int, int, int]) -> NormalizedVolume:
    return ready(np.arange(np.prod(shape), dtype=np.int16).reshape(1, *shape))


def soft_max(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    classes=st.integers(2, 4),
    planes=st.permutations(ALL).flatmap(lambda order: st.sampled_from([order[:2], order])),
    how=st.sampled_from(HOWS),
    rule=st.sampled_from(["mean", "vote"]),
)
def test_planes_are_joined_as_the_oracle_joins_them(
    seed: int,
    shape: tuple[int, int, int],
    classes: int,
    planes: list[Plane],
    how: Inferer,
    rule: EnsembleRule,
) -> None:
    generator = np.random.default_rng(seed)
    logits = [generator.integers(-2, 3, (classes, *shape)).astype(np.float32) for _ in planes]
    known = tuple(Known(plane, one, how) for plane, one in zip(planes, logits, strict=True))
    made = predict.label(numbered(shape), MultiPlaneEnsemble(known, rule), how, confidence=True)
    maps = [one.argmax(axis=0) for one in logits]
    if rule == "vote" or isinstance(how, MajorityVote):  # windows that agree: a plane's shares are 0 and 1
        labels, confidences = oracle.vote(maps, classes)
        np.testing.assert_array_equal(made.labels, labels)
    else:
        labels, confidences = oracle.mean([soft_max(one) for one in logits])
        sure = confidences > FLOAT16
        np.testing.assert_array_equal(made.labels[sure], labels[sure])
    assert made.confidence is not None
    np.testing.assert_allclose(made.confidence, confidences, atol=FLOAT16)
    inside = made.labels > 0
    expected = made.confidence[inside].mean(dtype=np.float64) if inside.any() else 0
    assert made.quality == pytest.approx(expected, abs=FLOAT16)
    again = predict.label(numbered(shape), MultiPlaneEnsemble(known, rule), how, confidence=True)
    assert np.array_equal(again.labels, made.labels)
    assert again.quality == made.quality


def one_voxel(plane: Plane, *probabilities: float) -> Known:
    logits = np.log(np.array(probabilities, np.float32)).reshape(-1, 1, 1, 1)
    return Known(plane, logits, WholeSlice())


def test_mean_and_votes_by_hand() -> None:
    # votes say class 1, the summed probabilities class 0
    told = ((0.9, 0.1), (0.4, 0.6), (0.45, 0.55))
    three = tuple(one_voxel(plane, *p) for plane, p in zip(ALL, told, strict=True))
    scan = numbered((1, 1, 1))
    mean, vote = (
        predict.label(scan, MultiPlaneEnsemble(three, rule), WholeSlice(), confidence=True)
        for rule in ("mean", "vote")
    )
    assert (mean.labels.item(), mean.quality, mean.quality_kind) == (0, 0.0, "probability")
    assert mean.confidence is not None
    assert mean.confidence.item() == pytest.approx(0.5 / 3, abs=FLOAT16)
    assert (vote.labels.item(), vote.quality_kind) == (1, "vote share")
    assert vote.quality == pytest.approx(1 / 3)
    tie = predict.label(
        scan, MultiPlaneEnsemble(three[1:2] + three[:1], "vote"), WholeSlice(), confidence=True
    )
    assert (tie.labels.item(), tie.quality) == (0, 0.0)


def network_along(planes: tuple[Plane, ...]) -> list[NetworkPredictor]:
    """One network, seen along each plane, on slabs of three slices."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    return [NetworkPredictor(network, Spec(plane, 3, 1, 3, size_divisor=4)) for plane in planes]


CRF = CRFSettings(iterations=2, sigma_alpha=3)


@pytest.mark.parametrize("how", [*HOWS[:3], WholeSlice(crf=CRF), GaussianWindow((4, 4), crf=CRF)])
def test_each_plane_is_labelled_as_if_it_were_alone(how: Inferer) -> None:
    if isinstance(how, MajorityVote | GaussianWindow):
        how = replace(how, window=(4, 4))
    scan = ready(np.random.default_rng(0).normal(size=(1, 9, 6, 7)).astype(np.float32))
    along = network_along(ALL)
    alone = [predict.label(scan, one, how).labels.astype(np.int64) for one in along]
    assert not np.array_equal(alone[0], alone[1])
    calls: list[tuple[int, int]] = []
    made = predict.label(
        scan, MultiPlaneEnsemble(tuple(along), "vote"), how, progress=lambda *done: calls.append(done)
    )
    np.testing.assert_array_equal(made.labels, oracle.vote(alone, 3)[0])
    assert calls == [(n, 22) for n in range(1, 23)]
    mean = predict.label(scan, MultiPlaneEnsemble(tuple(along), "mean"), how).labels
    agreed = (alone[0] == alone[1]) & (alone[1] == alone[2])
    if not isinstance(how, MajorityVote):  # what all find likeliest is likeliest on average
        np.testing.assert_array_equal(mean[agreed], alone[0][agreed])


def test_windows_that_disagree_vote_by_their_shares() -> None:
    scan = ready(np.random.default_rng(1).normal(size=(1, 6, 5, 8)).astype(np.float32))
    along, how = network_along(("coronal", "axial")), MajorityVote((4, 4), (1, 1))
    shares = [np.moveaxis(np.stack(list(slice_scores.shares(scan, one, how))), 0, -1) for one in along]
    coronal, axial = shares[0].transpose(0, 1, 3, 2), shares[1]
    assert np.unique(axial).size > 2
    np.testing.assert_allclose(axial.sum(axis=0), 1, atol=1e-6)
    labels, confidences = oracle.mean([coronal.astype(np.float64), axial.astype(np.float64)])
    made = predict.label(scan, MultiPlaneEnsemble(tuple(along)), how)
    sure = confidences > FLOAT16
    np.testing.assert_array_equal(made.labels[sure], labels[sure])
    assert made.quality_kind == "vote share"


def test_members_within_a_plane_are_joined_before_the_planes() -> None:
    told = {"axial": [(0.9, 0.1), (0.4, 0.6), (0.4, 0.6)], "coronal": [(0.2, 0.8)] * 3}
    scan = numbered((1, 1, 1))
    rules: tuple[EnsembleRule, ...] = ("mean", "vote")
    found = {}
    for rule in rules:
        along = [
            Ensemble([one_voxel(plane, *p) for p in each], rule)  # type: ignore[arg-type]
            for plane, each in told.items()
        ]
        found[rule] = predict.label(
            scan, MultiPlaneEnsemble(tuple(along), rule), WholeSlice(), confidence=True
        )
    # class 1: the mean of 1.3 / 3 and 0.8; two votes
    assert found["mean"].confidence is not None
    assert found["mean"].confidence.item() == pytest.approx(7 / 30, abs=FLOAT16)
    assert (found["vote"].labels.item(), found["vote"].quality) == (1, 1.0)
    assert [found[rule].quality_kind for rule in rules] == ["probability", "vote share"]
    mixed = MultiPlaneEnsemble(
        (Ensemble([one_voxel("axial", 0.2, 0.8)], "vote"), one_voxel("coronal", 0.2, 0.8))
    )
    assert predict.label(scan, mixed, WholeSlice()).quality_kind == "vote share"


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_classes_times_volume_are_never_in_memory(rule: EnsembleRule) -> None:
    class Constant:
        def __init__(self, plane: Plane) -> None:
            self.spec = Spec(plane, 1, 1, 64, size_divisor=1)

        def __call__(self, batch: Tensor) -> Tensor:
            return torch.zeros(len(batch), 64, *batch.shape[2:])

    scan = numbered((24, 26, 44))  # 64 classes in float16: 3.5 MB
    planes = MultiPlaneEnsemble(tuple(map(Constant, ALL)), rule)
    tracemalloc.start()
    try:
        predict.label(scan, planes, WholeSlice(batch=1))
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert peak < 1


def test_probabilities_lie_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held = MeanOverPlanes((3, 4, 5), ["axial", "coronal"], 2)
    assert isinstance(held._sums, np.memmap)
    assert held._sums.dtype == np.float16
    assert list(tmp_path.iterdir()) == []


@given(seed=st.integers(0, 10_000), spread=st.sampled_from((0.1, 5.0, 40.0)))
def test_sums_in_half_precision_are_those_of_numpy_down_to_the_smallest_shares(
    seed: int, spread: float
) -> None:
    rng, shape = np.random.default_rng(seed), (3, 4, 5)
    held, slow = MeanOverPlanes(shape, ALL, 4), np.zeros((4, *shape), np.float16)
    for plane in ALL:
        for index, expected in enumerate(np.moveaxis(slow, PLANE_AXIS[plane] + 1, 0)):
            logits = torch.from_numpy(rng.normal(0, spread, expected.shape).astype(np.float32))
            shares = logits.softmax(0).numpy()
            held.add(plane, index, shares)
            expected[...] = expected + shares / np.float32(len(ALL))
    assert (held._sums == slow).all()


def test_a_full_disk_is_known_before_anything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(MedsegError, match="DISK_FULL"):
        predict.label(numbered((1, 1, 1)), MultiPlaneEnsemble((one_voxel("axial", 0.5, 0.5),)), WholeSlice())


def test_where_space_cannot_be_kept_the_file_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    known = one_voxel("axial", 0.2, 0.8), one_voxel("coronal", 0.6, 0.4)
    assert predict.label(numbered((1, 1, 1)), MultiPlaneEnsemble(known), WholeSlice()).labels.item() == 1


def test_one_predictor_alone_stays_what_it_is() -> None:
    alone = one_voxel("axial", 0.5, 0.5)
    assert combine_planes([alone], "mean") is alone
    assert isinstance(combine_planes([alone, one_voxel("coronal", 0.5, 0.5)], "vote"), MultiPlaneEnsemble)


@pytest.mark.parametrize(
    "predictors",
    [
        (),
        (one_voxel("axial", 0.5, 0.5), one_voxel("axial", 0.5, 0.5)),
        (one_voxel("axial", 0.5, 0.5), one_voxel("coronal", 0.5, 0.3, 0.2)),
    ],
)
def test_planes_that_do_not_go_together_are_refused(predictors: tuple[Known, ...]) -> None:
    with pytest.raises(MedsegError) as refused:
        MultiPlaneEnsemble(predictors)
    assert refused.value.code == Code.KEYWORD_INVALID


def test_every_plane_must_suit_the_stitching_rule_and_the_scan() -> None:
    valid = Known("coronal", np.zeros((2, 1, 1, 1), np.float32), OverlapTile())
    for planes in (MultiPlaneEnsemble((one_voxel("axial", 0.5, 0.5), valid)), MultiPlaneEnsemble((valid,))):
        with pytest.raises(MedsegError) as refused:
            predict.label(numbered((1, 1, 1)), planes, WholeSlice())
        assert refused.value.code == Code.KEYWORD_INVALID
    two = ready(np.zeros((1, 2, 2, 2), np.float32))
    several = NormalizedVolume(
        np.zeros((2, 2, 2, 2), np.float32), two.grid, Normalization((0.0,) * 2, (1.0,) * 2)
    )
    with pytest.raises(MedsegError) as refused:
        predict.label(several, MultiPlaneEnsemble((one_voxel("axial", 0.5, 0.5),)), WholeSlice())
    assert refused.value.code == Code.CHANNEL_MISSING
