"""Each image set, laid out as it is distributed, and its broken twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.config import load
from medseg.config.data import Data
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import checks, imagesets, layouts, splits
from medseg.ingest.patterns import FolderContents
from tests.helpers.image_sets import SAMPLES, VOC
from tests.helpers.images import draw, save, stripes, truncate

LISTED = [name for name, sample in SAMPLES.items() if any("train" in path for path in sample.texts)]
NAMES = sorted(SAMPLES)


def data_of(name: str) -> Data:
    section = SAMPLES[name].data or {"class_file": name}
    return load.validate({"name": "sample", "data": section}, Path("sample.yaml")).data


def found_in(root: Path, name: str) -> FolderContents:
    data = data_of(name)
    return layouts.find(root, data.layout, data.channels, data.label)


def first_fault(root: Path, name: str) -> dict[str, Finding]:
    """The first fault of each case that has one, by case."""
    found, classes = found_in(root, name), data_of(name).class_list()
    faults: dict[str, Finding] = {stray.case: stray for stray in found.strays}
    for case in found.cases:
        read, findings = checks.read_case(case, classes)
        if read is None:
            faults[case.name] = next(f for f in findings if not f.is_note)
    return faults


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a set whose sample lies in tmp_path."""
    made: str = request.param
    SAMPLES[made].build(tmp_path)
    return made


def test_every_case_is_found_read_and_has_its_role(name: str, tmp_path: Path) -> None:
    sample, data, found = SAMPLES[name], data_of(name), found_in(tmp_path, name)
    assert found.unit == "px" and not found.strays
    assert {case.name for case in found.cases} == set(sample.files)
    assert dict(found.roles) == sample.roles
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found.ignored) == sorted(sample.others)
    for case in found.cases:
        picture, mask = sample.files[case.name]
        assert set(case.channels.values()) == {tmp_path / picture}
        read, findings = checks.read_case(case, data.class_list())
        assert read is not None, findings
        assert read.image.array.shape == (3, 12, 16, 1)
        if mask is None:
            assert case.label is None
        else:
            assert read.label is not None
            assert read.label.array[0, 0, : len(sample.indices), 0].tolist() == list(sample.indices)


def test_the_set_is_recognised_without_being_named(name: str, tmp_path: Path) -> None:
    tree = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g")]
    layout = data_of(name).layout
    assert imagesets.detect(tree) == (layout if layout != "patterns" else None)


def test_a_truncated_picture_is_a_coded_row(name: str, tmp_path: Path) -> None:
    case, (picture, _) = next(iter(SAMPLES[name].files.items()))
    truncate(tmp_path / picture)
    assert {k: f.code for k, f in first_fault(tmp_path, name).items()} == {case: Code.TRUNCATED}


def test_a_wrong_value_in_a_mask_is_named_with_its_file(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    case, (_, mask) = next(iter(sample.files.items()))
    save(tmp_path / str(mask), stripes([sample.wrong]))
    faults = first_fault(tmp_path, name)
    assert {k: f.code for k, f in faults.items()} == {case: Code.LABEL_VALUE_UNKNOWN}
    assert Path(faults[case].where).name == Path(str(mask)).name and str(sample.wrong) in faults[case].details


def test_a_mask_of_another_size_is_a_coded_row(name: str, tmp_path: Path) -> None:
    case, (_, mask) = next(iter(SAMPLES[name].files.items()))
    save(tmp_path / str(mask), SAMPLES[name].labels()[:-1])
    assert {k: f.code for k, f in first_fault(tmp_path, name).items()} == {case: Code.GRID_MISMATCH}


def test_a_missing_mask_is_a_coded_row_where_a_list_wants_it(name: str, tmp_path: Path) -> None:
    case, (_, mask) = next(iter(SAMPLES[name].files.items()))
    (tmp_path / str(mask)).unlink()
    faults = first_fault(tmp_path, name)
    if name in LISTED:
        assert {k: f.code for k, f in faults.items()} == {case: Code.FILE_MISSING}
        assert "no mask" in faults[case].details
    else:
        labels = {c.name: c.label for c in found_in(tmp_path, name).cases}
        assert not faults and labels[case] is None


def test_a_missing_picture_is_a_coded_row(name: str, tmp_path: Path) -> None:
    case, (picture, _) = next(iter(SAMPLES[name].files.items()))
    (tmp_path / picture).unlink()
    assert {k: f.code for k, f in first_fault(tmp_path, name).items()} == {case: Code.LABEL_WITHOUT_IMAGE}


@pytest.mark.parametrize("listed", LISTED)
def test_what_a_list_names_but_nobody_has_is_a_coded_row(listed: str, tmp_path: Path) -> None:
    SAMPLES[listed].build(tmp_path)
    path = tmp_path / next(path for path in SAMPLES[listed].texts if "train" in path and "Main" not in path)
    path.write_text(path.read_text() + "\n/elsewhere/stranger.jpg /elsewhere/stranger.png\n")
    faults = first_fault(tmp_path, listed)
    assert {k: f.code for k, f in faults.items()} == {"stranger": Code.FILE_MISSING}
    number = path.read_text().splitlines().index("/elsewhere/stranger.jpg /elsewhere/stranger.png") + 1
    assert faults["stranger"].where == str(path)
    assert f"line {number} lists stranger, there is no image **/" in faults["stranger"].details
    assert faults["stranger"].details.endswith("/stranger")
    assert found_in(tmp_path, listed).known_by == "list"


def test_a_case_on_two_lists_is_refused_only_where_the_lists_are_the_split(tmp_path: Path) -> None:
    SAMPLES["camvid"].build(tmp_path)
    (tmp_path / "val.txt").write_text("0016E5_2\n0001TP_1\n")
    found = found_in(tmp_path, "camvid")
    with pytest.raises(MedsegError) as caught:
        splits.listed(found.cases, found.roles)
    assert caught.value.code is Code.SUBJECT_ON_BOTH_SIDES
    assert splits.given(found.cases, [{"train": ["0001TP_1"], "val": ["0016E5_2"]}]).rows


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    SAMPLES["camvid"].build(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MedsegError) as caught:
        found_in(tmp_path, "camvid")
    assert caught.value.code is Code.FILE_UNREADABLE and caught.value.finding.where.endswith("train.txt")


def test_trainval_serves_where_there_is_neither_train_nor_val(tmp_path: Path) -> None:
    SAMPLES["voc"].build(tmp_path)
    for part in ("train", "val"):
        (tmp_path / f"{VOC}/ImageSets/Segmentation/{part}.txt").unlink()
    assert set(dict(found_in(tmp_path, "voc").roles).values()) == {"train"}


def test_listed_roles_become_the_split(tmp_path: Path) -> None:
    SAMPLES["cityscapes"].build(tmp_path)
    found = found_in(tmp_path, "cityscapes")
    made = splits.listed(found.cases, found.roles)
    assert {row.case.split("_")[0]: row.role for row in made.rows} == {
        "aachen": "train",
        "frankfurt": "val",
        "berlin": "unlabelled",
    }
    assert made.unlabelled == ("berlin_000000_000019",)
    without = [case for case in found.cases if case.name.startswith("aachen")]
    made = splits.listed(without, found.roles, excluded=["frankfurt_000001_000019"])
    assert made.excluded == ("frankfurt_000001_000019",)


@pytest.mark.parametrize("roles", [(), (("a", "val"),)])
def test_listed_roles_without_training_are_refused(
    roles: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    SAMPLES["apolloscape"].build(tmp_path)
    with pytest.raises(MedsegError) as caught:
        splits.listed(found_in(tmp_path, "apolloscape").cases, roles)
    assert caught.value.code is Code.SPLIT_INVALID


def test_a_folder_without_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(MedsegError) as caught:
        layouts.find(tmp_path, "voc")
    assert caught.value.code is Code.NOTHING_USABLE and ".png" in caught.value.finding.how_to_fix


def test_given_patterns_replace_a_set_s_own(tmp_path: Path) -> None:
    SAMPLES["masks"].build(tmp_path)
    found = layouts.find(tmp_path, "masks", {"grey": "**/{case}/images/*"})
    assert [list(case.channels) for case in found.cases] == [["grey"], ["grey"]]


def test_two_masks_of_one_case_are_a_duplicate_unless_they_are_a_folder(tmp_path: Path) -> None:
    for name in ("a_1", "a_2"):
        save(tmp_path / f"a/masks/{name}.png", stripes([0, 255]))
    save(tmp_path / "a/images/a.png", draw())
    found = layouts.find(tmp_path, "patterns", {"grey": "{case}/images/*"}, "{case}/masks/*")
    assert [stray.code for stray in found.strays] == [Code.DUPLICATE_CASE]
    found = layouts.find(tmp_path, "patterns", {"grey": "{case}/images/*"}, "{case}/masks/")
    assert [case.label for case in found.cases] == [tmp_path / "a/masks"]


def test_cells_numbered_in_their_masks_are_one_class(tmp_path: Path) -> None:
    numbered = stripes([0, 1, 2]).astype(np.uint16) * 300
    save(tmp_path / "01/t000.tif", draw()[..., 0])
    save(tmp_path / "01_GT/SEG/man_seg000.tif", numbered)
    save(tmp_path / "01_GT/TRA/man_track000.tif", numbered)
    section = {
        "channels": {"grey": "{part}/t{case}.tif"},
        "label": "{part}_GT/SEG/man_seg{case}.tif",
        "label_form": {"above": 0},
        "classes": {0: "background", 1: "cell"},
    }
    data = load.validate({"name": "cells", "data": section}, Path("cells.yaml")).data
    found = layouts.find(tmp_path, data.layout, data.channels, data.label)
    read, findings = checks.read_case(found.cases[0], data.class_list())
    assert read is not None and read.label is not None, findings
    assert read.name == "01_000" and read.label.array[0, 0, :3, 0].tolist() == [0, 1, 1]
    assert [path.name for path in found.ignored] == ["man_track000.tif"]
