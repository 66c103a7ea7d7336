"""MLflow's server as `medseg ui` starts it: as it is, but for two choices that its page makes at first sight.

`python -m medseg.tracking.mlflow_app --host …` takes the options of `mlflow server`. MLflow's page shows a
browser that is new to it the menu for language models, and opens an assistant over a quarter of the window. A
line of script in the page chooses the menu for training and leaves the assistant closed; whoever has chosen
otherwise keeps that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_CHOICES = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.workflowType_v1": '"machine_learning"',
}
"""Keys and values of the browser's storage, as MLflow writes them."""

SCRIPT = (
    f"<script>for (const [key, value] of Object.entries({json.dumps(_CHOICES)})) "
    "if (localStorage.getItem(key) === null) localStorage.setItem(key, value)</script>"
).encode()
_HEAD = b"<head>"

_MLFLOW = "mlflow.server.fastapi_app:app"
_OURS = "medseg.tracking.mlflow_app:create"

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


def create() -> App:
    """Make the application that uvicorn serves."""
    from mlflow.server.fastapi_app import app

    return with_script(app)


def with_script(app: App) -> App:
    """Wrap an ASGI application: its page at `/` gets :data:`SCRIPT`."""

    async def wrapped(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/"
        await app(scope, receive, _PageSender(send).send if is_page else send)

    return wrapped


class _PageSender:
    """Holds an answer back until it is whole, and sends it with the script in its head."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body.replace(_HEAD, _HEAD + SCRIPT, 1)
        others = [
            pair for pair in self._start["headers"] if pair[0].lower() not in (b"content-length", b"etag")
        ]
        self._start["headers"] = [*others, (b"content-length", str(len(body)).encode())]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})


def main() -> None:
    """Run `mlflow server` with the options of the command line."""
    import mlflow.server
    from mlflow.cli import cli

    build = getattr(mlflow.server, "_build_uvicorn_command", None)
    if build is not None:  # without this function of MLflow's own the page is as MLflow makes it

        def build_ours(*arguments: Any, **keywords: Any) -> list[str]:
            words: list[str] = build(*arguments, **keywords)
            return [word for old in words for word in (("--factory", _OURS) if old == _MLFLOW else (old,))]

        mlflow.server._build_uvicorn_command = build_ours
    cli(["server", *sys.argv[1:]])


if __name__ == "__main__":
    main()
