"""Weight files from elsewhere: fetched once, and read only if they are what the recipe says they are."""

from __future__ import annotations

import http.client
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from medseg import files
from medseg.errors import Code, MedsegError

_TIMEOUT_S = 60

_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)
"""What a connection that fails raises, before or amid the answer."""


def place(url: str, folder: Path) -> Path:
    """Where in ``folder`` the file of a URL lies, under the last name of its path."""
    return folder / (Path(unquote(urlsplit(url).path)).name or "weights")


def download(url: str, sha256: str, folder: Path) -> Path:
    """The file of a URL, fetched into ``folder`` unless it lies there with this sha256.

    It is written aside, and takes its name once its sha256 is right.

    :raises MedsegError: ``DOWNLOAD_FAILED``; ``SHA256_DIFFERS``, and then nothing is kept.
    """
    path = place(url, folder)
    if path.is_file() and files.sha256(path) == sha256:
        return path
    try:
        with files.written_aside(path) as part:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
            require_sha256(part, sha256, url)
    except _BROKEN as problem:
        if isinstance(problem, urllib.error.HTTPError):
            problem.close()
        how_to_fix = "check the address, or get the file by hand and name it as network.weights.file"
        raise MedsegError(Code.DOWNLOAD_FAILED, url, _first_line(problem), how_to_fix) from None
    return path


def require_sha256(path: Path, sha256: str, where: object) -> None:
    """Raise ``SHA256_DIFFERS``, with both hashes, unless the file has this sha256."""
    found = files.sha256(path)
    if found != sha256:
        told = f"its sha256 is {found}, the recipe says {sha256}"
        how_to_fix = "get the file again, or correct network.weights.sha256 if this file is the one you mean"
        raise MedsegError(Code.SHA256_DIFFERS, where, told, how_to_fix)


def _first_line(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0]
