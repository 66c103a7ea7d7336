"""A fuzz run: workers for each target, restarted after one died; every input ends as a row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.fuzz.worker import LIMIT_MB, LIMIT_S

_ROOT = Path(__file__).parents[3]
_START_S = 300.0


@dataclass
class Result:
    """How the inputs of one target ended: codes and their counts, and the faults, one row each."""

    target: str
    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    slowest_s: float = 0.0
    most_mb: float = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Count one input."""
        self.inputs += 1
        self.codes.update(row.get("codes", ()))
        self.slowest_s = max(self.slowest_s, row.get("seconds", 0.0))
        self.most_mb = max(self.most_mb, row.get("mb", 0.0))
        if "uncoded" in row or row.get("mb", 0) > LIMIT_MB or row.get("seconds", 0) > LIMIT_S:
            self.faults.append(row)


def run(target: str, seed: int, count: int) -> Result:
    """Read inputs 0 to ``count`` of a target."""
    result, first = Result(target), 0
    while first < count:
        rows, ended = _worker(target, seed, first, count)
        for row in rows:
            result.add(row)
        first += len(rows)
        if first < count:
            fault = {"index": first, "uncoded": _end_in_words(ended), "details": ended.stderr[-1500:]}
            result.add(fault)
            first += 1
            if not rows and len(result.faults) > 50:
                raise RuntimeError(f"no worker of {target} gets on: {ended.stderr[-1500:]}")
    return result


def _worker(
    target: str, seed: int, first: int, end: int
) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "tests.helpers.fuzz.worker", target]
        command += [str(seed), str(first), str(end), scratch]
        paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            timeout=_START_S + (end - first) * LIMIT_S,
            check=False,
        )
    return list(_rows(ended.stdout)), ended


def _rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("{") and len(row := json.loads(line)) > 1:
            yield row


def _end_in_words(ended: subprocess.CompletedProcess[str]) -> str:
    if ended.returncode < 0:
        return f"killed by {signal.Signals(-ended.returncode).name}"
    if "Timeout (" in ended.stderr:
        return f"hang of more than {LIMIT_S:.0f} s"
    return f"exit code {ended.returncode}"
