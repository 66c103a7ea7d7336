"""Dice of the tissue model that ships with medseg on labelled IBSR scans, as they are and degraded.

    python -m benchmarks.out_of_box DATA                    # Dice of CSF, GM and WM of each scan
    python -m benchmarks.out_of_box DATA --ladder           # the same scans degraded, as a table
    python -m benchmarks.out_of_box DATA --ladder --json benchmarks/results/out_of_box.json

DATA holds `IBSR_nn/IBSR_nn.nii.gz` and `IBSR_nn/IBSR_nn_seg.nii.gz`. No scan of it was used for training the
model. Labels are compared by IBSR's convention (`ibsr`): CSF is that of
the ventricles. Degradations are fixed, and their random numbers depend on the scan and the step alone:

noise: Rician, with a standard deviation of 3 % or 8 % of the 98 % quantile of the brain's grey values.
bias: the scan times a smooth field of ±20 % or ±40 %, whose shape is drawn.
slices: means of the brain over 3 or 5 mm along superior-inferior; labels are those that fill most of it.
inverted: each brain voxel v becomes high + low − v, high and low being the 99.5 % and 0.5 % quantiles.
rotated: head turned by 20° about the anterior-posterior axis, linearly interpolated, labels by the nearest.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

import medseg
from medseg import files
from medseg.grid import Array
from medseg.synth.fields import smooth_field

CLASSES = {1: "CSF", 2: "GM", 3: "WM"}


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scan (X, Y, Z) float32 with its labels uint8 and its affine, RAS+ up to flips."""

    image: Array
    labels: Array
    affine: Array

    @property
    def spacing(self) -> Array:
        return np.linalg.norm(self.affine[:3, :3], axis=0)


Step = Callable[[Labelled, np.random.Generator], Labelled]


def read(folder: Path) -> Labelled:
    image = nib.load(folder / f"{folder.name}.nii.gz")
    labels = nib.load(folder / f"{folder.name}_seg.nii.gz")
    return Labelled(
        np.asarray(image.dataobj, np.float32).squeeze(),
        np.asarray(labels.dataobj).squeeze().astype(np.uint8),
        image.affine,
    )


def noisy(scan: Labelled, rng: np.random.Generator, level: float) -> Labelled:
    brain = scan.image > 0
    sd = level * np.quantile(scan.image[brain], 0.98)
    real, imaginary = sd * rng.standard_normal((2, *scan.image.shape), dtype=np.float32)
    return Labelled(brain * np.hypot(scan.image + real, imaginary), scan.labels, scan.affine)


def biased(scan: Labelled, rng: np.random.Generator, strength: float) -> Labelled:
    field = smooth_field(scan.image.shape, 1.0, 64.0, 1.0, rng)
    field *= strength / np.abs(field[scan.image > 0]).max()
    return Labelled(scan.image * (1 + field), scan.labels, scan.affine)


def thick(scan: Labelled, mm: float) -> Labelled:
    """Slices of ``mm`` along the last axis, which is superior-inferior in IBSR.

    The zeros around the brain are no signal: means are those of brain voxels, where they fill half of it.
    """
    edge, n = scan.spacing[2], scan.image.shape[2]
    m = int(n * edge / mm)
    starts = np.arange(m) * mm / edge
    overlap = np.minimum(starts[:, None] + mm / edge, np.arange(n) + 1) - np.maximum(
        starts[:, None], np.arange(n)
    )
    weights = np.clip(overlap, 0, 1).astype(np.float32)
    shares = [(scan.labels == k).astype(np.float32) @ weights.T for k in range(len(CLASSES) + 1)]
    affine = scan.affine.copy()
    affine[:3, 2] *= mm / edge
    affine[:3, 3] += scan.affine[:3, 2] * (mm / edge - 1) / 2
    brain = (scan.image > 0).astype(np.float32) @ weights.T
    stripped = brain < weights.sum(axis=1) / 2
    image = np.where(stripped, 0, scan.image @ weights.T / np.maximum(brain, 1e-6))
    return Labelled(image, np.argmax(shares, axis=0).astype(np.uint8), affine)


def inverted(scan: Labelled) -> Labelled:
    brain = scan.image > 0
    low, high = np.quantile(scan.image[brain], (0.005, 0.995))
    return Labelled(brain * np.maximum(high + low - scan.image, 1), scan.labels, scan.affine)


def rotated(scan: Labelled, degrees: float) -> Labelled:
    """The head turned in the plane of the first and last axes, in mm."""
    angle, edges = np.deg2rad(degrees), scan.spacing[[0, 2]]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    matrix[np.ix_([0, 2], [0, 2])] = turn * edges / edges[:, None]
    centre = (np.array(scan.image.shape) - 1) / 2
    options = {"matrix": matrix, "offset": centre - matrix @ centre}
    image = ndimage.affine_transform(scan.image, order=1, **options)
    labels = ndimage.affine_transform(scan.labels, order=0, **options)
    return Labelled(image, labels, scan.affine)


LADDER: dict[str, Step] = {
    "as it is": lambda scan, _: scan,
    "noise 3 %": lambda scan, rng: noisy(scan, rng, 0.03),
    "noise 8 %": lambda scan, rng: noisy(scan, rng, 0.08),
    "bias 20 %": lambda scan, rng: biased(scan, rng, 0.2),
    "bias 40 %": lambda scan, rng: biased(scan, rng, 0.4),
    "slices 3 mm": lambda scan, _: thick(scan, 3.0),
    "slices 5 mm": lambda scan, _: thick(scan, 5.0),
    "inverted": lambda scan, _: inverted(scan),
    "rotated 20°": lambda scan, _: rotated(scan, 20.0),
}


def dice(truth: Array, predicted: Array) -> list[float]:
    """Dice of each of CLASSES."""
    both = [(truth == k, predicted == k) for k in CLASSES]
    return [float(2 * (a & b).sum() / max(1, a.sum() + b.sum())) for a, b in both]


def rows(folders: list[Path], steps: list[str], model: medseg.Model) -> Iterator[dict[str, Any]]:
    """Dice and seconds of each scan at each step."""
    for step in steps:
        for folder in folders:
            rng = np.random.default_rng(zlib.crc32(f"{step} {folder.name}".encode()))
            scan = LADDER[step](read(folder), rng)
            started = time.perf_counter()
            result = medseg.segment(
                scan.image, model, affine=scan.affine, confidence=False, accept_domain=True
            )
            seconds = time.perf_counter() - started
            values = dice(scan.labels, np.asarray(result.labels.dataobj))
            outside = any(note.code == "OUT_OF_DOMAIN" for note in result.notes)
            yield {
                "step": step,
                "scan": folder.name,
                **dict(zip(CLASSES.values(), values, strict=True)),
                "mean": float(np.mean(values)),
                "quality": result.quality,
                "out_of_domain": outside,
                "seconds": seconds,
            }


def line(name: str, row: dict[str, float], more: str = "") -> str:
    return f"{name:<14}" + "".join(f"{row[key]:8.3f}" for key in (*CLASSES.values(), "mean")) + more


def mean(table: list[dict[str, Any]]) -> dict[str, float]:
    return {
        key: float(np.mean([row[key] for row in table])) for key in (*CLASSES.values(), "mean", "seconds")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--ladder", action="store_true", help="degrade the scans, too")
    parser.add_argument("--model", default="brain-tissue/ibsr")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--scans", nargs="+", help="these scans alone, as in `--scans 01 18`")
    parser.add_argument("--steps", nargs="+", choices=LADDER, help="these steps of the ladder alone")
    parser.add_argument("--json", type=Path, help="also write all rows to this file")
    asked = parser.parse_args()
    folders = sorted(p.parent for p in asked.data.glob("IBSR_*/IBSR_*_seg.nii.gz"))
    if asked.scans:
        folders = [folder for folder in folders if folder.name.removeprefix("IBSR_") in asked.scans]
    model = medseg.load_model(asked.model, "cpu", precision=asked.precision)
    table: list[dict[str, Any]] = []
    print(f"{'':<14}" + "".join(f"{name:>8}" for name in (*CLASSES.values(), "mean")))
    for step in asked.steps or (LADDER if asked.ladder else ["as it is"]):
        part = []
        for row in rows(folders, [step], model):
            part.append(row)
            if not asked.ladder and not asked.steps:
                notes = "  out of domain" * row["out_of_domain"]
                print(line(row["scan"], row, f"  {row['seconds']:.1f} s{notes}"), flush=True)
        table += part
        outside = sum(row["out_of_domain"] for row in part)
        change = mean(part)["mean"] - mean(table[: len(folders)])["mean"]
        notes = f"{change:+8.3f}" + (f"  {outside} out of domain" if outside else "")
        several = asked.ladder or asked.steps
        print(line(step if several else "mean", mean(part), notes if several else ""), flush=True)
    if asked.json:
        summary = {
            step: mean([row for row in table if row["step"] == step])
            for step in dict.fromkeys(row["step"] for row in table)
        }
        content = {"model_sha256": model.sha256, "precision": asked.precision, "mean": summary, "rows": table}
        files.write_json(asked.json, content)


if __name__ == "__main__":
    main()
