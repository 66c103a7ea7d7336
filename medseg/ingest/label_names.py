"""Words in the names of files that tell label maps, and maps beside them, from scans."""

from __future__ import annotations

import re

LABEL_WORDS = (
    *("seg", "segmentation", "dseg", "label", "truth", "gt", "annotation"),
    *("lesion", "roi", "mask", "brainmask"),
)
"""Words in a file's name that make it a label map, the surest first."""

CONFIDENCE_ENDING = "_confidence"
"""The end of a confidence map's name; before it stands the label map's."""

PROBABILITIES_ENDING = "_probabilities"
"""The end of the name of a file of probabilities; before it stands the label map's."""

INSTANCES_ENDING = "_instances"
"""The end of the name of a map of objects; before it stands the label map's."""

FIGURE_ENDING = "_figure"
"""The end of a figure's name; before it stands the label map's."""

BESIDE = (CONFIDENCE_ENDING, PROBABILITIES_ENDING, INSTANCES_ENDING, FIGURE_ENDING)
"""Ends of the names of files beside a label map that are none themselves."""

_RANKS = {word: rank for rank, word in enumerate(LABEL_WORDS)} | {
    **dict.fromkeys(("segmentation", "segm", "segmented", "segment"), LABEL_WORDS.index("seg")),
    **dict.fromkeys(("aseg", "parc", "aparc", "parcellation"), LABEL_WORDS.index("seg")),
    **dict.fromkeys(("labelmap", "labelled", "labeled"), LABEL_WORDS.index("label")),
    **dict.fromkeys(("groundtruth", "annot", "annotated", "manual"), LABEL_WORDS.index("truth")),
    **dict.fromkeys(("msk", "maske", "masken", "masque", "mascara"), LABEL_WORDS.index("mask")),
    "segmentierung": LABEL_WORDS.index("seg"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LABEL_ENDING = re.compile(rf"_(?:{'|'.join(LABEL_WORDS)}|pred)s?$", re.IGNORECASE)


def label_rank(stem: str) -> int | None:
    """Rank a name, without suffix, by how surely it is a label map's (0 surest); None for any other.

    Whole words count, alone or in the plural, as in ``a_seg``, ``Labels-7`` and ``tumorMask``; parts of words
    do not: ``segovia`` and ``gtx2`` are no label maps.
    """
    words = (word.lower() for word in _WORD.findall(stem))
    ranks = [_RANKS[key] for word in words for key in (word, word.removesuffix("s")) if key in _RANKS]
    return min(ranks, default=None)


def is_label_word(word: str) -> bool:
    """True for a single word that label maps' names have: ``seg``, ``Labels``, ``manual``."""
    lower = word.lower()
    return lower in _RANKS or lower.removesuffix("s") in _RANKS


def split_label_ending(stem: str) -> tuple[str, str]:
    """A name without suffix → the case and the `_seg`, `_labels`, `_mask` … at its end, empty if none.

    A name that is nothing but such an ending keeps it.
    """
    hit = _LABEL_ENDING.search(stem)
    return (stem[: hit.start()], hit[0]) if hit and hit.start() else (stem, "")


def is_label(stem: str) -> bool:
    """True for a name, without suffix, that ends as a label map's, a confidence map's or probabilities'."""
    beside = (CONFIDENCE_ENDING, PROBABILITIES_ENDING, INSTANCES_ENDING)
    return bool(split_label_ending(stem)[1]) or stem.lower().endswith(beside)
