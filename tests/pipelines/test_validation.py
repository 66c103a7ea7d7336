"""Validation by whole volumes: classes that some cases lack, and cases that say nothing."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import files
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.grid import Array, Grid
from medseg.infer.inferers import WholeSlice
from medseg.infer.predictor import NetworkPredictor, Spec
from medseg.mask_bits import pack_masks
from medseg.preprocess import store
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase
from medseg.train.state import read_network
from pipelines import run as pipeline
from pipelines.fold.validation import absent_classes, by_volumes, scores_in_words
from pipelines.run import Request

SHAPE = (4, 4, 1)
CLASSES = ClassList.from_names({0: "background", 1: "a", 2: "b"})


class Shown(nn.Module):
    """Predicts the class that the image shows as its grey value."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        index = torch.arange(self.classes).view(1, -1, 1, 1)
        return -(x - index).abs()


class Masked(nn.Module):
    """Predicts the masks whose bits the image shows as its grey value."""

    def forward(self, x: Tensor) -> Tensor:
        bits = torch.arange(2).view(1, -1, 1, 1)
        return (2.0 * ((x.round().int() >> bits) & 1) - 1).float()


def case(name: str, truth: Array, shown: Array) -> PreprocessedCase:
    volume = NormalizedVolume(shown[None], Grid(truth.shape[-3:], np.eye(4)), Normalization((0.0,), (1.0,)))
    label = truth if truth.ndim == 3 else pack_masks(truth)
    record = Record.__new__(Record)
    return PreprocessedCase(
        name, name, volume, label, np.empty((0, 4), np.int16), record, {}, store.count(truth)
    )


def with_class(*values: int) -> Array:
    """A volume whose first voxels are of these classes."""
    label = np.zeros(SHAPE, np.uint8)
    label.ravel()[: len(values)] = values
    return label


def scores(
    cases: list[PreprocessedCase], *, over_set: bool = False, classes: ClassList = CLASSES
) -> dict[str, float]:
    network = Masked() if classes.multilabel else Shown(len(classes))
    thresholds = (0.5,) * len(classes) if classes.multilabel else ()
    spec = Spec(
        "axial", 1, 1, len(classes), size_divisor=1, background=classes.background, thresholds=thresholds
    )

    def predictor(network: nn.Module) -> NetworkPredictor:
        return NetworkPredictor(network, spec)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return by_volumes(cases, classes, predictor, WholeSlice(), over_set=over_set)(network)


def test_a_class_that_a_case_lacks_is_right_if_it_is_not_predicted() -> None:
    full = case("full", with_class(1, 1, 2), with_class(1, 0, 2))  # Dice of a: 2/3, of b: 1
    lacks = case("lacks", with_class(2), with_class(2))
    wrong = case("wrong", with_class(2), with_class(2, 1))
    assert scores([full])["dice_a"] == pytest.approx(2 / 3)
    assert scores([full, lacks])["dice_a"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores([full, wrong])["dice_a"] == pytest.approx((2 / 3 + 0) / 2)
    told = scores([full, lacks, wrong])
    assert told["dice_a"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert told["dice_b"] == 1
    assert told["dice_mean"] == pytest.approx((told["dice_a"] + 1) / 2)


@pytest.mark.parametrize("guess", [with_class(1), with_class(1, 2)])
def test_a_class_that_no_case_holds_has_no_part_in_the_mean(guess: Array) -> None:
    told = scores([case("x", with_class(1), guess), case("y", with_class(1), with_class(1))])
    assert math.isnan(told["dice_b"])
    assert told["dice_mean"] == told["dice_a"] == 1
    assert absent_classes([case("x", with_class(1), guess)], CLASSES) == ["b"]


@pytest.mark.parametrize("guess", [with_class(), with_class(1, 2)])
def test_where_no_case_holds_a_class_nothing_is_said(guess: Array) -> None:
    told = scores([case("x", with_class(), guess), case("y", with_class(), guess)], over_set=True)
    assert all(math.isnan(value) for value in told.values())
    assert told.keys() == {"dice_a", "dice_b", "miou", "G", "C", "dice_mean"}
    assert absent_classes([case("x", with_class(), guess)], CLASSES) == ["a", "b"]


def test_void_alone_says_nothing() -> None:
    void = np.full(SHAPE, 255, np.uint8)
    assert math.isnan(scores([case("x", void, with_class(1))])["dice_mean"])


def test_masks_that_no_case_holds_have_no_part_in_the_mean() -> None:
    masks = ClassList.of_masks({"a": (), "b": ()})
    truth = np.zeros((2, *SHAPE), np.uint8)
    truth[0, 0] = 1
    shown = pack_masks(truth)
    told = scores([case("x", truth, shown), case("y", np.zeros_like(truth), with_class())], classes=masks)
    assert told["dice_a"] == told["dice_mean"] == 1
    assert math.isnan(told["dice_b"])
    assert absent_classes([case("x", truth, shown)], masks) == ["b"]
    nothing = case("x", np.zeros_like(truth), with_class(3))
    assert math.isnan(scores([nothing], classes=masks)["dice_mean"])


def test_a_case_without_label_is_refused() -> None:
    whole = case("x", with_class(1), with_class(1))
    bare = PreprocessedCase("bare", "bare", whole.volume, None, whole.positions, whole.record, {}, {})
    with pytest.raises(ValueError, match="bare has no label"):
        scores([whole, bare])


# Through the pipeline


def tree(**train: Any) -> dict[str, Any]:
    return {
        "name": "lesions",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}.nii.gz"},
            "label": "{case}_seg.nii.gz",
            "classes": {0: "background", 1: "lesion"},
            "splits": {"train": ["t0", "t1"], "val": ["v0"], "test": ["t2"]},
        },
        "preprocess": {"foreground": "all", "crop": False},
        "sampling": {"depth": 1, "window": [8, 8]},
        "network": {"name": "unet", "keywords": {"padding": "same", "width": 2, "depth": 1}},
        "train": {"epochs": 3, "steps_per_epoch": 2, "batch": 2, "lr": 0.01, "precision": "fp32", **train},
        "tracking": {"enabled": False},
    }


@pytest.fixture
def lesions(tmp_path: Path) -> Path:
    """Four scans; the only validation case has no lesion."""
    data = tmp_path / "data"
    data.mkdir()
    for n, name in enumerate(("t0", "t1", "t2", "v0")):
        image = np.random.default_rng(n).normal(100, 10, (12, 10, 4)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        if name != "v0":
            label[3:8, 3:7] = 1
        image[label == 1] += 80
        nib.save(nib.Nifti1Image(image, np.eye(4)), data / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), data / f"{name}_seg.nii.gz")
    return tmp_path


def go(place: Path, value: dict[str, Any]) -> str:
    (place / "lesions.yaml").write_text(yaml.safe_dump(value))
    stream = io.StringIO()
    asked = Request(str(place / "lesions.yaml"), place / "data", place / "work")
    assert pipeline.run(asked, Reporter(stream=stream)) == ExitCode.DONE
    return stream.getvalue()


def test_validation_without_any_class_keeps_the_last_weights_and_says_so(lesions: Path) -> None:
    said = go(lesions, tree(patience=1))
    assert "no validation case holds lesion" in said
    assert "the last weights are kept" in said
    assert "nan" not in said.lower()
    assert "(best)" not in said
    best, last = (read_network(lesions / f"work/train/0/{name}.ckpt") for name in ("best", "last"))
    assert all(torch.equal(best[name], value) for name, value in last.items())
    rows = files.read_csv(lesions / "work/train/0/history.csv")
    assert len(rows) == 3  # patience does not count what says nothing
    assert {row["val/dice_mean"] for row in rows} == {""}


def test_validation_that_tells_epochs_apart_says_nothing_of_the_last(lesions: Path) -> None:
    value = tree()
    value["data"]["splits"] = {"train": ["t0", "v0"], "val": ["t1"], "test": ["t2"]}
    said = go(lesions, value)
    assert "no validation case holds" not in said
    assert "validation Dice lesion" in said


def test_many_classes_are_told_by_their_mean_and_the_lowest() -> None:
    scores = {f"dice_rib_{number}": number / 20 for number in range(1, 13)} | {"dice_rib_13": math.nan}
    words = scores_in_words(scores | {"dice_mean": 0.325})
    assert words == "Dice mean 0.3250 (lowest of 12 classes: rib_1 0.0500)"
    assert scores_in_words({"dice_a": 0.5, "dice_mean": 0.5}) == "Dice a 0.5000, mean 0.5000"
