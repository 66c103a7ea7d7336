"""Images and masks in a pair of folders at any depth: `a/images/*` beside `a/masks/*`, names equal.

`images/train/*` beside `masks/train/*` is such a pair too; folders that say train, val or test become
``{role}``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import Patterns
from medseg.ingest.tree import without_suffix

_IMAGES = frozenset({"original", "originals"})
_LABELS = frozenset({"ground truth", "ground_truth", "ground-truth", "groundtruth"})

_Around = tuple[str, str]
"""The folders before and after the one that says image or mask."""


def find(tree: Sequence[str], image_words: Collection[str], label_words: Collection[str]) -> Patterns | None:
    """Find the two folders that share most names and give their patterns; None if none share any.

    ``image_words`` and ``label_words`` are names of folders in small letters, beside those known here.
    """
    images = _named(tree, {*image_words, *_IMAGES})
    labels = _named(tree, {*label_words, *_LABELS})
    shared = {
        (image, label): sum(len(names & labels[label].get(around, set())) for around, names in places.items())
        for image, places in images.items()
        for label in labels
        if image != label
    }
    image, label = max(shared, key=lambda pair: shared[pair], default=("", ""))
    if not shared.get((image, label)):
        return None
    before, after = (_any_of(folders) for folders in zip(*images[image], strict=True))
    names = [name for inside in images[image].values() for name in inside]
    if (
        before == "**/"
        and len(set(names)) < len(names)
        and all(re.fullmatch("[^/]+", b) for b, _ in images[image])
    ):
        before = "{subject}/"  # p1/images/1 and p2/images/1 are not one case
    return Patterns({"image": f"{before}{image}/{after}{{case}}"}, f"{before}{label}/{after}{{case}}")


def _named(tree: Iterable[str], words: Collection[str]) -> dict[str, dict[_Around, set[str]]]:
    """Folder of one of these names → the folders around it → the names of the files there."""
    by_folder: dict[str, dict[_Around, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in map(Path, tree):
        if places := [i for i, folder in enumerate(path.parts[:-1]) if folder.lower() in words]:
            i = places[-1]
            around = "/".join(path.parts[:i]), "/".join(path.parts[i + 1 : -1])
            by_folder[path.parts[i]][around].add(without_suffix(path.name))
    return by_folder


def _any_of(folders: Iterable[str]) -> str:
    """A pattern of these relative folders, with a slash at its end."""
    parts = [folder.rpartition("/") for folder in sorted(set(folders))]
    head, slash, last = parts[0]
    if len({other for other, _, _ in parts}) == 1 and all(name in ROLES for _, _, name in parts):
        return f"{head}{slash}{{role}}/"
    if len(parts) > 1:
        return "**/"
    return f"{head}{slash}{last}/" if last else ""
