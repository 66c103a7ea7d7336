"""A client of a store that may be absent or get lost: refused calls are kept in a file and sent later.

Without a URI every call does nothing. Once a call fails, the rest is kept in `W/tracking_unsent.jsonl`, one
line is said, and no further call waits for the server; :meth:`BufferedClient.resend` sends the lines when it
answers. A server may answer while the place where it keeps files does not: then files alone are kept back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from medseg import files
from medseg.errors import Code
from medseg.redaction import redacted
from medseg.resources import is_disk_full, is_out_of_memory
from medseg.tracking import store
from medseg.tracking.store import StorageError, storing

UNSENT = "tracking_unsent.jsonl"

# The store answered, and would answer the same again: no reason to count it as lost.
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}

_FILES = frozenset({"artifact", "model"})
"""Kinds of lines that store files."""

T = TypeVar("T")
Line = Mapping[str, Any]


class BufferedClient:
    """A store's client, or none; `warn` gets a line when the store refuses something, is lost, is back.

    `lost` is set once the store does not answer, `files_lost` once it does but stores no files.
    """

    def __init__(self, uri: str | None, unsent: Path, warn: Callable[[str], None]) -> None:
        self.uri = uri
        self.lost = False
        self.files_lost = False
        self._client = None if uri is None else store.client(uri)
        self._unsent = unsent
        self._warn = warn
        self._said: set[str] = set()

    def ask(self, call: Callable[[Any], T], *, default: T, stores_files: bool = False) -> T:
        """Give the answer of `call(client)`; `default` without a store, or if it refuses or does not answer.

        A call that `stores_files` is left out once files are lost; it calls within `store.storing`.
        """
        if self._client is None or self.lost or (stores_files and self.files_lost):
            return default
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return call(self._client)
        except (MlflowException, RequestException, StorageError) as error:
            if is_out_of_memory(error) or (
                store.is_local(str(self.uri)) and is_disk_full(error, self._unsent)
            ):
                raise  # of this machine
            cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
            if getattr(cause, "error_code", None) in _REFUSALS:
                self._say(f"refuses ({store.reason(cause)}); the run goes on without it")
            elif isinstance(error, StorageError):
                self.files_lost = True
                later = f"and the next command tries again what {self._unsent} lists"
                self._say(
                    f"stores no files: {_why(cause)}; the run goes on, files stay in the work folder, {later}"
                )
            else:
                self.lost = True
                later = f"and what is not sent is kept in {self._unsent}"
                self._say(f"is lost ({store.reason(cause)}); the run goes on, {later}")
            return default

    def send(self, line: Line) -> None:
        """Do what `line` says (see :func:`_perform`), or keep it for later."""
        if self._client is not None and not self._done(line) and self._is_lost(line):
            self.keep(line)

    def keep(self, line: Line) -> None:
        """Add a line to the file of what was not sent."""
        with self._unsent.open("a", encoding="utf-8") as file:
            file.write(_as_line(line))

    def resend(self) -> None:
        """Send what was kept, in order. What does not get through stays; what the store refuses goes."""
        if self._client is None or not self._unsent.is_file():
            return
        self.lost = self.files_lost = False
        lines = _whole_lines(self._unsent)
        left = [line for line in lines if not self._done(line) and self._is_lost(line)]
        if left == lines:
            return
        if left:
            files.write_text(self._unsent, "".join(_as_line(line) for line in left))
        else:
            self._unsent.unlink()
            self._say("answers again; what was kept is sent")

    def _is_lost(self, line: Line) -> bool:
        return self.lost or (self.files_lost and line["kind"] in _FILES)

    def _done(self, line: Line) -> bool:
        return self.ask(
            lambda client: _perform(client, line), default=False, stores_files=line["kind"] in _FILES
        )

    def _say(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._warn(f"tracking: {redacted(str(self.uri))} {what}")


def _why(error: BaseException) -> str:
    """Say in one line why files are not stored; the package's name if its absence is the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            package = store.package_of(cause)
            return f"{Code.EXTRA_MISSING} its storage needs the package {package} (pip install {package})"
        cause = cause.__cause__ or cause.__context__
    return store.reason(error)


def _as_line(line: Line) -> str:
    # The leading line end closes a line that a kill cut off.
    return "\n" + json.dumps(line, ensure_ascii=False) + "\n"


def _whole_lines(path: Path) -> list[Line]:
    """Read a file of kept lines, but for lines that a kill cut off and empty ones."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def _perform(client: Any, line: Line) -> bool:
    """Make the call that a line stands for; each kind is one, so that a kept line can be sent as it is."""
    from mlflow.entities import Metric, Param, RunTag

    run_id = line["run_id"]
    match line["kind"]:
        case "metrics":
            client.log_batch(run_id, metrics=[Metric(*row) for row in line["rows"]])
        case "params":
            client.log_batch(run_id, params=[Param(*row) for row in line["rows"]])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(*row) for row in line["rows"]])
        case "artifact":
            _upload(client, run_id, Path(line["path"]), line["folder"] or None)
        case "model":
            from medseg.tracking import logged_model  # which imports torch

            logged_model.store_model(client, line)
        case "status":
            client.set_terminated(run_id, line["status"])
    return True


def _upload(client: Any, run_id: str, path: Path, folder: str | None) -> None:
    with storing():
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder)
        elif path.is_file():
            client.log_artifact(run_id, str(path), folder)
