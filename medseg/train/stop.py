"""SIGINT and SIGTERM as requests to stop, which training obeys between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Training stopped on a signal after ``step`` steps; ``last.ckpt`` resumes it exactly."""

    def __init__(self, step: int, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.step = step
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 130 after SIGINT, 143 after SIGTERM."""
        return 128 + self.signum

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, int]]:
        return Stopped, (self.step, self.signum)


class StopRequest:
    """Signal that arrived, or 0. While ``at_once`` is set to a step, a signal raises :class:`Stopped`."""

    def __init__(self) -> None:
        self.signum = 0
        self.at_once: int | None = None

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        """Handle a signal. A second one does not wait for the step to end."""
        if self.at_once is not None:
            raise Stopped(self.at_once, signum)
        if self.signum:
            raise KeyboardInterrupt
        self.signum = signum


@contextmanager
def handle_stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request while the block runs, if this is the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.signal(signum, request.receive) for signum in SIGNALS}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
