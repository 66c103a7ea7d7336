"""What check, ingest and segment make of grey values, palettes, units and orders of axes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import yaml

from medseg import files
from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines import run as pipeline
from pipelines.commands import check, segment
from pipelines.commands.segment import Settings
from pipelines.run import Request
from tests.helpers.images import draw, stripes
from tests.helpers.images import save as save_image
from tests.helpers.scan_files import STEP

MakeModel = Callable[..., Path]


def recipe(folder: Path, **data: Any) -> Path:
    tree = {
        "name": "border",
        "data": {
            "path": str(folder),
            "layout": "patterns",
            "channels": dict.fromkeys(("red", "green", "blue"), "images/{case}"),
            "label": "masks/{case}",
            "classes": {0: "other", 1: "road"},
            **data,
        },
        "preprocess": {"intensity": "imagenet", "foreground": "all", "crop": False},
        "sampling": {"depth": 1, "window": [8, 8]},
    }
    path = folder / "border.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of 8 and 16 bits and of floats are usable; c's range is not known, d's palette is exchanged."""
    array = draw()
    tifffile_of = {"b": array.astype(np.uint16) * 257, "c": array.astype(np.int32) * 7, "e": array / 255}
    for case in "abcdefgh":
        path = tmp_path / f"images/{case}.tif"
        if case in tifffile_of:
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, tifffile_of[case], photometric="rgb")
        else:
            save_image(path, array)
        palette = [(128, 0, 0), (0, 0, 0)] if case == "d" else [(0, 0, 0), (128, 0, 0)]
        save_image(tmp_path / f"masks/{case}.png", stripes([0, 1]), palette)
    return tmp_path


def test_check_and_ingest_refuse_the_same_images(images: Path) -> None:
    path = recipe(images)
    screen = io.StringIO()
    assert check.run(images, str(path), Reporter(stream=screen)) == ExitCode.SOME_EXCLUDED
    excluded = [line.split()[1:3] for line in screen.getvalue().splitlines() if "excluded  " in line]
    assert excluded == [["c:", "VALUE_RANGE_UNKNOWN:"], ["d:", "PALETTE_DIFFERS:"]]
    request = Request(str(path), None, images / "work", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=screen), only="ingest") == ExitCode.SOME_EXCLUDED
    rows = files.read_csv(images / "work/ingest/quarantine.csv")
    assert [(row["case"], row["code"]) for row in rows] == [
        ("c", "VALUE_RANGE_UNKNOWN"),
        ("d", "PALETTE_DIFFERS"),
    ]


def label_map(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


def test_an_offset_does_not_change_the_label_map(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    scans = {
        "near": brain,
        "float": brain + 1e10,
        "integer": brain.astype(np.int64) + 2**40,
    }
    for name, array in scans.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        nib.Nifti1Image(array, STEP, dtype=array.dtype).to_filename(tmp_path / f"in/{name}.nii.gz")
    folder, out = make_model(), tmp_path / "out"
    assert segment.run([tmp_path / "in"], out, Settings(folder), say) == ExitCode.DONE
    np.testing.assert_array_equal(label_map(out / "float.nii.gz"), label_map(out / "near.nii.gz"))
    np.testing.assert_array_equal(label_map(out / "integer.nii.gz"), label_map(out / "near.nii.gz"))
    assert len(np.unique(label_map(out / "near.nii.gz"))) > 1


def test_sizes_are_the_same_in_microns_metres_and_mm(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    for unit, factor in (("mm", 1), ("micron", 1000), ("meter", 0.001)):
        image = nib.Nifti1Image(brain, np.diag([factor, factor, factor * 2, 1]))
        image.header.set_xyzt_units(unit)
        (tmp_path / "in").mkdir(exist_ok=True)
        image.to_filename(tmp_path / f"in/{unit}.nii.gz")
    out = tmp_path / "out"
    assert segment.run([tmp_path / "in"], out, Settings(make_model()), say) == ExitCode.DONE
    results = {u: json.loads((out / f"{u}.json").read_text()) for u in ("mm", "micron", "meter")}
    assert results["mm"]["sizes"] == results["micron"]["sizes"] == results["meter"]["sizes"]
    assert any(results["mm"]["sizes"].values())
    assert "UNITS_CONVERTED" in [note["code"] for note in results["micron"]["notes"]]
    assert nib.load(out / "micron.nii.gz").header.get_xyzt_units()[0] == "micron"
