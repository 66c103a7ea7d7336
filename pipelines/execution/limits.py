"""Limits of one unit of work: seconds and memory, and how they are kept in a process."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_STATUS = "/proc/{}/status"
_USED = 0.9
"""Part of the machine's memory that the workers together may take."""


@dataclass(frozen=True)
class Limits:
    """Seconds for each step of a unit, and bytes of memory for its process; None for no limit."""

    seconds: float | None = None
    memory: int | None = None
    one_at_a_time: bool = False
    """Read the next unit only when the last one is written: memory holds one."""
    ends: float | None = None
    """When (system's clock) worker processes are ended, with what they have in hand."""

    def are_over(self) -> bool:
        """True if the time of the whole run is over."""
        return self.ends is not None and time.time() >= self.ends


def machine_memory() -> int | None:
    """Bytes of memory of this machine, or of the container if that is less; None where nobody says."""
    known = []
    with suppress(ValueError, OSError, AttributeError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _CGROUP:
        with suppress(ValueError, OSError):  # it says `max` where there is no limit
            known.append(int(Path(name).read_text()))
    return min(known, default=None)


def share_of_memory(workers: int) -> int | None:
    """Bytes of memory that each of so many workers may take."""
    memory = machine_memory()
    return None if memory is None else int(memory * _USED / workers)


def limit_memory(memory: int | None) -> None:
    """Let allocations of this process fail above ``memory`` bytes, where the system can: on Linux."""
    if memory is None or not sys.platform.startswith("linux"):
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def peak_memory(process: int) -> int | None:
    """The most memory (bytes) that a running process has taken so far; None where the system does not say."""
    return resident_memory("VmHWM", process)


def resident_memory(field: str, process: int | str = "self") -> int | None:
    """A figure (bytes) of a process's memory by the system's name, ``VmRSS``; None where it does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(_STATUS.format(process)).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None
