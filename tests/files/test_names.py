"""The one rule for names that become parts of paths."""

from __future__ import annotations

import pytest

from medseg.errors import Code, MedsegError
from medseg.names import check_name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../evil",
        "a/b",
        "a\\b",
        "/etc",
        ".hidden",
        " a",
        "a ",
        "a\nb",
        "a\x00b",
        "\ud800",
        "x" * 201,
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(MedsegError) as refused:
        check_name(name, "cases.csv")
    assert refused.value.code == Code.NAME_INVALID
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["sub-01_ses-02", "Müller", "GM (left)", "a b", "数据", "x" * 200, "a..b", "=1"]
)
def test_everyday_names_pass(name: str) -> None:
    assert check_name(name, "cases.csv") == name


def test_names_compare_in_one_form_of_unicode() -> None:
    assert check_name("Mu\u0308ller", "x") == "M\u00fcller"
