"""Names of metrics, parameters and image series as MLflow accepts them, no two of them alike."""

from __future__ import annotations

import hashlib
import re

MAX_KEY = 250
"""Characters of a name."""

_TOKEN = "_0x"
"""Begins a character by its hexadecimal number, up to the next underscore: `(` is `_0x28_`."""


def metric_name(key: str, *, ascii_only: bool = False) -> str:
    """Write `key` in the characters that MLflow takes, with escapes that can be undone.

    Letters, digits and `_ - . / space` stay. Any other character is written by its number, as is a slash or
    a dot that would make the name another path than it seems (`a//b`, `..`), and an underscore that seems to
    begin such a number. So different keys have different names; one that is too long ends with a hash.
    """
    escaped = "".join(_escaped(key, place, ascii_only=ascii_only) for place in range(len(key)))
    name = escaped or f"{_TOKEN}_"
    if len(name) <= MAX_KEY:
        return name
    # "g" is no hexadecimal digit: no escape of a short key looks like this.
    digest = f"{_TOKEN}g{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
    return name[: MAX_KEY - len(digest)] + digest


def _escaped(key: str, place: int, *, ascii_only: bool) -> str:
    character, before, after = key[place], key[:place], key[place + 1 :]
    match character:
        case "/":
            stays = bool(before) and bool(after) and not before.endswith("/")
        case ".":
            part = before.rpartition("/")[2] + character + after.partition("/")[0]
            goes_up = part in (".", "..") or (not before and after.startswith("."))
            stays = not goes_up or before.endswith(".")
        case "_":
            stays = not after.startswith("0x")
        case " ":
            stays = True
        case _:
            stays = re.fullmatch(r"[\w\-]", character, re.ASCII if ascii_only else re.UNICODE) is not None
    return character if stays else f"{_TOKEN}{ord(character):x}_"
