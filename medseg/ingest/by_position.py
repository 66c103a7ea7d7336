"""Names in which the same words tell cases and kinds of files: ``1/1`` is a scan, ``1/2`` its label map.

Words cannot tell such files apart, but their places can, where content says which files are label maps: all
names are built alike, and at one place images have other texts than label maps. Tried last, and refused where
a second reading is possible.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from medseg.errors import some
from medseg.ingest.label_templates import Files, Key, SortedFiles
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.tree import without_suffix

_PIECE = re.compile(r"\d+|[^\W\d_]+")
_MOST_IMAGES = 8


def read(labels: Sequence[str], images: Sequence[str]) -> SortedFiles | None:
    """Read paths of label maps and images, as sorted by content; None unless exactly one place tells them."""
    pieces = {path: _PIECE.findall(without_suffix(path)) for path in (*labels, *images)}
    forms = {_PIECE.sub("\0", without_suffix(path)) for path in pieces}
    if len(forms) != 1 or len(labels) < 2:
        return None
    places = range(forms.pop().count("\0"))
    telling = [place for place in places if _tells(place, pieces, labels, images)]
    if len(telling) != 1:
        return None
    (kind,) = telling
    varying = [p for p in places if p != kind and len({own[p] for own in pieces.values()}) > 1]
    if any(own[p] in ROLES for own in pieces.values() for p in varying):
        return None
    order = {_key(own, varying): tuple(own[p] for p in varying) for own in pieces.values()}
    texts = (some(sorted({pieces[path][kind] for path in paths}), 4) for paths in (images, labels))
    remark = "by their content, files called {} are images, and those called {} label maps".format(*texts)
    of_labels, of_images = (_templates(paths, pieces, varying) for paths in (labels, images))
    return SortedFiles(of_labels, of_images, order, remark)


def stand_for_two_things(names: set[str], words: Sequence[Sequence[str]]) -> bool:
    """True if a case's words stand at two places of alike names, equal by chance: ``2/2`` beside ``2/1``."""
    if len({len(own) for own in words}) != 1:
        return False
    for first, second in itertools.combinations(range(len(words[0])), 2):
        pairs = {(own[first], own[second]) for own in words if {own[first], own[second]} <= names}
        if 0 < sum(a == b for a, b in pairs) < len(pairs):
            return True
    return False


def _tells(
    place: int, pieces: Mapping[str, Sequence[str]], labels: Sequence[str], images: Sequence[str]
) -> bool:
    """True if images and label maps differ at this place, and each label map has its images without it."""
    of_labels, of_images = ({pieces[path][place] for path in paths} for paths in (labels, images))
    if len(of_labels) != 1 or of_labels & of_images or len(of_images) > _MOST_IMAGES:
        return False
    rests = [{(*pieces[p][:place], *pieces[p][place + 1 :]) for p in paths} for paths in (labels, images)]
    return len(rests[0]) == len(labels) and rests[0] <= rests[1]


def _key(own: Sequence[str], varying: Sequence[int]) -> Key:
    """The case of a path's pieces; a word counts with its place."""
    return frozenset(f"{place}:{own[place]}" for place in varying)


def _templates(
    paths: Sequence[str], pieces: Mapping[str, Sequence[str]], varying: Sequence[int]
) -> dict[str, Files]:
    """Template → case → file; the words of the case are ``{0}``, ``{1}``, …"""
    templates: dict[str, Files] = defaultdict(dict)
    for path in paths:
        stem, text, end = without_suffix(path), "", 0
        for place, hit in enumerate(_PIECE.finditer(stem)):
            word = f"{{{varying.index(place)}}}" if place in varying else hit[0]
            text, end = text + stem[end : hit.start()] + word, hit.end()
        templates[text + stem[end:]][_key(pieces[path], varying)] = path
    return dict(templates)
