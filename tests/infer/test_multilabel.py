"""Labelling with masks that overlap: thresholds, ties, margins, members, views, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from medseg import networks
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.infer import loading, predict, results
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.predictor import Spec
from medseg.infer.tta import TestTimeAugmentation
from medseg.model.card import card
from medseg.model.description import CRFSettings
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.volume import Volume
from tests.helpers.model_folders import describe

HOWS: list[Inferer] = [
    WholeSlice(batch=3),
    MajorityVote((8, 4), (3, 2), batch=5),
    GaussianWindow((8, 4), (3, 2), batch=5),
]
SPEC = Spec("axial", 1, 2, 2, size_divisor=4, background=False, thresholds=(0.5, 0.5))


class Said:
    """A predictor of two masks: the logits that stand in the two channels, times a factor."""

    def __init__(self, spec: Spec = SPEC, factor: float = 1.0) -> None:
        self.spec, self.factor = spec, factor

    def __call__(self, batch: Tensor) -> Tensor:
        return batch * self.factor


def ready(logits: Array) -> NormalizedVolume:
    """Logits (2, X, Y, Z) as a scan that is its own answer."""
    x, y, z = logits.shape[1:]
    return NormalizedVolume(
        logits.astype(np.float32), Grid((x, y, z), np.eye(4)), Normalization((0.0, 0.0), (1.0, 1.0))
    )


def drawn(shape: tuple[int, int, int] = (9, 6, 3)) -> Array:
    return np.random.default_rng(0).normal(0, 2, (2, *shape)).astype(np.float32)


@pytest.mark.parametrize("how", HOWS)
def test_every_mask_is_decided_by_itself(how: Inferer) -> None:
    logits = drawn()
    found = predict.label(ready(logits), Said(), how, confidence=True)
    expected = (logits[0] > 0) + 2 * (logits[1] > 0)
    assert found.labels.dtype == np.uint8
    assert np.array_equal(found.labels, expected)
    assert found.confidence is not None
    if isinstance(how, WholeSlice):
        least = np.abs(2 / (1 + np.exp(-logits)) - 1).min(axis=0)
        np.testing.assert_allclose(found.confidence, least, atol=1e-3)
        assert found.quality == pytest.approx(least[expected > 0].mean(), abs=1e-5)
    if isinstance(how, MajorityVote):
        assert found.quality_kind == "vote share"
        assert (found.confidence == 1).all()


def test_a_threshold_a_mask_which_must_be_exceeded() -> None:
    logits = torch.tensor([0.3, 0.5, 0.7]).logit().expand(2, 3).reshape(2, 3, 1, 1).numpy()
    spec = replace(SPEC, thresholds=(0.5, 0.2))
    assert predict.label(ready(logits), Said(spec), WholeSlice()).labels.ravel().tolist() == [2, 2, 3]


def test_an_empty_prediction_has_quality_zero() -> None:
    assert predict.label(ready(np.full((2, 4, 4, 1), -3.0)), Said(), WholeSlice()).quality == 0


def test_windows_that_disagree_vote_mask_by_mask_and_a_tie_is_outside() -> None:
    # Each window of 4×4 at a stride of 2 says that mask 0 fills its first row, mask 1 all of it.
    class FirstRow(Said):
        def __call__(self, batch: Tensor) -> Tensor:
            out = torch.full((len(batch), 2, 4, 4), 9.0)
            out[:, 0, 1:] = -9.0
            return out

    found = predict.label(
        ready(np.zeros((2, 6, 4, 1))), FirstRow(), MajorityVote((4, 4), (2, 4)), confidence=True
    )
    # rows 2 and 3 are in two windows: row 2 is the second's first row, so that one vote stands against one
    assert found.labels[:, 0, 0].tolist() == [3, 2, 2, 2, 2, 2]
    assert found.confidence is not None
    assert found.confidence[:, 0, 0].tolist() == [1, 1, 0, 1, 1, 1]


def test_members_by_mean_are_the_logit_of_the_mean_probability() -> None:
    scan = drawn()
    both = Ensemble([Said(), Said(factor=-0.5)])
    expected = (torch.from_numpy(scan).sigmoid() + torch.from_numpy(-0.5 * scan).sigmoid()) / 2
    torch.testing.assert_close(both(torch.from_numpy(scan)).sigmoid(), expected)
    certain = Ensemble([Said(factor=1e9), Said(factor=1e9)])
    assert np.array_equal(
        predict.label(ready(scan), certain, WholeSlice()).labels, (scan[0] > 0) + 2 * (scan[1] > 0)
    )


def test_members_vote_by_their_thresholds_and_more_than_half_decides() -> None:
    spec = replace(SPEC, thresholds=(0.8, 0.5))
    scan = np.full((2, 4, 4, 1), 1.0)  # p = 0.73: below the first mask's threshold
    three = Ensemble([Said(spec), Said(spec), Said(spec, factor=-1.0)], "vote")
    found = predict.label(ready(scan), three, WholeSlice())
    assert (found.labels == 2).all()
    assert found.quality_kind == "vote share"
    two = Ensemble([Said(spec), Said(spec, factor=-1.0)], "vote")
    assert (predict.label(ready(scan), two, WholeSlice()).labels == 0).all()


def test_planes_are_joined_mask_by_mask() -> None:
    scan = drawn((8, 8, 8))
    spec = replace(SPEC, thresholds=(0.7, 0.2))
    along = tuple(
        Said(replace(spec, plane=plane), factor)
        for plane, factor in (("axial", 1.0), ("coronal", 0.4), ("sagittal", -0.3))
    )
    shares = [1 / (1 + np.exp(-scan * one.factor)) for one in along]
    mean = np.mean(shares, axis=0)
    joined = predict.label(ready(scan), MultiPlaneEnsemble(along, "mean"), WholeSlice(), confidence=True)
    np.testing.assert_array_equal(joined.labels, (mean[0] > 0.7) + 2 * (mean[1] > 0.2))
    assert joined.confidence is not None
    np.testing.assert_allclose(joined.confidence, np.abs(2 * mean - 1).min(axis=0), atol=2e-3)
    votes = np.sum([(s[0] > 0.7, s[1] > 0.2) for s in shares], axis=0)
    voted = predict.label(ready(scan), MultiPlaneEnsemble(along, "vote"), WholeSlice(), confidence=True)
    np.testing.assert_array_equal(voted.labels, (votes[0] > 1) + 2 * (votes[1] > 1))
    assert voted.confidence is not None
    np.testing.assert_allclose(voted.confidence, np.abs(2 * votes / 3 - 1).min(axis=0), atol=1e-3)
    windows = predict.label(ready(scan), MultiPlaneEnsemble(along[:2], "mean"), MajorityVote((4, 4), (4, 4)))
    both = (shares[0] > np.reshape(spec.thresholds, (2, 1, 1, 1))) & (
        shares[1] > np.reshape(spec.thresholds, (2, 1, 1, 1))
    )
    np.testing.assert_array_equal(windows.labels, both[0] + 2 * both[1])  # one against one is outside


def test_views_are_averaged_as_probabilities_of_masks() -> None:
    scan = torch.from_numpy(drawn((8, 8, 1))[..., 0])[None]
    seen = TestTimeAugmentation(Said(), flip_axis="h")(scan)
    torch.testing.assert_close(seen.sigmoid(), scan.sigmoid(), atol=1e-5, rtol=1e-4)


def test_a_crf_of_overlapping_masks_is_refused() -> None:
    for how in (
        WholeSlice(crf=CRFSettings()),
        GaussianWindow((8, 4), crf=CRFSettings()),
        OverlapTile(crf=CRFSettings()),
    ):
        with pytest.raises(MedsegError, match="masks overlap") as refused:
            predict.check(how, SPEC)
        assert refused.value.code == Code.KEYWORD_INVALID


def of_masks(**changes: Any) -> Any:
    classes = ClassList.of_masks({"whole": (), "core": ()}).to_json()
    return describe(classes=tuple(classes), **changes)


def test_the_model_folder_knows_masks_and_thresholds() -> None:
    about = of_masks(thresholds={"core": 0.3})
    assert about.mask_thresholds() == {"whole": 0.5, "core": 0.3}
    network = networks.build("usegnet", 3, 2, width=2)
    assert loading.spec(about, network).thresholds == (0.5, 0.3)
    text = card(about, 1, 1)
    assert "dense; masks that may overlap, by probability: whole above 0.5, core above 0.3\n" in text
    assert describe().mask_thresholds() == {}


@pytest.mark.parametrize("changes", [{"thresholds": {"shell": 0.5}}, {"thresholds": {"core": 1.0}}])
def test_thresholds_that_make_no_sense_are_refused(changes: Any) -> None:
    with pytest.raises(ValidationError):
        of_masks(**changes)
    with pytest.raises(ValidationError):
        describe(thresholds={"csf": 0.5})


def test_unetpp_is_told_that_its_heads_are_sigmoids() -> None:
    made = networks.build("unetpp", 1, 2, multilabel=True, width=2, depth=2, batch_norm=False)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heads = made.train()(x)
        seen = made.eval()(x)
    torch.testing.assert_close(seen.sigmoid(), torch.stack(heads).sigmoid().mean(0))


def test_a_result_has_a_file_a_mask_and_one_missing_is_none(tmp_path: Any) -> None:
    label, masks = tmp_path / "a.nii.gz", ("whole", "core")
    files = results.label_files(label, masks)
    assert [path.name for path in files] == ["a_whole.nii.gz", "a_core.nii.gz"]
    grid = Grid((4, 4, 2), np.eye(4))
    arrays = np.stack([drawn(grid.shape)[0] > 0, drawn(grid.shape)[1] > 0]).astype(np.uint8)
    result = results.Result(Volume(arrays, grid), None, {}, 0.5, "probability", {}, ())
    classes = ClassList.of_masks({"whole": (), "core": ()})
    results.write(result, classes, label, "key", {"case": "a"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.json",
        "a_core.nii.gz",
        "a_whole.nii.gz",
    ]
    assert results.cached_metadata(label, "key", masks=masks) is not None
    assert results.cached_metadata(label, "key", masks=("whole",)) is None  # other masks, another hash
    files[1].write_bytes(b"y")
    assert results.cached_metadata(label, "key", masks=masks) is None
