"""The one way to a store that may be absent or get lost: training goes on, and nothing is forgotten.

Without a URI every call does nothing. Once a call fails, the rest is kept in `W/tracking_unsent.jsonl`, one
line said, and no further call waits for the server; :meth:`Link.resend` brings the lines in when it answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from medseg import files
from medseg.tracking import store

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

T = TypeVar("T")
Kept = Mapping[str, Any]


class BufferedClient:
    """A store's client, or none; `warn` gets a line when the store refuses something, is lost, is back."""

    def __init__(self, uri: str | None, unsent: Path, warn: Callable[[str], None]) -> None:
        self.uri = uri
        self.lost = False
        self._client = None if uri is None else store.client(uri)
        self._unsent = unsent
        self._warn = warn
        self._said: set[str] = set()

    def ask(self, call: Callable[[Any], T], *, default: T) -> T:
        """The answer of `call(client)`; `default` without a store, or when it refuses or does not answer."""
        if self._client is None or self.lost:
            return default
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return call(self._client)
        except (MlflowException, RequestException) as error:
            if getattr(error, "error_code", None) in _REFUSALS:
                self._say(f"refuses ({store.reason(error)}); the run goes on without it")
            else:
                self.lost = True
                kept = f"the run goes on, and what is not sent is kept in {self._unsent}"
                self._say(f"is lost ({store.reason(error)}); {kept}")
            return default

    def send(self, kept: Kept) -> None:
        """Do what `kept` says (see :func:`_perform`), or keep it for later."""
        if self._client is None:
            return
        if not self._done(kept) and self.lost:
            self.keep(kept)

    def keep(self, kept: Kept) -> None:
        """Add a line to the file of what was not sent."""
        with self._unsent.open("a", encoding="utf-8") as file:
            file.write(_as_line(kept))

    def resend(self) -> None:
        """Send what was kept, in order. If the store is lost again the rest stays; what it refuses goes."""
        if self._client is None or not self._unsent.is_file():
            return
        self.lost = False
        lines = _whole_lines(self._unsent)
        for done, kept in enumerate(lines):
            if not self._done(kept) and self.lost:
                files.write_text(self._unsent, "".join(_as_line(later) for later in lines[done:]))
                return
        self._unsent.unlink()
        self._say("answers again; what was kept is sent")

    def _done(self, kept: Kept) -> bool:
        return self.ask(lambda client: _perform(client, kept), default=False)

    def _say(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._warn(f"tracking: {store.without_password(str(self.uri))} {what}")


def _as_line(kept: Kept) -> str:
    # The leading line end closes a line that a kill cut off.
    return "\n" + json.dumps(kept, ensure_ascii=False) + "\n"


def _whole_lines(path: Path) -> list[Kept]:
    """What a file of kept lines says, but for lines that a kill cut off and empty ones."""
    found: list[Kept] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def _perform(client: Any, kept: Kept) -> bool:
    """One thing told to the store; each kind is one call, so that a kept line can be sent as it stands."""
    from mlflow.entities import Metric, Param, RunTag

    run_id = kept["run_id"]
    match kept["kind"]:
        case "metrics":
            client.log_batch(run_id, metrics=[Metric(*row) for row in kept["rows"]])
        case "params":
            client.log_batch(run_id, params=[Param(*row) for row in kept["rows"]])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(*row) for row in kept["rows"]])
        case "artifact":
            _upload(client, run_id, Path(kept["path"]), kept["folder"] or None)
        case "status":
            client.set_terminated(run_id, kept["status"])
    return True


def _upload(client: Any, run_id: str, path: Path, folder: str | None) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder)
    elif path.is_file():
        client.log_artifact(run_id, str(path), folder)
