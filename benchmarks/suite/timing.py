"""Timing in turn (A B A B), ratios of pairs, and the peak memory of a call (Linux)."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.results import Way

Call = Callable[[], Any]
MB = 1e6


def in_turn(calls: Mapping[str, Call], rounds: int, *, warm: int = 1) -> dict[str, Way]:
    """Each call's seconds, one after another in each round; the first ``warm`` rounds do not count.

    The peak memory is that of a call in the first round, beyond what the process had before it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    peaks: dict[str, float | None] = {}
    for number in range(warm + rounds):
        for name, call in calls.items():
            if number == 0:
                passed, peaks[name] = peak_mb(call)
            else:
                passed = timed(call)
            if number >= warm:
                seconds[name].append(passed)
    return {name: Way(tuple(seconds[name]), peak_mb=peaks[name]) for name in calls}


def timed(call: Call) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def over(one: Way | Sequence[float], other: Way | Sequence[float]) -> float:
    """The median of the ratios of one way's runs over the other's, round by round."""
    first, second = (way.runs if isinstance(way, Way) else way for way in (one, other))
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def beyond(one: Way, other: Way) -> tuple[float, ...]:
    """What each run of one way takes beyond the other's of its round, in seconds."""
    return tuple(a - b for a, b in zip(one.runs, other.runs, strict=True))


def peak_mb(call: Call) -> tuple[float, float | None]:
    """Seconds of a call, and the most resident memory during it beyond that before it, in MB.

    The memory is None where the system does not say.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide what the call takes
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
    except (OSError, AttributeError):
        return timed(call), None
    seconds = timed(call)
    return seconds, max(0.0, _status("VmHWM") - before)


def _status(key: str) -> float:
    """A line of /proc/self/status, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{key}:")[1].split()[0]) * 1024 / MB
