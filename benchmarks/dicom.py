"""Reading a compressed series of 1,000 slices: medseg against dicom2nifti, in turn, as whole processes' work.

    python benchmarks/dicom.py [--slices 1000] [--size 256] [--pairs 3] [--syntax JPEG-LS]

dicom2nifti must be installed. Prints seconds and the ratio of each pair, and the peak memory of each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SYNTAXES = {"RLE": "1.2.840.10008.1.2.5", "JPEG-LS": "1.2.840.10008.1.2.4.80"}

OURS = """
import sys, time; started = time.monotonic()
from pathlib import Path
from medseg.io import nifti
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.series import read_export
(volume,) = read_export(Path(sys.argv[1])).volumes
nifti.write(read_volume(volume), Path(sys.argv[2]))
"""
THEIRS = """
import sys, time; started = time.monotonic()
import dicom2nifti
dicom2nifti.dicom_series_to_nifti(sys.argv[1], sys.argv[2], reorient_nifti=False)
"""
END = """
import json, resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": time.monotonic() - started, "mb": usage.ru_maxrss / 1024}))
"""


def make(folder: Path, slices: int, size: int, syntax: str) -> None:
    """Write smooth slices with noise, as a scanner's are, compressed."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.helpers.dicom_files import slice_dataset

    random = np.random.default_rng(0)
    x, y = np.mgrid[:size, :size] / size
    series = "1.2.826.0.1.3680043.8.498.1"
    for index in range(slices):
        image = 800 * np.sin(7 * x + index / 50) * np.cos(5 * y) + 1000 + random.normal(0, 20, x.shape)
        pixels = np.repeat(image.T[:, :, None], index + 1, axis=2)[:, :, -1:].clip(0).astype(np.uint16)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        affine[2, 3] = float(index)
        dataset = slice_dataset(pixels, affine, 0, series=series, InstanceNumber=index + 1)
        dataset.compress(SYNTAXES[syntax], generate_instance_uid=False)
        dataset.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def run(program: str, folder: Path, out: Path) -> dict[str, float]:
    """Seconds from the first import on, and the peak memory, of a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", program + END, str(folder), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Make the series, time both in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--syntax", choices=SYNTAXES, default="JPEG-LS")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "in")
        folder.mkdir()
        make(folder, given.slices, given.size, given.syntax)
        ratios = []
        for pair in range(given.pairs):
            ours = run(OURS, folder, Path(scratch, "ours.nii.gz"))
            theirs = run(THEIRS, folder, Path(scratch, "theirs.nii.gz"))
            ratios.append(theirs["seconds"] / ours["seconds"])
            print(
                f"pair {pair + 1}: medseg {ours['seconds']:.1f} s, {ours['mb']:.0f} MB; "
                f"dicom2nifti {theirs['seconds']:.1f} s, {theirs['mb']:.0f} MB; ratio {ratios[-1]:.2f}"
            )
        print(f"median ratio {statistics.median(ratios):.2f}: {given.slices} slices, {given.syntax}")


if __name__ == "__main__":
    main()
