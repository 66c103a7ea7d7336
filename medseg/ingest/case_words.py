"""The words in paths that tell cases: images and label maps have them, and they vary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from medseg.ingest import derived_images, freesurfer_names, path_words
from medseg.ingest.label_templates import Key
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.tree import without_suffix

_PIPELINE = re.compile(r"(?:^|/)derivatives/(?!sub-|ses-|derivatives/)([^/]+)/")
_TIME = re.compile(r"[Tt]\d")
"""Time points, where there is a T0 or contrasts lie in each; T1 and T2 are contrasts otherwise."""


def of_cases(labels: Sequence[str], images: Sequence[str], words: Mapping[str, list[str]]) -> set[str]:
    """The words that tell cases: images and label maps have them, and they vary."""
    in_labels = Counter(word for path in labels for word in set(words[path]))
    in_images = Counter(word for path in images for word in set(words[path]))
    both = in_labels.keys() & in_images.keys()
    times = {word for word in both if _TIME.fullmatch(word)} if both & {"T0", "t0"} else set()
    times = times or both & times_of_folders(labels, images)
    never = {word for word in both if path_words.is_known(word) or word.lower() in derived_images.PROCESSING}
    shared = both - never - _of_pipelines((*labels, *images)) | times
    other_roles = in_images.keys() & ROLES.keys() - both
    return {
        word
        for word in shared
        if in_labels[word] < len(labels)
        or (path_words.has_number(word) and in_images[word] < len(images))
        or (word in ROLES and other_roles)
    }


def _of_pipelines(paths: Iterable[str]) -> set[str]:
    """The words of folders in ``derivatives``, called after a program or a purpose: ``fmriprep``."""
    hits = (_PIPELINE.search(path) for path in paths)
    return {word for hit in hits if hit for word in path_words.words_of(hit[1])}


def times_of_folders(labels: Sequence[str], images: Sequence[str]) -> set[str]:
    """Names of folders as ``T1`` and ``T2`` that are visits, for images of other contrasts lie in each, too.

    The last contrast in the name of an image is then its own, as in ``P1/T2/P1_T2_T1``.
    """
    times = {folder for path in labels for folder in path.split("/")[:-1] if _TIME.fullmatch(folder)}
    for time in times:
        inside = [path for path in images if time in path.split("/")[:-1]]
        contrasts = {last_contrast(path) for path in inside}
        if "" in contrasts or not contrasts - {time}:
            return set()
    return times if len(times) > 1 else set()


def last_contrast(path: str) -> str:
    """The last word of a file's name that names a contrast; empty without one."""
    words = path_words.words_of(without_suffix(path.rpartition("/")[2]))
    return next(filter(path_words.is_contrast, reversed(words)), "")


def of_one_case(labels: Sequence[str], images: Sequence[str], words: Mapping[str, list[str]]) -> set[str]:
    """The words of the folder that holds one case: its label maps, and an image or several contrasts.

    Where there are several images and several label maps, the words that are not known are the same in all
    images, and contrasts differ; or they are FreeSurfer's.
    """
    if not labels or not images:
        return set()
    contrasts = [tuple(sorted(filter(path_words.is_contrast, words[path]))) for path in images]
    unknown = {tuple(word for word in words[path] if not path_words.is_known(word)) for path in images}
    of_contrasts = all(contrasts) and (
        len(labels) == 1 or (len({*contrasts}) == len(images) and len(unknown) == 1)
    )
    if len(images) > 1 and not of_contrasts and not all(map(freesurfer_names.is_its_own, (*labels, *images))):
        return set()
    folders = [path.split("/")[:-1] for path in (*labels, *images)]
    same = [level[0] for level in zip(*folders, strict=False) if len(set(level)) == 1]
    own = ([word for word in path_words.words_of(f) if not path_words.is_known(word)] for f in reversed(same))
    return set(next(filter(None, own), []))


def named(words: Iterable[str], names: set[str]) -> tuple[str, ...]:
    """The words of a path that are among the names of cases, each once."""
    return tuple(dict.fromkeys(word for word in words if word in names))


def key_of(told_by: tuple[str, ...], order: Mapping[Key, tuple[str, ...]]) -> Key | None:
    """The labelled case of an image: the one with its words, else with the first of them."""
    keys = (frozenset(told_by[:count]) for count in range(len(told_by), 0, -1))
    return next((key for key in keys if key in order), None)
