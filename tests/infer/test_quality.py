"""The judgement of a label map: confidence counted slice by slice, and what becomes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.errors import Code
from medseg.grid import Grid
from medseg.infer import quality
from medseg.infer.confidence_tally import ConfidenceTally
from medseg.model import shapes
from medseg.model.calibration import Calibration, Curve
from medseg.model.description import Description
from tests.helpers.model_folders import describe

GRID = Grid((8, 8, 8), np.eye(4))


def labels() -> Any:
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:7, 1:7, 1:7] = 1
    array[3:5, 3:5, 3:5] = 2
    return array


@pytest.mark.parametrize("masks", [False, True])
def test_confidence_by_class_is_that_of_the_whole_volume(masks: bool) -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 4 if masks else 3, (5, 6, 7)).astype(np.uint8)
    confidence = rng.random((5, 6, 7)).astype(np.float32)
    tally = ConfidenceTally(2 if masks else 3, masks=masks)
    for z in range(7):
        tally.add(volume[..., z], confidence[..., z])
    for index, signs in enumerate(tally.signs()):
        inside = (volume >> index & 1) == 1 if masks else volume == index
        if not masks and index == 0:
            assert signs == {"unsure": 1.0, "doubtful": 1.0}  # the background is not looked at
            continue
        assert signs["unsure"] == pytest.approx(1 - confidence[inside].mean(), abs=1e-6)
        assert signs["doubtful"] == pytest.approx((confidence[inside] < 0.5).mean())


def test_a_list_without_background_counts_its_first_class() -> None:
    tally = ConfidenceTally(2, masks=False, first=0)
    tally.add(np.array([[0, 1]], np.uint8), np.array([[0.25, 1.0]], np.float32))
    assert tally.signs() == [{"unsure": 0.75, "doubtful": 1.0}, {"unsure": 0.0, "doubtful": 0.0}]


def describe_calibrated(**changes: Any) -> Description:
    about = describe()
    known = shapes.ranges([shapes.measure(labels(), GRID, about.class_list())])
    domain = {"structures": {name: one.model_dump(mode="json") for name, one in known.items()}}
    curves = {
        name: Curve(weights={"unsure": 1.0, "size": 0.1}, scores=(0.0, 1.0), dice=(0.95, 0.0))
        for name in known
    }
    calibration = Calibration(structures=curves, review_below=0.7)
    return about.model_copy(update={"domain": domain, "calibration": calibration, **changes})


def judged(about: Description, array: Any, confidence: float) -> quality.Judgement:
    tally = quality.tally_for(about)
    if tally is not None:
        for z in range(8):
            tally.add(array[..., z], np.full((8, 8), confidence, np.float32))
    return quality.judge(array, GRID, about, {}, tally)


def test_a_sure_label_map_like_the_training_passes_and_an_unsure_one_needs_review() -> None:
    about = describe_calibrated()
    sure, unsure = judged(about, labels(), 0.98), judged(about, labels(), 0.4)
    assert sure.findings("a") == [] and sure.mean is not None and sure.mean > 0.9
    (note,) = unsure.findings("a")
    assert note.code is Code.LOW_QUALITY and note.where == "a" and "below 0.70" in note.details
    assert unsure.to_json()["predicted_dice_by_class"].keys() == set(unsure.expected)


def test_an_empty_label_map_is_flagged_however_sure_the_network_is() -> None:
    codes = {note.code for note in judged(describe_calibrated(), np.zeros_like(labels()), 1.0).findings("a")}
    assert codes == {Code.IMPLAUSIBLE, Code.LOW_QUALITY}


def test_a_model_without_a_calibration_still_flags_what_collapsed() -> None:
    about = describe_calibrated(calibration=None)
    assert quality.tally_for(about) is None
    everywhere = judged(about, np.ones_like(labels()), 1.0)
    assert [note.code for note in everywhere.findings("a")] == [Code.IMPLAUSIBLE]
    assert everywhere.to_json() == {} and judged(about, labels(), 1.0).findings("a") == []


def test_a_model_that_does_not_know_its_structures_and_one_of_images_judge_nothing() -> None:
    empty = np.zeros_like(labels())
    assert judged(describe_calibrated(domain={}), empty, 1.0).findings("a") == []
    pixels = Grid((8, 8, 8), np.eye(4), "px")
    assert quality.judge(empty, pixels, describe_calibrated(), {}, None).findings("a") == []
