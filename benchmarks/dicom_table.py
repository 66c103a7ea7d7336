"""A table of every series of the DICOM test data: result, code, shape, and agreement with reference NIfTIs.

    python benchmarks/dicom_table.py DATA/dicom [--write docs/dicom-series.md]

Each folder is read as an export. A volume is compared with the NIfTI files of `_ref/<folder>` voxel by
voxel, those made by code independent of dcm2niix first, else with the shape, affine, minimum, maximum and
mean of dcm2niix's outputs in `dcm2niix_reference.json`. The distance is the largest of the eight corner
voxels. Ends with 1 if a series does not end as `inventory.json` expects, or disagrees with its reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import medseg
from medseg.errors import Code, MedsegError
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.series import SeriesVolume, read_export

MOST_MM = 0.01
SAME_SLOPE = 1e-4
"""dcm2niix writes slopes of Philips phases with errors up to this, against the file's own scale slope."""

EQUAL, TOGETHER, DIFFER, UNKNOWN = "equal", "equal together", "DIFFER", "not known"
HEADER = ("series", "expected", "volume", "result", "code", "shape", "reference", "distance (mm)", "values")


@dataclass(frozen=True)
class Reference:
    """A volume made by other code: on an affine, with all voxels or with figures of them."""

    name: str
    shape: tuple[int, ...]
    affine: np.ndarray
    array: np.ndarray | None = None
    figures: tuple[float, float, float] = (0.0, 0.0, 0.0)
    volumes: int = 1


@dataclass
class Row:
    """A volume's or file's row, and what is wrong with it."""

    cells: tuple[str, ...]
    is_done: bool
    faults: list[str] = field(default_factory=list)
    array: np.ndarray | None = None
    agreement: Agreement | None = None


def references(data: Path, folder: str) -> list[Reference]:
    """The references of a folder: NIfTI files, independent ones first, then dcm2niix's recorded figures."""
    known = json.loads((data / "reference_vs_dcm2niix.json").read_text())
    independent = {row["reference"] for row in known if row["independent_of_dcm2niix"]}
    files = sorted((data / "_ref" / folder).glob("*.nii.gz"))
    files.sort(key=lambda path: f"{folder}/{path.name}" not in independent)
    listed = []
    for path in files:
        image = nib.load(path)
        if image.get_data_dtype().kind == "V":  # colours
            continue
        array = np.asarray(image.dataobj)
        kind = "independent" if f"{folder}/{path.name}" in independent else "dcm2niix's NIfTI"
        volumes = np.moveaxis(array if array.ndim == 4 else array[..., None], -1, 0)
        listed += [Reference(kind, volume.shape, image.affine, volume) for volume in volumes]
    runs = json.loads((data / "dcm2niix_reference.json").read_text())["runs"]
    for name, made in runs.items():
        if name.split("/")[0].split(" ")[0] == folder:
            listed += [recorded(output) for output in made["outputs"]]
    return listed


def recorded(output: dict[str, Any]) -> Reference:
    figures = (output["min"], output["max"], output["mean"])
    return Reference(
        "dcm2niix's figures",
        tuple(output["shape"][:3]),
        np.array(output["affine"]),
        None,
        figures,
        [*output["shape"], 1][3],
    )


@dataclass(frozen=True)
class Agreement:
    """The largest distance of a corner in mm, and how values compare."""

    reference: Reference
    distance: float
    values: str


def compare(array: np.ndarray, affine: np.ndarray, reference: Reference) -> Agreement | None:
    """Compare with a reference whose axes may run otherwise; None where it is another volume."""
    axes = np.rint(np.linalg.inv(reference.affine[:3, :3]) @ affine[:3, :3]).astype(int)
    if not (np.abs(axes).sum(axis=0) == 1).all() or not (np.abs(axes).sum(axis=1) == 1).all():
        return None
    order = [int(np.flatnonzero(axes[row])[0]) for row in range(3)]
    ours = array.transpose(order)
    if ours.shape != reference.shape:
        return None
    matrix = affine[:, [*order, 3]].copy()
    for row in range(3):
        if axes[row, order[row]] < 0:
            ours = np.flip(ours, row)
            matrix[:, 3] += matrix[:, row] * (ours.shape[row] - 1)
            matrix[:, row] *= -1
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in ours.shape))])
    distance = float(np.linalg.norm(((matrix - reference.affine) @ corners.T)[:3], axis=0).max())
    return Agreement(reference, distance, how_equal(ours, reference))


def how_equal(ours: np.ndarray, reference: Reference) -> str:
    """Compare values: EQUAL up to float32's rounding, or but for the slope, or DIFFER."""
    if reference.array is None:
        if reference.volumes > 1:
            return UNKNOWN
        if same_figures([ours], reference.figures):
            return EQUAL
        low, high, mean = reference.figures
        factor = (high - low) / max(float(np.ptp(ours)), 1e-9)
        scaled = (ours - ours.min()) * factor + low
        return slope_word(factor, same_figures([scaled], (low, high, mean)))
    mine, theirs = ours.astype(np.float64), np.asarray(reference.array, np.float64)
    most = 1e-6 * max(np.abs(theirs).max(), 1)
    if np.abs(mine - theirs).max() <= most:
        return EQUAL
    factor, offset = np.polyfit(mine.ravel(), theirs.ravel(), 1)
    return slope_word(factor, bool(np.abs(mine * factor + offset - theirs).max() <= most))


def slope_word(factor: float, fits: bool) -> str:
    is_same = fits and abs(factor - 1) < SAME_SLOPE
    return f"equal but for the slope (ratio {factor:.6f})" if is_same else DIFFER


def same_figures(arrays: Sequence[np.ndarray], figures: tuple[float, float, float]) -> bool:
    """True if minimum, maximum and mean of all volumes of a file are as recorded."""
    mean = float(np.mean([array.mean(dtype=np.float64) for array in arrays]))
    mine = (min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays), mean)
    return bool(np.allclose(mine, figures, rtol=1e-5, atol=1e-4))


def agreement(array: np.ndarray, affine: np.ndarray, known: list[Reference]) -> Agreement | None:
    """The first reference that agrees, else the nearest one of the same shape."""
    compared = [found for reference in known if (found := compare(array, affine, reference))]
    near = [a for a in compared if a.distance <= 1]  # others are other volumes of the folder
    rank = {EQUAL: 0, UNKNOWN: 2, DIFFER: 3}
    return min(near, key=lambda a: (a.distance > MOST_MM, rank.get(a.values, 1)), default=None)


def volume_row(name: str, expected: str, volume: SeriesVolume, known: list[Reference]) -> Row:
    refusal = volume.refusal.code if volume.refusal else None
    if volume.grid is not None:
        try:
            read = read_volume(volume)
        except MedsegError as error:
            refusal = error.code
    if refusal is not None or volume.grid is None:
        return Row((name, expected, volume.label, "excluded", str(refusal), "", "", "", ""), False)
    notes = " ".join(str(note.code) for note in volume.notes)
    shape = "×".join(map(str, volume.grid.shape))
    agreed = agreement(read.array[0], volume.grid.affine, known)
    if agreed is None:
        return Row((name, expected, volume.label, "done", notes, shape, "none", "", ""), True)
    faults = [f"{agreed.distance:.3f} mm off"] if agreed.distance > MOST_MM else []
    faults += ["values differ"] if agreed.values == DIFFER else []
    cells = (agreed.reference.name, f"{agreed.distance:.6f}", agreed.values)
    return Row(
        (name, expected, volume.label, "done", notes, shape, *cells), True, faults, read.array[0], agreed
    )


def rows(data: Path) -> Iterator[tuple[str, list[Row]]]:
    """Expectation and rows of each series, those of files outside any last."""
    inventory = json.loads((data / "inventory.json").read_text())["series"]
    series_of = {path: number for number, series in enumerate(inventory) for path in series["files_list"]}
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and path.name != "_ref"):
        export, known = read_export(folder), references(data, folder.name)
        grouped: dict[int, list[Row]] = defaultdict(list)

        def number_of(file: DicomFile) -> int:
            return series_of.get(file.path.relative_to(data).as_posix(), -1)

        def named(number: int, folder: str = folder.name) -> tuple[str, str]:
            series = inventory[number] if number >= 0 else {"sub": "", "expect": ""}
            return folder + (series["sub"] or ""), series["expect"] or ""

        for volume in export.volumes:
            number = number_of(volume.frames[0].file if volume.frames else volume.header.file)
            grouped[number].append(volume_row(*named(number), volume, known))
        for file, finding in export.findings:
            number = number_of(file)
            name, expected = named(number)
            result = "note" if finding.is_note else "excluded"
            grouped[number].append(
                Row((name, expected, "", result, str(finding.code), "", "", "", ""), False)
            )
        for number, listed in sorted(grouped.items(), key=lambda pair: pair[0] % 10_000):
            compare_together(listed)
            yield named(number)[1], listed


def compare_together(listed: list[Row]) -> None:
    """Compare the volumes of a series with the figures of the one file that dcm2niix made of all."""
    waiting = [row for row in listed if row.agreement and row.agreement.values == UNKNOWN]
    if not waiting or waiting[0].agreement is None:
        return
    reference = waiting[0].agreement.reference
    arrays = [row.array for row in waiting if row.array is not None]
    word = DIFFER
    if len(arrays) == reference.volumes and same_figures(arrays, reference.figures):
        word = TOGETHER
    for row in waiting:
        row.cells = (*row.cells[:-1], word)
        row.faults += ["values differ"] if word == DIFFER else []


def is_expected(expected: str, listed: list[Row]) -> bool:
    done = [row.is_done for row in listed if row.cells[3] != "note"]
    codes = {row.cells[4] for row in listed}
    return {
        "convert": bool(done) and all(done),
        "split": len(done) > 1 and all(done),
        "part": any(done) and (len(done) > 1 or not all(done)),
        "mosaic": all(done) or codes == {str(Code.MOSAIC)},
        "refuse": not any(done),
        "not a scan": codes == {str(Code.NOT_A_SCAN)},
        "": not any(done),
    }[expected]


def folded(cells: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Rows that say the same (files of one kind, volumes of one series) once, with their number."""
    counts: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for row in cells:
        counts[(*row[:2], *row[3:7], row[8])].append(row)
    for same in counts.values():
        if len(same) == 1:
            yield same[0]
            continue
        furthest = max(same, key=lambda row: row[7])
        yield (*furthest[:2], f"{len(same)} of them", *furthest[3:])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", type=Path, help="a Markdown file; otherwise the table is printed")
    options = parser.parse_args()
    every, surprises = [], []
    for expected, listed in rows(options.data):
        every += listed
        faults = [fault for row in listed for fault in row.faults]
        faults += [] if is_expected(expected, listed) else [f"expected {expected or 'no volume'}"]
        surprises += [f"{listed[0].cells[0]}: {', '.join(faults)}"] if faults else []
    done = [row for row in every if row.is_done]
    text = "\n".join([summary(every, done, surprises), *table(every), ""])
    if options.write:
        options.write.write_text(text)
    print(summary(every, done, surprises) if options.write else text)
    return 1 if surprises else 0


def summary(every: list[Row], done: list[Row], surprises: list[str]) -> str:
    compared = [row for row in done if row.cells[6] != "none"]
    by_voxel = [row for row in compared if "figures" not in row.cells[6]]
    independent = sum(row.cells[6] == "independent" for row in compared)
    equal = sum(row.cells[8] in (EQUAL, TOGETHER) for row in compared)
    sloped = sum("slope" in row.cells[8] for row in compared)
    furthest = max((float(row.cells[7]) for row in compared), default=0.0)
    lines = [
        "# Every series of the DICOM test data",
        "",
        f"Written by `python benchmarks/dicom_table.py DATA/dicom --write docs/dicom-series.md`, medseg"
        f' {medseg.__version__}. "independent" are NIfTI files not made by dcm2niix; "figures" are'
        " shape, affine, minimum, maximum and mean of what dcm2niix wrote.",
        "",
        f"- {len(every)} volumes and other objects: {len(done)} done,"
        f" {len(every) - len(done)} excluded or noted.",
        f"- {len(compared)} volumes have a reference: {equal} with equal values, {sloped} equal but for"
        f" dcm2niix's rounding of the slope; the furthest corner is"
        f" {furthest:.6f} mm away. {len(by_voxel)} are compared voxel by voxel, {independent} of them with an"
        " independent reference.",
        "- `part` is taken as met by several volumes too: the two orientations of `mr_two_orientations` are"
        " two volumes, never one. Phases and field maps of Philips are scaled by the file's own scale slope;"
        " dcm2niix's differs from it by less than 0.01 %.",
        f"- Against expectation: {len(surprises)}.",
        *(f"  - {surprise}" for surprise in surprises),
        "",
    ]
    return "\n".join(lines)


def table(every: list[Row]) -> list[str]:
    cells = folded([row.cells for row in every])
    rule = "| " + " | ".join("---" for _ in HEADER) + " |"
    return ["| " + " | ".join(HEADER) + " |", rule, *("| " + " | ".join(row) + " |" for row in cells)]


if __name__ == "__main__":
    sys.exit(main())
