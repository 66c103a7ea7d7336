"""Addresses without the user names, passwords and tokens in them: the one rule for all that is written."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_HIDDEN = "***"

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`|]+")
"""An address within a text: it ends at a space or a quotation mark."""

_SECRET = re.compile(r"pass(word|wd)?|pwd|secret|token|key|credential|signature|^sig$|auth", re.IGNORECASE)
"""Names of query parameters whose values are secrets."""


def has_credentials(address: str) -> bool:
    """True if an address holds a user name, a password or a secret query parameter."""
    return redacted(address) != address


def redacted(address: str) -> str:
    """Leave out user name and password, and replace the values of secret query parameters with three stars.

    Anything else comes back as it is, also what is no address.
    """
    try:
        parts = urlsplit(address)
        if not parts.scheme or not (parts.netloc or parts.query):
            return address
        netloc, query = parts.netloc, parts.query
        if "@" in netloc:
            netloc = netloc.rpartition("@")[2]
        pairs = parse_qsl(query, keep_blank_values=True)
        if any(_SECRET.search(name) and value for name, value in pairs):
            shown = [(name, _HIDDEN if _SECRET.search(name) else value) for name, value in pairs]
            query = urlencode(shown, safe="*/:@")
    except ValueError:  # such as a bracket that is not closed: nothing of it can be trusted
        return f"{address.partition('://')[0]}://{_HIDDEN}"
    if (netloc, query) == (parts.netloc, parts.query):
        return address
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def redact_text(text: str) -> str:
    """Redact every address within a text, such as a log line or another library's message."""
    return _ADDRESS.sub(lambda match: redacted(match[0]), text)
