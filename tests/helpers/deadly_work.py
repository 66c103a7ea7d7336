"""A stage's unit of work in which one case kills its worker, or hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from pipelines.execution.steps import Steps, Work

Misbehaviour = Literal["dies", "hangs"]


def deadly(work: Callable[..., Work[Any, Any]], case: str, misbehaviour: Misbehaviour) -> Callable[..., Any]:
    """A function that makes the same work, but for what happens when this case is read."""

    def make_work(asked: Any) -> Work[Any, Any]:
        made = work(asked)
        return replace(made, make=partial(_make, made.make, case, misbehaviour))

    return make_work


def _make(make: Callable[[], Steps[Any, Any]], case: str, misbehaviour: Misbehaviour) -> Steps[Any, Any]:
    steps = make()

    def read(task: Any) -> Any:
        if f"'{case}'" in repr(task):
            if misbehaviour == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return steps.read(task)

    return replace(steps, read=read)
