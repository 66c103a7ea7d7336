"""Amounts on the command line: memory as `2GB`, time as `30m` or `1h30m`."""

from __future__ import annotations

import math
import re

from medseg.errors import Code, MedsegError

_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "min": 60, "s": 1}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)B?", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(min|d|h|m|s)\s*", re.IGNORECASE)


def size(option: str, text: str) -> int:
    """Read bytes: `2GB`, `1500MB`, `1.5GiB`, also without the B. Raises USAGE."""
    match = _SIZE.fullmatch(text.strip())
    value = 0 if match is None else math.floor(float(match[1]) * _BYTES[match[2].upper()])
    if value < 1:
        how_to_fix = "give a number and a unit: 2GB, 1500MB, 1.5GiB"
        raise MedsegError(Code.USAGE, option, f"{text!r} is no amount of memory", how_to_fix)
    return value


def duration(option: str, text: str) -> float:
    """Read seconds: `30m`, `90s`, `1h30m`, `2d`. Raises USAGE."""
    parts = _PART.findall(text.strip())
    whole = "".join(match[0] for match in _PART.finditer(text.strip())) == text.strip()
    seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if not parts or not whole or seconds <= 0:
        how_to_fix = "give a number and a unit: 30m, 90s, 1h30m"
        raise MedsegError(Code.USAGE, option, f"{text!r} is no time", how_to_fix)
    return seconds
