"""The layouts of image sets: patterns for each, and the lists in which a set names its cases and their roles.

camvid      SegNet's: train/ beside trainannot/, and so on; or the original with a colour for each class
voc         JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val,test}.txt, or trainval.txt alone
voc_aug     voc with the masks of SBD: SegmentationClassAug and trainaug.txt
cityscapes  leftImg8bit, gtFine: labelIds; test frames have no masks worth the name
ade20k      images/{training,validation}, annotations/{training,validation}
masks       a folder a case: images/ and masks/, one mask an object (DSB-2018)

A list's lines may hold paths of another machine: they are understood by their file names. Where a set has
lists its cases are those listed, and other images are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import CaseFiles, FolderContents, Patterns, Stray, match
from medseg.ingest.tree import files_under, natural_key, nfc, sorted_tree, without_suffix
from medseg.io import scans
from medseg.limits import MAX_TABLE_BYTES

ImageSet = Literal["camvid", "voc", "voc_aug", "cityscapes", "ade20k", "masks"]

COLOURS = ("red", "green", "blue")
"""The channels of an image, in the order of its file."""

Lists = dict[str, str]
"""Path of a list, relative to the root → the role that it gives."""


@dataclass(frozen=True)
class _Set:
    """The patterns of a set's images and masks, and a function that finds the lists among all its files."""

    image: str
    label: str
    lists: Callable[[Sequence[str]], Lists] | None = None
    unlabelled: str | None = None


def find(
    root: Path,
    layout: str,
    channels: Mapping[str, str] | None = None,
    label: str | None = None,
    without: Path | Collection[Path] | None = None,
) -> FolderContents:
    """Find the cases of an image set below ``root``; given patterns replace the set's own.

    Raises PATH_MISSING, NOTHING_USABLE (no image at all), FILE_UNREADABLE (a list), RECIPE_INVALID.
    """
    everything = files_under(root, without)
    tree = sorted_tree(root, everything, "px")
    if not tree.files:
        how_to_fix = f"name a folder with files of {' '.join(scans.SUFFIXES_OF['px'])}"
        raise MedsegError(Code.NOTHING_USABLE, root, "no image", how_to_fix)
    image_set = _camvid(tree.files) if layout == "camvid" else _SETS[layout]
    patterns = Patterns(channels or dict.fromkeys(COLOURS, image_set.image), label or image_set.label)
    contents = match(root, tree, patterns, layout)
    if image_set.unlabelled:
        contents = _without_labels(contents, image_set.unlabelled)
    lists = image_set.lists(everything) if image_set.lists else {}
    return _as_listed(root, contents, lists) if lists else contents


def detect(tree: Sequence[str]) -> str | None:
    """Tell by the names of its folders which image set a folder with these files holds; None for others."""
    folders = {part for path in tree for part in path.split("/")[:-1]}
    for name, signs in _SIGNS:
        if signs <= folders:
            return name
    in_images = [path for path in tree if path.count("/") > 1 and path.split("/")[-2] == "images"]
    alone = Counter(path.rpartition("/")[0] for path in in_images)
    beside = {path.rpartition("/")[0] for path in tree if path.split("/")[-2:-1] == ["masks"]}
    paired = all(f"{folder.removesuffix('images')}masks" in beside for folder in alone)
    return "masks" if alone and paired and set(alone.values()) == {1} else None


def in_colours(patterns: Patterns) -> Patterns:
    """The one pattern of images as red, green and blue; several patterns stay what they are."""
    if len(patterns.channels) != 1:
        return patterns
    return replace(patterns, channels=dict.fromkeys(COLOURS, next(iter(patterns.channels.values()))))


# Lists


def _as_listed(root: Path, contents: FolderContents, lists: Lists) -> FolderContents:
    """Keep the cases that the lists name, with their roles; a listed case that is absent is a stray."""
    listed: dict[str, _Line] = {}
    roles: set[tuple[str, str]] = set()
    for path, role in lists.items():
        for name, number in _names(root / path).items():
            listed.setdefault(name, _Line(root / path, number, role))
            roles.add((name, role))
    to_learn = {name for name, role in roles if role != "test"}
    cases: list[CaseFiles] = []
    strays = [stray for stray in contents.strays if stray.case in listed]
    ignored = {path for stray in contents.strays if stray.case not in listed for path in stray.files}
    for case in contents.cases:
        if case.name not in listed:
            ignored |= case.paths()
        elif case.label is None and case.name in to_learn:
            strays.append(
                _absent(listed[case.name], case.name, "mask", contents.patterns, tuple(case.paths()))
            )
        else:
            cases.append(case)
    known = {case.name for case in cases} | {stray.case for stray in strays}
    strays += [_absent(listed[name], name, "image", contents.patterns) for name in listed.keys() - known]
    strays.sort(key=lambda stray: natural_key(stray.case))
    every = sorted({*contents.ignored, *ignored})
    return replace(
        contents, cases=cases, strays=strays, ignored=every, roles=tuple(sorted(roles)), known_by="list"
    )


@dataclass(frozen=True)
class _Line:
    """A case's entry in a list: the list, the line's number from 1, the role that the list gives."""

    path: Path
    number: int
    role: str


def _names(path: Path) -> dict[str, int]:
    """The cases of a list: the file name, without suffix, of each line's first word; each with its line."""
    try:
        lines = files.read_text(path, MAX_TABLE_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MedsegError(Code.FILE_UNREADABLE, path, str(error), "copy the list again") from error
    names: dict[str, int] = {}
    for number, words in enumerate(map(str.split, lines), 1):
        if words:
            word = nfc(words[0].replace("\\", "/").rstrip("/").rpartition("/")[2])
            has_suffix = scans.detect_kind(Path(word)) == "px" or scans.unread_kind(Path(word)) == "px"
            names.setdefault(without_suffix(word) if has_suffix else word, number)
    return names


def _absent(line: _Line, name: str, what: str, patterns: Patterns, files: tuple[Path, ...] = ()) -> Stray:
    """A case that a line names but that lacks its image or mask, with the path that is looked for."""
    pattern = (patterns.label or "") if what == "mask" else next(iter(patterns.channels.values()))
    path = pattern.replace("{case}", name).replace("{role}", line.role)
    details = f"line {line.number} lists {name}, there is no {what} {path}"
    how_to_fix = "copy the file, or take it out of the list"
    return Stray(Code.FILE_MISSING, str(line.path), details, how_to_fix, name, files)


def _without_labels(contents: FolderContents, role: str) -> FolderContents:
    """Take away the labels of this role, which hold no classes."""
    names = {name for name, given in contents.roles if given == role}
    labels = [case.label for case in contents.cases if case.name in names and case.label is not None]
    cases = [replace(case, label=None) if case.name in names else case for case in contents.cases]
    return replace(contents, cases=cases, ignored=sorted({*contents.ignored, *labels}))


# The sets


def _by_name(everything: Sequence[str]) -> Lists:
    """train.txt, val.txt and test.txt, wherever they lie."""
    split = {path: path.rpartition("/")[2] for path in everything if path.endswith(".txt")}
    return {path: role for path, name in split.items() if (role := ROLES.get(name.removesuffix(".txt")))}


def _of_voc(train: str) -> Callable[[Sequence[str]], Lists]:
    """A function that finds the lists of ImageSets/Segmentation; ``train`` is the training list's name."""
    known = {f"{train}.txt": "train", "val.txt": "val", "test.txt": "test"}

    def lists(everything: Sequence[str]) -> Lists:
        there = [path for path in everything if "/ImageSets/Segmentation/" in f"/{path}"]
        named = {path: role for path in there if (role := known.get(path.rpartition("/")[2]))}
        if not {"train", "val"} & set(named.values()):
            named |= {path: "train" for path in there if path.endswith("/trainval.txt")}
        return named

    return lists


def _camvid(tree: Sequence[str]) -> _Set:
    if any("LabeledApproved_full/" in path for path in tree):
        return _Set("**/701_StillsRaw_full/{case}", "**/LabeledApproved_full/{case}_L", _by_name)
    return _Set("**/{role}/{case}", "**/{role}annot/{case}", _by_name)


_SETS: dict[str, _Set] = {
    "voc": _Set("**/JPEGImages/{case}", "**/SegmentationClass/{case}", _of_voc("train")),
    "voc_aug": _Set("**/JPEGImages/{case}", "**/SegmentationClassAug/{case}", _of_voc("trainaug")),
    "cityscapes": _Set(
        "**/leftImg8bit/{role}/*/{case}_leftImg8bit",
        "**/gtFine/{role}/*/{case}_gtFine_labelIds",
        unlabelled="test",
    ),
    "ade20k": _Set("**/images/{role}/{case}", "**/annotations/{role}/{case}"),
    "masks": _Set("**/{case}/images/*", "**/{case}/masks/"),
}

_SIGNS: tuple[tuple[str, set[str]], ...] = (
    ("voc_aug", {"JPEGImages", "SegmentationClassAug"}),
    ("voc", {"JPEGImages", "SegmentationClass"}),
    ("cityscapes", {"leftImg8bit", "gtFine"}),
    ("ade20k", {"images", "annotations", "training"}),
    ("ade20k", {"images", "annotations", "validation"}),
    ("camvid", {"train", "trainannot"}),
    ("camvid", {"701_StillsRaw_full", "LabeledApproved_full"}),
)
