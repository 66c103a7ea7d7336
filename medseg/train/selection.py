"""Decisions by the scores of validations: the best weights, the end of a training, falls of the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medseg.errors import Code, MedsegError
from medseg.train.plan import FitPlan
from medseg.train.state import State


def require_scores(plan: FitPlan, *, validated: bool) -> None:
    """Raise ``KEYWORD_INVALID`` where the rate is to follow scores, and nothing is validated."""
    if plan.schedule == "plateau" and not validated:
        details = "the rate falls by validation's scores, and there is no validation case"
        how_to_fix = "give validation cases by data.splits, or use another schedule"
        raise MedsegError(Code.KEYWORD_INVALID, "train.schedule plateau", details, how_to_fix)


def judge(now: State, plan: FitPlan, val: Mapping[str, float]) -> tuple[bool, bool]:
    """Compare a validation with those before: are these weights the best, and does it say anything?

    Too many in a row that say something, but are not better, lower the rate or end the training; ``now``
    counts them.
    """
    if plan.monitor not in val:
        raise MedsegError(
            Code.KEYWORD_INVALID, "monitor", f"{plan.monitor!r}", f"use one of {', '.join(sorted(val))}"
        )
    score = float(val[plan.monitor]) if math.isfinite(val[plan.monitor]) else None
    is_first = score is not None and now.first_score is None
    if is_first:
        now.first_score = score
    elif score is not None and score != now.first_score:
        now.scores_differ = True
    if not now.scores_differ:  # nothing to choose by so far: the last weights
        now.best = score
        return True, is_first
    if score is None:
        return False, False
    if now.best is None or score > now.best:
        now.best, now.validations_without_improvement, now.validations_at_rate = score, 0, 0
        return True, True
    now.validations_without_improvement += 1
    now.stopped_early = 0 < plan.patience <= now.validations_without_improvement
    _lower_rate(now, plan)
    return False, True


def _lower_rate(now: State, plan: FitPlan) -> None:
    """Count a validation that was not better, and lower the rate where they are too many."""
    if plan.schedule != "plateau":
        return
    now.validations_at_rate += 1
    if now.validations_at_rate >= plan.plateau.patience:
        now.rate_drops, now.validations_at_rate = now.rate_drops + 1, 0
