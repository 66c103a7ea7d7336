"""The layout plain: images/ beside labels/, or images and label maps side by side in one folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from medseg.ingest.label_names import label_rank, split_label_ending
from medseg.ingest.patterns import Patterns
from medseg.ingest.tree import common_start, without_suffix, without_zeros

IMAGE_FOLDERS = {"images", "image", "imgs", "img", "imagestr", "imagests", "scans", "volumes"}
LABEL_FOLDERS = {"labels", "label", "labelstr", "labelsts", "masks", "mask", "segs", "seg"} | {
    *("segmentations", "segmentation", "annotations", "truth", "gt", "lab"),
}

Affix = tuple[str, str]
"""What stands before and behind the case in a name."""


def patterns(files: list[str]) -> Patterns:
    """The patterns of the images' and the labels' folders, or of names that lie side by side."""
    folders = sorted({path.split("/")[0] for path in files if "/" in path})
    images = [f for f in folders if f.lower() in IMAGE_FOLDERS]
    labels = [f for f in folders if f.lower() in LABEL_FOLDERS]
    if not images:
        return side_by_side(files)
    if by_folder := _by_folder(files, images, labels):
        return by_folder
    image_stems, image_form = inside(files, images)
    label_stems, label_form = inside(files, labels) if labels else (set(), "")
    image_affix, label_affix = _pair(image_stems, label_stems)
    label = label_form.replace("{}", _around_case(label_affix)) if labels else None
    return Patterns({"image": image_form.replace("{}", _around_case(image_affix))}, label)


def side_by_side(files: list[str]) -> Patterns:
    """Images and label maps in one folder: ``{case}`` beside ``{case}_seg``.

    Images that differ in their ends alone, ``{case}_t1`` and ``{case}_t2``, are channels of one case. A word
    at a name's end says more than one elsewhere: of ``SEG_1`` and ``SEG_1_seg`` one is an image.
    """
    stems = {without_suffix(path).rpartition("/")[2] for path in files}
    depth = "**/" if any("/" in path for path in files) else ""
    suffix = common_suffix(files)
    by_ending = {stem for stem in stems if split_label_ending(stem)[1]}
    by_word = {stem for stem in stems if label_rank(stem) is not None}
    best = Patterns({"image": f"{depth}{{case}}{suffix}"})
    most = 0
    for labels in (by_ending, by_word):
        image_affix, label_affix = _pair(stems - labels, labels)
        cases = _stripped(stems - labels, image_affix) & _stripped(labels, label_affix)
        if len(cases) > most:
            most = len(cases)
            label = f"{depth}{_around_case(label_affix)}{suffix}"
            channels = _channels(stems - labels, image_affix, cases)
            images = {name: f"{depth}{_around_case(affix)}{suffix}" for name, affix in channels.items()}
            best = Patterns(images, label)
    return best


def _channels(images: set[str], first: Affix, cases: set[str]) -> dict[str, Affix]:
    """Channel name → affix: the first, and further ends that at least half of the labelled cases have."""
    further = [
        affix
        for affix in _affixes(images)
        if affix[0] == first[0] and affix != first and 2 * len(_stripped(images, affix) & cases) >= len(cases)
    ]
    if not further:
        return {"image": first}
    return {re.sub(r"^[^A-Za-z0-9]+", "", tail) or "image": (head, tail) for head, tail in [first, *further]}


def inside(files: list[str], folders: list[str]) -> tuple[set[str], str]:
    """Stems of the scans inside ``folders``, and the pattern of their paths with ``{}`` for the name."""
    start = folders[0]
    if len(folders) > 1:
        start = f"{common_start(folders)}*"
        others = {path.split("/")[0] for path in files if "/" in path} - set(folders)
        if any(other.startswith(start[:-1]) for other in others):  # the pattern would take them, too
            counts = Counter(path.split("/")[0] for path in files)
            folders = [max(folders, key=lambda folder: counts[folder])]
            start = folders[0]
    paths = [path for path in files if path.split("/")[0] in folders and "/" in path]
    depth = "**/" if any(path.count("/") > 1 for path in paths) else ""
    stems = {without_suffix(path).rpartition("/")[2] for path in paths}
    return stems, f"{start}/{depth}{{}}{common_suffix(paths)}"


def common_suffix(paths: Iterable[str]) -> str:
    """The suffix that all have, or nothing, which a pattern takes as any."""
    suffixes = {path[len(without_suffix(path)) :] for path in paths}
    return suffixes.pop() if len(suffixes) == 1 else ""


def _by_folder(files: list[str], images: list[str], labels: list[str]) -> Patterns | None:
    """Patterns of ``images/p1/t0`` and ``images/p2/t0``, whose names repeat from folder to folder.

    A folder is then a subject, or the case where it holds one scan; None where names do not repeat.
    """
    placed = [path for path in files if path.split("/")[0] in {*images, *labels} and "/" in path]
    of_images = [without_suffix(path) for path in placed if path.split("/")[0] in images]
    of_labels = [without_suffix(path) for path in placed if path.split("/")[0] in labels]
    names = [path.rpartition("/")[2] for path in of_images]
    if len(images) > 1 or len(labels) > 1 or len(set(names)) == len(names):
        return None
    if any(path.count("/") != 2 for path in placed):
        return None
    suffixes = common_suffix(p for p in placed if p.startswith(images[0])), ""
    if labels:
        suffixes = suffixes[0], common_suffix(p for p in placed if p.startswith(f"{labels[0]}/"))
    label_names = {path.rpartition("/")[2] for path in of_labels}
    if len(set(names)) == 1 and len(label_names) <= 1:
        label = f"{labels[0]}/{{case}}/{label_names.pop()}{suffixes[1]}" if label_names else None
        return Patterns({"image": f"{images[0]}/{{case}}/{names[0]}{suffixes[0]}"}, label)
    image_affix, label_affix = _pair(set(names), label_names)
    label = f"{labels[0]}/{{subject}}/{_around_case(label_affix)}{suffixes[1]}" if label_names else None
    return Patterns({"image": f"{images[0]}/{{subject}}/{_around_case(image_affix)}{suffixes[0]}"}, label)


def _around_case(affix: Affix) -> str:
    return f"{affix[0]}{{case}}{affix[1]}"


def _pair(images: set[str], labels: set[str]) -> tuple[Affix, Affix]:
    """The (prefix, suffix) of image and of label names under which most of them become equal.

    Equal counts: the shortest. ``volume-7`` and ``segmentation-7`` → ("volume-", ""), ("segmentation-", "").
    """

    def merit(pair: tuple[Affix, Affix]) -> tuple[int, int]:
        in_images, in_labels = _stripped(images, pair[0]), _stripped(labels, pair[1])
        common = {*map(without_zeros, in_images)} & {*map(without_zeros, in_labels)}
        return -len(common), sum(len(part) for affix in pair for part in affix)

    return min(((a, b) for a in _affixes(images) for b in _affixes(labels)), key=merit)


def _affixes(stems: set[str]) -> list[Affix]:
    """Beginnings and ends that at least half of the names share; first of all, none.

    They are cut at _ - or ., beginnings also before a number: ``im`` of ``im7``.
    """
    counts: Counter[Affix] = Counter()
    for stem in stems:
        cuts = [hit.start() for hit in re.finditer(r"[_\-.]", stem)]
        if word := re.match(r"[^\W\d_]+(?=\d)", stem):
            counts[word[0], ""] += 1
        counts.update({(stem[: cut + 1], "") for cut in cuts[:2]} | {("", stem[cut:]) for cut in cuts[-2:]})
    shared = (affix for affix, count in counts.items() if count * 2 >= len(stems))
    return [("", ""), *sorted(shared)]


def _stripped(stems: set[str], affix: Affix) -> set[str]:
    head, tail = affix
    return {s[len(head) : len(s) - len(tail)] for s in stems if s.startswith(head) and s.endswith(tail)}
