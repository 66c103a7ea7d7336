"""The words of which paths are made: ``p1/ses-2/p1_ses-2_T1w`` → p1, ses-2, p1, ses-2, T1w.

Some words are known: contrasts, words of label maps, folders of images. Numbers are not: they tell persons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.ingest.label_names import is_label_word
from medseg.ingest.plain import IMAGE_FOLDERS, LABEL_FOLDERS

_ENTITY = r"(?:sub|ses|run|acq|ce|rec|echo|part|space|desc|res|den|label|atlas|hemi|task|dir|inv|seg)"
_NUMBERED = (
    r"(?i:patient|pat|pt|subject|subj|sub|case|participant|proband|person|visit|session|ses|timepoint|tp|time"
    r"|site|cent(?:er|re)|day|week|month|year|study)[_\- ]\d+"
)
_WORD = (
    rf"(?<![\w.])\d+(?:\.\d+){{4,}}(?![\w])|(?<![A-Za-z0-9])(?:{_ENTITY}-[A-Za-z0-9]+|{_NUMBERED}(?![A-Za-z0-9]))"
    r"|\d{4}-\d\d-\d\d|[A-Za-z]+-(?![234][Dd](?![A-Za-z0-9]))\d[A-Za-z0-9]*|[^\W_]+"
)
"""A UID as DICOM's is one word, and so are entities of BIDS, numbered persons, and dates."""

_NUMBERED_FOLDER = re.compile(r"([^\W\d_]+)[_\- ]\d+")
_CONTRAST = (
    r"t1(?:w|c|ce|gd|n|post|km|wce|map|rho)?|t2(?:w|f|star|starw|map|flair)?|pd(?:w)?|flair|dwi|dti|adc|swi"
    r"|mpr|mprage|mp2rage|unit1|uni|stir|dir|tse|tof|mra|cta|angio|dixon|bold|asl|cbf|cbv|fa|md|flash|space|ct|pet"
    r"|ssfp|fiesta|dce|dsc|qsm|b0|b\d{2,4}|inv\d|mt[rs]?|mton|mtoff|ge|fat|water"
)
_IS_CONTRAST = re.compile(_CONTRAST, re.IGNORECASE)
_WITH_NUMBER = re.compile(r"([^\W\d_]+)(-?)(\d+)")
_NUMBER_BEFORE = re.compile(rf"(.*\d)((?i:{_CONTRAST})|[A-Za-z]+)")
_FIXED_ENTITY = re.compile(r"(?:acq|ce|rec|space|desc|res|den|label|atlas|hemi|seg)-[A-Za-z0-9]+")
_MEASURE = re.compile(r"[234]d|\d+mm", re.IGNORECASE)
"""Words on how a scan was acquired: 3D, 1mm."""

_IMAGE_WORDS = {"img", "image", "im", "scan", "vol", "volume", "mri", "mr", "raw", "orig"}


@dataclass(frozen=True)
class Word:
    """A word and its place in the path, from ``start`` to ``end``."""

    text: str
    start: int
    end: int


def split(path: str) -> list[Word]:
    """The words of a path without suffix; a known word glued to a number stands alone: ``seg7``, ``p1T1``.

    A folder's name of a word and a number, ``Visit 2``, is one word, there and in the names below it.
    """
    hits = map(_NUMBERED_FOLDER.fullmatch, path.split("/")[:-1])
    folders = sorted({hit[0] for hit in hits if hit and not is_known(hit[1])}, key=len, reverse=True)
    whole = "".join(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])|" for name in folders)
    words: list[Word] = []
    for hit in re.finditer(whole + _WORD, path):
        text, start = hit[0], hit.start()
        if not is_known(text):
            number = _WITH_NUMBER.fullmatch(text)
            before = _NUMBER_BEFORE.fullmatch(text)
            if number and (is_label_word(number[1]) or number[1].lower() in _IMAGE_WORDS):
                cut = len(number[1])
                words.append(Word(text[:cut], start, start + cut))
                cut += len(number[2])
                words.append(Word(text[cut:], start + cut, hit.end()))
                continue
            if before and is_known(before[2]):
                cut = len(before[1])
                words += [Word(text[:cut], start, start + cut), Word(text[cut:], start + cut, hit.end())]
                continue
        words.append(Word(text, start, hit.end()))
    return words


def words_of(path: str) -> list[str]:
    """The texts of :func:`split`."""
    return [word.text for word in split(path)]


def is_contrast(word: str) -> bool:
    """True for a word that names a contrast or modality: T1w, FLAIR, ADC."""
    return _IS_CONTRAST.fullmatch(word) is not None


def is_known(word: str) -> bool:
    """True for a word that says which file of a case it is, and never which case."""
    lower = word.lower()
    return (
        is_contrast(word)
        or is_label_word(word)
        or lower in IMAGE_FOLDERS | LABEL_FOLDERS | _IMAGE_WORDS
        or _FIXED_ENTITY.fullmatch(word) is not None
        or _MEASURE.fullmatch(word) is not None
    )


def has_number(word: str) -> bool:
    """True for a word with a digit in it."""
    return any(character.isdigit() for character in word)
