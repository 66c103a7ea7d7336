"""The geometry proof: synthetic series of known geometry through reading, SEG, dcmqi and highdicom.

    python benchmarks/dicom_geometry.py [--oblique 200] [--data DATA/dicom]

48 series along the axes (24 directions × 2 stacking orders) and oblique ones of random rotation, pixels
of 0.5 × 2 mm, 3.25 mm apart. Of each: every voxel is read at its place; a label map written as BINARY SEG
is read by dcmqi's `segimage2itkimage` (Dice, distance of centroids) and one written as LABELMAP by
highdicom and dcmqi. With --data, SEGs are made from the real series there and given to dicom3tools'
`dciodvfy`: errors on a SEG that its source does not have. Ends with 1 if any figure is not as it must be.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from medseg.classes import ClassList
from medseg.errors import MedsegError
from medseg.io.dicom import seg
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import write_series

SHAPE = (7, 6, 5)
SPACING = (0.5, 2.0, 3.25)
CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})
MOST_MM = 0.01


@dataclass
class Worst:
    """Counts of series, and the worst figures of all."""

    series: int = 0
    misplaced: int = 0
    mm: float = 0.0
    dice: dict[str, float] = field(default_factory=lambda: {"BINARY": 1.0, "LABELMAP": 1.0})
    centroid_mm: dict[str, float] = field(default_factory=lambda: {"BINARY": 0.0, "LABELMAP": 0.0})
    read_back: Counter[str] = field(default_factory=Counter)

    def is_right(self) -> bool:
        placed = not self.misplaced and self.mm < MOST_MM and set(self.dice.values()) == {1.0}
        return (
            placed
            and max(self.centroid_mm.values()) < MOST_MM
            and min(self.read_back.values()) == self.series
        )


def rotations(oblique: int) -> Iterator[np.ndarray]:
    """Directions of X, Y, Z as columns: all 48 along the axes, then random ones of either handedness."""
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            yield np.eye(3)[:, list(order)] * signs
    random = np.random.default_rng(0)
    for _ in range(oblique):
        yield np.linalg.qr(random.normal(size=(3, 3)))[0]


def affine_of(rotation: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * SPACING, (-31.5, 12.25, 77.0)
    return affine


def check(folder: Path, rotation: np.ndarray, seed: int, program: str, worst: Worst) -> None:
    """Write a series and its SEGs; take the figures of both."""
    random, affine = np.random.default_rng(seed), affine_of(rotation)
    pixels = random.permutation(int(np.prod(SHAPE))).reshape(SHAPE).astype(np.uint16)  # each value once
    truth = random.integers(0, 3, SHAPE).astype(np.uint8)
    write_series(folder / "in", pixels, affine, FrameOfReferenceUID="1.2.3.4", PatientID="1", PatientSex="O")
    (volume,) = read_export(folder / "in").volumes
    if volume.grid is None:
        worst.misplaced += 1
        return
    array = read_volume(volume).array[0]
    where = np.argsort(pixels.ravel())[array.ravel()]  # the voxel of the truth that holds each value
    places = np.stack(np.unravel_index(where, SHAPE), 1) @ affine[:3, :3].T + affine[:3, 3]
    ours = np.argwhere(np.ones(array.shape)) @ volume.grid.affine[:3, :3].T + volume.grid.affine[:3, 3]
    distances = np.linalg.norm(places - ours, axis=1)
    worst.mm = max(worst.mm, float(distances.max()))
    worst.misplaced += bool(distances.max() >= MOST_MM)
    labels = truth.ravel()[where].reshape(array.shape)
    for kind in ("BINARY", "LABELMAP"):
        path = folder / f"{kind}.dcm"
        seg.write(labels, volume, CLASSES, path, algorithm=("benchmark", "1"), kind=kind)
        masks = seg.read(path, volume.grid)
        worst.read_back[kind] += all(np.array_equal(masks[n - 1], labels == n) for n in (1, 2))
        for dice, distance in by_dcmqi(path, truth, affine, program):
            worst.dice[kind] = min(worst.dice[kind], dice)
            worst.centroid_mm[kind] = max(worst.centroid_mm[kind], distance)
    worst.series += 1


def by_dcmqi(
    path: Path, truth: np.ndarray, affine: np.ndarray, program: str
) -> Iterator[tuple[float, float]]:
    """Dice and distance of centroids (mm) of each class, as dcmqi places its voxels in space."""
    out = path.with_suffix("")
    out.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", out, "--outputType", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    for number in (1, 2):
        file = out / f"{number}.nii.gz"  # of a BINARY SEG; of a LABELMAP the first holds all values
        image = nib.load(file if file.exists() else out / "1.nii.gz")
        mask = np.asarray(image.dataobj) == number
        points = np.argwhere(truth == number) @ affine[:3, :3].T + affine[:3, 3]
        steps = (points - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
        index = np.rint(steps).astype(int)
        inside = ((index >= 0) & (index < mask.shape)).all(axis=1)
        hits = np.count_nonzero(mask[tuple(index[inside].T)])
        centre = np.argwhere(mask).mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]
        dice = 2 * hits / (len(points) + np.count_nonzero(mask))
        yield dice, float(np.linalg.norm(centre - points.mean(axis=0)))


def errors_of(program: str, path: Path) -> set[str]:
    """The error lines of dciodvfy; of a UID without its tag, since a SEG refers to its source by another."""
    ended = subprocess.run([program, path], capture_output=True, text=True, errors="replace", check=False)
    lines = {line for line in ended.stderr.splitlines() if line.startswith("Error")}
    return {line.split(" in (0x")[0] if " for UID " in line else line for line in lines}


def check_real(data: Path, program: str) -> bool:
    """Make a SEG of every real volume that can carry one, and print the errors that are its own."""
    counts: Counter[str] = Counter()
    own: Counter[str] = Counter()
    folders = sorted(path for path in data.iterdir() if path.is_dir() and path.name != "_ref")
    with tempfile.TemporaryDirectory() as scratch:
        for volume in (volume for folder in folders for volume in read_export(folder).volumes):
            if volume.grid is None or volume.no_seg:
                counts["without a SEG: " + ("refused" if volume.grid is None else volume.no_seg)] += 1
                continue
            path = Path(scratch, "a.dcm")
            try:
                seg.write(ball(volume), volume, CLASSES, path, algorithm=("benchmark", "1"))
            except MedsegError as error:
                counts[f"without a SEG: {error.finding.details}"] += 1
                continue
            known = set().union(*(errors_of(program, source) for source in sources(volume, Path(scratch))))
            new = errors_of(program, path) - known
            counts["SEGs with errors of their own" if new else "SEGs without errors of their own"] += 1
            own.update(new)
    for words, count in sorted(counts.items()):
        print(f"  {count:4d} {words}")
    for line, count in own.most_common():
        print(f"       {count} × {line}")
    return not own


def ball(volume: SeriesVolume) -> np.ndarray:
    """Two classes in the middle of a volume's grid, uint8."""
    assert volume.grid is not None  # noqa: S101
    labels = np.zeros(volume.grid.shape, np.uint8)
    middle = tuple(slice(n // 4, max(3 * n // 4, n // 4 + 1)) for n in labels.shape)
    labels[middle] = 1
    labels[tuple(n // 2 for n in labels.shape)] = 2
    return labels


def sources(volume: SeriesVolume, scratch: Path) -> Iterator[Path]:
    """The files of a volume, as they would be on the disk."""
    for file in volume.files:
        path = scratch / "source.dcm"
        with file.open() as stream:
            path.write_bytes(stream.read())
        yield path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oblique", type=int, default=200)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    beside_python = Path(sys.executable).parent / "segimage2itkimage"
    program = str(beside_python) if beside_python.exists() else shutil.which("segimage2itkimage")
    verifier = shutil.which("dciodvfy")
    if program is None or (options.data and verifier is None):
        parser.error("install dcmqi (a Python package), and for --data dicom3tools (of Debian)")
    worst = Worst()
    for seed, rotation in enumerate(rotations(options.oblique)):
        with tempfile.TemporaryDirectory() as scratch:
            check(Path(scratch), rotation, seed, program, worst)
    print(
        f"{worst.series} series (48 along the axes, {options.oblique} oblique), {worst.misplaced} misplaced"
    )
    print(f"  voxels: at most {worst.mm:.6f} mm off")
    for kind in worst.dice:
        print(
            f"  {kind}: {worst.read_back[kind]} read back equal by highdicom; dcmqi: smallest Dice"
            f" {worst.dice[kind]:.6f}, centroid at most {worst.centroid_mm[kind]:.6f} mm off"
        )
    is_right = worst.is_right()
    if options.data and verifier:
        print("dciodvfy on SEGs of the real series:")
        is_right &= check_real(options.data, verifier)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
