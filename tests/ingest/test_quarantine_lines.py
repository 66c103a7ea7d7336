"""Many exclusions of one cause are counted, others are shown one by one."""

from __future__ import annotations

import pytest

from medseg.ingest import quarantine


def row(case: str, details: str = "2 channels missing") -> quarantine.Row:
    return {"case": case, "file": case, "code": "CHANNEL_MISSING", "details": details, "how_to_fix": "add it"}


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (3, "excluded: CHANNEL_MISSING 2: 2 channels missing; add it"),
        (4, "excluded: CHANNEL_MISSING 1 further case: 2 channels missing"),
        (6, "excluded: CHANNEL_MISSING 3 further cases: 2 channels missing"),
    ],
)
def test_of_one_cause_the_first_lines_and_a_number(count: int, last: str) -> None:
    rows = [row(str(number)) for number in range(count)]
    lines = quarantine.lines([*rows[:-1], row("other", "no label"), rows[-1]])
    assert len(lines) == min(count, quarantine.ALIKE + 1) + 1
    assert lines[-1] == last
    assert "excluded: CHANNEL_MISSING other: no label; add it" in lines
