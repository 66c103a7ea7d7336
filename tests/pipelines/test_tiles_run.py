"""A network of valid convolutions through the recipe: windows checked, trained, used in tiles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from medseg import files, networks
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode
from pipelines import run as pipeline
from pipelines.commands import segment
from pipelines.fold.fold import FoldTraining
from pipelines.fold.network import check_sizes
from pipelines.run import Request
from pipelines.workfolder import Work

UNET = {"name": "unet", "keywords": {"padding": "valid", "width": 2, "depth": 1}}


def recipe(**parts: Any) -> dict[str, Any]:
    return {
        "name": "boxes",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}/{case}.nii.gz"},
            "label": "{case}/{case}_seg.nii.gz",
            "classes": {0: "background", 1: "box"},
            "splits": {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3"]},
        },
        "preprocess": {"foreground": "all", "crop": False},
        "sampling": {"window": [26, 24]},
        "network": UNET,
        "train": {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "threads": 1, "precision": "fp32"},
        "predict": {"mode": "tiles", "tile": [20, 24], "confidence_map": True},
        "tracking": {"enabled": False},
        **parts,
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for n in range(4):
        rng = np.random.default_rng(n)
        label = np.zeros((20, 25, 4), np.uint8)
        label[3:17, 4:20, 1:3] = 1
        image = np.rint(label * 100 + rng.normal(0, 5, label.shape)).astype(np.int16)
        folder = tmp_path / f"data/s{n}"
        folder.mkdir(parents=True)
        nib.Nifti1Image(image, np.eye(4)).to_filename(folder / f"s{n}.nii.gz")
        nib.Nifti1Image(label, np.eye(4)).to_filename(folder / f"s{n}_seg.nii.gz")
    return tmp_path


def go(place: Path, **parts: Any) -> tuple[ExitCode, str]:
    (place / "boxes.yaml").write_text(yaml.safe_dump(recipe(**parts)))
    stream = io.StringIO()
    ended = pipeline.run(
        Request(str(place / "boxes.yaml"), place / "data", place / "work"), Reporter(stream=stream)
    )
    return ended, stream.getvalue()


def labels(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def test_a_valid_network_is_trained_and_used_in_tiles(place: Path) -> None:
    ended, _ = go(place)
    assert ended == ExitCode.DONE
    work = Work(place / "work")
    about = files.read_json(work.model / "model.json")["description"]
    assert (about["mode"], about["tile"], about["memory_mb"]) == ("tiles", [20, 24], 1024)
    (row,) = files.read_csv(work.train(0) / "history.csv")
    assert 0 <= float(row["val/dice_mean"]) <= 1
    told = files.read_json(work.predictions / "s3.json")
    assert told["quality_kind"] == "probability"
    assert labels(work.predictions / "s3.nii.gz").shape == (20, 25, 4)

    # what is predicted lies in the slice; what the network takes in reaches beyond it
    drawer = FoldTraining(load.load(str(work.recipe)), work, 0).batches.sampler
    patches, truth = drawer(0)
    assert (drawer.border, patches.shape, truth.shape) == (8, (2, 3, 26, 24), (2, 26, 24))
    assert {place.row for t in range(40) for place in drawer.places(t)} >= {-8, 2}

    # the command gives the stage's label map, and refuses what the network cannot do
    say = Reporter(stream=io.StringIO())
    scan = place / "data/s3/s3.nii.gz"
    assert segment.run([scan], place / "out", segment.Settings(work.model), say) == ExitCode.DONE
    assert np.array_equal(labels(place / "out/s3.nii.gz"), labels(work.predictions / "s3.nii.gz"))
    dense = segment.Settings(work.model, mode="dense")
    assert segment.run([scan], place / "dense", dense, say) == ExitCode.NOTHING_USABLE
    (excluded,) = files.read_csv(place / "dense/quarantine.csv")
    assert "tiles" in excluded["how_to_fix"]


def test_a_valid_network_is_trained_on_bent_slices(place: Path) -> None:
    bent = {
        "epochs": 1,
        "steps_per_epoch": 2,
        "batch": 2,
        "augment": {"elastic_px": 1.0, "rotate_degrees": 9},
    }
    ended, _ = go(place, train={**bent, "threads": 1, "precision": "fp32"}, loss={"weight_map": {}})
    assert ended == ExitCode.DONE


def test_windows_blended_by_gaussian_weights(place: Path) -> None:
    network = {"name": "unet", "keywords": {"width": 2, "depth": 1}}
    ended, _ = go(place, network=network, sampling={"window": [8, 8]}, predict={"mode": "gaussian"})
    assert ended == ExitCode.DONE
    assert files.read_json(place / "work/predictions/s3.json")["quality_kind"] == "probability"
    assert files.read_json(place / "work/model/model.json")["description"]["stride"] is None


@pytest.mark.parametrize(
    ("parts", "code", "how_to_fix"),
    [
        ({"sampling": {"window": [25, 24]}}, Code.SIZE_IMPOSSIBLE, "use [26, 24]"),
        ({"sampling": {"window": [12, 12]}}, Code.SIZE_IMPOSSIBLE, "use [18, 18]"),
        ({"predict": {"mode": "tiles", "stride": [7, 2]}}, Code.SIZE_IMPOSSIBLE, "use 6"),
        ({"predict": {"mode": "tiles", "tile": 25}}, Code.SIZE_IMPOSSIBLE, "use 26"),
        ({"predict": {"mode": "tiles", "memory_mb": 1, "batch": 64}}, Code.KEYWORD_INVALID, "memory|batch"),
        ({"predict": {"mode": "dense"}}, Code.KEYWORD_INVALID, "tiles"),
        ({"network": {"name": "unet", "keywords": {"depth": 1, "width": 2}}}, Code.KEYWORD_INVALID, "dense"),
    ],
)
def test_sizes_are_refused_before_anything_runs(
    place: Path, parts: dict[str, Any], code: Code, how_to_fix: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        go(place, **parts)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert any(words in problem.how_to_fix for words in how_to_fix.split("|"))
    assert not (place / "work").exists()


def test_every_packaged_recipe_has_sizes_that_its_network_takes() -> None:
    for path in load.packaged().glob("*.yaml"):
        packaged = load.load(path.stem)
        channels = len(packaged.data.channel_names()) * packaged.sampling.depth
        with torch.device("meta"):
            network = networks.build(
                packaged.network.name, channels, len(packaged.data.classes), **packaged.network.keywords
            )
        check_sizes(packaged, network)
