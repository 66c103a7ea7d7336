"""Faults of training steps as codes: numbers that are not finite, and what torch refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from medseg.errors import Code, MedsegError, first_line

ADVICE = "lower train.batch or sampling.window"
"""The way out where a step does not fit into memory."""


def check_finite(network: nn.Module, step: int) -> None:
    """Raise ``LOSS_NOT_FINITE`` if a weight after ``step`` steps is not a finite number."""
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise not_finite(step, "some weights are not finite")


def not_finite(t: int, details: str) -> MedsegError:
    """Make the error of a training that diverged at step ``t``."""
    how_to_fix = "lower train.lr or set train.clip, and train again with --overwrite"
    return MedsegError(Code.LOSS_NOT_FINITE, f"training, step {t}", details, how_to_fix)


@contextmanager
def coded(patches: int) -> Iterator[None]:
    """Turn torch's refusals of a step on so many patches into codes: one value to normalise, no compiling."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 "):
            raise
        details = f"{patches} patch(es) leave one value a channel to normalise ({first_line(error)})"
        how_to_fix = "give each process two patches or more, or enlarge sampling.window"
        raise MedsegError(Code.KEYWORD_INVALID, "train.batch", details, how_to_fix) from error
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        details = f"torch cannot compile this network: {first_line(error)}"
        raise MedsegError(
            Code.KEYWORD_INVALID, "train.compile", details, "set train.compile: false"
        ) from error
