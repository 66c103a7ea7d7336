"""A row made again: with the length of its training as it is recorded, and compared with its JSON.

`train.minutes` plans steps from the speed of the machine, which no second run would measure the same. The
JSON of a row therefore keeps the plan, and a repetition starts from it in a work folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg import device, files
from medseg.errors import Code, MedsegError
from pipelines.workfolder import Work

LENGTH = "train_length"
"""Key of the plan in a row's JSON."""

_THIS_RUN = frozenset(
    {
        *("row", "title", "command", "published", "key", "recipe"),
        *("commit", "changed_since_commit", "medseg", "torch", "hardware", "minutes"),
    }
)
"""Keys that say where, when and by which code a row was made, not what came out."""

_TIMES = frozenset({"seconds", "minutes"})
"""Keys, at any depth, of what no second run measures the same."""


def planned(work: Work) -> dict[str, Any]:
    """The part of a row's JSON that keeps the plan; empty where none was needed."""
    return {LENGTH: files.read_json(work.train_length)} if work.train_length.is_file() else {}


def prepare(committed: Mapping[str, Any], work: Work, path: Path) -> None:
    """Put the recorded plan into a work folder, and check that the same numbers can come out.

    Raises USAGE for a row whose JSON keeps no plan though one was needed, or which had another number of
    threads.
    """
    settings = committed.get("recipe", {}).get("settings", ())
    if LENGTH not in committed and any(value.startswith("train.minutes=") for value in settings):
        details = "it keeps no plan of the training's length"
        raise MedsegError(Code.USAGE, path, details, "make the row anew, without a repetition")
    before, now = committed.get("hardware", {}).get("threads"), device.threads()
    if before not in (None, now):
        details = f"it was made with threads: {before}; here: {now}, which may change the last digits"
        raise MedsegError(Code.USAGE, path, details, f"set OMP_NUM_THREADS={before}")
    if LENGTH in committed and not work.train_length.is_file():
        work.root.mkdir(parents=True, exist_ok=True)
        files.write_json(work.train_length, committed[LENGTH])


def differences(committed: Any, again: Any, where: str = "") -> Iterator[str]:
    """Name every value of one JSON that the other has not, as `where: before, now`; times aside."""
    if isinstance(committed, dict) and isinstance(again, dict):
        left_out = _TIMES if where else _THIS_RUN | _TIMES
        for key in sorted((committed.keys() | again.keys()) - left_out):
            yield from differences(committed.get(key), again.get(key), f"{where}.{key}" if where else key)
    elif isinstance(committed, list) and isinstance(again, list) and len(committed) == len(again):
        for number, pair in enumerate(zip(committed, again, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif committed != again:
        yield f"{where}: {_short(committed)}, now {_short(again)}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) and len(value) < 40 else repr(value)[:40]
