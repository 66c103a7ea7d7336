"""Progress in a log: plain lines, with the time left while something is."""

from __future__ import annotations

import io
import time

import pytest

from medseg.console import Reporter


def test_time_left_is_told_while_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    began, screen = time.monotonic() + 100, io.StringIO()
    clock = iter(began + seconds for seconds in (0.0, 20.0, 40.0, 59.8, 80.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with Reporter(stream=screen).progress("reading", 300) as bar:
        for done in (0, 100, 200, 299, 300):
            bar.to(done)
    assert screen.getvalue().splitlines() == [
        "reading 100/300, 40 s left",
        "reading 200/300, 20 s left",
        "reading 299/300, 1 s left",
        "reading 300/300",
    ]
