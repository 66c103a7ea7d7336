"""Running out of memory, whoever says it and however, as one coded refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medseg.errors import Code, MedsegError

# How torch's allocator on the CPU says it, as a plain RuntimeError.
_BEGINNING = "[enforce fail"
_WITHIN = "can't allocate memory"


@contextmanager
def coded_out_of_memory(where: object, how_to_fix: str) -> Iterator[None]:
    """Turn what torch and numpy raise for want of memory into OUT_OF_MEMORY; let every other error pass.

    ``where`` is what was being worked on, ``remedy`` what to lower.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_want_of_memory(error):
            raise
        found = str(error).strip().splitlines() or [type(error).__name__]
        raise MedsegError(Code.OUT_OF_MEMORY, where, found[0], how_to_fix) from error


def _is_want_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return text.startswith(_BEGINNING) or _WITHIN in text
