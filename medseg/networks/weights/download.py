"""Weight files by URL: fetched once, and kept only if their sha256 is the recipe's."""

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
from medseg.names import check_name
from medseg.redaction import has_credentials, redacted

_TIMEOUT_S = 60

_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)
"""Errors of a connection that fails, before or amid the answer."""


def place(url: str, folder: Path) -> Path:
    """Name the file of a URL in ``folder``, by the last name of the URL's path; raises NAME_INVALID."""
    return folder / check_name(Path(unquote(urlsplit(url).path)).name or "weights", redacted(url))


def download(url: str, sha256: str, folder: Path) -> Path:
    """Fetch the file of a URL into ``folder``, unless it lies there with this sha256.

    It is written aside, and takes its name once its sha256 is right.

    :raises MedsegError: ``DOWNLOAD_FAILED``; ``SHA256_DIFFERS``, and then nothing is kept.
    """
    path = place(url, folder)
    if path.is_file() and files.sha256(path) == sha256:
        return path
    if has_credentials(url):  # the library would repeat them in its messages
        details, how_to_fix = "the address holds a password or a token", "get the file by hand and name it"
        raise MedsegError(Code.DOWNLOAD_FAILED, redacted(url), details, how_to_fix)
    try:
        with files.written_aside(path) as part:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
            require_sha256(part, sha256, redacted(url))
    except _BROKEN as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        how_to_fix = "check the address, or get the file by hand and name it as network.weights.file"
        details = (str(error) or type(error).__name__).splitlines()[0]
        raise MedsegError(Code.DOWNLOAD_FAILED, redacted(url), details, how_to_fix) from None
    return path


def require_sha256(path: Path, sha256: str, where: object) -> None:
    """Raise ``SHA256_DIFFERS``, with both hashes, unless the file has this sha256."""
    actual = files.sha256(path)
    if actual != sha256:
        details = f"its sha256 is {actual}, the recipe says {sha256}"
        how_to_fix = "get the file again, or correct network.weights.sha256 if this file is the one you mean"
        raise MedsegError(Code.SHA256_DIFFERS, where, details, how_to_fix)
