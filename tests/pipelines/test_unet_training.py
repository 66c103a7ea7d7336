"""U-Net's elastic deformation and weight map, from label files to a trained network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.preprocess import store
from medseg.preprocess.weightmap import weight_map
from pipelines import run as pipeline
from pipelines.run import Request

TRAIN = {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "threads": 1, "precision": "fp32"}
ELASTIC = {"augment": {"elastic_px": 1.5, "flip": ["left_right"], "rotate_degrees": 10}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three subjects, each with two cells of one class three voxels apart along the first axis."""
    for n in range(3):
        label = np.zeros((40, 36, 4), np.uint8)
        label[8:18, 10:26, 1:3] = label[21:32, 12:24, 1:3] = 1
        image = np.rint(label * 100 + np.random.default_rng(n).normal(50, 9, label.shape)).astype(np.int16)
        (tmp_path / "data").mkdir(exist_ok=True)
        nib.Nifti1Image(image, np.eye(4)).to_filename(tmp_path / f"data/c{n}.nii.gz")
        nib.Nifti1Image(label, np.eye(4)).to_filename(tmp_path / f"data/c{n}_seg.nii.gz")
    return tmp_path


def go(place: Path, work: str = "work", *, overwrite: bool = False, **parts: Any) -> Path:
    """Run the recipe in `place/<work>`, and give that."""
    tree = {
        "name": "cells",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}.nii.gz"},
            "label": "{case}_seg.nii.gz",
            "classes": {0: "background", 1: "cell"},
            "splits": {"train": ["c0"], "val": ["c1"], "test": ["c2"]},
        },
        "preprocess": {"crop": False},
        "sampling": {"window": [16, 16]},
        "network": {"name": "usegnet", "keywords": {"width": 2}},
        "loss": {"weight_map": {"sigma_px": 4.0}},
        "train": {**TRAIN, **ELASTIC},
        "tracking": {"enabled": False},
        **parts,
    }
    (place / "cells.yaml").write_text(yaml.safe_dump(tree))
    request = Request(str(place / "cells.yaml"), place / "data", place / work)
    say = Reporter(stream=io.StringIO())
    assert pipeline.run(request, say, overwrite=overwrite) == ExitCode.DONE
    return place / work


def weights(work: Path) -> bytes:
    return (work / "model/fold0.safetensors").read_bytes()


def test_the_map_is_stored_and_both_reach_the_weights_of_the_network(place: Path) -> None:
    work = go(place)
    case = store.open(work / "prepared/c0")
    found = case.extras["weight_map"]
    assert case.label is not None
    np.testing.assert_array_equal(found, weight_map(np.asarray(case.label), "axial", 10.0, 4.0))
    assert found[19, 18, 1] == pytest.approx(10 * np.exp(-(4**2) / 32), rel=1e-3)
    assert not found[:, :, 0].any()
    assert files.read_csv(work / "evaluation/scores.csv")[0]["case"] == "c2"
    trained = weights(work)
    assert weights(go(place, "again")) == trained
    assert weights(go(place, "rigid", train=TRAIN)) != trained


def test_another_map_is_made_and_trained_on_and_none_is_stored_without_the_key(place: Path) -> None:
    first = weights(go(place))
    work = go(place, overwrite=True, loss={"weight_map": {"sigma_px": 8.0}})
    second = weights(work)
    assert store.open(work / "prepared/c0").extras["weight_map"][19, 18, 1] > 7
    go(place, overwrite=True, loss={})
    assert store.open(work / "prepared/c0").extras == {}
    assert len({first, second, weights(work)}) == 3
