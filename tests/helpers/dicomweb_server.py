"""A DICOMweb server on loopback whose answers a test chooses, good or bad."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BOUNDARY = "a=simple/boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


@dataclass
class Answer:
    """An answer: ``length`` is the Content-Length that is stated, the true one by default."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class Request:
    """A request that came in: its headers have small names."""

    path: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Request], Answer]


def multipart(contents: Sequence[bytes], kind: str = "application/dicom") -> bytes:
    """The body of an answer with these files."""
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n" for content in contents
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def study_of(paths: Sequence[Path]) -> Answer:
    """The answer to WADO-RS with these files."""
    body = multipart([path.read_bytes() for path in paths])
    return Answer(body=body, headers={"Content-Type": MULTIPART})


def stored(
    good: Sequence[str] = (), failed: Sequence[tuple[str, int]] = (), status: int | None = None
) -> Answer:
    """The answer to STOW-RS that lists instances as stored, and others as failed with a reason."""
    tree: dict[str, Any] = {}
    if good:
        tree["00081199"] = {"vr": "SQ", "Value": [_item(uid) for uid in good]}
    if failed:
        items = [{**_item(uid), "00081197": {"vr": "US", "Value": [reason]}} for uid, reason in failed]
        tree["00081198"] = {"vr": "SQ", "Value": items}
    code = status or (200 if not failed else 202 if good else 409)
    return Answer(code, json.dumps(tree).encode(), {"Content-Type": "application/dicom+json"})


def _item(uid: str) -> dict[str, Any]:
    return {"00081155": {"vr": "UI", "Value": [uid]}}


@contextmanager
def serving(respond: Respond) -> Iterator[tuple[str, list[Request]]]:
    """Give `host:port` of a server that answers by ``respond``, and the list of requests that came in."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, self.rfile.read(size))
            requests.append(request)
            answer = respond(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = len(answer.body) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that goes away amid an answer is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
