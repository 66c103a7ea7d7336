"""A `medseg` command line in this process, as its console script runs it."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ended:
    """Exit code of a command, and all that it printed."""

    code: int
    text: str


def run_command(
    words: list[object], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ended:
    """Run `medseg` with these words."""
    from medseg.cli import app, exits

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["medseg", *map(str, words)])
    capfd.readouterr()
    try:
        code = exits.end_well(app)
    finally:
        signal.signal(signal.SIGTERM, before)
        exits.log_file.clear()
    printed = capfd.readouterr()
    return Ended(code, printed.out + printed.err)
