"""Facts that the system tells of this machine; None where it does not tell them, on whatever system."""

from __future__ import annotations

import datetime
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SHM = Path("/dev/shm")

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Limit and use of memory of this container, of cgroups version 2 and 1."""

_MEMINFO = Path("/proc/meminfo")
_NO_LIMIT = 2**60
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def uid() -> int | None:
    """The number of the user; None on Windows."""
    get = getattr(os, "getuid", None)
    return None if get is None else int(get())


def in_container() -> bool:
    """True where docker or podman left their mark."""
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def free_gb(folder: Path) -> float | None:
    """Free space in GB of the disk that holds a folder; None where there is no such folder."""
    try:
        return shutil.disk_usage(folder).free / 1e9
    except OSError:
        return None


def why_not_writable(folder: Path) -> str | None:
    """The system's words for why no file can be made in a folder; None if one can. Leaves nothing behind."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def temporary_folder() -> Path | None:
    """The folder for temporary files (TMPDIR, TEMP, else the system's); None where none can be written."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def free_memory_gb() -> float | None:
    """Memory in GB that a process can still get, within this container's limit and its own (ulimit)."""
    known = (_system_free_gb(), _cgroup_free_gb(), _process_limit_gb())
    values = [value for value in known if value is not None]
    return min(values, default=None)


def memory_limit_gb() -> float | None:
    """This container's limit of memory in GB; None without one."""
    pair = _cgroup()
    return None if pair is None else pair[0] / 1e9


def _system_free_gb() -> float | None:
    """Free memory of the whole system; caches that it gives back count as free where it tells them."""
    if importlib.util.find_spec("psutil") is not None:  # macOS and Windows say it in their own ways
        import psutil

        return float(psutil.virtual_memory().available) / 1e9
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024 / 1e9
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _process_limit_gb() -> float | None:
    """The memory that this process may take (`ulimit -v`, `ulimit -d`); None without a limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit / 1e9 for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def _cgroup_free_gb() -> float | None:
    pair = _cgroup()
    return None if pair is None else max(pair[0] - pair[1], 0) / 1e9


def _cgroup() -> tuple[int, int] | None:
    """Limit and use of this container's memory in bytes; None without a limit."""
    for limit_file, use_file in _CGROUPS:
        try:
            limit = int(limit_file.read_text(encoding="ascii"))
            use = int(use_file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # "max", or no such system
            continue
        if limit < _NO_LIMIT:
            return limit, use
    return None


def nvidia_gpu() -> str | None:
    """The first NVIDIA GPU that the driver names; None without one, or without its program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = ended.stdout.splitlines()
    return f"{lines[0].replace(', ', ', driver ')}" if lines else None


def now() -> datetime.datetime:
    """The system's clock, UTC."""
    return datetime.datetime.now(datetime.UTC)
