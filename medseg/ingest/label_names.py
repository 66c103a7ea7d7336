"""What the names of files say: which are label maps, which margin maps."""

from __future__ import annotations

import re

LABEL_WORDS = (
    *("seg", "segmentation", "dseg", "label", "truth", "gt", "annotation"),
    *("lesion", "roi", "mask", "brainmask"),
)
"""Words in a file's name that make it a label map, the surest first."""

CONFIDENCE_ENDING = "_confidence"
"""How the name of a margin map ends; before it stands the label map's."""

_LABEL_ENDING = re.compile(rf"_(?:{'|'.join(LABEL_WORDS)}|pred)s?$", re.IGNORECASE)


def label_rank(stem: str) -> int | None:
    """How surely a name, without suffix, is a label map's (0 surest), by the words in it; or None."""
    words = re.split(r"[^a-z]+", stem.lower())
    ranks = [i for i, key in enumerate(LABEL_WORDS) for word in words if word.startswith(key)]
    return min(ranks, default=None)


def split_label_ending(stem: str) -> tuple[str, str]:
    """A name without suffix → the case and the `_seg`, `_labels`, `_mask` … at its end, empty if none.

    A name that is nothing but such an ending keeps it.
    """
    hit = _LABEL_ENDING.search(stem)
    return (stem[: hit.start()], hit[0]) if hit and hit.start() else (stem, "")


def is_label(stem: str) -> bool:
    """Whether a name, without suffix, ends as a label map's or a margin map's."""
    return bool(split_label_ending(stem)[1]) or stem.lower().endswith(CONFIDENCE_ENDING)
