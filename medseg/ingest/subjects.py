"""Subjects in the names of cases: a recipe's rule that reads them, and a guess where there is none.

A rule is a pattern of a case's name, as ``{subject}_ses-*``; a name that it does not match is a subject of
its own.
The guess errs on the side of silence: sites, diagnoses and running numbers are not taken for subjects.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping

from medseg.errors import Code, MedsegError
from medseg.ingest.label_names import label_rank
from medseg.ingest.tree import common_start, nfc

Subjects = Mapping[str, str]
"""Case name → subject."""

_SEPARATORS = re.compile(r"[_\-. ]+")
_GLUED = re.compile(r"(?<=\d)[A-Za-z]{1,10}\d{0,3}$")
_LONGER = (
    *("ses", "session", "sess", "visit", "tp", "time", "timepoint", "scan", "run", "rep", "frame", "slice"),
    *("sl", "mr", "day", "week", "month", "mo", "year", "yr", "fu", "followup", "follow", "bl", "baseline"),
    *("pre", "post", "before", "after", "screening", "retest", "left", "right", "lh", "rh", "echo", "acq"),
    *("phase", "ed", "es", "crop", "patch", "tile", "aug", "copy", "img", "image"),
)
_SESSION = re.compile(rf"(?:{'|'.join(_LONGER)})\d*|[stvdwmyzlr]\d+|(?:19|20)\d{{6}}", re.IGNORECASE)
"""First words of what stands behind a subject's name: a session, a frame, a side, a date."""

_OF_ONE = (
    r"(?:(?:ses|session|sess|visit|tp|time|timepoint|day|week|month|mo|year|yr|fu|follow[_\-. ]?up|bl"
    r"|baseline|pre|post|preop|postop|before|after|screening|retest|left|right|lh|rh)[_\-. ]?\d*|v\d+"
    r"|(?:19|20)\d\d[_\-. ]?[01]\d[_\-. ]?[0-3]\d)"
)
_SESSIONS_OF_ONE = re.compile(rf"{_OF_ONE}(?:[_\-. ]+{_OF_ONE})*", re.IGNORECASE)
"""Words that are sessions, sides or dates also where a single subject has them."""

_MOST_OF_ONE = 12
"""Sessions of one subject; more words of this kind are names of persons, as dates of their only visit."""

_NOBODYS_NAME = re.compile(
    r"(?:ses|session|visit|tp|timepoint|day|week|month|mo|year|yr)[_\-. ]?\d+", re.IGNORECASE
)
"""Counted sessions, which are no names of persons, however many there are."""

_NUMBERED_PERSON = re.compile(
    r"(?:.*[_\-. ])?(?:sub|subj|subject|patients?|pat|pt|p|participant|person|proband|volunteer|control)"
    r"[-_ ]?\d+",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"sub-[A-Za-z0-9]+")
"""A subject's name in BIDS, whose end is no session."""

_CONTRASTS = {
    *("t1", "t2", "t1w", "t2w", "t1c", "t1ce", "t1gd", "t2star", "pd", "flair", "dwi", "adc", "swi")
}

_CODE = re.compile(r"[A-Z]{1,6}")
"""Capitals alone name a site rather than a subject, unless a session follows."""

_MOSTLY = 0.6

_SITE = re.compile(
    r"(?:site|cent(?:er|re)|hospital|clinic|scanner|institution|lab|batch|fold|set|group|cohort|study|dataset"
    r"|train(?:ing)?|val(?:idation)?|test(?:ing)?)(?:\d*|[-_]?(?-i:[A-Z]))",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"(?:sub|subj|subject|patients?|pat|pt|participant|person|case|volunteer|controls?|healthy|hc|ad|mci|cn"
    r"|normal|mouse|rat|animal|id|vol|volume)",
    re.IGNORECASE,
)


def rule(pattern: str) -> Callable[[str], str]:
    """The function from a case's name to its subject that ``pattern`` describes.

    ``{subject}`` stands for at least one character, ``*`` for any number and ``?`` for one. A text without
    any of them is the subject of all cases. Raises RECIPE_INVALID.
    """
    if pattern and not re.search(r"[{}/*?]", pattern):
        return lambda _name: nfc(pattern)
    if pattern.count("{subject}") != 1 or re.search(r"[{}/]", pattern.replace("{subject}", "")):
        how_to_fix = "write {subject} once and * for the rest, for example '{subject}_ses-*'"
        raise MedsegError(Code.RECIPE_INVALID, "data.subject", repr(pattern), how_to_fix)
    forms = {"{subject}": "(?P<subject>.+)", "*": ".*", "?": "."}
    parts = re.split(r"(\{subject\}|[*?])", nfc(pattern))
    expression = re.compile("".join(forms.get(part, re.escape(part)) for part in parts), re.DOTALL)

    def subject_of(name: str) -> str:
        match = expression.fullmatch(name)
        return match["subject"] if match else name

    return subject_of


def guess(names: Collection[str]) -> Subjects | None:
    """The subjects that the names seem to share, or None where each seems to be one of its own.

    Tried from the shortest beginnings on: a group too large is safer than one too small.
    """
    most = max((len(_SEPARATORS.findall(name)) for name in names), default=0)
    for count in range(1, most + 1):
        subjects = {name: _beginning(name, count) for name in names}
        if _are_subjects(subjects) or _are_of_one(subjects):
            return subjects
    glued = {name: name if _WHOLE.fullmatch(name) else _GLUED.sub("", name) or name for name in names}
    return glued if _are_subjects(glued) else None


def rule_for(subjects: Subjects) -> str | None:
    """The pattern of :func:`rule` that gives these subjects, or None if there is no simple one."""
    rests = [name[len(subject) :] for name, subject in subjects.items() if name != subject]
    start = re.sub(r"[0-9]+$", "", common_start(rests))
    if any(
        rest[len(start) :][:1].isalpha() for rest in rests
    ):  # the words that begin alike go on differently
        start = re.sub(r"[A-Za-z]+$", "", start)
    word = re.match(r"[_\-. ]*[A-Za-z]*-?", start)
    candidates = [f"{{subject}}{literal}*" for literal in (word[0] if word else "", start) if literal]
    if separator := start[:1]:
        most = max(rest.count(separator) for rest in rests)
        candidates += [f"{{subject}}{f'{separator}*' * count}" for count in range(2, most + 1)]
    if len({len(rest) for rest in rests}) == 1:
        candidates.append("{subject}" + "?" * len(rests[0]))
    plain = (text for text in candidates if not re.search(r"[{}/]", text.replace("{subject}", "", 1)))
    return next((text for text in plain if all(rule(text)(n) == s for n, s in subjects.items())), None)


def is_session(word: str) -> bool:
    """True for a word that names a session, a frame, a side or a date, or counts; False for a contrast."""
    first = _SEPARATORS.split(word)[0]
    return word.lower() not in _CONTRASTS and bool(first.isdigit() or _SESSION.fullmatch(first))


def are_sessions_of_one(words: Collection[str]) -> bool:
    """True for words that name sessions, sides or dates; many of them only if they count sessions."""
    few = len(words) <= _MOST_OF_ONE or all(map(_NOBODYS_NAME.fullmatch, words))
    return len(words) >= 2 and few and all(map(_SESSIONS_OF_ONE.fullmatch, words))


def may_be_sessions(words: Collection[str]) -> bool:
    """True for few words that count, each once: sessions of one subject, or subjects."""
    return 2 <= len(words) <= _MOST_OF_ONE and all(map(is_session, words))


def is_numbered_person(word: str) -> bool:
    """True for a word that names a person by a number: P07, sub-01, patient_3."""
    return _NUMBERED_PERSON.fullmatch(word) is not None


def _are_of_one(subjects: Subjects) -> bool:
    """True if all names begin with the same subject and go on with its sessions."""
    first, *others = {*subjects.values()} or {""}
    rests = [re.sub(r"^[_\-. ]+", "", name.removeprefix(first)) for name in subjects]
    if others or not all(rests):
        return False
    if are_sessions_of_one(rests):
        return True
    is_counted = may_be_sessions(rests) and all(len(rest) <= 2 for rest in rests if rest.isdigit())
    return is_counted and is_numbered_person(first)


def _beginning(name: str, count: int) -> str:
    """The name up to its ``count``-th separator, or all of it."""
    cuts = [cut.start() for cut in _SEPARATORS.finditer(name) if cut.start() > 0 and cut.end() < len(name)]
    return name[: cuts[count - 1]] if len(cuts) >= count else name


def _are_subjects(subjects: Subjects) -> bool:
    """True if names that share a beginning look like one subject's, by their ends or by repeated counting."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, subject in subjects.items():
        groups[subject].append(re.sub(r"^[_\-. ]+", "", name[len(subject) :]))
    shared = {subject: rests for subject, rests in groups.items() if len(rests) > 1}
    if len(groups) < 2 or not shared:
        return False
    last_words = [_SEPARATORS.split(subject)[-1] for subject in shared]
    first_words = [_SEPARATORS.split(rest)[0] for rests in shared.values() for rest in rests if rest]
    if any(_SITE.fullmatch(word) or _PERSON.fullmatch(word) for word in last_words):
        return False
    if any(_PERSON.fullmatch(re.sub(r"\d+$", "", word)) for word in first_words):
        return False
    if sum(_SESSION.fullmatch(word) is not None for word in first_words) >= _MOSTLY * len(first_words):
        return True
    if all(_CODE.fullmatch(word) or label_rank(word) is not None for word in last_words):
        return False
    if len(subjects) > 2 * len(groups) ** 2:  # a few large groups are sites, scanners or diagnoses
        return False
    holders = Counter(rest for rests in groups.values() for rest in set(rests))
    every = [rest for rests in shared.values() for rest in rests]
    if all(rest.isdigit() for rest in every if rest):
        first = min(every, key=lambda rest: int(rest or 0))
        return 2 * holders[first] >= len(groups)  # counting begins anew with each subject
    return sum(holders[rest] > 1 for rest in every) >= _MOSTLY * len(every)
