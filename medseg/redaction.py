"""Addresses without the user names, passwords and tokens in them: the one rule for all that is written."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`|]+")
"""An address within a text: it ends at a space or a quotation mark."""

_SECRET = re.compile(
    r"pass(word|wd)?|^pw$|pwd|secret|token|key|credential|signature|^sig$|auth", re.IGNORECASE
)
"""Names of parameters whose values are secrets."""

_PARAMETER = re.compile(r"(?<=[?&;#])([^=?&;#]+)=([^&;#]+)")
"""A parameter of an address, in its query or wherever a driver or a browser takes some."""

_UNPARSED_USER = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/?)?[^\s/:@]+:[^\s/@]+@")
"""User name and password where the address lacks its `//`, or has no scheme."""


def has_credentials(address: str) -> bool:
    """True if an address holds a user name, a password or a secret parameter."""
    return redacted(address) != address or redact_text(address) != address


def redacted(address: str) -> str:
    """Leave out user name and password, and replace the values of secret parameters with three stars.

    Anything else comes back as it is, also what is no address.
    """
    try:
        parts = urlsplit(address)
        user = bool(parts.netloc) and _has_user(parts.netloc, address)
    except ValueError:  # such as a bracket that is not closed: nothing of it can be trusted
        return f"{address.partition('://')[0]}://{_HIDDEN}"
    if user:
        rest = address.partition("//")[2]
        end = len(parts.netloc) if "@" in parts.netloc else len(rest)
        address = f"{parts.scheme}://" + rest[:end].rpartition("@")[2] + rest[end:]
    elif not parts.netloc:
        address = _UNPARSED_USER.sub(lambda match: match["scheme"] or "", address)
    return _PARAMETER.sub(_without_secret, address)


def _has_user(netloc: str, address: str) -> bool:
    """True if there is a user name before the host, also one whose password holds a bare `/`, `?` or `#`."""
    if "@" in netloc:
        return True
    port = netloc.rpartition("]")[2].partition(":")[2]
    return bool(port) and not port.isdecimal() and "@" in address


def _without_secret(parameter: re.Match[str]) -> str:
    name = parameter[1]
    return f"{name}={_HIDDEN}" if _SECRET.search(unquote(name)) else parameter[0]


def redact_text(text: str) -> str:
    """Redact every address within a text, such as a log line or another library's message."""
    return _ADDRESS.sub(lambda match: redacted(match[0]), text)
