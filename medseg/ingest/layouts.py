"""The layouts of scan folders: each looks at the files and proposes patterns; matching is the same for all.

plain      images/ beside labels/ (of images: at any depth), or images and label maps side by side
subjects   one folder per subject
decathlon  dataset.json with imagesTr, labelsTr and perhaps imagesTs (also nnU-Net's form of it)
bids       sub-*/[ses-*/]anat, label maps under derivatives/ or beside the scans (:mod:`medseg.ingest.bids`)
patterns   as the recipe writes them
csv        a table, read by :mod:`medseg.ingest.tables`; those of image sets are in its sister ``imagesets``
dicom      series of an export, which :mod:`medseg.ingest.dicom_folder` finds
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from medseg.classes import Colour
from medseg.errors import Code, Finding, MedsegError
from medseg.ingest import (
    bids,
    dataset_json,
    imagesets,
    leftovers,
    pairs,
    plain,
    subject_folders,
    subjects,
    tables,
)
from medseg.ingest.label_templates import counted_as
from medseg.ingest.patterns import CaseFiles, FolderContents, Patterns, Stray, match
from medseg.ingest.plain import IMAGE_FOLDERS, LABEL_FOLDERS
from medseg.ingest.tree import natural_key, nfc, tree_of, without_suffix
from medseg.io import scans
from medseg.io.dicom.rules import SeriesRules
from medseg.names import check_name

__all__ = [
    "CaseFiles",
    "FolderContents",
    "Guess",
    "Layout",
    "Patterns",
    "Stray",
    "find",
    "guess",
    "natural_key",
]

Layout = Literal[
    "auto", "plain", "subjects", "decathlon", "bids", "patterns", "csv", "dicom", imagesets.ImageSet
]

_DESCRIPTIONS = (dataset_json.NAME, "dataset_description.json")

PATTERNED: tuple[Layout, ...] = ("plain", "subjects", "decathlon", "bids", "patterns")
"""Layouts whose cases are found by patterns of paths, guessed or given."""


@dataclass(frozen=True)
class Guess:
    """The start of a recipe, guessed from a folder. ``classes`` is value → name where a file says it.

    ``class_file`` names the packaged class list of an image set; ``above`` a grey mask's threshold; ``roles``
    are those that the folder itself gives; ``n_other`` files make no case. ``void`` are values to be ignored,
    ``regions`` masks that may overlap: name → values. ``subject`` is the rule that reads subjects from the
    cases' names, ``subject_remark`` says why; ``series`` are the rules that choose DICOM series as channels;
    ``remarks`` are further sentences for the user. ``seen`` are lines about the files that are there, where
    no label map belongs to a case. ``masks`` are patterns of masks that may overlap, instead of ``label``.
    Files that globs of ``ignore`` match are no cases. ``colours`` are those of the classes, by value; masks
    show them where ``in_colours``, and ``void_colours`` are void. ``background`` is False where each value
    is a class.
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
    void: tuple[int, ...] = ()
    regions: Mapping[str, tuple[int, ...]] | None = None
    subject: str | None = None
    subject_remark: str = ""
    series: Mapping[str, SeriesRules] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    masks: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    colours: Mapping[int, Colour] = field(default_factory=dict)
    in_colours: bool = False
    void_colours: tuple[Colour, ...] = ()
    background: bool = True


def find(
    root: Path,
    layout: Layout = "auto",
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | Collection[Path] | None = None,
    table: str | None = None,
    masks: Mapping[str, str] | None = None,
    *,
    subject: str | None = None,
) -> FolderContents:
    """Find the cases below ``root``, except in ``without``, where results are written.

    Patterns that are given replace those that the layout would guess; those of layout csv are columns of
    ``table``. ``masks`` count for patterns alone. ``subject`` reads the subject from a case's name, see
    :func:`medseg.ingest.subjects.rule`.

    With ``channels`` given and no layout but auto, the patterns alone count: without ``label`` nothing is
    labelled. Raises PATH_MISSING, NOTHING_USABLE (no scan at all), RECIPE_INVALID.
    """
    if layout not in get_args(Layout):
        names = ", ".join(get_args(Layout))
        raise MedsegError(Code.RECIPE_INVALID, "data.layout", repr(layout), f"choose one of {names}")
    if layout in get_args(imagesets.ImageSet):
        contents = imagesets.find(root, layout, channels, label, without)
    elif layout == "csv" and table:
        contents = tables.find(root, table, channels, label, without)
    else:
        contents = _find_by_patterns(root, layout, channels, label, without, masks)
    return contents if subject is None else _with_subjects(contents, subject)


def guess(root: Path) -> Guess:
    """Look at a folder that nobody described: its layout, patterns and, where a file says them, classes.

    Raises what :func:`find` raises.
    """
    contents = find(root)
    labels = dataset_json.labels(dataset_json.read(root)) if contents.layout == "decathlon" else None
    subject, subject_remark = guess_subject(contents)
    unread = [path for stray in contents.strays if stray.code == Code.FORMAT_NOT_READ for path in stray.files]
    unread_names = sorted(
        path.relative_to(root).as_posix() for path in {*unread, *contents.unread} if scans.unread_format(path)
    )
    return Guess(
        contents.layout,
        dict(contents.patterns.channels),
        contents.patterns.label,
        labels.classes if labels else None,
        n_cases=len(contents.cases),
        n_labelled=sum(bool(case.label_paths) for case in contents.cases),
        unit=contents.unit,
        roles=frozenset(role for _, role in contents.roles),
        n_other=len(contents.ignored)
        + len(contents.unread)
        + sum(len(stray.files) for stray in contents.strays),
        void=labels.void if labels else (),
        regions=labels.regions if labels else None,
        subject=subject,
        subject_remark=subject_remark,
        remarks=(
            *(labels.remarks if labels else ()),
            *leftovers.unread_lines(unread_names, root),
        ),
    )


def _find_by_patterns(
    root: Path,
    layout: str,
    channels: Mapping[str, str] | None,
    label: str | None,
    without: Path | Collection[Path] | None,
    masks: Mapping[str, str] | None,
) -> FolderContents:
    tree = tree_of(root, without, channels)
    if layout == "patterns" or (layout == "auto" and channels):
        given = Patterns(dict(channels or {}), label, masks=dict(masks or {}))
        return match(root, tree, given, "patterns")
    files = [nfc(path) for path in tree.files]
    name = layout
    if layout == "auto" and tree.unit == "px":
        if not (has_dataset := _has_dataset(root, files)) and (known := imagesets.detect(files)):
            return imagesets.find(root, known, None, label, without)
        name = "decathlon" if has_dataset else "plain"
    elif layout == "auto":
        name = _detect(root, files)
    if tree.unit == "px":
        paired = _paired(files) if name == "plain" else None
        patterns = imagesets.in_colours(paired or _LAYOUTS[name](root, files))
    else:
        patterns = _LAYOUTS[name](root, files)
    patterns = replace(patterns, channels=channels or patterns.channels, label=label or patterns.label)
    contents = match(root, tree, patterns, name)
    return _with_listed(root, contents) if name == "decathlon" else contents


def _with_subjects(contents: FolderContents, pattern: str) -> FolderContents:
    """Subjects read from the cases' names; those that a table gives stay."""
    texts = (
        *contents.patterns.channels.values(),
        contents.patterns.label or "",
        *contents.patterns.masks.values(),
    )
    if any("{subject}" in text for text in texts):
        details = f"{pattern!r} beside {{subject}} in data.channels"
        raise MedsegError(Code.RECIPE_INVALID, "data.subject", details, "keep one of them")
    subject_of = subjects.rule(pattern)
    named = (case.subject == case.name for case in contents.cases)
    cases = [
        replace(case, subject=subject_of(case.name)) if by_name else case
        for case, by_name in zip(contents.cases, named, strict=True)
    ]
    return replace(contents, cases=cases)


def guess_subject(contents: FolderContents) -> tuple[str | None, str]:
    """The rule that reads subjects from the cases' names, if they share any, and what to tell of it."""
    names = [case.name for case in contents.cases if case.subject == case.name]
    by_name = subjects.guess(names) if contents.layout not in get_args(imagesets.ImageSet) else None
    if by_name is None:
        return None, ""
    sizes = Counter(by_name.values())
    together = [name for name in names if by_name[name] == next(s for s in sizes if sizes[s] > 1)]
    what = (
        f"{' and '.join(together[:2])} look like one subject's ({counted_as(len(sizes), 'subject')} in all)"
    )
    if rule := subjects.rule_for(by_name):
        return rule, f"{what}: data.subject keeps a subject's cases on one side of the splits"
    how_to_fix = "write data.subject, or a table with a column subject (layout csv), to keep them together"
    return None, f"{what}, but no one rule reads the subjects from the names; {how_to_fix}"


def data_set_below(data: Path, without: Collection[Path] = ()) -> Path:
    """The folder below with a dataset.json, or one of BIDS, that holds all scans; else the folder itself."""
    tree = tree_of(data, without)
    folders = [path.rpartition("/")[0] for path in tree.others if path.rpartition("/")[2] in _DESCRIPTIONS]
    first = min(folders, key=len, default="")
    holds_all = all(path.startswith(f"{first}/") for path in (*tree.files, *folders) if path != first)
    return data / first if first and holds_all else data


def n_other(contents: FolderContents) -> int:
    """The number of files that belong to no case."""
    of_strays = sum(len(stray.files) for stray in contents.strays)
    return len(contents.ignored) + len(contents.unread) + of_strays


def _detect(root: Path, files: list[str]) -> str:
    if _has_dataset(root, files):
        return "decathlon"
    if bids.is_bids(files):
        return "bids"
    tops = {path.split("/")[0].lower() for path in files if "/" in path}
    nested = sum("/" in path for path in files)
    if tops & IMAGE_FOLDERS or nested * 2 < len(files):
        return "plain"
    return "subjects"


def _has_dataset(root: Path, files: list[str]) -> bool:
    """True for a folder with dataset.json and imagesTr."""
    return (root / dataset_json.NAME).is_file() and any(
        path.lower().startswith("imagestr/") for path in files
    )


def _paired(files: list[str]) -> Patterns | None:
    """Folders of images and masks below the top; None where a pair lies at the top, or nowhere."""
    tops = {path.split("/")[0].lower() for path in files if path.count("/") == 1}
    if tops & IMAGE_FOLDERS and tops & LABEL_FOLDERS:
        return None
    return pairs.find(files, IMAGE_FOLDERS, LABEL_FOLDERS)


def _decathlon(root: Path, files: list[str]) -> Patterns:
    """Several modalities are the fourth axis of one file, or files ``{case}_0000``, ``{case}_0001`` …"""
    dataset = dataset_json.read(root)
    tops = sorted({path.split("/")[0] for path in files if "/" in path})
    image_folders = [top for top in tops if top.lower() in {"imagestr", "imagests"}]
    if not image_folders:
        details = f"decathlon without scans in {root}/imagesTr"
        how_to_fix = "name the right data folder, or choose another layout"
        raise MedsegError(Code.RECIPE_INVALID, "data.layout", details, how_to_fix)
    images, image_form = plain.inside(files, image_folders)
    label_folders = [top for top in tops if top.lower() in {"labelstr", "labelsts"}]
    labels, label_form = plain.inside(files, label_folders) if label_folders else (set(), "")
    channels = dataset_json.channel_endings(dataset, images, labels)
    return Patterns(
        {name: image_form.replace("{}", "{case}" + ending) for name, ending in channels.items()},
        label_form.replace("{}", "{case}") if labels else None,
    )


def _with_listed(root: Path, contents: FolderContents) -> FolderContents:
    """Add images that dataset.json lists in other folders; a listed image that is absent is a stray."""
    known = {case.name for case in contents.cases} | {stray.case for stray in contents.strays}
    cases, strays = list(contents.cases), list(contents.strays)
    ignored = {nfc(path.relative_to(root).as_posix()): path for path in contents.ignored}
    for entry in dataset_json.listed(dataset_json.read(root)):
        name = without_suffix(entry.image.name)
        if name in known:
            continue
        known.add(name)
        if fault := _unusable(root, entry):
            strays.append(Stray(fault.code, fault.where, fault.details, fault.how_to_fix, ascii(name)[1:-1]))
            continue
        if image := ignored.pop(entry.image.as_posix(), None):
            label = ignored.pop(entry.label.as_posix(), None) if entry.label else None
            label = label or (root / entry.label if entry.label else None)
            cases.append(CaseFiles(name, name, dict.fromkeys(contents.patterns.channels, image), label))
        else:
            how_to_fix = f"copy the file, or take it out of {dataset_json.NAME}"
            details, where = f"listed in {dataset_json.NAME}", str(root / entry.image)
            strays.append(Stray(Code.FILE_MISSING, where, details, how_to_fix, name))
    cases.sort(key=lambda case: natural_key(case.name))
    return replace(contents, cases=cases, strays=strays, ignored=list(ignored.values()))


def _unusable(root: Path, entry: dataset_json.Listed) -> Finding | None:
    """NAME_INVALID for an entry whose name cannot be a file's, or whose paths lead out of ``root``."""
    where = root / dataset_json.NAME
    try:
        check_name(without_suffix(entry.image.name), where)
        for path in filter(None, (entry.image, entry.label)):
            for part in path.parts:
                check_name(part, where)
    except MedsegError as error:
        return error.finding
    return None


_LAYOUTS: dict[str, Callable[[Path, list[str]], Patterns]] = {
    "plain": lambda _root, files: plain.patterns(files),
    "subjects": lambda _root, files: subject_folders.patterns(files),
    "decathlon": _decathlon,
    "bids": lambda root, files: bids.patterns(root, files, plain.common_suffix(files)),
}
