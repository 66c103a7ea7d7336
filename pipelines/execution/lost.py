"""Cases that a stage lost: their worker died, or they ran over a limit."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.errors import Code, Finding, MedsegError

_HOW_TO_FIX = {
    Code.TIME_LIMIT: "give it more time with --time-limit, or look at its files",
    Code.WORKER_KILLED: "free some memory, lower --workers or raise --time-limit",
}

LESS_MEMORY = "free some memory, or lower --workers; then run the same command again"
"""What to do about a stage's case for which memory did not suffice."""

CODES = frozenset(_HOW_TO_FIX)
"""Codes of cases that were lost."""


def of_case(case: str, finding: Finding) -> Finding:
    """The finding of an engine about a case, with what to do about it in a stage."""
    how_to_fix = f"{_HOW_TO_FIX.get(finding.code, finding.how_to_fix)}; then run the same command again"
    return Finding(finding.code, case, finding.details, how_to_fix)


def refusal(stage: str, lost: Sequence[Finding]) -> MedsegError:
    """The end of a stage that needs all of its cases and lost some."""
    first = lost[0]
    more = f"; {len(lost) - 1} more cases were lost" if len(lost) > 1 else ""
    details = f"{first.details}{more}; {stage} has gone through all other cases"
    return MedsegError(first.code, first.where, details, first.how_to_fix)
