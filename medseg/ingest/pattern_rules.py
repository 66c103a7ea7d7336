"""The expressions of a recipe's patterns, and the rule that a path belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medseg.errors import Code, MedsegError
from medseg.ingest.tree import nfc, without_suffix

_TOKEN = re.compile(r"\{\w*\}|\*\*/|\*|[^{*]+|.")
_OPTIONAL = re.compile(r"\[([^\[\]{}]*\{\w+\}[^\[\]{}]*)\]")
ANY_NAME = r"[^/]+"
_PLACEHOLDERS = {"case", "subject", "part", "role"}

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
ROLES: dict[str, str] = {
    form: role for word, role in _ROLES.items() for form in (word, word.capitalize(), word.upper())
}
"""The words that ``{role}`` matches, and the role each means: ``train``, ``Train``, ``TRAIN``, …"""


@dataclass(frozen=True)
class Patterns:
    """Channel name → pattern, the label map's, and what placeholders may match as expressions.

    Instead of a label map there may be ``masks``: mask name → pattern.
    """

    channels: Mapping[str, str]
    label: str | None = None
    subject_form: str = ANY_NAME
    masks: Mapping[str, str] = field(default_factory=dict)
    case_form: str = ANY_NAME


Role = tuple[Literal["channel", "mask", "label"], str]
"""What a file is to its case: the kind, and the channel's or mask's name."""


@dataclass(frozen=True)
class Rule:
    """A pattern compiled: ``weight`` is its literal characters, ``stem`` matches it without its suffix."""

    pattern: str
    weight: int
    roles: list[Role]
    expression: re.Pattern[str]
    stem: re.Pattern[str]


def compiled(patterns: Patterns) -> list[Rule]:
    """The rules of all distinct patterns, the first to be tried first."""
    labels = [patterns.label] if patterns.label else []
    texts = [*labels, *patterns.masks.values(), *patterns.channels.values()]
    if not patterns.channels:
        raise _invalid("no channel", "name at least one channel's pattern under data.channels")
    used = {text: set(re.findall(r"\{(\w*)\}", text)) for text in texts}
    for text, names in used.items():
        if names - _PLACEHOLDERS or not names & {"case", "subject"}:
            how_to_fix = (
                "use {case}, {subject} or both, beside them {part} or {role}, and nothing else in braces"
            )
            raise _invalid(f"pattern {text!r}", how_to_fix)
    if len({frozenset(names) for names in used.values()}) > 1:
        raise _invalid(f"patterns {', '.join(map(repr, texts))}", "use the same placeholders in all of them")
    rules = [
        Rule(
            text,
            len(re.sub(r"\{\w*\}|\*", "", without_suffix(text))),
            _roles(text, patterns),
            _expression(text, patterns),
            _expression(without_suffix(text), patterns),
        )
        for text in dict.fromkeys(texts)
    ]
    return sorted(rules, key=lambda rule: -rule.weight)


def _invalid(details: str, how_to_fix: str) -> MedsegError:
    return MedsegError(Code.RECIPE_INVALID, "data", details, how_to_fix)


def _expression(pattern: str, patterns: Patterns) -> re.Pattern[str]:
    """The expression of a pattern's text; a placeholder's second place must hold what its first one does."""
    forms = {"subject": patterns.subject_form, "case": patterns.case_form, "role": "|".join(ROLES)}
    opened: set[str] = set()
    texts = enumerate(_OPTIONAL.split(nfc(pattern)))
    parts = [(i % 2, _expression_of(text, forms, opened)) for i, text in texts]
    text = "".join(f"(?:{part})?" if is_optional else part for is_optional, part in parts)
    return re.compile(text + ("[^/]+" if pattern.endswith("/") else ""))


def _expression_of(text: str, forms: Mapping[str, str], opened: set[str]) -> str:
    """The expression of a part of a pattern; ``opened`` are the placeholders that came before."""
    parts: list[str] = []
    for token in _TOKEN.findall(text):
        name = token.strip("{}")
        if token == "**/":
            parts.append("(?:[^/]+/)*")
        elif token == "*":
            parts.append("[^/]*")
        elif name in _PLACEHOLDERS and token != name:
            form = forms.get(name, ANY_NAME)
            parts.append(f"(?P={name})" if name in opened else f"(?P<{name}>{form})")
            opened.add(name)
        else:
            parts.append(re.escape(token))
    return "".join(parts)


def claim_of(path: str, rules: list[Rule]) -> tuple[Rule, dict[str, str]] | None:
    """The rule that ``path`` belongs to and the placeholders' values."""
    whole = nfc(path)
    stem = without_suffix(whole)
    for rule in rules:
        if hit := rule.expression.fullmatch(stem) or rule.expression.fullmatch(whole):
            return rule, _values(hit)
    return None


def claim_but_for_suffix(path: str, rules: list[Rule]) -> tuple[Rule, dict[str, str]] | None:
    """As :func:`claim_of`, whatever suffixes the pattern and the path have."""
    stem = without_suffix(nfc(path))
    hits = ((rule, rule.stem.fullmatch(stem)) for rule in rules)
    return next(((rule, _values(hit)) for rule, hit in hits if hit), None)


def _values(hit: re.Match[str]) -> dict[str, str]:
    """The values of the placeholders that the path has."""
    return {name: value for name, value in hit.groupdict().items() if value is not None}


def _roles(pattern: str, patterns: Patterns) -> list[Role]:
    """The roles of files that match ``pattern``: label map, masks, or channels."""
    if pattern == patterns.label:
        return [("label", "")]
    masks: list[Role] = [("mask", name) for name, text in patterns.masks.items() if text == pattern]
    return masks or [("channel", name) for name, text in patterns.channels.items() if text == pattern]
