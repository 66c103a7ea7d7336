"""Forty brains: the whole of `medseg ingest` against its own work, and `preprocess` with two workers and one.

    python benchmarks/ingest.py [--cases 40] [--rounds 5] [--data FOLDER]

Without data it makes smooth volumes of 256×128×256 with label maps of four classes; FOLDER holds real ones as
`{case}/{case}.nii.gz` beside `{case}/{case}_seg.nii.gz`. Ingest's own work is what its `stage.json` says; the
rest of the command is the start of Python and of what it imports. `least_ratio` is what it would reach
if it imported nothing but the libraries that every command needs. One worker has one processor, two have two:
one reads and writes on a second otherwise. Medians go to `benchmarks/results/ingest.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from scipy import ndimage

SHAPE = (256, 128, 256)
LIBRARIES = "import numpy, pydantic, nibabel, typer, yaml"
RESULT = Path(__file__).parent / "results/ingest.json"
RECIPE = {
    "name": "brains",
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "csf", 2: "gm", 3: "wm"},
        "splits": {"folds": 1, "val": 0.1, "test": 0.0, "seed": 0},
    },
    "sampling": {"window": [40, 40]},
    "network": {"name": "usegnet"},
    "train": {"epochs": 1, "steps_per_epoch": 1, "batch": 64},
}


def make(folder: Path, cases: int) -> None:
    """Write smooth volumes with noise inside an ellipsoid, and label maps by thresholds."""
    coordinates = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij", sparse=True)
    inside = sum(c**2 for c in coordinates) < 0.5
    for number in range(cases):
        rng = np.random.default_rng(number)
        smooth = ndimage.zoom(rng.normal(size=tuple(n // 16 for n in SHAPE)), 16, order=1)
        image = np.where(inside, smooth * 60 + 300 + rng.normal(0, 8, SHAPE), 0).astype(np.int16)
        label = np.where(inside, 1 + np.digitize(smooth, [-0.4, 0.4]), 0).astype(np.uint8)
        place = folder / f"case{number:02}"
        place.mkdir(parents=True)
        for suffix, array in (("", image), ("_seg", label)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), place / f"{place.name}{suffix}.nii.gz")


def seconds(arguments: list[str], cores: int) -> float:
    """Time of a command on so many processors."""
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    command = [sys.executable, "-m", "medseg", *arguments, "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        os.sched_setaffinity(process.pid, allowed)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - start


def start_s() -> float:
    """Time of a Python that imports the libraries and ends."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.monotonic() - start


def own(work: Path, folder: str) -> float:
    """Seconds of a stage's own work."""
    return float(json.loads((work / folder / "stage.json").read_text())["seconds"])


def measure(recipe: Path, data: Path, work: Path) -> dict[str, float]:
    """One round: ingest, then preprocess by one worker and by two, each from nothing."""
    shutil.rmtree(work, ignore_errors=True)
    common = [str(recipe), "--data", str(data), "--work", str(work)]
    values = {"start_s": start_s(), "ingest_s": seconds(["ingest", *common], 2)}
    values["ingest_own_s"] = own(work, "ingest")
    for workers in (1, 2):
        shutil.rmtree(work / "prepared", ignore_errors=True)
        whole = seconds(["preprocess", *common, "--workers", str(workers)], workers)
        values[f"preprocess_{workers}_whole_s"] = whole
        values[f"preprocess_{workers}_s"] = own(work, "prepared")
    values["least_ratio"] = 1 + values["start_s"] / values["ingest_own_s"]
    values["ingest_over_own"] = values["ingest_s"] / values["ingest_own_s"]
    values["preprocess_1_over_2"] = values["preprocess_1_s"] / values["preprocess_2_s"]
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--n4", action="store_true", help="with bias field correction")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.data is None:
            make(folder / "data", arguments.cases)
        data = arguments.data or folder / "data"
        settings: dict[str, Any] = {**RECIPE, "preprocess": {"n4": arguments.n4, "crop": False}}
        (folder / "brains.yaml").write_text(yaml.safe_dump(settings))
        cases = len(list(data.iterdir()))
        rounds = [measure(folder / "brains.yaml", data, folder / "work") for _ in range(arguments.rounds)]
    medians = {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}
    content = {"cases": cases, "n4": arguments.n4, **medians}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
