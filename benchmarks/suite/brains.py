"""Synthetic brains of 256×128×256 voxels and a network trained on them, kept in the benchmarks' cache.

They are the demo's subjects (ICBM152 anatomy, deformed, with a scanner's contrast, bias and noise) at 1 mm,
laid on the grid of 1×1.5×1 mm that IBSR-18 has. The network is that of the recipe `demo`, with its seed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from scipy import ndimage

from medseg.grid import Array, Grid
from medseg.io import nifti
from medseg.volume import Volume

ROOT = Path(__file__).parents[2]
SHAPE, SPACING = (256, 128, 256), (1.0, 1.5, 1.0)
TRAIN, VALIDATION, TEST = ("sub-01", "sub-02", "sub-03", "sub-04"), "sub-05", ("sub-06", "sub-07")
CLASSES = ("csf", "gm", "wm")


def brain(cache: Path, number: int = 6) -> tuple[Path, Path]:
    """The image and label files of a subject; made if they are not there."""
    name = f"sub-{number:02d}"
    files = cache / "brains" / name / f"{name}.nii.gz", cache / "brains" / name / f"{name}_seg.nii.gz"
    if not all(file.is_file() for file in files):
        from medseg.synth import subject, tissues

        image, label = subject.make(tissues.load(1.0), 0, number)
        grid = _grid_around(image.grid)
        for volume, order, file in zip((image, label), (1, 0), files, strict=True):
            nifti.write(Volume(_onto(volume, grid, order)[None], grid), file)
    return files


def _grid_around(source: Grid) -> Grid:
    """The grid of SHAPE and SPACING with the centre of another."""
    affine = np.diag([*SPACING, 1.0])
    centre = source.affine @ [*((np.array(source.shape) - 1) / 2), 1]
    affine[:3, 3] = centre[:3] - np.array(SPACING) * (np.array(SHAPE) - 1) / 2
    return Grid(SHAPE, affine)


def _onto(volume: Volume, grid: Grid, order: int) -> Array:
    matrix = np.linalg.inv(volume.grid.affine) @ grid.affine
    moved: Array = ndimage.affine_transform(
        volume.array[0], matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=order
    )
    return moved


def trained(cache: Path, *, quick: bool) -> tuple[Path, Path]:
    """The work folder of a network trained on brains, and its model folder with graphs of both runtimes.

    Training takes about two minutes of one core, once; a quick run trains a few steps.
    """
    work = cache / ("trained-quick" if quick else "trained")
    model = work / "with-graphs"
    for number in range(1, 8):
        brain(cache, number)
    if not (work / "model/model.json").is_file():
        recipe = yaml.safe_load((ROOT / "configs/demo.yaml").read_text(encoding="utf-8"))
        recipe["data"]["splits"] = {"train": list(TRAIN), "val": [VALIDATION], "test": list(TEST)}
        if quick:
            recipe["train"] |= {"epochs": 1, "steps_per_epoch": 5}
        changed = cache / "brains.yaml"
        changed.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        for stage in ("ingest", "preprocess", "train"):
            _medseg(stage, changed, "--data", cache / "brains", "--work", work)
    if not (model / "model.json").is_file():
        runtimes = ("--runtime", "openvino", "--runtime", "onnx")
        precisions = ("--precision", "fp32") if quick else ("--precision", "fp32", "--precision", "int8")
        _medseg("export", work, model, *runtimes, *precisions)
    return work, model


def _medseg(*arguments: object) -> None:
    """Run a command of medseg; its last line is the error's text if it fails."""
    command = [sys.executable, "-m", "medseg", *map(str, arguments), "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = (ended.stdout + ended.stderr).strip().splitlines() or [f"ended with {ended.returncode}"]
        raise RuntimeError(f"medseg {arguments[0]}: {lines[-1]}")
