"""The layouts of scan folders: each looks at the files and proposes patterns; matching is the same for all.

plain      images/ beside labels/ (pictures: at any depth), or images and label maps side by side
subjects   one folder per subject
decathlon  dataset.json with imagesTr, labelsTr and perhaps imagesTs (also nnU-Net's form of it)
bids       sub-*/[ses-*/]anat, label maps under derivatives/
patterns   as the recipe writes them
csv        a table, read by :mod:`medseg.ingest.tables`; those of image sets are in its sister ``imagesets``
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from medseg.errors import Code, MedsegError
from medseg.ingest import dataset_json, imagesets, pairs, tables
from medseg.ingest.label_names import LABEL_WORDS, label_rank
from medseg.ingest.patterns import (
    CaseFiles,
    Found,
    Patterns,
    Stray,
    match,
    measured_alike,
    natural_key,
    without_suffix,
)
from medseg.io import scans

__all__ = ["CaseFiles", "Found", "Guess", "Layout", "Patterns", "Stray", "find", "guess", "natural_key"]

Layout = Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns", "csv", imagesets.ImageSet]

_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "imagestr", "imagests", "scans", "volumes"}
_LABEL_FOLDERS = {"labels", "label", "labelstr", "labelsts", "masks", "mask", "segs", "seg"} | {
    *("segmentations", "segmentation", "annotations", "truth", "gt"),
}
_MODALITY = re.compile(r"(?:^|_)([A-Za-z0-9]+w|T2star|FLAIR|bold)(?=_|$)")
_BIDS_SCAN = re.compile(r"sub-[^/]+/(?:ses-[^/]+/)?(anat/)?(sub-[^/]+)_([A-Za-z0-9]+)")
_BIDS_SUFFIX = re.compile(r"[A-Za-z0-9]+w|T2star|FLAIR|PD|angio|MP2RAGE|UNIT1")
_BIDS_NAME = re.compile(r"(sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)_(.+)")
_BIDS_SUBJECT = r"sub-[^/_]+"
_OTHER_LAYOUT = "name the right data folder, or choose another layout"


@dataclass(frozen=True)
class Guess:
    """What a folder looks like: the start of a recipe. ``classes`` is value → name where a file says it.

    ``class_file`` names the packaged class list of an image set; ``above`` a grey mask's threshold; ``roles``
    are those that the folder itself gives; ``n_other`` files make no case.
    """

    layout: str
    channels: dict[str, str]
    label: str | None
    classes: dict[int, str] | None
    n_cases: int
    n_labelled: int
    unit: scans.Unit = "mm"
    class_file: str | None = None
    above: float | None = None
    roles: frozenset[str] = frozenset()
    n_other: int = 0


def find(
    root: Path,
    layout: Layout = "auto",
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | None = None,
    table: str | None = None,
    masks: Mapping[str, str] | None = None,
) -> Found:
    """Find the cases below ``root``, except in ``without``, where results are written.

    Patterns that are given replace those that the layout would guess; those of layout csv are columns of
    ``table``. ``masks`` count for patterns alone.

    With ``channels`` given and no layout but auto, the patterns alone count: without ``label`` nothing is
    labelled. Raises PATH_MISSING, NOTHING_USABLE (no scan at all), RECIPE_INVALID.
    """
    if layout not in get_args(Layout):
        names = ", ".join(get_args(Layout))
        raise MedsegError(Code.RECIPE_INVALID, "data.layout", repr(layout), f"choose one of {names}")
    if layout in get_args(imagesets.ImageSet):
        return imagesets.find(root, layout, channels, label, without)
    if layout == "csv" and table:
        return tables.find(root, table, channels, label, without)
    unit, tree = measured_alike(root, without, channels)
    if layout == "patterns" or (layout == "auto" and channels):
        patterns = Patterns(dict(channels or {}), label, masks=dict(masks or {}))
        return replace(match(root, tree, patterns, "patterns"), unit=unit)
    name: str = layout
    if layout == "auto" and unit == "px":
        if known := imagesets.detect(tree):
            return imagesets.find(root, known, None, label, without)
        name = "plain"
    elif layout == "auto":
        name = _detect(root, tree)
    if unit == "px":
        patterns = imagesets.in_colours(
            (_paired(tree) if name == "plain" else None) or _LAYOUTS[name](root, tree)
        )
    else:
        patterns = _LAYOUTS[name](root, tree)
    patterns = replace(patterns, channels=channels or patterns.channels, label=label or patterns.label)
    found = replace(match(root, tree, patterns, name), unit=unit)
    return _with_listed(root, found) if name == "decathlon" else found


def guess(root: Path) -> Guess:
    """Look at a folder that nobody described: its layout, patterns and, where a file says them, classes.

    Raises what :func:`find` raises.
    """
    found = find(root)
    labelled = sum(bool(case.label_paths) for case in found.cases)
    classes = dataset_json.classes(dataset_json.read(root)) if found.layout == "decathlon" else None
    channels, label = dict(found.patterns.channels), found.patterns.label
    roles = frozenset(role for _, role in found.roles)
    other = len(found.ignored) + sum(len(stray.files) for stray in found.strays)
    n_cases, unit = len(found.cases), found.unit
    return Guess(found.layout, channels, label, classes, n_cases, labelled, unit, roles=roles, n_other=other)


def _detect(root: Path, tree: list[str]) -> str:
    tops = {path.split("/")[0].lower() for path in tree if "/" in path}
    if (root / dataset_json.NAME).is_file() and "imagestr" in tops:
        return "decathlon"
    if _is_bids(tree):
        return "bids"
    nested = sum("/" in path for path in tree)
    if tops & _IMAGE_FOLDERS or nested * 2 < len(tree):
        return "plain"
    return "subjects"


# plain


def _plain(_root: Path, tree: list[str]) -> Patterns:
    folders = sorted({path.split("/")[0] for path in tree if "/" in path})
    images = [f for f in folders if f.lower() in _IMAGE_FOLDERS]
    labels = [f for f in folders if f.lower() in _LABEL_FOLDERS]
    if not images:
        return _side_by_side(tree)
    image_stems, image_form = _inside(tree, images)
    label_stems, label_form = _inside(tree, labels) if labels else (set(), "")
    image_affix, label_affix = _pair(image_stems, label_stems)
    label = label_form.replace("{}", _around_case(label_affix)) if labels else None
    return Patterns({"image": image_form.replace("{}", _around_case(image_affix))}, label)


def _paired(tree: list[str]) -> Patterns | None:
    """Folders of pictures and masks below the top; None where a pair lies at the top, or nowhere."""
    tops = {path.split("/")[0].lower() for path in tree if path.count("/") == 1}
    if tops & _IMAGE_FOLDERS and tops & _LABEL_FOLDERS:
        return None
    return pairs.find(tree, _IMAGE_FOLDERS, _LABEL_FOLDERS)


def _side_by_side(tree: list[str]) -> Patterns:
    """Images and label maps in one folder: ``{case}`` beside ``{case}_seg``."""
    stems = {without_suffix(path).rpartition("/")[2] for path in tree}
    depth = "**/" if any("/" in path for path in tree) else ""
    suffix = _common_suffix(tree)
    labels = {stem for stem in stems if label_rank(stem) is not None}
    image_affix, label_affix = _pair(stems - labels, labels)
    if not _stripped(stems - labels, image_affix) & _stripped(labels, label_affix):
        return Patterns({"image": f"{depth}{{case}}{suffix}"})
    label = f"{depth}{_around_case(label_affix)}{suffix}"
    return Patterns({"image": f"{depth}{_around_case(image_affix)}{suffix}"}, label)


def _inside(tree: list[str], folders: list[str]) -> tuple[set[str], str]:
    """Stems of the scans inside ``folders``, and the pattern of their paths with ``{}`` for the name."""
    paths = [path for path in tree if path.split("/")[0] in folders and "/" in path]
    start = folders[0] if len(folders) == 1 else f"{_common_start(folders)}*"
    depth = "**/" if any(path.count("/") > 1 for path in paths) else ""
    stems = {without_suffix(path).rpartition("/")[2] for path in paths}
    return stems, f"{start}/{depth}{{}}{_common_suffix(paths)}"


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same]


def _common_suffix(paths: Iterable[str]) -> str:
    """The suffix that all have, or nothing, which a pattern takes as any."""
    suffixes = {path[len(without_suffix(path)) :] for path in paths}
    return suffixes.pop() if len(suffixes) == 1 else ""


def _around_case(affix: tuple[str, str]) -> str:
    return f"{affix[0]}{{case}}{affix[1]}"


def _pair(images: set[str], labels: set[str]) -> tuple[tuple[str, str], tuple[str, str]]:
    """The (prefix, suffix) of image and of label names under which most of them become equal.

    Equal counts: the shortest. ``volume-7`` and ``segmentation-7`` → ("volume-", ""), ("segmentation-", "").
    """

    def merit(pair: tuple[tuple[str, str], tuple[str, str]]) -> tuple[int, int]:
        common = _stripped(images, pair[0]) & _stripped(labels, pair[1])
        return -len(common), sum(len(part) for affix in pair for part in affix)

    return min(((a, b) for a in _affixes(images) for b in _affixes(labels)), key=merit)


def _affixes(stems: set[str]) -> list[tuple[str, str]]:
    """Beginnings and ends, cut at _ - or ., that at least half of the names share; first of all, none."""
    counts: Counter[tuple[str, str]] = Counter()
    for stem in stems:
        cuts = [hit.start() for hit in re.finditer(r"[_\-.]", stem)]
        counts.update({(stem[: cut + 1], "") for cut in cuts[:2]} | {("", stem[cut:]) for cut in cuts[-2:]})
    shared = (affix for affix, count in counts.items() if count * 2 >= len(stems))
    return [("", ""), *sorted(shared)]


def _stripped(stems: set[str], affix: tuple[str, str]) -> set[str]:
    head, tail = affix
    return {s[len(head) : len(s) - len(tail)] for s in stems if s.startswith(head) and s.endswith(tail)}


# subjects


def _subjects(_root: Path, tree: list[str]) -> Patterns:
    """One folder per subject, at the level where the folders' contents look most alike."""
    counts = max((_templates(tree, level) for level in range(3)), key=_most)  # the first of equals
    most = _most(counts)
    if most < 2:
        return _side_by_side(tree)
    suffix = _common_suffix(tree)
    ranked = [(label_rank(_last(template)), template) for template in counts]
    labels = sorted((rank, -counts[t], t) for rank, t in ranked if rank is not None)
    images = sorted(t for rank, t in ranked if rank is None and counts[t] * 2 >= most)
    if not images:
        images = [max(counts, key=lambda t: (counts[t], t))]
    names = _channel_names(images)
    channels = {name: template + suffix for name, template in zip(names, images, strict=True)}
    return Patterns(channels, labels[0][2] + suffix if labels else None)


def _templates(tree: list[str], level: int) -> Counter[str]:
    """Paths with the folder at ``level`` written as {case}, wherever its name stands; counted."""
    counts: Counter[str] = Counter()
    for path in tree:
        parts = without_suffix(path).split("/")
        if len(parts) > level + 1:
            rest = [part.replace(parts[level], "{case}") for part in parts[level:]]
            counts["/".join([*["*"] * level, *rest])] += 1
    return counts


def _most(counts: Counter[str]) -> int:
    return max(counts.values(), default=0)


def _last(template: str) -> str:
    return template.rpartition("/")[2].replace("{case}", "")


def _channel_names(templates: list[str]) -> list[str]:
    """``{case}_t1``, ``{case}_flair`` → t1, flair; a single channel is called image."""
    if len(templates) == 1:
        return ["image"]
    names = [re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", _last(t)) or "image" for t in templates]
    return names if len(set(names)) == len(names) else templates


# decathlon


def _decathlon(root: Path, tree: list[str]) -> Patterns:
    """Several modalities are the fourth axis of one file, or files ``{case}_0000``, ``{case}_0001`` …"""
    dataset = dataset_json.read(root)
    names = dataset_json.modalities(dataset)
    tops = sorted({path.split("/")[0] for path in tree if "/" in path})
    image_folders = [top for top in tops if top.lower() in {"imagestr", "imagests"}]
    if not image_folders:
        raise MedsegError(
            Code.RECIPE_INVALID, "data.layout", f"decathlon without scans in {root}/imagesTr", _OTHER_LAYOUT
        )
    images, image_form = _inside(tree, image_folders)
    label_folders = [top for top in tops if top.lower() in {"labelstr", "labelsts"}]
    labels, label_form = _inside(tree, label_folders) if label_folders else (set(), "")
    unnumbered = {stem[:-5] for stem in images if re.search(r"_\d{4}$", stem)}
    numbered = "channel_names" in dataset or (bool(unnumbered & labels) and not images & labels)
    ends = [f"_{i:04d}" if numbered else "" for i in range(len(names))]
    channels = {n: image_form.replace("{}", "{case}" + end) for n, end in zip(names, ends, strict=True)}
    return Patterns(channels, label_form.replace("{}", "{case}") if labels else None)


def _with_listed(root: Path, found: Found) -> Found:
    """Add images that dataset.json lists in other folders; a listed image that is absent is a stray."""
    dataset = dataset_json.read(root)
    entries = [*dataset.get("training", []), *dataset.get("test", [])]
    known = {case.name for case in found.cases} | {stray.case for stray in found.strays}
    cases, strays, ignored = list(found.cases), list(found.strays), list(found.ignored)
    for entry in entries:
        listed = entry if isinstance(entry, dict) else {"image": entry}
        image = root / str(listed.get("image", ""))
        name = scans.stem(image)
        if name in known:
            continue
        known.add(name)
        if image in ignored:
            label = root / str(listed["label"]) if "label" in listed else None
            ignored = [path for path in ignored if path not in (image, label)]
            cases.append(CaseFiles(name, name, dict.fromkeys(found.patterns.channels, image), label))
        else:
            how_to_fix = f"copy the file, or take it out of {dataset_json.NAME}"
            strays.append(
                Stray(Code.FILE_MISSING, str(image), f"listed in {dataset_json.NAME}", how_to_fix, name)
            )
    cases.sort(key=lambda case: natural_key(case.name))
    return replace(found, cases=cases, strays=strays, ignored=ignored)


# bids


def _is_bids(tree: list[str]) -> bool:
    """Scans in sub-*/anat; or in sub-*, if no label map lies beside them as it does in subjects' folders."""
    hits = _bids_scans(tree)
    names = (_last(without_suffix(path)) for path in tree if path.startswith("sub-"))
    labels_beside = any(label_rank(name) is not None for name in names)
    return any(hit[1] for hit in hits) or (bool(hits) and not labels_beside)


def _bids_scans(tree: list[str]) -> list[re.Match[str]]:
    """The scans' hits: (anat/, subject and entities, modality). A label map's suffix is no modality.

    Outside of anat/ the modality must be one that BIDS knows.
    """
    hits = (hit for path in tree if (hit := _BIDS_SCAN.fullmatch(without_suffix(path))))
    return [h for h in hits if label_rank(h[3]) is None and (h[1] or _BIDS_SUFFIX.fullmatch(h[3]))]


def _bids(root: Path, tree: list[str]) -> Patterns:
    hits = _bids_scans(tree)
    if not hits:
        raise MedsegError(
            Code.RECIPE_INVALID, "data.layout", f"bids without scans in {root}/sub-*/anat", _OTHER_LAYOUT
        )
    counts = Counter(hit[3] for hit in hits)
    modality = "T1w" if "T1w" in counts else max(counts, key=lambda m: (counts[m], m))
    suffix = _common_suffix(tree)
    anat = "anat/" if any(hit[1] for hit in hits) else ""
    image = f"{{subject}}/**/{anat}{{case}}_{modality}{suffix}"
    cases = sorted({hit[2] for hit in hits if hit[3] == modality}, key=len, reverse=True)
    templates = Counter(t for path in tree if (t := _derivative(without_suffix(path), cases)))
    labels = sorted((_bids_rank(t, modality), -counted, t) for t, counted in templates.items())
    return Patterns({modality: image}, labels[0][2] + suffix if labels else None, _BIDS_SUBJECT)


def _derivative(path: str, cases: list[str]) -> str | None:
    """A label map under derivatives as a template, or None if it is none."""
    folder, _, name = path.rpartition("/")
    subject = re.search(r"/(sub-[^/_]+)(/ses-[^/]+)?(?=/|$)", folder)
    hit = _BIDS_NAME.fullmatch(name)
    if not path.startswith("derivatives/") or not subject or not hit:
        return None
    case = next((case for case in cases if name.startswith(f"{case}_")), hit[1])
    if label_rank(name[len(case) :]) is None:
        return None
    inner = folder[subject.end() :].lstrip("/")
    start = f"{folder[: subject.start()]}/{{subject}}/**/"
    return f"{start}{inner}{'/' if inner else ''}{{case}}{name[len(case) :]}"


def _bids_rank(template: str, modality: str) -> tuple[int, int]:
    """Sureness of a label template; those drawn on another modality come after."""
    name = _last(template)
    named = {hit[1] for hit in _MODALITY.finditer(name)}
    rank = label_rank(name)
    return (0 if not named or modality in named else 1), len(LABEL_WORDS) if rank is None else rank


_LAYOUTS: dict[str, Callable[[Path, list[str]], Patterns]] = {
    "plain": _plain,
    "subjects": _subjects,
    "decathlon": _decathlon,
    "bids": _bids,
}
