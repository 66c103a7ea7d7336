from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.ingest import splits
from medseg.ingest.patterns import CaseFiles
from medseg.ingest.splits import SplitRow


def case(name: str, subject: str | None = None, labelled: bool = True) -> CaseFiles:
    return CaseFiles(name, subject or name, {"image": Path(name)}, Path("label") if labelled else None)


def names(rows: tuple[SplitRow, ...], role: str, fold: int = 0) -> list[str]:
    return [row.case for row in rows if row.role == role and row.fold == fold]


CASES = [case(f"h_{i:03}") for i in (1, 2, 3, 10, 20)]


def refused(*args: object, **keywords: object) -> MedsegError:
    with pytest.raises(MedsegError) as caught:
        splits.given(*args, **keywords)  # type: ignore[arg-type]
    return caught.value


def test_names_ranges_and_patterns() -> None:
    result = splits.given(CASES, [{"train": ["h_001..h_003"], "val": ["h_01?"], "test": ["h_020"]}])
    assert names(result.rows, "train") == ["h_001", "h_002", "h_003"]
    assert names(result.rows, "val") == ["h_010"]
    assert names(result.rows, "test") == ["h_020"]
    assert (result.excluded, result.unlabelled, result.left_out) == ((), (), ())


def test_a_range_is_in_natural_order_and_its_ends_need_not_exist() -> None:
    cases = [case(f"case{i}") for i in (1, 2, 9, 10, 11)]
    result = splits.given(cases, [{"train": ["case2..case10"], "test": ["case11..case99"]}])
    assert names(result.rows, "train") == ["case2", "case9", "case10"]
    assert names(result.rows, "test") == ["case11"]
    assert result.left_out == ("case1",)


def test_a_range_of_hashes_goes_by_their_characters() -> None:
    hashes = ["00ae6", "01d44", "1b4e2", "9c03f", "a101f", "a9a40", "f2e11"]
    cases = [case(name) for name in hashes]
    result = splits.given(cases, [{"train": ["00ae6..9c03f"], "test": ["a101f..f2e11"]}])
    assert set(names(result.rows, "train")) == set(hashes[:4])
    assert set(names(result.rows, "test")) == set(hashes[4:])


def test_cases_in_quarantine_may_be_named() -> None:
    result = splits.given(CASES[:3], [{"train": ["h_001..h_010"]}], {"h_010", "h_999"})
    assert names(result.rows, "train") == ["h_001", "h_002", "h_003"]
    assert result.excluded == ("h_010",)


def test_unlabelled_cases_have_their_own_role_in_every_fold() -> None:
    cases = [*CASES[:2], case("u", labelled=False)]
    folds = [{"train": ["h_001"], "test": ["h_002", "u"]}, {"train": ["h_002"], "test": ["h_001"]}]
    result = splits.given(cases, folds)
    assert names(result.rows, "unlabelled", 0) == names(result.rows, "unlabelled", 1) == ["u"]
    assert names(result.rows, "test") == ["h_002"]
    assert result.unlabelled == ("u",)


def test_train_alone_is_enough() -> None:
    assert names(splits.given(CASES, [{"train": ["*"]}]).rows, "train") == [c.name for c in CASES]


@pytest.mark.parametrize(
    ("folds", "word"),
    [
        ([], "no fold"),
        ([{"train": ["nobody"]}], "nobody"),
        ([{"train": ["x_1..x_9"]}], "x_1..x_9"),
        ([{"train": ["h_001"], "valid": ["h_002"]}], "valid"),
        ([{"test": ["h_001"]}], "train"),
        ([{"train": ["h_001"]}, {}], "fold 1"),
    ],
)
def test_splits_that_cannot_be_meant(folds: list[dict[str, list[str]]], word: str) -> None:
    error = refused(CASES, folds)
    assert error.code is Code.SPLIT_INVALID
    assert word in error.finding.details


def test_a_role_that_is_left_empty() -> None:
    error = refused(CASES[:1], [{"train": ["h_001"], "test": ["h_002"]}], {"h_002"})
    assert error.code is Code.SPLIT_INVALID
    assert "test" in error.finding.details


def test_subject_on_both_sides() -> None:
    cases = [case("a_left", "a"), case("a_right", "a"), case("b")]
    error = refused(cases, [{"train": ["a_left", "b"], "test": ["a_right"]}])
    assert error.code is Code.SUBJECT_ON_BOTH_SIDES
    assert "a in test and train" in error.finding.details


def test_one_case_in_two_roles() -> None:
    error = refused(CASES, [{"train": ["h_*"], "val": ["h_001"]}])
    assert error.code is Code.SUBJECT_ON_BOTH_SIDES


def test_subject_may_change_sides_between_folds_and_have_unlabelled_scans() -> None:
    cases = [case("a_1", "a"), case("a_2", "a", labelled=False), case("b")]
    made = splits.given(cases, [{"train": ["a_1"], "test": ["b"]}, {"train": ["b"], "test": ["a_1"]}])
    roles = {(row.fold, row.case): row.role for row in made.rows}
    assert (roles[0, "a_1"], roles[1, "a_1"], roles[1, "a_2"]) == ("train", "test", "unlabelled")


def test_check_refuses_unknown_roles() -> None:
    with pytest.raises(MedsegError, match="SPLIT_INVALID"):
        splits.check([SplitRow(0, "a", "a", "tset")])  # type: ignore[arg-type]


# Random folds


@settings(max_examples=40, deadline=None)
@for_all(
    n=st.integers(4, 15),
    folds=st.integers(1, 4),
    seed=st.integers(0, 50),
    order=st.randoms(use_true_random=False),
)
def test_random_folds_by_subject_whatever_the_order(n: int, folds: int, seed: int, order: object) -> None:
    cases = [case(f"s{i}_{side}", f"s{i}") for i in range(n) for side in "LR"]
    cases.append(case("u", labelled=False))
    result = splits.random_folds(cases, folds=folds, val_share=0.2, test_share=0.2, seed=seed)
    splits.check(result.rows)
    shuffled = list(cases)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert splits.random_folds(shuffled, folds=folds, val_share=0.2, test_share=0.2, seed=seed) == result
    for fold in range(folds):
        assert len([row for row in result.rows if row.fold == fold]) == len(cases)
        assert names(result.rows, "val", fold)
        assert names(result.rows, "unlabelled", fold) == ["u"]
    if folds > 1:
        tested = [name for fold in range(folds) for name in names(result.rows, "test", fold)]
        assert sorted(tested) == sorted(c.name for c in cases if c.label)


def test_shares_of_ten_subjects() -> None:
    cases = [case(f"s{i}") for i in range(10)]
    rows = splits.random_folds(cases, val_share=0.2, test_share=0.3, seed=1).rows
    assert [len(names(rows, role)) for role in ("train", "val", "test")] == [5, 2, 3]
    other = splits.random_folds(cases, val_share=0.2, test_share=0.3, seed=2).rows
    assert rows != other


def test_share_of_zero_leaves_the_role_out() -> None:
    cases = [case(f"s{i}") for i in range(4)]
    rows = splits.random_folds(cases, val_share=0, test_share=0, seed=0).rows
    assert len(names(rows, "train")) == 4


@pytest.mark.parametrize(
    ("cases", "folds", "share"),
    [
        (CASES, 6, 0.2),
        (CASES, 0, 0.2),
        (CASES, 1, 1.0),
        (CASES, 1, -0.1),
        (CASES[:2], 1, 0.4),
        ([], 1, 0.2),
        ([case("u", labelled=False)], 1, 0.2),
    ],
    ids=["more folds than subjects", "no fold", "share 1", "share < 0", "too few", "none", "no label"],
)
def test_folds_that_cannot_be_drawn(cases: list[CaseFiles], folds: int, share: float) -> None:
    with pytest.raises(MedsegError) as caught:
        splits.random_folds(cases, folds=folds, val_share=share, test_share=share, seed=0)
    assert caught.value.code is Code.SPLIT_INVALID


# The file


def test_written_rows_are_read_again(tmp_path: Path) -> None:
    rows = splits.given(CASES, [{"train": ["h_00?"], "test": ["h_010", "h_020"]}]).rows
    splits.write(tmp_path / "splits.csv", rows)
    assert (tmp_path / "splits.csv").read_text().splitlines()[:2] == [
        "fold,case,subject,role",
        "0,h_001,h_001,train",
    ]
    assert tuple(splits.read(tmp_path / "splits.csv")) == rows


@pytest.mark.parametrize("text", ["case,role\na,train\n", "fold,case,subject,role\nx,a,a,train\n"])
def test_other_columns_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(MedsegError, match="SPLIT_INVALID"):
        splits.read(tmp_path / "splits.csv")


# All cases


def test_all_labelled_cases_are_trained_on() -> None:
    cases = [case("b10"), case("u", labelled=False), case("b9")]
    rows = splits.all_trained(cases).rows
    assert [(row.case, row.role) for row in rows] == [
        ("b9", "train"),
        ("b10", "train"),
        ("u", "unlabelled"),
    ]


def test_all_of_no_labelled_case_is_refused() -> None:
    with pytest.raises(MedsegError) as caught:
        splits.all_trained([case("u", labelled=False)])
    assert caught.value.code == Code.SPLIT_INVALID


def test_an_auto_encoder_splits_cases_with_and_without_labels_alike() -> None:
    mixed = [case(f"s{i}", labelled=i < 2) for i in range(6)]
    bare = [case(f"s{i}", labelled=False) for i in range(6)]
    labelled = [case(f"s{i}") for i in range(6)]
    shares = {"val_share": 0.2, "test_share": 0.2, "seed": 3}
    roles = [(f"s{i}", "train" if i < 4 else "val") for i in range(6)]
    for cases in (mixed, bare):
        for expected, found in (
            (
                splits.random_folds(labelled, **shares),
                splits.random_folds(cases, **shares, needs_labels=False),
            ),
            (splits.all_trained(labelled), splits.all_trained(cases, needs_labels=False)),
            (splits.listed(labelled, roles), splits.listed(cases, roles, needs_labels=False)),
            (
                splits.given(labelled, [{"train": ["s0..s3"], "val": ["s4"]}]),
                splits.given(cases, [{"train": ["s0..s3"], "val": ["s4"]}], needs_labels=False),
            ),
        ):
            assert found == expected
    assert found.left_out == ("s5",)


def test_an_auto_encoder_needs_a_case_to_train_on_too() -> None:
    with pytest.raises(MedsegError) as caught:
        splits.all_trained([], needs_labels=False)
    assert caught.value.code == Code.SPLIT_INVALID
