"""Credentials for a DICOMweb service: from a private file or the environment, never from a command line."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import Code, MedsegError

VARIABLES = {
    "user": "MEDSEG_DICOMWEB_USER",
    "password": "MEDSEG_DICOMWEB_PASSWORD",
    "token": "MEDSEG_DICOMWEB_TOKEN",
}
"""Environment variables, by the key that each has in a credentials file."""

_MOST_BYTES = 64 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_FORM = 'write {"user": "…", "password": "…"} or {"token": "…"}'


@dataclass(frozen=True)
class Credentials:
    """The value of the `Authorization` header; it is not shown."""

    authorization: str = field(repr=False)


def load(path: Path | None, environment: Mapping[str, str]) -> Credentials | None:
    """Read credentials from a JSON file, else from :data:`VARIABLES`; None where neither gives any.

    Raises PATH_MISSING, and USAGE for a file that others can read or that holds something else. No message
    repeats a value.
    """
    if path is not None:
        return _credentials(_read(path), "--credentials", _FORM)
    values = {key: environment[name] for key, name in VARIABLES.items() if environment.get(name)}
    names = f"set {VARIABLES['user']} and {VARIABLES['password']}, or {VARIABLES['token']} alone"
    return _credentials(values, "the environment", names) if values else None


def _read(path: Path) -> Any:
    where = "--credentials"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                details = f"others may read the file (mode {stat.S_IMODE(mode):03o})"
                raise MedsegError(Code.USAGE, where, details, "chmod 600 it")
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        raise MedsegError(Code.PATH_MISSING, where, "no such file", "name the file") from None
    try:
        return json.loads(content)
    except ValueError:
        raise MedsegError(Code.USAGE, where, "the file is not JSON", _FORM) from None


def _credentials(values: Any, where: str, form: str) -> Credentials:
    texts = values if isinstance(values, dict) else {}
    if not all(isinstance(text, str) and text for text in texts.values()):
        texts = {}
    if texts.keys() == {"token"}:
        if not _TOKEN.fullmatch(texts["token"]):
            raise MedsegError(Code.USAGE, where, "the token has characters that no bearer token has", form)
        return Credentials(f"Bearer {texts['token']}")
    if texts.keys() != {"user", "password"} or ":" in texts["user"]:
        raise MedsegError(Code.USAGE, where, "neither a user name and password nor a token", form)
    pair = f"{texts['user']}:{texts['password']}".encode()
    return Credentials(f"Basic {base64.b64encode(pair).decode()}")
