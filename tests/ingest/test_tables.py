"""The layout csv: a table names the files, and perhaps subjects and roles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.ingest import layouts
from medseg.ingest.imagesets import COLOURS
from medseg.ingest.patterns import FolderContents

Touch = Callable[..., Path]


def find(
    root: Path, text: str, channels: dict[str, str] | None = None, label: str | None = None
) -> FolderContents:
    (root / "cases.csv").write_text(text)
    return layouts.find(root, "csv", channels, label, None, "cases.csv")


def test_pictures_with_subjects_and_roles(touch: Touch) -> None:
    root = touch("img/b.jpg", "img/a.jpg", "gt/a.png", "other.png")
    rows = "case,image,label,subject,role\nB,img/b.jpg,,p1,test\nA,img/a.jpg,gt/a.png,p2,training\n"
    found = find(root, rows)
    assert (found.layout, found.unit, found.known_by) == ("csv", "px", "table")
    assert [(case.name, case.subject) for case in found.cases] == [("A", "p2"), ("B", "p1")]
    assert found.cases[0].channels == dict.fromkeys(COLOURS, root / "img/a.jpg")
    assert [case.label for case in found.cases] == [root / "gt/a.png", None]
    assert found.roles == (("A", "train"), ("B", "test"))
    assert found.ignored == [root / "other.png"]


def test_scans_with_channels_in_columns_and_names_from_files(touch: Touch) -> None:
    root = touch("s/x_t1.nii.gz", "s/x_t2.nii.gz", "s/x_seg.nii.gz", "s/shot.png")
    rows = "t1,t2,truth\ns/x_t1.nii.gz,s/x_t2.nii.gz,s/x_seg.nii.gz\n"
    found = find(root, rows, {"T1": "t1", "T2": "t2"}, "truth")
    assert found.unit == "mm" and not found.ignored
    assert found.cases[0].name == found.cases[0].subject == "x_t1"
    assert found.cases[0].channels == {"T1": root / "s/x_t1.nii.gz", "T2": root / "s/x_t2.nii.gz"}
    assert found.cases[0].label == root / "s/x_seg.nii.gz"
    assert list(find(root, "image\ns/x_t1.nii.gz\n").cases[0].channels) == ["image"]


def test_a_label_may_be_a_folder_of_masks(touch: Touch) -> None:
    root = touch("a.png", "masks/1.png", "masks/2.png")
    found = find(root, "image,label\na.png,masks\n", {"grey": "image"})
    assert found.cases[0].label == root / "masks" and not found.ignored


def test_absent_files_and_double_rows_are_coded(touch: Touch) -> None:
    root = touch("a.png", "b.png")
    rows = "case,image,label\nlost,lost.png,\nhalf,b.png,gone.png\ntwice,a.png,\ntwice,a.png,\n"
    found = find(root, rows)
    assert not found.cases and not found.ignored
    told = {stray.case: (stray.code, Path(stray.where).name, len(stray.files)) for stray in found.strays}
    assert told == {
        "lost": (Code.FILE_MISSING, "lost.png", 0),
        "half": (Code.FILE_MISSING, "gone.png", 1),
        "twice": (Code.DUPLICATE_CASE, "cases.csv", 1),
    }


@pytest.mark.parametrize(
    ("text", "channels", "label", "code"),
    [
        ("case,picture\na,a.png\n", None, None, Code.RECIPE_INVALID),
        ("case,image\na,a.png\n", None, "truth", Code.RECIPE_INVALID),
        ("case,image\na,a.png\n", {"t1": "t1"}, None, Code.RECIPE_INVALID),
        ("case,image\n", None, None, Code.NOTHING_USABLE),
        ("", None, None, Code.NOTHING_USABLE),
    ],
)
def test_tables_that_cannot_be_used(
    touch: Touch, text: str, channels: dict[str, str] | None, label: str | None, code: Code
) -> None:
    with pytest.raises(MedsegError) as caught:
        find(touch("a.png"), text, channels, label)
    assert caught.value.code is code


def test_a_table_that_is_absent_or_no_text(touch: Touch) -> None:
    root = touch("a.png")
    with pytest.raises(MedsegError) as caught:
        layouts.find(root, "csv", table="nowhere.csv")
    assert caught.value.code is Code.PATH_MISSING
    (root / "bad.csv").write_bytes(b"image\n\xff\xfe\n")
    with pytest.raises(MedsegError) as caught:
        layouts.find(root, "csv", table="bad.csv")
    assert caught.value.code is Code.FILE_UNREADABLE


def test_rows_that_are_short_have_empty_cells(touch: Touch) -> None:
    found = find(touch("a.png"), "image,label,role\na.png\n")
    assert found.cases[0].label is None and found.roles == ()


def test_paths_of_another_machine_are_understood_by_their_last_parts(touch: Touch) -> None:
    root = touch("set/i/c0.png", "set/i/c1.png", "set/gt/c0.png", "set/gt/c1/1.png", "top.png")
    rows = (
        "image,label\n/home/x/data/i/c0.png,/home/x/data/gt/c0.png\nC:\\data\\i\\c1.png,D:\\gt\\c1\n"
        f"/home/x/{root.name}/top.png,\n"
    )
    found = find(root, rows)
    assert not found.strays and not found.ignored
    assert [case.name for case in found.cases] == ["c0", "c1", "top"]
    assert [case.label for case in found.cases] == [root / "set/gt/c0.png", root / "set/gt/c1", None]
    assert found.cases[1].channels["red"] == root / "set/i/c1.png"
    assert not find(root, "image\nset\\i\\c0.png\n").strays


def test_paths_of_another_machine_that_fit_several_files_or_none_are_missing(touch: Touch) -> None:
    root = touch("a/i/c0.png", "b/i/c0.png", "gt/c1.png", "i/c2.png")
    rows = "case,image,label\ntwo,/x/i/c0.png,\nname,/x/i/c1.png,\nnone,/x/i/c9.png,\n"
    found = find(root, rows + "mask,/x/i/c2.png,/x/gt/c2.png\n")
    assert not found.cases
    codes = {stray.case: (stray.code, stray.where) for stray in found.strays}
    wheres = {"two": "/x/i/c0.png", "name": "/x/i/c1.png", "none": "/x/i/c9.png", "mask": "/x/gt/c2.png"}
    assert {case: codes[case] for case in wheres} == {
        case: (Code.FILE_MISSING, path) for case, path in wheres.items()
    }


def test_roles_may_be_in_capitals(touch: Touch) -> None:
    found = find(touch("a.png", "b.png"), "image,role\na.png,Train\nb.png, TEST\n")
    assert found.roles == (("a", "train"), ("b", "test"))


def test_unknown_roles_are_named_with_their_rows(touch: Touch) -> None:
    with pytest.raises(MedsegError) as caught:
        find(touch("a.png", "b.png"), "image,role\na.png,train\nb.png,tset\n")
    finding = caught.value.finding
    assert finding.code is Code.RECIPE_INVALID and "row 2 (b): 'tset'" in finding.details
    assert "train, training, val" in finding.how_to_fix


@pytest.mark.parametrize("cell", ["../outside.png", "a/../../outside.png", "..\\outside.png", "../gone.png"])
@pytest.mark.parametrize("column", ["image", "label"])
def test_relative_paths_stay_in_the_data_folder(touch: Touch, cell: str, column: str) -> None:
    root = touch("outside.png", "data/a.png", "data/b.png") / "data"
    cells = {"image": "b.png", "label": "b.png"} | {column: cell}
    found = find(root, f"case,image,label\nout,{cells['image']},{cells['label']}\nin,a.png,./b.png\n")
    assert [case.name for case in found.cases] == ["in"]
    (stray,) = found.strays
    assert (stray.case, stray.code) == ("out", Code.NAME_INVALID)
    assert "leads out of the data folder" in stray.details and "absolute path" in stray.how_to_fix


def test_absolute_paths_name_files_elsewhere(touch: Touch) -> None:
    root = touch("outside.png", "data/a.png", "data/b.png") / "data"
    found = find(root, f"image,label\n{root.parent / 'outside.png'},{root / 'b.png'}\na.png,../data/b.png\n")
    assert not found.strays and not found.ignored
    assert [case.channels["red"] for case in found.cases] == [root / "a.png", root.parent / "outside.png"]
    assert {case.label for case in found.cases} == {root / "b.png"}


def test_links_in_the_data_folder_may_lead_elsewhere(touch: Touch) -> None:
    root = touch("elsewhere/a.png", "data/b.png") / "data"
    (root / "link").symlink_to(root.parent / "elsewhere")
    assert find(root, "image\nlink/a.png\n").cases[0].channels["red"] == root / "link/a.png"


def test_empty_cells_of_images_are_rows_of_their_own(touch: Touch) -> None:
    found = find(touch("a.png"), "case,image\nnone,\n,a.png\n")
    assert [case.name for case in found.cases] == ["a"]
    assert [(stray.case, stray.code, stray.details) for stray in found.strays] == [
        ("none", Code.FILE_MISSING, "no image")
    ]


def test_rows_of_one_name_ask_for_names_of_their_own(touch: Touch) -> None:
    found = find(touch("s1/t1.nii", "s2/t1.nii"), "image,subject\ns1/t1.nii,s1\ns2/t1.nii,s2\n")
    assert not found.cases and "column case" in found.strays[0].how_to_fix


def test_tables_of_spreadsheets_may_begin_with_a_byte_order_mark(touch: Touch) -> None:
    assert [case.name for case in find(touch("a.png"), "\ufeffcase,image\nA,a.png\n").cases] == ["A"]
