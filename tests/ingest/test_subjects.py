"""Subjects in the names of cases: rules, guesses, and splits with one person on both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.ingest import layouts, splits, subjects
from medseg.ingest.splits import SplitRow

Touch = Callable[..., Path]


@pytest.mark.parametrize(
    ("pattern", "name", "subject"),
    [
        ("{subject}_ses-*", "sub-01_ses-02", "sub-01"),
        ("{subject}_ses-*", "sub-01", "sub-01"),
        ("{subject}_*", "a_b_c", "a_b"),
        ("{subject}_*_*", "a_b_c", "a"),
        ("P-{subject}?", "P-01a", "01"),
        ("{subject}.v*", "s1xv2", "s1xv2"),
        ("{subject}", "a", "a"),
        ("anna", "visit1", "anna"),
    ],
)
def test_rules(pattern: str, name: str, subject: str) -> None:
    assert subjects.rule(pattern)(name) == subject


@pytest.mark.parametrize(
    "pattern", ["", "*", "{case}_*", "{subject}_{case}", "{subject}{subject}", "a/{subject}"]
)
def test_rules_that_cannot_work(pattern: str) -> None:
    with pytest.raises(MedsegError) as caught:
        subjects.rule(pattern)
    assert caught.value.code is Code.RECIPE_INVALID


SHARED = [
    (["sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01"], {"sub-01", "sub-02"}, "{subject}_ses-*"),
    (["sub0_v0", "sub0_v1", "sub1_v0", "sub1_v1"], {"sub0", "sub1"}, "{subject}_v*"),
    (["P01", "P01_fu", "P02"], {"P01", "P02"}, "{subject}_fu*"),
    (["a_pre", "a_post", "b_pre"], {"a", "b"}, "{subject}_*"),
    (["anna_1", "anna_2", "anna_3", "bert_1"], {"anna", "bert"}, "{subject}_*"),
    (["s01v1", "s01v2", "s02v1"], {"s01", "s02"}, "{subject}v*"),
    (["01a", "01b", "02a", "02b"], {"01", "02"}, "{subject}?"),
    (["P_001_s1", "P_001_s2", "P_002_s1"], {"P_001", "P_002"}, "{subject}_s*"),
    (["OAS2_0001_MR1", "OAS2_0001_MR2", "OAS2_0002_MR1"], {"OAS2_0001", "OAS2_0002"}, "{subject}_MR*"),
    (["p1_frame01", "p1_frame12", "p2_frame01"], {"p1", "p2"}, "{subject}_frame*"),
    (["p1_4d", "p1_frame01", "p1_frame12", "p2_4d", "p2_frame01", "p2_frame13"], {"p1", "p2"}, "{subject}_*"),
    (["002_S_1_20060418", "002_S_1_20070418", "003_S_2_20060418"], {"002_S_1", "003_S_2"}, "{subject}_*"),
    (["x-1-left", "x-1-right", "x-2-left"], {"x-1", "x-2"}, "{subject}-*"),
    (["P07_v1", "P07_v2"], {"P07"}, "{subject}_v*"),
    (["anna_baseline", "anna_followup"], {"anna"}, "{subject}_*"),
    (["patient_3_1", "patient_3_2"], {"patient_3"}, "{subject}_*"),
    (["sub-01_ses-1_run-1", "sub-01_ses-1_run-2"], {"sub-01"}, "{subject}_ses-*"),
    (
        ["site1_sub01_ses1", "site1_sub01_ses2", "site2_sub01_ses1"],
        {"site1_sub01", "site2_sub01"},
        "{subject}_ses*",
    ),
]


@pytest.mark.parametrize(("names", "expected", "rule"), SHARED, ids=[row[2] for row in SHARED])
def test_names_that_share_a_subject(names: list[str], expected: set[str], rule: str) -> None:
    by_name = subjects.guess(names)
    assert by_name is not None and set(by_name.values()) == expected
    assert subjects.rule_for(by_name) == rule
    assert {name: subjects.rule(rule)(name) for name in names} == by_name


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a"],
        ["IBSR_01", "IBSR_02", "IBSR_03"],
        ["hippocampus_001", "hippocampus_003", "hippocampus_004"],
        ["control_1", "control_2", "patient_1", "patient_2"],
        ["site1_001", "site1_002", "site2_003", "site2_004"],
        ["c0", "c1", "c2"],
        ["SEG_1", "SEG_2", "ROI_1", "ROI_2"],
        ["gt_1", "gt_2", "roi_1", "roi_2"],
        ["train_1", "train_2", "test_1"],
        ["sub-01", "sub-02", "sub-10"],
        ["sub-r001s001", "sub-r001s002", "sub-r002s001"],
        [f"anna_{i:03}" for i in range(1, 5)],
        [f"P07_v{i}" for i in range(13)],
        [f"um_{i:06}" for i in range(30)] + [f"uu_{i:06}" for i in range(30)],
        ["cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "cju1qoxqj9q6s0835b43399p4"],
    ],
)
def test_names_that_share_none(names: list[str]) -> None:
    assert subjects.guess(names) is None


def test_subjects_without_a_simple_rule_have_none() -> None:
    assert subjects.rule_for({"a1": "a", "b-22": "b", "c_x_3": "c"}) is None


def test_a_rule_reads_subjects_in_every_layout_and_leaves_those_of_tables(touch: Touch) -> None:
    root = touch("images/a_v1.nii", "images/a_v2.nii", "labels/a_v1.nii")
    found = layouts.find(root, "plain", subject="{subject}_v*")
    assert [(case.name, case.subject) for case in found.cases] == [("a_v1", "a"), ("a_v2", "a")]
    (root / "t.csv").write_text("image,subject\nimages/a_v1.nii,other\nimages/a_v2.nii,\n")
    found = layouts.find(root, "csv", table="t.csv", subject="{subject}_v*")
    assert [case.subject for case in found.cases] == ["other", "a"]


def test_a_rule_beside_subjects_in_patterns_is_refused(touch: Touch) -> None:
    with pytest.raises(MedsegError) as caught:
        layouts.find(touch("a/b.nii"), "patterns", {"t1": "{subject}/{case}"}, subject="{subject}_*")
    assert caught.value.code is Code.RECIPE_INVALID and caught.value.finding.where == "data.subject"


def test_a_guess_proposes_the_rule_and_says_why(touch: Touch) -> None:
    guess = layouts.guess(touch(*(f"images/s{i}_v{v}.nii" for i in range(3) for v in range(2))))
    assert guess.subject == "{subject}_v*"
    assert "s0_v0 and s0_v1 look like one subject's (3 subjects" in guess.subject_remark


def rows(*pairs: tuple[str, str], fold: int = 0) -> list[SplitRow]:
    return [SplitRow(fold, case, case, role) for case, role in pairs]  # type: ignore[arg-type]


def test_one_subject_on_both_sides_is_seen_by_the_names() -> None:
    split = rows(("a_v0", "train"), ("a_v1", "test"), ("b_v0", "train"), ("b_v1", "train"), ("c_v0", "val"))
    assert splits.names_on_both_sides(split) == [("a_v0", "a_v1")]
    assert splits.names_on_both_sides([*split, *rows(("b_v0", "test"), fold=1)]) == [("a_v0", "a_v1")]
    unlabelled = rows(("a_v0", "train"), ("a_v1", "unlabelled"), ("b_v0", "test"), ("b_v1", "test"))
    assert splits.names_on_both_sides(unlabelled) == []


def test_subjects_that_are_known_are_not_guessed() -> None:
    known = [SplitRow(0, f"a_v{i}", f"p{i}", role) for i, role in enumerate(("train", "test"))]  # type: ignore[arg-type]
    assert splits.names_on_both_sides([*known, SplitRow(0, "b_v0", "p3", "val")]) == []


def test_too_few_subjects_are_counted(touch: Touch) -> None:
    root = touch("images/a.nii", "images/b.nii", "labels/a.nii", "labels/b.nii")
    with pytest.raises(MedsegError) as caught:
        splits.random_folds(layouts.find(root).cases, val_share=0.2, test_share=0.2, seed=0)
    assert "2 labelled subjects are too few for 1 in test and 1 in val" in caught.value.finding.details
