"""A choice of one key of a recipe, and the reason that stands beside it in the file."""

from __future__ import annotations

from typing import Any, NamedTuple


class Choice(NamedTuple):
    """A value, as YAML takes it, and why it was chosen."""

    value: Any
    reason: str


Choices = dict[str, Choice]
"""Dotted key (``sampling.plane``) → choice, in the order of a recipe."""
