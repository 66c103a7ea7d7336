"""Augmentation as the recipe says it: directions, spacing, artefacts; and compiling where it is possible."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.train import fit
from medseg.train.state import read_network
from pipelines import run as pipeline
from pipelines.fold import data
from pipelines.fold.fold import FoldTraining
from pipelines.run import Request
from pipelines.stages import train as train_stage
from pipelines.workfolder import Work

SPACINGS = {"t0": (1.0, 2.0, 4.0), "t1": (1.0, 1.0, 4.0), "v0": (1.0, 1.0, 3.0), "t2": (1.0, 1.0, 4.0)}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four scans of two spacings within axial slices."""
    (tmp_path / "data").mkdir()
    for n, (name, spacing) in enumerate(SPACINGS.items()):
        image = np.random.default_rng(n).normal(100, 10, (12, 10, 4)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[3:8, 3:7] = 1
        affine = np.diag([*spacing, 1.0])
        nib.save(nib.Nifti1Image(image + 80 * label, affine), tmp_path / f"data/{name}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), tmp_path / f"data/{name}_seg.nii.gz")
    return tmp_path


def recipe(place: Path, augment: dict[str, Any], **parts: Any) -> Path:
    """Write a recipe; its layout does not say whether the data are scans or images."""
    tree = {
        "name": "small",
        "data": {"classes": {0: "background", 1: "core"}, "splits": {"train": ["t0", "t1"], "val": ["v0"]}},
        "preprocess": {"foreground": "all", "crop": False},
        "sampling": {"depth": 1, "window": [8, 8]},
        "network": {"name": "unet", "keywords": {"padding": "same", "width": 2, "depth": 1}},
        "train": {
            **{"epochs": 1, "steps_per_epoch": 3, "batch": 4, "precision": "fp32", "threads": 1},
            "augment": augment,
            **parts,
        },
        "tracking": {"enabled": False},
    }
    (place / "small.yaml").write_text(yaml.safe_dump(tree))
    return place / "small.yaml"


def go(
    place: Path, augment: dict[str, Any], only: str | None = None, work: str = "work", **parts: Any
) -> str:
    stream = io.StringIO()
    asked = Request(str(recipe(place, augment, **parts)), place / "data", place / work)
    pipeline.run(asked, Reporter(stream=stream), only=only)
    return stream.getvalue()


def prepared(place: Path, augment: dict[str, Any]) -> FoldTraining:
    for stage in ("ingest", "preprocess"):
        go(place, augment, stage)
    return FoldTraining(load.load(str(place / "work/recipe.yaml")), Work(place / "work"), 0)


def weights(place: Path, augment: dict[str, Any], work: str) -> dict[str, torch.Tensor]:
    for stage in ("ingest", "preprocess", "train"):
        go(place, augment, stage, work)
    return read_network(place / work / "train/0/last.ckpt")


def test_windows_of_each_case_are_turned_with_its_own_spacing(scans: Path) -> None:
    training = prepared(scans, {"rotate_degrees": 30, "flip": ["anterior_posterior"]})
    augmenter = data.make_augmenter(training.recipe, training.cases.train)
    assert augmenter.pixels == ((1.0, 1.0), (1.0, 2.0))
    assert augmenter.placed
    assert augmenter.field[0] > augmenter.field[1]  # 2 mm columns reach further along rows
    batch = training.batches.sampler(0)
    assert {tuple(pixel) for pixel in batch[-1][:, 3].tolist()} <= {(1.0, 1.0), (1.0, 2.0)}
    augment = training.batches.augment
    out = augment(*map(torch.from_numpy, batch[:2]), 0, slice(None), torch.from_numpy(batch[-1]))
    assert out[0].shape == (4, 1, 8, 8)


def test_trainings_that_turned_in_pixels_are_not_up_to_date(scans: Path) -> None:
    """A new key for cases with oblong pixels whose windows turn; the old one for all others."""
    turned, still = prepared(scans, {"rotate_degrees": 30}), prepared(scans, {"contrast": 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.fold.data.pixel_shape", lambda *_: (1.0, 1.0))
        square = [FoldTraining(t.recipe, t.work, 0).key for t in (turned, still)]
    assert (turned.key != square[0], still.key != square[1]) == (True, False)


def test_flips_of_images_are_refused_for_scans_where_the_recipe_does_not_say_which(scans: Path) -> None:
    training = prepared(scans, {"flip": ["horizontal"]})
    with pytest.raises(
        MedsegError, match="horizontal of scans; use left_right, anterior_posterior"
    ) as refusal:
        _ = training.key
    assert refusal.value.code == Code.KEYWORD_INVALID


def test_artefacts_that_are_off_change_no_weight_and_on_they_do(scans: Path) -> None:
    plain = {"flip": ["left_right"], "noise": 0.1}
    off = {**plain, **dict.fromkeys(("bias_field", "gibbs", "ghosting", "coarse_dropout"), 0)}
    on = {**plain, "bias_field": 0.2, "ghosting": 0.5, "low_resolution": 0.5, "histogram_shift": 0.5}
    without, again = weights(scans, plain, "a"), weights(scans, off, "b")
    assert all(torch.equal(without[name], value) for name, value in again.items())
    changed, same = weights(scans, on, "c"), weights(scans, on, "d")
    assert all(torch.equal(changed[name], value) for name, value in same.items())
    assert not all(torch.equal(without[name], value) for name, value in changed.items())


def test_without_a_compiler_training_says_so_and_goes_on(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (train_stage, fit):
        monkeypatch.setattr(module, "compile_problem", lambda kind: f"no compiler for {kind}")
    for stage in ("ingest", "preprocess"):
        go(scans, {}, stage, compile=True)
    said = go(scans, {}, "train", compile=True)
    assert "torch cannot compile here (no compiler for cpu); training without it" in said
    assert "trained in" in said
