"""Every file of a folder is accounted for: formats that are not read are named, other files counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.ingest import layouts, leftovers
from medseg.ingest.tree import count_by_suffix, tree_of, without_suffix
from medseg.io import scans
from tests.helpers.case_lists import pairs, strays

Touch = Callable[..., Path]
RGB = dict.fromkeys(("red", "green", "blue"), "images/{case}")


@pytest.mark.parametrize("image", ["images/{case}", "images/{case}.png"])
@pytest.mark.parametrize("suffix", [".webp", ".apng", ".jp2", ".WEBP", ".heic"])
def test_an_image_of_another_format_is_a_coded_row_with_its_remedy(
    touch: Touch, image: str, suffix: str
) -> None:
    root = touch("images/a.png", "masks/a.png", f"images/b{suffix}", "masks/b.png", f"images/c{suffix}")
    found = layouts.find(root, "patterns", {"grey": image}, "masks/{case}.png")
    assert list(pairs(found, root)) == ["a"]
    assert strays(found) == [("b", Code.FORMAT_NOT_READ), ("c", Code.FORMAT_NOT_READ)]
    assert found.strays[0].where == str(root / f"images/b{suffix}")
    assert "PNG" in found.strays[0].how_to_fix
    assert len(found.files()) == 5


def test_images_of_another_format_are_found_without_patterns_too(touch: Touch) -> None:
    root = touch("images/a.png", "masks/a.png", "images/b.webp", "masks/b.png")
    guess = layouts.guess(root)
    assert (guess.layout, guess.n_cases) == ("plain", 1)
    assert any("not read" in remark and "images/b.webp" in remark for remark in guess.remarks)


def test_a_label_of_another_format_does_not_make_its_image_unlabelled(touch: Touch) -> None:
    root = touch("images/a.nii", "labels/a.img", "labels/a.hdr", "images/b.nii", "labels/b.nii")
    found = layouts.find(root)
    assert list(pairs(found, root)) == ["b"] and strays(found) == [("a", Code.FORMAT_NOT_READ)]
    assert len(found.strays[0].files) == 3 and "NIfTI" in found.strays[0].how_to_fix


def test_a_mask_of_another_format_in_a_folder_of_masks_excludes_its_case(touch: Touch) -> None:
    root = touch(
        "x/a/images/i.png", "x/a/masks/1.png", "x/a/masks/2.apng", "x/b/images/i.png", "x/b/masks/1.png"
    )
    found = layouts.find(root, "masks")
    assert [case.name for case in found.cases] == ["b"] and strays(found) == [("a", Code.FORMAT_NOT_READ)]


def test_further_files_of_other_formats_are_told_and_exclude_nothing(touch: Touch) -> None:
    root = touch(
        "images/a.png", "images/a.webp", "masks/a.png", "data.zip", "notes.txt", "b.json", "c.json", "d"
    )
    touch("e.csv", "f.csv")
    found = layouts.find(root, "patterns", RGB, "masks/{case}")
    assert list(pairs(found, root)) == ["a"] and not found.strays
    assert found.unread == [root / "data.zip", root / "images/a.webp"]
    lines = leftovers.leftover_lines(found, root)
    assert any("images/a.webp" in line and "PNG" in line for line in lines)
    assert any("data.zip" in line and "unpack" in line for line in lines)
    assert lines[-1] == "6 other files are no images: 2 .csv, 2 .json, 1 .txt, 1 without suffix"
    (root / "e.csv").unlink()
    others = layouts.find(root, "patterns", RGB).others
    assert leftovers.others_lines(others, "px") == [
        "5 other files are no images: b.json, c.json, d, f.csv, notes.txt"
    ]


def test_images_beside_scans_are_counted(touch: Touch) -> None:
    root = touch("a.nii", "a.png", "preview.apng")
    found = layouts.find(root)
    assert [case.name for case in found.cases] == ["a"] and not found.strays
    assert found.others == ["a.png"] and found.unread == [root / "preview.apng"]


@pytest.mark.parametrize("layout", ["patterns", "csv"])
def test_other_formats_in_tables_and_patterns_are_in_no_list_twice(touch: Touch, layout: str) -> None:
    root = touch("images/a.png", "images/b.webp")
    (root / "t.csv").write_text("image\nimages/b.webp\nimages/a.png\n")
    found = (
        layouts.find(root, "csv", table="t.csv")
        if layout == "csv"
        else layouts.find(root, "patterns", {"grey": "images/{case}"})
    )
    assert found.unit == "px" and not found.unread and len(found.cases) + len(found.strays) == 2


def test_a_folder_of_other_formats_alone_names_them(touch: Touch) -> None:
    with pytest.raises(MedsegError) as caught:
        tree_of(touch("s/1.dcm", "s/2.dcm"))
    assert caught.value.code is Code.NOTHING_USABLE
    assert "2 .dcm" in caught.value.finding.details and "NIfTI" in caught.value.finding.how_to_fix


def test_a_label_whose_image_has_another_suffix_than_the_pattern_says_so(touch: Touch) -> None:
    root = touch("images/a.png", "images/b.bmp", "masks/a.png", "masks/b.png")
    found = layouts.find(root, "patterns", {"grey": "images/{case}.png"}, "masks/{case}.png")
    assert strays(found) == [("b", Code.LABEL_WITHOUT_IMAGE)]
    assert "b.bmp has another suffix" in found.strays[0].details
    assert found.ignored == [root / "images/b.bmp"]


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("p.x/a.nii.gz", "p.x/a"),
        ("a.nii.bz2", "a"),
        ("a.hdr.gz", "a"),
        ("a.b.webp", "a.b"),
        ("a.img.nii", "a.img"),
        (".webp", ".webp"),
        ("a", "a"),
    ],
)
def test_suffixes_longest_first(path: str, stem: str) -> None:
    assert without_suffix(path) == stem


def test_counts_by_suffix() -> None:
    assert (
        count_by_suffix(["a.txt", "x/b.TXT", "README", "c.nii.gz"]) == "2 .txt, 1 .nii.gz, 1 without suffix"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.webp", "px"), ("a.APNG", "px"), ("a.img", "mm"), ("a.nii.bz2", "mm"), ("a.dcm", "mm")),
        *(("a.zip", None), ("a.tar.gz", None), ("a.txt", None), ("a.nii.gz", None), ("a.png", None)),
    ],
)
def test_formats_that_are_not_read_are_of_scans_or_images(name: str, kind: str | None) -> None:
    assert scans.unread_kind(Path(name)) == kind
