"""A real Orthanc with its DICOMweb plugin on loopback, for as long as a block lasts."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "medseg", "orthanc-PASSWORD-7"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S = 60


@dataclass(frozen=True)
class Orthanc:
    """Where the server listens; it asks for :data:`USER` and :data:`PASSWORD`."""

    http_port: int
    dicom_port: int

    def ask(self, path: str, body: bytes | None = None, accept: str = "*/*") -> bytes:
        """The answer to a request of Orthanc's own interface, or of DICOMweb."""
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}", "Accept": accept}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def instances(self) -> set[str]:
        """The SOP instance UIDs of everything that it holds."""
        tree = json.loads(self.ask("/instances?expand"))
        return {entry["MainDicomTags"]["SOPInstanceUID"] for entry in tree}


def absent() -> str:
    """The reason why no Orthanc can be started; empty if one can."""
    if shutil.which("Orthanc") is None or not _PLUGIN.exists():
        return "Orthanc and its DICOMweb plugin (Debian: orthanc, orthanc-dicomweb) are not installed"
    return ""


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc with its storage in ``folder``, and stop it when the block ends."""
    server = Orthanc(_free_port(), _free_port())
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            _wait(server, process, folder / "orthanc.log")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            server.ask("/system")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"Orthanc did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
