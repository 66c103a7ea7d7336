"""The readers of image sets on real samples of them."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg import files
from medseg.classes import VOID, ClassList
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.ingest import checks, layouts, splits
from medseg.io import images
from pipelines import run as pipeline
from pipelines.run import Request

POLYP = {"label_form": {"above": 128}, "classes": {0: "background", 1: "polyp"}}


def colours(pattern: str) -> dict[str, str]:
    return dict.fromkeys(("red", "green", "blue"), pattern)


SHARES = {"val": 0.2, "test": 0.2, "seed": 0}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "camvid_original_layout": (
        "camvid_original_layout",
        {"class_file": "camvid", "splits": "listed"},
        {"train": 4, "val": 4},
    ),
    "voc2012": ("voc2012", {"class_file": "voc", "splits": "listed"}, {"train": 36, "val": 24}),
    "cityscapes": (
        "cityscapes",
        {"class_file": "cityscapes", "splits": SHARES},
        {"train": 4, "val": 2, "test": 2},
    ),
    "ade20k": (
        "ade20k",
        {"class_file": "ade20k", "splits": {"val": 0.34, "test": 0}},
        {"train": 2, "val": 1},
    ),
    "isbi2012": (
        "isbi2012",
        {
            "channels": {"em": "train/image/{case}.png"},
            "label": "train/label/{case}.png",
            "classes": {0: "membrane", 255: "cell"},
            "splits": {"train": ["0..19"], "val": ["20..23"], "test": ["24..29"]},
        },
        {"train": 20, "val": 4, "test": 6},
    ),
    "cvc_clinicdb": (
        "cvc_clinicdb",
        {
            "channels": colours("Original/{case}.png"),
            "label": "Ground Truth/{case}.png",
            "splits": SHARES,
            **POLYP,
        },
        {"train": 11, "val": 3, "test": 3},
    ),
    "odd_tiff": (
        "cvc_clinicdb/odd_tiff",
        {
            "channels": colours("{case}_original.tif"),
            "label": "{case}_mask.tif",
            "splits": {"val": 0, "test": 0},
            **POLYP,
        },
        {"train": 1},
    ),
    "kvasir": (
        "kvasir/Kvasir-SEG",
        {"layout": "plain", "splits": SHARES, **POLYP},
        {"train": 3, "val": 1, "test": 1},
    ),
    "kitti_road": (
        "kitti_road",
        {"class_file": "kitti_road", "splits": {"val": 0.5, "test": 0}},
        {"train": 1, "val": 1},
    ),
}


def ingest(folder: Path, data: Path, section: dict[str, Any]) -> tuple[ExitCode, dict[str, int]]:
    """Run the stage; its end and how many cases have each role."""
    (folder / "r.yaml").write_text(
        yaml.safe_dump({"name": "r", "data": section, "tracking": {"enabled": False}})
    )
    request = Request(str(folder / "r.yaml"), data, folder / "work", ())
    ended = pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest")
    return ended, Counter(row["role"] for row in files.read_csv(folder / "work/ingest/splits.csv"))


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_real_sample_is_ingested_whole(name: str, data: Path, tmp_path: Path) -> None:
    folder, section, roles = CASES[name]
    assert ingest(tmp_path, data / folder, section) == (ExitCode.DONE, roles)


@pytest.mark.data
def test_camvid_is_ingested_with_its_lists(data: Path, tmp_path: Path) -> None:
    ended = ingest(tmp_path, data / "camvid", {"class_file": "camvid", "splits": "listed"})
    assert ended == (ExitCode.DONE, {"train": 367, "val": 101})


@pytest.mark.data
def test_camvid_s_first_frames_hold_the_published_classes(data: Path) -> None:
    found = layouts.find(data / "camvid")
    assert (found.layout, len(found.cases)) == ("camvid", 468)
    assert Counter(role for _, role in found.roles) == {"train": 367, "val": 101}
    classes = ClassList.from_names({i: str(i) for i in range(11)}, void_values=(11,), background=False)
    case, findings = checks.read_case(found.cases[0], classes)
    assert case is not None and not findings and case.label is not None
    assert case.image.array.shape == (3, 360, 480, 1)
    assert set(np.unique(case.label.array)) == {0, 1, 2, 3, 4, 5, 6, 8, 9, VOID}


@pytest.mark.data
def test_nuclei_are_the_union_of_their_masks_and_the_split_can_be_written(data: Path, tmp_path: Path) -> None:
    found = layouts.find(data / "dsb2018")
    assert (found.layout, len(found.cases), found.strays) == ("masks", 120, [])
    names = sorted(case.name for case in found.cases)
    fold = {
        "train": ["[0-9]*", "a[0-7]*"],
        "val": ["a[b-f]*", "b*", "c[01]*"],
        "test": ["c[2-9a-f]*", "[d-f]*"],
    }
    rows = splits.given(found.cases, [fold]).rows
    roles = {role: sorted(row.case for row in rows if row.role == role) for role in fold}
    assert roles == {"train": names[:80], "val": names[80:95], "test": names[95:]}
    label, findings = checks.read_label(
        found.cases[0].label or Path(), ClassList.from_names({0: "b", 255: "n"}), None
    )
    assert label is not None and not findings and 0.01 < (label.array == 1).mean() < 0.6


@pytest.mark.data
def test_tiffs_that_pillow_does_not_know(data: Path) -> None:
    volume = images.read(data / "cvc_clinicdb/odd_tiff/1_original.tif", channels_last=True)
    assert volume.array.shape == (3, 288, 384, 1)
    png = images.read(data / "cvc_clinicdb/Original/1.png", channels_last=True)
    assert np.abs(volume.array.astype(int) - png.array).mean() < 3


@pytest.mark.data
def test_voc_masks_hold_the_colours_of_the_packaged_list(data: Path) -> None:
    section = load.validate({"name": "r", "data": {"class_file": "voc"}}, Path("r.yaml")).data
    path = next((data / "voc2012/VOCdevkit/VOC2012/SegmentationClass").glob("*.png"))
    shown = images.read_values(path, palette_as_colours=True).array[..., 0]
    stored = images.read_values(path).array[0, ..., 0]
    held = [row for row in section.class_list().classes if (stored == row.value).any()]
    assert len(held) > 1
    for row in held:
        assert {tuple(colour) for colour in shown[:, stored == row.value].T.tolist()} == {row.colour}


@pytest.mark.data
def test_ade20k_names_are_those_of_the_set(data: Path) -> None:
    section = load.validate({"name": "r", "data": {"class_file": "ade20k"}}, Path("r.yaml")).data
    lines = (data / "ade20k/ADEChallengeData2016/objectInfo150.txt").read_text().splitlines()[1:]
    names = [line.split("\t")[4].split(",")[0].strip() for line in lines]
    assert list(section.class_list().names) == names
