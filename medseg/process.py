"""Settings of this process that make torch faster and change no result; for commands, never for the library.

:func:`prepare` comes before torch is imported: OpenMP reads its variables when it is loaded. Whatever the
user has set stays as it is. Worker processes inherit the variables, and call :func:`keep_freed_memory`.
"""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

SPIN_COUNT = "50000"
"""Turns for which a thread of OpenMP waits actively, a fraction of a millisecond. By default threads spin for
milliseconds; beside other busy processes they take the processor from the threads that they wait for."""

_ABOUT_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_ABOUT_THREADS = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1

_QUOTAS = (
    (Path("/sys/fs/cgroup/cpu.max"), None),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)
"""Files of this container's share of processor time, of cgroups version 2 and 1."""


def prepare() -> None:
    """Tame OpenMP's waiting, keep its threads within the quota, and keep freed memory; before torch comes."""
    if not any(name in os.environ for name in _ABOUT_WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    quota = cpu_quota()
    if quota is not None and quota < cpus_allowed() and not any(n in os.environ for n in _ABOUT_THREADS):
        os.environ["OMP_NUM_THREADS"] = str(most_threads())
    keep_freed_memory()


def cpus_allowed() -> int:
    """The processors that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota() -> float | None:
    """This container's share of processor time, in processors; None without a limit."""
    for quota_file, period_file in _QUOTAS:
        try:
            words = quota_file.read_text(encoding="ascii").split()
            period = words[1] if period_file is None else period_file.read_text(encoding="ascii")
            share = int(words[0]) / int(period)
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # "max", or no such system
            continue
        if share > 0:
            return share
    return None


def most_threads() -> int:
    """Threads that can run at once: processors allowed, and whole ones of the quota, one at least."""
    quota = cpu_quota()
    allowed = cpus_allowed()
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


keeps_freed_memory = False
"""True once :func:`keep_freed_memory` has had its way."""


def keep_freed_memory() -> None:
    """Have glibc keep large blocks that are freed, for the next tensor.

    By default it maps each anew and gives it back, and the system fills it with zeros every time. Nothing is
    changed where another C library is used, or where the user has set ``MALLOC_…`` or ``GLIBC_TUNABLES``.
    """
    global keeps_freed_memory
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ValueError, OSError):  # no confstr, no such name, or no such function
        return
    keeps_freed_memory = bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
