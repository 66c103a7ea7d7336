"""Locks of a folder of results: one run at a time, or several shards of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from medseg import files
from medseg.infer import batch
from pipelines.execution.engines import Shard

_OF_SHARDS = ".lock-shard-"
_START_S = 15.0
"""Seconds that a shard waits while others start, before it takes the folder to be another command's."""
_TABLES_S = 600.0
"""Seconds that a shard waits for another one to write its tables."""


@contextmanager
def hold(out: Path, shard: Shard | None) -> Iterator[None]:
    """Hold the folder while the block runs: alone, or as a shard beside other shards; raises WORK_IN_USE."""
    with ExitStack() as stack:
        stack.enter_context(alone := ExitStack())
        # Shards that start at the same moment hold the folder for an instant each: they wait for one another.
        alone.enter_context(batch.lock(out, wait_s=0.0 if shard is None else _START_S))
        if shard is None:
            for path in out.glob(f"{_OF_SHARDS}*"):
                _require_free(path, out)
        else:
            name = f"{_OF_SHARDS}{shard.number}-of-{shard.count}"
            stack.enter_context(_held(out / name, out))
            alone.close()  # other shards may come
        yield


@contextmanager
def hold_tables(out: Path) -> Iterator[None]:
    """Hold the tables of the folder while the block runs, after others that hold them."""
    with filelock.FileLock(out / ".lock-tables", timeout=_TABLES_S):
        yield


def _require_free(path: Path, out: Path) -> None:
    with _held(path, out):
        path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, out: Path) -> Iterator[None]:
    details = "another medseg command is writing label maps there"
    with files.hold_lock(path, out, details, "wait for it to end, or name another folder"):
        yield
