"""Converting a series of 1,000 slices to .nii.gz: medseg, dicom2nifti and dcm2niix in turn, whole processes.

    python benchmarks/dicom.py [--slices 1000] [--size 256] [--pairs 3] [--syntax S ...] [--one-processor]

The others come with the extra `bench`. The clock runs from the start of the interpreter to its end; `medseg
convert` also names the case, hashes the file and writes its tables. Prints the medians of wall and processor
seconds, the peak memory (of the process and its helpers), the median of the pairs' ratios, and whether all
voxels and the affines are equal.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.dicom_files import encode_by_gdcm, slice_dataset

SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG lossless": "JPEGLosslessProcess14_1",
    "JPEG 2000": "JPEG2000Lossless",
}
"""UIDs that pydicom can encode, and names of gdcm's transfer syntaxes for the others."""

PEAK = """
import sys
from pathlib import Path

def write_peak():
    # not ru_maxrss, which begins with the memory of whoever started the process
    lists = Path("/proc/self/task").glob("*/children")
    children = [pid for listed in lists for pid in listed.read_text().split()]
    status = [Path("/proc", pid, "status").read_text() for pid in ("self", *children)]
    peak = sum(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024
    Path(sys.argv[-1] + ".peak").write_text(str(peak))
"""
"""Writes the most resident memory of a process and of its helpers, added up (Linux)."""

OURS = """
from medseg.cli import main
out = sys.argv.pop()
try:
    main()
finally:
    sys.argv.append(out)
    write_peak()
"""
THEIRS = """
import dicom2nifti
dicom2nifti.dicom_series_to_nifti(sys.argv[1], sys.argv[2], reorient_nifti=False)
write_peak()
"""
DCM2NIIX = """
import resource, subprocess
import dcm2niix
folder, out = sys.argv[1], Path(sys.argv[2])
name = out.name.removesuffix(".nii.gz")
options = ["-z", "y", "-b", "n", "-w", "1", "-f", name, "-o", out.parent]
subprocess.run([dcm2niix.bin, *options, folder], check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
Path(sys.argv[-1] + ".peak").write_text(str(peak))
"""
TOOLS = ("medseg", "dicom2nifti", "dcm2niix")


@dataclass(frozen=True)
class Figures:
    """What one process needed; ``processor`` seconds and ``mb`` (peak) count its helpers too."""

    wall: float
    processor: float
    mb: float


def make(folder: Path, slices: int, size: int, syntax: str) -> None:
    """Write smooth slices with noise, as a scanner's are, in a transfer syntax."""
    random = np.random.default_rng(0)
    x, y = np.mgrid[:size, :size] / size
    for index in range(slices):
        image = 800 * np.sin(7 * x + index / 50) * np.cos(5 * y) + 1000 + random.normal(0, 20, x.shape)
        pixels = image.T[:, :, None].clip(0).astype(np.uint16)
        affine = np.eye(4)
        affine[2, 3] = float(index)
        dataset = slice_dataset(
            pixels, affine, 0, series="1.2.826.0.1.3680043.8.498.1", InstanceNumber=index + 1
        )
        path = folder / f"{index:04d}.dcm"
        if SYNTAXES[syntax] in (RLELossless, JPEGLSLossless):
            dataset.compress(SYNTAXES[syntax], generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
        if syntax.startswith("JPEG "):
            encode_by_gdcm(path, SYNTAXES[syntax])


def run(program: str, *arguments: object) -> Figures:
    """Run Python on a program and wait for it; its peak lies beside the last argument."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK + program, *map(str, arguments)]
    started = time.monotonic()
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{program} ended with {os.waitstatus_to_exitcode(status)}")
    peak = float(Path(f"{arguments[-1]}.peak").read_text())
    return Figures(time.monotonic() - started, usage.ru_utime + usage.ru_stime, peak)


@dataclass(frozen=True)
class Compared:
    """Each tool's runs on a series; if its voxels and affine are medseg's; medseg's file size over its."""

    runs: dict[str, list[Figures]]
    equal: dict[str, bool]
    size: dict[str, float]


def compare(syntax: str, slices: int, size: int, pairs: int, tools: Sequence[str]) -> Compared:
    """Convert a series of a transfer syntax by each tool in turn."""
    runs: dict[str, list[Figures]] = {tool: [] for tool in tools}
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch, "in"), Path(scratch, "out")
        written = {tool: Path(scratch, f"{tool}.nii.gz") for tool in tools}
        folder.mkdir()
        make(folder, slices, size, syntax)
        for _ in range(pairs):
            for tool in tools:
                runs[tool].append(convert(tool, folder, out, written[tool]))
        (written["medseg"],) = out.glob("*.nii.gz")
        others = [tool for tool in tools if tool != "medseg"]
        ours = written["medseg"]
        return Compared(
            runs,
            {tool: equal(ours, written[tool]) for tool in others},
            {tool: ours.stat().st_size / written[tool].stat().st_size for tool in others},
        )


def convert(tool: str, folder: Path, out: Path, nifti: Path) -> Figures:
    """Convert a folder by a tool: medseg's file lies in ``out``, the others' are ``nifti``."""
    if tool == "medseg":
        shutil.rmtree(out, ignore_errors=True)
        return run(OURS, "convert", folder, out, "--quiet", nifti)
    nifti.unlink(missing_ok=True)
    return run(THEIRS if tool == "dicom2nifti" else DCM2NIIX, folder, nifti)


def table_row(syntax: str, compared: Compared) -> str:
    """The table's row of a transfer syntax."""
    ours = compared.runs["medseg"]
    parts = [syntax, cells(ours)]
    for tool, is_equal in compared.equal.items():
        ratio = statistics.median(b.wall / a.wall for a, b in zip(ours, compared.runs[tool], strict=True))
        numbers = f"{ratio:.2f} | {compared.size[tool]:.2f} | {'yes' if is_equal else 'NO'}"
        parts += [cells(compared.runs[tool]), numbers]
    return f"| {' | '.join(parts)} |"


def cells(figures: Sequence[Figures]) -> str:
    """Medians: wall and processor seconds, peak memory."""
    wall, processor, mb = (
        statistics.median(getattr(f, n) for f in figures) for n in ("wall", "processor", "mb")
    )
    return f"{wall:.2f} s, {processor:.2f} s, {mb:.0f} MB"


def equal(one: Path, other: Path) -> bool:
    """Compare voxels and affines in RAS+: tools store rows in one order or the other."""
    a, b = (nib.as_closest_canonical(nib.load(path)) for path in (one, other))
    same = np.array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    return same and np.allclose(a.affine, b.affine, rtol=0, atol=1e-4)


def main() -> None:
    """Make each series, time both in turn, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--syntax", choices=SYNTAXES, nargs="+", default=list(SYNTAXES))
    parser.add_argument("--one-processor", action="store_true", help="let both use one processor")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.one_processor:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    processors = len(os.sched_getaffinity(0))
    print(f"{options.slices} slices of {options.size}², {options.pairs} pairs, {processors} processor(s)\n")
    columns = [f"{tool} | ratio of wall | of file size | equal" for tool in TOOLS[1:]]
    print(f"| syntax | medseg: wall, processor, peak | {' | '.join(columns)} |")
    print("| --- " * (2 + 4 * len(columns)) + "|")
    for syntax in options.syntax:
        compared = compare(syntax, options.slices, options.size, options.pairs, TOOLS)
        print(table_row(syntax, compared), flush=True)


if __name__ == "__main__":
    main()
