"""The MLflow pages of a work folder, wherever it was copied to: served on this machine, for this machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.tracking import experiments, store

HOST = "127.0.0.1"
LOG = "mlflow-server.log"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves four idle processes
}


@dataclass(frozen=True)
class Server:
    """A running server; `address` opens on the runs of the folder's experiment."""

    address: str
    process: subprocess.Popen[bytes]

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait until the server ends by itself; return its exit status, or None after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the server and the workers it started."""
        for sign in ("SIGTERM", "SIGKILL"):
            if self.process.poll() is not None:
                return
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, getattr(signal, sign))
            else:  # Windows has neither groups of processes nor SIGKILL
                self.process.kill()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue


def serve(
    work: Path, port: int = 5000, host: str = HOST, *, uri: str | None = None, patience: float = 180.0
) -> Server:
    """Serve the store of `work` at `port` of the address `host` and return once it answers.

    Browsers must ask for 127.0.0.1 or localhost at `port`, whatever `host` is. With `uri` that store is
    served as it is; the server's log and new files lie in `work`.

    Raises STAGE_MISSING without a store, USAGE if the port is taken, TRACKING_UNREACHABLE if the server
    ends or has not answered after `patience` seconds.
    """
    if uri is None and not (work / store.DATABASE).is_file():
        how_to_fix = "train first; if the recipe names tracking.uri, open that address instead"
        raise MedsegError(Code.STAGE_MISSING, work, f"no {store.DATABASE} in this folder", how_to_fix)
    _refuse_busy(port, host)
    uri = uri or store.prepare(work)
    address = f"http://{HOST}:{port}/{experiments.runs_page(store.client(uri))}"
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(
            _command(uri, work, port, host),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            cwd=sys.prefix,  # uvicorn imports from here, which a copied work folder must not decide
            start_new_session=True,
        )
    server = Server(address, process)
    try:
        _await(server, port, work / LOG, patience)
    except BaseException:
        server.stop()
        raise
    return server


def open_browser(address: str, environment: Mapping[str, str], system: str = sys.platform) -> bool:
    """Open an address in the browser of a desktop; False where there is none, as on a server or over SSH."""
    remote = any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"))
    has_screen = system in ("win32", "darwin") or any(
        environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_screen and not remote and webbrowser.open(address)


def _command(uri: str, work: Path, port: int, host: str) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "medseg.tracking.mlflow_app"),
        *("--backend-store-uri", uri),
        *("--artifacts-destination", store.artifact_root(work)),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--allowed-hosts", f"{HOST}:{port},localhost:{port}"),
    ]


def _refuse_busy(port: int, host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MedsegError(
                Code.USAGE, f"port {port}", f"not free ({error.strerror})", "choose another with --port"
            ) from None


def _await(server: Server, port: int, log: Path, patience: float) -> None:
    last = time.monotonic() + patience
    while not _answers(port):
        ended = server.process.poll()
        if ended is not None or time.monotonic() > last:
            details = "no answer in time" if ended is None else f"the server ended with status {ended}"
            raise MedsegError(Code.TRACKING_UNREACHABLE, f"port {port}", details, f"look into {log}")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)  # never through a proxy
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
