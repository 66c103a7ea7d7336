from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import Code, Finding, refusal, some
from medseg.ingest import label_names, leftovers, quarantine


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("a_seg", ("a", "_seg")),
        ("a_labels", ("a", "_labels")),
        ("a_Mask", ("a", "_Mask")),
        ("a_brainmask", ("a", "_brainmask")),
        ("a_pred", ("a", "_pred")),
        ("a_segmentation", ("a", "_segmentation")),
        ("a_masked", ("a_masked", "")),  # a skull-stripped scan
        ("a_predose", ("a_predose", "")),
        ("_seg", ("_seg", "")),
        ("seg", ("seg", "")),
        ("seg_t1", ("seg_t1", "")),
    ],
)
def test_endings_of_label_maps(stem: str, expected: tuple[str, str]) -> None:
    assert label_names.split_label_ending(stem) == expected


def test_label_and_margin_maps_are_told_from_scans() -> None:
    stems = ("a_seg", "a_confidence", "a_probabilities", "a", "a_t1")
    assert [label_names.is_label(stem) for stem in stems] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_surest_word_counts() -> None:
    assert label_names.label_rank("brain_mask_seg") == label_names.label_rank("SEGMENTATION-7") == 0
    assert label_names.label_rank("a_t1") is None


@pytest.mark.parametrize(
    "stem", ["segovia_01", "gtx", "roisin-2", "masked_T1", "labelle", "truthful", "Segal"]
)
def test_parts_of_words_make_no_label_map(stem: str) -> None:
    assert label_names.label_rank(stem) is None


@pytest.mark.parametrize("stem", ["tumorMask", "T1Seg", "rois", "a.labels", "p1-GT", "lesionROI"])
def test_words_are_told_apart_by_capitals_and_count_in_the_plural(stem: str) -> None:
    assert label_names.label_rank(stem) is not None


def test_a_row_of_the_quarantine_names_the_file_below_its_root() -> None:
    finding = Finding(Code.TRUNCATED, "/data/p/a.nii", "ends early", "copy it")
    row = quarantine.row("a", finding, root=Path("/data"))
    assert tuple(row) == quarantine.COLUMNS
    assert row["file"] == "p/a.nii"
    assert quarantine.row("a", finding, root=Path("/dat"))["file"] == "/data/p/a.nii"
    assert quarantine.row("a", finding, Path("b.nii"))["file"] == "b.nii"
    assert quarantine.line(row) == "excluded: TRUNCATED p/a.nii: ends early; copy it"


def test_long_lists_of_names_are_cut() -> None:
    assert some(["a", "b"]) == "a, b"
    assert leftovers.ignored_line(["a"], "mm", "pattern") == "1 scan matches no pattern: a"
    told = leftovers.ignored_line(list("abcdefg"), "mm", "pattern")
    assert told == "7 scans match no pattern: a, b, c, d, e and 2 more"


def test_ignored_files_are_told_in_the_words_of_their_set() -> None:
    assert leftovers.ignored_line(["a", "b"], "px", "list") == "2 images are on no list: a, b"
    assert leftovers.ignored_line(["a"], "px", "list") == "1 image is on no list: a"
    assert leftovers.ignored_line(["a"], "mm", "table") == "1 scan is in no row of the table: a"
    assert leftovers.ignored_line(["a", "b"], "px", "pattern") == "2 images match no pattern: a, b"


def test_the_first_finding_that_is_no_note_is_the_reason() -> None:
    findings = [Finding(code, "x", "", "") for code in (Code.FLIPPED, Code.CONSTANT, Code.TRUNCATED)]
    assert refusal(findings).code is Code.CONSTANT
