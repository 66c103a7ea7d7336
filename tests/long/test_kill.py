"""Killed (−9) at random moments and run again: no half file, and the same bytes as an uninterrupted run."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml

from medseg import files
from tests.helpers.box_subjects import LARGE, make_subjects
from tests.helpers.dicom_files import write_series

KILLS = int(os.environ.get("MEDSEG_KILLS", "10"))
"""Moments at which a command is killed; MEDSEG_KILLS=100 takes an hour."""

WHOLE_PAGE = re.compile(r"</html>\s*(<!-- medseg \w+ \w+ -->)?\s*\Z")
"""How a page ends; a case's page names after that what it was made of."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(150 * KILLS)]
RECIPE: dict[str, Any] = {
    "name": "boxes",
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": {"train": ["s0", "s1", "s2"], "val": ["s3"], "test": ["s4", "s5"]},
    },
    "sampling": {"window": [32, 32]},
    "network": {"name": "usegnet", "keywords": {"width": 8}},
    "train": {
        "epochs": 4,
        "steps_per_epoch": 12,
        "batch": 8,
        "threads": 1,
        "augment": {"flip": ["left_right"], "rotate_degrees": 10, "noise": 0.05},
    },
}


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "medseg", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def finish(*arguments: str) -> float:
    """Run to the end; the seconds it took."""
    started = time.monotonic()
    process = start(*arguments)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    return time.monotonic() - started


def kill_many_times(call: list[str], seconds: float, folder: Path, check: Callable[[], None]) -> None:
    """Kill running commands KILLS times, at moments drawn over a whole run's time, going on after each.

    A command that ends before its moment is checked, and the next one begins anew; so does the last.
    """
    rng = random.Random(0)
    hits = 0
    while hits < KILLS:
        process = start(*call)
        time.sleep(rng.uniform(0.05, 1.0) * seconds)
        hit = process.poll() is None
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        if folder.exists():
            assert_no_half_file(folder)
        if hit:
            hits += 1
        else:
            assert process.returncode == 0, said.decode()
            check()
            shutil.rmtree(folder)
    finish(*call)
    check()


def assert_no_half_file(folder: Path) -> None:
    """Every file under its final name can be read to its end."""
    for path in folder.rglob("*"):
        if not path.is_file() or any(part.startswith(".part-") for part in path.parts):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            rows = files.read_csv(path)
            assert all(None not in row and None not in row.values() for row in rows), path
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".ckpt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".safetensors":
            safetensors.numpy.load_file(path)
        elif path.suffix == ".gz":
            gzip.decompress(path.read_bytes())
        elif path.suffix == ".html":
            assert WHOLE_PAGE.search(path.read_text()), path


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for g in patterns for p in sorted(folder.glob(g))}


RESULTS = ("model/*.safetensors", "predictions/*.nii.gz", "evaluation/scores.csv", "evaluation/summary.json")


def test_a_run_killed_at_random_moments_gives_the_same_bytes(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", 6, form=LARGE, noise=20)
    recipe = tmp_path / "boxes.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    call = ["run", str(recipe), "--data", str(tmp_path / "data"), "--work"]
    seconds = finish(*call, str(tmp_path / "whole"))
    expected, killed = contents(tmp_path / "whole", *RESULTS), tmp_path / "killed"
    assert len(expected) == 5

    def check() -> None:
        assert contents(killed, *RESULTS) == expected

    kill_many_times([*call, str(killed)], seconds, killed, check)


def test_segmenting_an_export_killed_at_random_moments_gives_the_same_bytes(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", 20, form=LARGE, noise=20)
    recipe = tmp_path / "boxes.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    finish(
        "run", str(recipe), "--data", str(tmp_path / "data"), "--work", str(tmp_path / "work"),
        "--set", "train.epochs=1", "--set", "tracking.enabled=false",
    )  # fmt: skip
    for path in sorted(tmp_path.glob("data/s*/s*_seg.nii.gz")):
        image = nib.load(path.with_name(path.name.replace("_seg", "")))
        pixels = np.asarray(image.dataobj).clip(0).astype(np.uint16)
        write_series(tmp_path / "export" / path.parent.name, pixels, image.affine)
    (tmp_path / "key").write_bytes(b"k" * 32)
    call = ["segment", str(tmp_path / "export"), "--model", str(tmp_path / "work/model"), "--mode", "vote"]
    call += ["--key-file", str(tmp_path / "key"), "--accept-domain", "--confidence-map", "--figure"]
    seconds = finish(*call, str(tmp_path / "whole"))
    made = ("*.nii.gz", "*.dcm", "*.png", "labels.json", "quarantine.csv")
    expected, killed = contents(tmp_path / "whole", *made), tmp_path / "killed"
    assert len(expected) == 20 * 6 + 2

    def check() -> None:
        assert contents(killed, *made) == expected

    kill_many_times([*call, str(killed)], seconds, killed, check)
