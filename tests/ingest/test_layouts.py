from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.ingest import layouts
from medseg.ingest.tree import files_under
from tests.helpers.case_lists import pairs, strays

Touch = Callable[..., Path]


# Patterns


def test_patterns_make_cases_in_natural_order(touch: Touch) -> None:
    root = touch("p10/p10.nii.gz", "p2/p2.nii.gz", "p2/p2_seg.nii.gz", "p2/p2_old.nii.gz", "readme.txt")
    found = layouts.find(root, "patterns", {"t1": "{case}/{case}.nii.gz"}, "{case}/{case}_seg.nii.gz")
    assert pairs(found, root) == {
        "p2": (["p2/p2.nii.gz"], "p2/p2_seg.nii.gz"),
        "p10": (["p10/p10.nii.gz"], None),
    }
    assert list(pairs(found, root)) == ["p2", "p10"]
    assert found.ignored == [root / "p2/p2_old.nii.gz"]
    assert found.strays == []
    assert found.cases[0].subject == "p2"


def test_numbers_with_and_without_zeros_are_one_case_where_no_file_is_double(touch: Touch) -> None:
    root = touch(
        "i/7.nii", "l/007.nii", "i/8.nii", "i/08.nii", "l/008.nii", "i/10.nii", "i/p9.nii", "l/p09.nii"
    )
    found = layouts.find(root, "patterns", {"t1": "i/{case}.nii"}, "l/{case}.nii")
    assert {name: label for name, (_, label) in pairs(found, root).items()} == {
        "7": "l/007.nii",
        "08": None,
        "8": None,
        "10": None,
        "p9": "l/p09.nii",
    }
    assert strays(found) == [("008", Code.LABEL_WITHOUT_IMAGE)]
    missing = layouts.find(root, "patterns", {"t1": "i/{case}.nii", "t2": "l/{case}.nii"})
    assert [case.name for case in missing.cases] == ["7", "p9"]


def test_explicit_channels_make_auto_mean_patterns(touch: Touch) -> None:
    root = touch("images/a.nii", "labels/a.nii")
    found = layouts.find(root, "auto", {"t1": "images/{case}"})
    assert found.layout == "patterns"
    assert pairs(found, root) == {"a": (["images/a.nii"], None)}


def test_hidden_and_half_written_files_are_not_there(touch: Touch) -> None:
    root = touch("a.nii", ".part-b.nii", "._a.nii", ".cache/c.nii")
    assert list(pairs(layouts.find(root, "patterns", {"t1": "{case}"}), root)) == ["a"]


def test_the_pattern_that_says_most_gets_the_file(touch: Touch) -> None:
    root = touch("a.nii", "a_t2.nii", "a_seg.nii")
    found = layouts.find(root, "patterns", {"t1": "{case}", "t2": "{case}_t2"}, "{case}_seg")
    assert pairs(found, root) == {"a": (["a.nii", "a_t2.nii"], "a_seg.nii")}


def test_wildcards(touch: Touch) -> None:
    root = touch("x/y/a/t1_raw.nii", "b/t1.nii")
    found = layouts.find(root, "patterns", {"t1": "**/{case}/t1*"})
    assert list(pairs(found, root)) == ["a", "b"]


def test_special_characters_mean_themselves(touch: Touch) -> None:
    root = touch("a+(1).nii", "aa(1).nii")
    assert list(pairs(layouts.find(root, "patterns", {"t1": "{case}+(1)"}), root)) == ["a"]


def test_subject_and_case(touch: Touch) -> None:
    root = touch("s1/ses1/t1.nii", "s1/ses2/t1.nii", "s2/s2_ses1/t1.nii")
    found = layouts.find(root, "patterns", {"t1": "{subject}/{case}/t1"})
    assert [(case.name, case.subject) for case in found.cases] == [
        *(("s1__ses1", "s1"), ("s1__ses2", "s1"), ("s2_ses1", "s2")),
    ]


def test_missing_channels_labels_without_image_and_duplicates_are_strays(touch: Touch) -> None:
    root = touch(
        *("t1/a.nii", "t2/a.nii", "t1/b.nii", "label/b.nii", "label/c.nii"),
        *("t1/d.nii", "t1/d.nii.gz", "t2/d.nii"),
    )
    found = layouts.find(root, "patterns", {"t1": "t1/{case}", "t2": "t2/{case}"}, "label/{case}")
    assert list(pairs(found, root)) == ["a"]
    assert strays(found) == [
        *(("b", Code.CHANNEL_MISSING), ("c", Code.LABEL_WITHOUT_IMAGE), ("d", Code.DUPLICATE_CASE)),
    ]
    assert found.strays[0].details == "no t2"
    assert found.strays[1].where == str(root / "label/c.nii")
    assert "d.nii.gz" in found.strays[2].details


def test_one_pattern_for_several_channels_is_one_file(touch: Touch) -> None:
    root = touch("a.nii")
    (case,) = layouts.find(root, "patterns", {"flair": "{case}", "t1": "{case}"}).cases
    assert case.channels == {"flair": root / "a.nii", "t1": root / "a.nii"}


@pytest.mark.parametrize(
    ("channels", "label"),
    [
        ({}, "{case}"),
        ({"t1": "images/*"}, None),
        ({"t1": "{id}"}, None),
        ({"t1": "{subject}/{case}"}, "labels/{case}"),
        ({"t1": "{}"}, None),
    ],
)
def test_patterns_that_cannot_work(touch: Touch, channels: dict[str, str], label: str | None) -> None:
    with pytest.raises(MedsegError) as caught:
        layouts.find(touch("a.nii"), "patterns", channels, label)
    assert caught.value.code is Code.RECIPE_INVALID


def test_links_are_followed_once(touch: Touch) -> None:
    root = touch("real/a.nii")
    (root / "real" / "loop").symlink_to(root)
    (root / "other").symlink_to(root / "real")
    assert len(layouts.find(root, "patterns", {"t1": "**/{case}"}).cases) == 1


def test_absent_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        layouts.find(tmp_path / "absent")
    assert caught.value.code is Code.PATH_MISSING
    with pytest.raises(MedsegError) as caught:
        layouts.find(tmp_path)
    assert caught.value.code is Code.NOTHING_USABLE


def test_broken_links_and_folders_named_like_scans_are_there(touch: Touch) -> None:
    root = touch("a.nii", "b.nii/b_flair.nii", "d.nii/notes.txt")
    (root / "c.nii.gz").mkdir()
    (root / "link.nii").symlink_to(root / "nowhere.nii")
    named = ["a.nii", "b.nii/b_flair.nii", "c.nii.gz", "d.nii", "d.nii/notes.txt", "link.nii"]
    assert files_under(root) == named


def test_the_folder_of_results_is_left_out(touch: Touch) -> None:
    root = touch("a.nii", "out/a.nii", "out/deep/a.nii")
    (root / "link").symlink_to(root / "out")
    assert files_under(root, without=root / "out") == ["a.nii"]
    assert len(layouts.find(root, without=root / "out").cases) == 1


def test_strays_name_all_their_files(touch: Touch) -> None:
    root = touch("t1/a.nii", "t1/a.nii.gz", "t2/a.nii", "label/a.nii")
    found = layouts.find(root, "patterns", {"t1": "t1/{case}", "t2": "t2/{case}"}, "label/{case}")
    assert strays(found) == [("a", Code.DUPLICATE_CASE)]
    assert found.files() == {root / name for name in files_under(root)}


def test_unknown_layout(touch: Touch) -> None:
    with pytest.raises(MedsegError, match="decathlon"):
        layouts.find(touch("a.nii"), "decatlon")  # type: ignore[arg-type]


@given(st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{0,3}[a-z]?", fullmatch=True), max_size=8))
def test_natural_order_is_total(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=layouts.natural_key) == sorted(backwards, key=layouts.natural_key)


def test_natural_order_of_numbers() -> None:
    assert sorted(["a10", "a9", "a1b", "b", "a01"], key=layouts.natural_key) == [
        "a01",
        "a1b",
        "a9",
        "a10",
        "b",
    ]


def test_bids_subjects_and_sessions(touch: Touch) -> None:
    root = touch("sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "sub-1/ses-b/anat/sub-1_ses-b_T1w.nii")
    assert [(case.name, case.subject) for case in layouts.find(root).cases] == [
        *(("sub-1_ses-a", "sub-1"), ("sub-1_ses-b", "sub-1")),
    ]


def test_bids_label_pattern_of_ones_own(touch: Touch) -> None:
    root = touch("sub-1/anat/sub-1_T1w.nii", "derivatives/l/sub-1/anat/sub-1_T1w_x.nii")
    found = layouts.find(root, "bids", label="derivatives/**/{subject}/**/{case}_T1w_x")
    assert found.cases[0].label == root / "derivatives/l/sub-1/anat/sub-1_T1w_x.nii"


@pytest.mark.parametrize("layout", ["bids", "decathlon"])
def test_layouts_without_their_folders_are_refused(
    touch: Touch, layout: Literal["bids", "decathlon"]
) -> None:
    with pytest.raises(MedsegError, match="RECIPE_INVALID"):
        layouts.find(touch("a.nii"), layout)


def test_a_part_in_brackets_may_be_missing(touch: Touch) -> None:
    root = touch("anna/t1.nii", "anna/seg.nii", "bert/v1/t1.nii", "bert/v2/t1.nii", "bert/v2/seg.nii")
    found = layouts.find(root, "patterns", {"t1": "{subject}/[{case}/]t1"}, "{subject}/[{case}/]seg")
    cases = [(case.name, case.subject, case.label is not None) for case in found.cases]
    assert cases == [("anna", "anna", True), ("bert__v1", "bert", False), ("bert__v2", "bert", True)]
    assert found.strays == [] and found.ignored == []


def test_brackets_in_names_are_characters(touch: Touch) -> None:
    found = layouts.find(touch("a[1].nii", "b[1].nii", "c1.nii"), "patterns", {"t1": "{case}[1]"})
    assert [case.name for case in found.cases] == ["a", "b"] and len(found.ignored) == 1
