"""From templates with numbered words of the case to a recipe's patterns: which number is which placeholder.

One is ``{case}``; of two the first is ``{subject}`` where the second tells sessions, and ``{part}`` where the
first tells sites. Words that always stand together become one placeholder, with a constant word before them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medseg.ingest import path_words, subjects
from medseg.ingest.pattern_rules import ROLES

_SLOT = re.compile(r"\{(?:\d+|role)\}")
_SITE = re.compile(
    r"(?:site|cent(?:er|re)|zentrum|hosp|clinic|klinik|scanner|institut|vendor|cohort|batch|group|study|dataset"
    r"|uni)",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"(?:sub|subj|subject|patients?|pat|pt|p|participant|person|case|volunteer|control|hc|id|s)[-_ ]?\d+",
    re.IGNORECASE,
)
_TIME = re.compile(r"[Tt]\d")
_YEAR = re.compile(r"(?:19|20)\d\d")
_DIGITS_OF_DATE = 8
_MOSTLY = 0.5
_MOST_SLOTS = 3
_SIGNS = {"*": "[^/]*", "[": "(?:", "]": ")?"}
_BETWEEN = r"[_\-. ]"


@dataclass(frozen=True)
class Naming:
    """Replacements that turn templates into patterns, in order, and remarks on what is uncertain."""

    replacements: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()

    def write(self, template: str) -> str:
        """The template as a pattern."""
        for old, new in self.replacements:
            template = template.replace(old, new)
        return template

    def shown(self, template: str) -> str:
        """The template as a pattern for a remark: ``*`` for words that no placeholder stands for."""
        return re.sub(r"\{\d+\}", "*", self.write(template))


def in_template(template: str) -> frozenset[str]:
    """The numbered placeholders of a template, and ``{role}``."""
    return frozenset(_SLOT.findall(template))


def fits(template: str, path: str) -> bool:
    """True for a path without suffix that the template's pattern matches, whatever words it was made of.

    A placeholder stands for any text without ``/``, ``{role}`` for its words, the same at each place, as in a
    recipe.
    """
    expression = ""
    seen: set[str] = set()
    for part in re.split(r"(\{\w+\}|[*\[\]])", template):
        name = f"word_{part[1:-1]}"
        if part in _SIGNS:
            expression += _SIGNS[part]
        elif not part.startswith("{"):
            expression += re.escape(part)
        else:
            form = "|".join(ROLES) if part == "{role}" else "[^/]+"
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>{form})"
            seen.add(name)
    return re.fullmatch(expression, path) is not None


def without(text: str) -> str:
    """A template's or pattern's name without placeholders and ``*``."""
    return re.sub(r"\{\w+\}|\*", " ", text)


def named(templates: Sequence[str], told_by: Sequence[tuple[str, ...]]) -> Naming | None:
    """Choose placeholders for templates that all have the same; None where there are more than a name takes.

    ``told_by`` are the words of each case, of which number i is the i-th.
    """
    slots = sorted(in_template(templates[0]) - {"{role}"})
    values = {
        slot: [words[int(slot[1:-1])] for words in told_by if int(slot[1:-1]) < len(words)] for slot in slots
    }
    replacements: list[tuple[str, str]] = []
    texts = list(templates)
    for first, second in reversed(list(itertools.pairwise(slots))):
        between = _always_between(texts, first, second)
        if between and not _are_sessions(values[first], values[second], between):
            together = first + between + second
            replacements.append((together, first))
            texts = [text.replace(together, first) for text in texts]
            values[first] = [a + between + b for a, b in zip(values[first], values.pop(second), strict=False)]
    slots = [slot for slot in slots if slot in values]
    for longer, shorter in itertools.permutations(slots, 2):
        if shorter in values and (start := _always_start(values[longer], values[shorter])):
            replacements.append((longer, start + shorter))
            del values[longer]
    slots = [slot for slot in slots if slot in values]
    for slot in slots:
        if before := _always_before(texts, slot):
            replacements.append((before + slot, slot))
            texts = [text.replace(before + slot, slot) for text in texts]
    if len(slots) > _MOST_SLOTS:
        enough = _enough(slots, values)
        replacements += [(slot, "*") for slot in slots if slot not in enough]
        slots = enough
    if not slots:
        return None
    names, remarks = _names([values[slot] for slot in slots])
    replacements += [(slot, f"{{{name}}}") for slot, name in zip(slots, names, strict=True)]
    return Naming(tuple(replacements), remarks)


def _enough(slots: Sequence[str], values: Mapping[str, Sequence[str]]) -> list[str]:
    """The first placeholder, alone or with another one, if they tell all cases apart; none otherwise."""
    first, *others = slots
    cases = len({*zip(*(values[slot] for slot in slots), strict=False)})
    for chosen in ([first], *([first, other] for other in others)):
        if len({*zip(*(values[slot] for slot in chosen), strict=False)}) == cases:
            return chosen
    return []


def _names(values: list[list[str]]) -> tuple[list[str], tuple[str, ...]]:
    """The placeholders' names, and a remark where sites and subjects could be confused."""
    if len(values) == 1:
        return ["case"], ()
    if len(values) == 2 and _come_first(*values):
        return ["case", "subject"], ()
    is_site, is_sure = _first_is_site(values[0], values[1])
    if len(values) == 3 and not is_sure and all(map(_is_session, values[2])):
        is_site = not all(map(_is_session, values[1]))
    first, second = (some_of(values[0]), some_of(values[1]))
    if len(values) == 2:
        names = ["part", "case"] if is_site else ["subject", "case"]
    else:
        names = ["part", "subject", "case"] if is_site else ["subject", "part", "case"]
    if is_sure:
        return names, ()
    meant = f"sites, each with subjects {second}" if is_site else f"subjects, each with sessions {second}"
    other = "{subject} instead of {part}" if is_site else "{part} instead of {subject}"
    return names, (f"{first} are taken for {meant}; if it is otherwise, write {other} in the patterns",)


def _come_first(first: list[str], second: list[str]) -> bool:
    """True if the first words are sessions, or years, of the second ones, some of which have several."""
    several = len({*zip(first, second, strict=False)}) > len({*second})
    are_sessions = all(_YEAR.fullmatch(value) or _is_session(value) for value in first)
    return several and are_sessions and not all(map(_is_session, second))


def some_of(values: Iterable[str]) -> str:
    """Two examples of values."""
    return ", ".join(sorted(set(values))[:2])


def _first_is_site(first: list[str], second: list[str]) -> tuple[bool, bool]:
    """Tell sites with subjects from subjects with sessions, and whether that is sure."""
    if all(_SITE.match(value) for value in first):
        return True, True
    if all(_PERSON.fullmatch(value) for value in first):
        return False, True
    if all(map(_is_session, second)):
        return False, True
    if all(_PERSON.fullmatch(value) for value in second):
        return True, not all(map(str.isdigit, first))
    return len(set(first)) < len(set(second)), False


def _are_sessions(first: list[str], second: list[str], between: str) -> bool:
    """True if the second words are sessions of the first ones: both are then placeholders of their own."""
    if any(between in value for value in second):
        return False  # a pattern could not tell where the session begins
    if all(map(_is_session, second)) or all(map(_TIME.fullmatch, second)):
        return True
    firsts, seconds, pairs = set(first), set(second), set(zip(first, second, strict=False))
    is_counted = all(value.isdigit() for value in seconds) and 2 * len(seconds) <= len(firsts)
    return is_counted and len(pairs) >= _MOSTLY * len(firsts) * len(seconds)


def _is_session(value: str) -> bool:
    """True for a word that names a session or is a date; a short number may be anything."""
    is_short_number = value.isdigit() and len(value) < _DIGITS_OF_DATE
    return subjects.is_session(value) and not is_short_number and not _PERSON.fullmatch(value)


def _always_start(longer: list[str], shorter: list[str]) -> str:
    """The constant word that makes each longer value of each shorter one: ``Case 7`` of ``7``; or nothing."""
    if len(longer) != len(shorter):
        return ""
    starts = {a.removesuffix(b) if a.endswith(b) else "" for a, b in zip(longer, shorter, strict=True)}
    start = starts.pop() if len(starts) == 1 else ""
    return start if start and not start[-1].isdigit() else ""


def _always_between(templates: Iterable[str], first: str, second: str) -> str:
    """The text that stands between two placeholders wherever either stands; empty if there is no such.

    It is a separator, or a few capitals as in ADNI's ``002_S_0295``.
    """
    pair = re.compile(rf"{re.escape(first)}({_BETWEEN}+(?:[A-Z]{{1,3}}{_BETWEEN}+)?){re.escape(second)}")
    betweens = set()
    for template in templates:
        hits = pair.findall(template)
        if len(hits) != template.count(first) or len(hits) != template.count(second):
            return ""
        betweens |= set(hits)
    return betweens.pop() if len(betweens) == 1 else ""


def _always_before(templates: Iterable[str], slot: str) -> str:
    """The constant word and separator that stand before a placeholder wherever it stands, or nothing."""
    pattern = re.compile(rf"(?:^|(?<=[/_\-. ]))([^\W_]+{_BETWEEN}*){re.escape(slot)}")
    before: set[str] = set()
    for template in templates:
        hits = pattern.findall(template)
        if len(hits) != template.count(slot):
            return ""
        before |= set(hits)
    return before.pop() if len(before) == 1 else ""


def channel_names(templates: Sequence[str]) -> list[str]:
    """Names for channels by the words in which their templates differ; the contrast where that tells them."""
    words = [[w for w in path_words.words_of(without(template)) if w != "role"] for template in templates]
    contrasts = [_contrasts(own) for own in words]
    if len(templates) == 1:
        return ["_".join(contrasts[0]) or "image"]
    shared = set.intersection(*map(set, words))
    differing = [list(dict.fromkeys(word for word in own if word not in shared)) for own in words]
    with_contrast = [
        [*own, *(word for word in more if not path_words.is_contrast(word))]
        for own, more in zip(contrasts, differing, strict=True)
    ]
    words_of_names = [path_words.words_of(without(template.rpartition("/")[2])) for template in templates]
    in_names = [[word for word in own if word not in shared] for own in words_of_names]
    for parts in (list(map(_contrasts, words_of_names)), contrasts, in_names, with_contrast, differing):
        names = ["_".join(part) for part in parts]
        if all(names) and len(set(names)) == len(names):
            return [name if name[0].isalpha() else f"channel_{name}" for name in names]
    counts = Counter(names)
    return [name if name and counts[name] == 1 else f"image_{number}" for number, name in enumerate(names)]


def remark_on_visits(templates: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """A sentence on channels that differ in words of sessions alone: visits of one label map, perhaps not."""
    words = [path_words.words_of(without(template)) for template in templates]
    others = {tuple(word for word in own if not subjects.is_session(word)) for own in words}
    if len(templates) < 2 or len(others) > 1 or all(own == words[0] for own in words):
        return ()
    shown = ", ".join(names)
    return (
        f"{shown} seem to be one contrast at several visits, and are taken for channels of one case: if the"
        " label map belongs to one of them, choose it by --channel NAME=PATTERN",
    )


def _contrasts(words: Iterable[str]) -> list[str]:
    """The words that are contrasts, each once."""
    own = {word.lower(): word for word in words if path_words.is_contrast(word)}
    return list(own.values())
