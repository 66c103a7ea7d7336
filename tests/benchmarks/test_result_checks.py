"""The refusing branches of the checks that results must pass: a test case that was seen ends the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.result_checks import require_unseen
from medseg import files
from medseg.errors import Code, MedsegError
from pipelines.workfolder import Work

Rows = list[tuple[int, str, str, str]]  # fold, case, subject, role
MakeWork = Callable[..., Work]

GOOD: Rows = [
    (0, "a", "a", "train"),
    (0, "b", "b", "val"),
    (0, "c", "c", "test"),
    (1, "c", "c", "train"),
    (1, "b", "b", "val"),
    (1, "a", "a", "test"),
]


@pytest.fixture
def make_work(tmp_path: Path) -> MakeWork:
    """A work folder after ingest, whose scans hold the given texts (by default each its own)."""

    def make(rows: Rows, contents: dict[str, str] | None = None) -> Work:
        work = Work(tmp_path / "work")
        splits = [dict(zip(("fold", "case", "subject", "role"), row, strict=True)) for row in rows]
        files.write_csv(work.ingest / "splits.csv", ("fold", "case", "subject", "role"), splits)
        cases = []
        for case, subject in dict.fromkeys((row[1], row[2]) for row in rows):
            scan = tmp_path / f"{case}.nii"
            scan.write_text((contents or {}).get(case, case))
            cases.append(
                {"case": case, "subject": subject, "channels": json.dumps({"t1": str(scan)}), "label": ""}
            )
        files.write_csv(work.ingest / "cases.csv", ("case", "subject", "channels", "label"), cases)
        return work

    return make


def refused(work: Work) -> MedsegError:
    with pytest.raises(MedsegError) as caught:
        require_unseen(work)
    return caught.value


def test_folds_that_share_nothing_pass(make_work: MakeWork) -> None:
    require_unseen(make_work(GOOD))


def test_a_subject_on_both_sides_is_refused(make_work: MakeWork) -> None:
    rows = [*GOOD, (0, "d", "c", "train")]  # another scan of the tested person
    assert refused(make_work(rows)).code is Code.SUBJECT_ON_BOTH_SIDES


@pytest.mark.parametrize("seen_as", ["a", "b"])  # trained on, or used by early stopping and the threshold
def test_one_file_under_two_names_is_refused(make_work: MakeWork, seen_as: str) -> None:
    error = refused(make_work(GOOD[:3], {"c": "the same", seen_as: "the same"}))
    assert error.code is Code.SUBJECT_ON_BOTH_SIDES and f"c is the same file as {seen_as}" in str(error)


def test_the_same_file_in_one_role_is_no_fault(make_work: MakeWork) -> None:
    require_unseen(make_work([*GOOD[:3], (0, "d", "d", "train")], {"a": "same", "d": "same"}))


def test_a_case_that_is_tested_in_two_folds_and_no_tested_case_are_refused(make_work: MakeWork) -> None:
    twice: Rows = [*GOOD[:3], (1, "a", "a", "train"), (1, "b", "b", "val"), (1, "c", "c", "test")]
    assert refused(make_work(twice)).code is Code.SPLIT_INVALID
    assert refused(make_work(GOOD[:2])).code is Code.SPLIT_INVALID


@pytest.mark.parametrize("role", ["training cases", "validation cases"])
def test_a_network_that_has_seen_its_test_case_is_refused(make_work: MakeWork, role: str) -> None:
    work = make_work(GOOD)
    seen = {"training cases": {"a": ""}, "validation cases": {"b": ""}}
    seen[role]["c"] = ""
    files.write_json(work.train(0) / "training.json", {"settings": seen})
    assert refused(work).code is Code.SETTINGS_CHANGED
