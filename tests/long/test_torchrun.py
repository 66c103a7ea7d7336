"""Two processes of torchrun train as two of medseg's own: the same weights, and one command's work folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.errors import ExitCode
from tests.helpers.box_subjects import make_subjects

REPOSITORY = Path(__file__).parents[2]
RECIPE = {
    "name": "boxes",
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3"]},
    },
    "sampling": {"window": [16, 16]},
    "network": {"name": "usegnet", "keywords": {"width": 2}},
    "train": {"epochs": 2, "steps_per_epoch": 2, "batch": 4, "threads": 1, "device": "cpu"},
    "tracking": {"enabled": False},
}
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=4, unlabelled=0)
    path = tmp_path / "boxes.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def test_torchrun_trains_as_medseg_does_by_itself(recipe: Path, tmp_path: Path) -> None:
    arguments = ["medseg", "run", str(recipe), "--data", str(tmp_path / "data"), "--work"]
    by_torchrun = python(*TORCHRUN, "-m", *arguments, str(tmp_path / "torchrun"))
    assert by_torchrun.returncode == ExitCode.DONE, by_torchrun.stderr
    by_itself = python(*arguments, str(tmp_path / "itself"), "--set", "train.processes=2")
    assert by_itself.returncode == ExitCode.DONE, by_itself.stderr
    for name in ("model/fold0.safetensors", "predictions/s3.nii.gz", "evaluation/scores.csv", "recipe.yaml"):
        one, other = (tmp_path / work / name for work in ("torchrun", "itself"))
        assert one.read_bytes() == other.read_bytes(), name
    assert len(files.read_csv(tmp_path / "torchrun/train/0/history.csv")) == 2
    assert by_torchrun.stderr.count("epoch 1:") == 1


def test_a_refusal_of_the_first_process_ends_all(recipe: Path, tmp_path: Path) -> None:
    arguments = [
        "medseg",
        "run",
        str(recipe),
        "--data",
        str(tmp_path / "none"),
        "--work",
        str(tmp_path / "w"),
    ]
    ended = python(*TORCHRUN, "-m", *arguments)
    assert ended.returncode != ExitCode.DONE
    assert "PATH_MISSING" in ended.stderr and "no such folder" in ended.stderr, ended.stderr
