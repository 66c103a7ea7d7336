"""Output of a command: results on stdout, progress on stderr as bars or plain lines, and a log of both."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medseg.redaction import redact_text

_PLAIN_EVERY_S = 15.0


@dataclass
class Reporter:
    """Prints results to `results`, and lines to `stream` unless quiet; `log` gets both, with the time.

    Every text goes through `redact`, which by itself replaces passwords and tokens in addresses with stars.
    """

    quiet: bool = False
    verbose: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    results: TextIO = field(default_factory=lambda: sys.stdout)
    log: Path | None = None
    redact: Callable[[str], str] = redact_text
    json_lines: bool = False
    """Print events as lines of JSON to `results`, instead of sentences."""

    def __post_init__(self) -> None:
        self._console = Console(file=self.stream, highlight=False, soft_wrap=True)

    @property
    def width(self) -> int:
        """Characters of a line: the terminal's, 80 elsewhere."""
        return self._console.width if self._console.is_terminal else 80

    def result(self, text: str) -> None:
        """Print a line that the command was run for, such as a score; also when quiet."""
        text = self.redact(text)
        self.to_log(text)
        if not self.json_lines:
            self.results.write(text + "\n")
            self.results.flush()

    def event(self, kind: str, **values: Any) -> None:
        """Print what has happened as a line of JSON, if asked to; `kind` stands under the key `event`."""
        if self.json_lines:
            self.results.write(self.redact(json.dumps({"event": kind, **values})) + "\n")
            self.results.flush()

    def line(self, text: str) -> None:
        """Print a line about the work, for the user."""
        text = self.redact(text)
        self.to_log(text)
        if not self.quiet:
            self._console.print(text, markup=False)

    def detail(self, text: str) -> None:
        """Print a line if `--verbose` asks for it; the log always has it."""
        text = self.redact(text)
        self.to_log(text)
        if self.verbose and not self.quiet:
            self._console.print(text, markup=False, style="dim")

    def to_log(self, text: str) -> None:
        """Add a line (or traceback) to the log file alone, without the secrets of addresses in it."""
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {self.redact(text)}\n")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with count and time left on a terminal; elsewhere a plain line every 15 s."""
        if self.quiet or not self._console.is_terminal:
            yield _PlainProgress(self, title, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield _Bar(bar, bar.add_task(title, total=total, note=""))


class Advance:
    """Progress of a piece of work."""

    def to(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are done, with `note` beside the count."""


@dataclass
class _Bar(Advance):
    bar: Progress
    task: TaskID

    def to(self, done: int, note: str = "") -> None:
        self.bar.update(self.task, completed=done, note=note)


@dataclass
class _PlainProgress(Advance):
    reporter: Reporter
    title: str
    total: int
    last: float = field(default_factory=time.monotonic)
    began: tuple[float, int] | None = None

    def to(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self.began is None:  # work that is resumed does not begin at 0
            self.began = (now, done)
        if now - self.last < _PLAIN_EVERY_S or done == self.began[1]:
            return
        self.last = now
        left = (now - self.began[0]) / (done - self.began[1]) * (self.total - done)
        time_left = f", {seconds_in_words(max(1.0, left))} left" if done < self.total else ""
        self.reporter.line(f"{self.title} {done}/{self.total}{time_left} {note}".rstrip())


def seconds_in_words(seconds: float) -> str:
    """Write a duration in words: `75` → `1 min 15 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
