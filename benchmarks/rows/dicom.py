"""A series of 1,000 compressed slices to NIfTI: medseg, dicom2nifti, dcm2niix, each a whole process."""

from __future__ import annotations

from benchmarks import dicom
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over

SYNTAXES = ("JPEG-LS", "JPEG lossless", "RLE")


def run(options: Options) -> Measured:
    """Each syntax by all three in turn; voxels are compared."""
    slices, size = options.pick(1000, 20), options.pick(256, 64)
    ways: dict[str, Way] = {}
    figures, notes = {}, []
    for syntax in SYNTAXES:
        compared = dicom.compare(syntax, slices, size, options.pick(2, 1), dicom.TOOLS)
        for tool, runs in compared.runs.items():
            seconds = tuple(run.wall for run in runs)
            ways[f"{syntax}: {tool}"] = Way(seconds, peak_mb=max(run.mb for run in runs))
        ours = ways[f"{syntax}: medseg"]
        for tool in dicom.TOOLS[1:]:
            figures[f"{syntax}: {tool}'s time over medseg's"] = over(ways[f"{syntax}: {tool}"], ours)
        differing = [tool for tool, is_equal in compared.equal.items() if not is_equal]
        notes += (
            [f"{syntax}: other voxels or affine than medseg's by {', '.join(differing)}"] if differing else []
        )
    return Measured(
        f"{slices} slices of {size}×{size}, two processors allowed to each", ways, figures, {}, notes
    )
