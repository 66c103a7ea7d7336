"""Identities and names: no two cases share a name, none is joined as text, and other cases change nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import Code
from medseg.ingest import layouts
from medseg.ingest.identity import Identity, in_one_name, join
from tests.helpers.case_lists import pairs, strays

Touch = Callable[..., Path]

values = st.text("a_~1", min_size=1, max_size=4)
optional = st.none() | values


@given(st.tuples(values, optional, optional), st.tuples(values, optional, optional), st.booleans())
def test_names_of_different_identities_differ(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None], in_name: bool
) -> None:
    """Of one recipe: its patterns have the same placeholders."""
    other = (other[0], *(b and (a and b) for a, b in zip(one[1:], other[1:], strict=True)))
    same_placeholders = [a is None for a in one] == [b is None for b in other]
    names = [join(Identity(*fields), subject_in_name=in_name) for fields in (one, other)]
    assert not same_placeholders or (names[0] == names[1]) == (one == other)


@given(st.tuples(values, values), st.tuples(values, values))
def test_names_of_different_parts_differ(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = [join(Identity(None, *fields), subject_in_name=False) for fields in (one, other)]
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize(
    ("fields", "in_name", "name"),
    [
        ((None, None, "a_b"), False, "a_b"),
        (("sub-1", None, None), False, "sub-1"),
        (("sub-1", None, "sub-1_ses-a"), False, "sub-1_ses-a"),
        (("sub-1", None, "sub-1"), False, "sub-1"),
        (("s1", None, "ses1"), False, "s1__ses1"),
        (("s1", None, "ses1"), True, "s1_ses1"),
        (("1", None, "10"), False, "1__10"),
        (("10", None, "10"), False, "10"),
        (("site_1", None, "2"), False, "site_1__2"),
        (("site", None, "1_2"), False, "site__1_2"),
        (("a_", None, "b"), False, "a~u__b"),
        ((None, "um", "000000"), False, "um_000000"),
        ((None, "u_m", "0"), False, "u_m__0"),
    ],
)
def test_names_by_hand(fields: tuple[str | None, str | None, str | None], in_name: bool, name: str) -> None:
    assert join(Identity(*fields), subject_in_name=in_name) == name


def test_patterns_with_the_subject_in_the_name() -> None:
    assert in_one_name("images/{subject}_{case}_T1w") and in_one_name("{subject}-{part}/x")
    assert not in_one_name("{subject}/{case}") and not in_one_name("{case}_{subject}")


def test_subjects_and_cases_that_read_alike_when_joined_do_not_mix(touch: Touch) -> None:
    root = touch("img/site_1/2.nii", "lab/site/1_2.nii", "img/x/1.nii", "lab/x/1.nii")
    found = layouts.find(root, "patterns", {"t1": "img/{subject}/{case}"}, "lab/{subject}/{case}")
    assert pairs(found, root) == {
        "site_1__2": (["img/site_1/2.nii"], None),
        "x__1": (["img/x/1.nii"], "lab/x/1.nii"),
    }
    assert strays(found) == [("site__1_2", Code.LABEL_WITHOUT_IMAGE)]


def test_subjects_that_begin_with_others_are_no_duplicates(touch: Touch) -> None:
    root = touch("1/10.nii", "10/10.nii", "1/1.nii")
    found = layouts.find(root, "patterns", {"t1": "{subject}/{case}"})
    assert [(case.name, case.subject) for case in found.cases] == [("1", "1"), ("1__10", "1"), ("10", "10")]
    assert not found.strays


def test_a_name_does_not_depend_on_other_cases(touch: Touch) -> None:
    before = [
        case.name for case in layouts.find(touch("a/b_c.nii"), "patterns", {"t1": "{subject}/{case}"}).cases
    ]
    touch("a_b/c.nii", "a/c.nii", "a__b/c.nii")
    root = touch("b/c.nii")
    after = [case.name for case in layouts.find(root, "patterns", {"t1": "{subject}/{case}"}).cases]
    assert before == ["a__b_c"] and set(before) < set(after)
    assert len(set(after)) == 5


def form(kind: str, text: str) -> str:
    return unicodedata.normalize(kind, text)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["auto", "patterns"])
def test_names_compare_in_unicodes_composed_form(touch: Touch, layout: str) -> None:
    people = ("Müller", "Zoë", "Ånn")
    root = touch(
        *(form("NFC", f"images/{p}.nii") for p in people), *(form("NFD", f"labels/{p}.nii") for p in people)
    )
    given_patterns = ({"t1": form("NFD", "images/{case}")}, "labels/{case}") if layout == "patterns" else ()
    found = layouts.find(root, layout, *given_patterns)  # type: ignore[arg-type]
    assert {case.name for case in found.cases} == {form("NFC", p) for p in people}
    assert all(case.label and case.label.is_file() for case in found.cases)
    assert not found.strays


def test_both_forms_of_one_name_are_duplicates(touch: Touch) -> None:
    root = touch(form("NFC", "é.nii"), form("NFD", "é.nii"))
    assert strays(layouts.find(root, "patterns", {"t1": "{case}"})) == [
        (form("NFC", "é"), Code.DUPLICATE_CASE)
    ]


def test_tables_and_folders_in_other_forms_agree(touch: Touch) -> None:
    root = touch(form("NFD", "scans/é.nii"), "x/b.nii")
    (root / "cases.csv").write_text(
        form("NFC", "image,subject\n/elsewhere/scans/é.nii,ü\nx/b.nii,") + form("NFD", "ü\n")
    )
    found = layouts.find(root, "csv", table="cases.csv")
    assert [case.name for case in found.cases] == ["b", form("NFC", "é")]
    assert {case.subject for case in found.cases} == {form("NFC", "ü")}
    assert all(path.is_file() for case in found.cases for path in case.channels.values())


@pytest.mark.parametrize("name", ["b\u0007ell", "a ", " a", "long" * 60])
def test_names_that_cannot_be_parts_of_paths_are_coded_rows(touch: Touch, name: str) -> None:
    root = touch(f"{name}.nii", "good.nii")
    found = layouts.find(root, "patterns", {"t1": "{case}"})
    assert [case.name for case in found.cases] == ["good"]
    assert strays(found) == [(name, Code.NAME_INVALID)]
    assert found.files() == {root / f"{name}.nii", root / "good.nii"}


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/b", "..", "a\\b", ".hidden"])
def test_names_in_tables_that_lead_elsewhere_are_coded_rows(touch: Touch, name: str) -> None:
    root = touch("a.nii", "b.nii")
    (root / "cases.csv").write_text(f"case,image\n{name},a.nii\ngood,b.nii\n")
    found = layouts.find(root, "csv", table="cases.csv")
    assert [case.name for case in found.cases] == ["good"]
    assert strays(found) == [(name, Code.NAME_INVALID)]
    assert found.files() == {root / "a.nii", root / "b.nii"}
