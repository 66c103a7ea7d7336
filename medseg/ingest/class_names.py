"""Names of label values, from files that people keep beside label maps, or from the label map's own name.

Read are BIDS and other tables with a header (`labels.tsv`: index, name), colour tables of FreeSurfer and
Slicer (`1 Liver 255 0 0 255`), label descriptions of ITK-SNAP (`1 255 0 0 1 1 1 "Liver"`), JSON (`labels` of
a dataset.json, or medseg's own labels.json), and lines such as `1: liver`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg import files
from medseg.classes import RESERVED_NAMES
from medseg.ingest import dataset_json, freesurfer_names, path_words
from medseg.ingest.label_names import LABEL_WORDS
from medseg.ingest.tree import without_suffix

_SUFFIXES = (".tsv", ".csv", ".txt", ".ctbl", ".json", ".label", ".lut")
_LARGEST_BYTES = 1_000_000
_MOST_FILES = 200
_VALUE_COLUMNS = ("index", "value", "labelvalue", "label_value", "id", "label", "number", "no", "intensity")
_NAME_COLUMNS = ("name", "structure", "labelname", "label_name", "class", "region", "label", "description")
_COLOUR_TABLE = re.compile(r'(\d+)\s+("[^"]+"|.*?\S)\s+\d+\s+\d+\s+\d+(?:\s+\d+)?')
_ITK_SNAP = re.compile(r'(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+[01]\s+[01]\s+"([^"]*)"')
_PLAIN_LINE = re.compile(r"(\d+)\s*[:=,;\t ]\s*([^\W\d].*)")
_SURE_COLUMNS = {"index", "value", "labelvalue", "label_value"}
_ABOUT_PEOPLE = re.compile(
    r"participant|patient|subject|session|demograph|people|person|case|scans", re.IGNORECASE
)
"""Tables about persons: their names are nobody's classes."""

_ABOUT_LABELS = re.compile(r"label|class|lut|colou?r|legend|names|segment|seg\b|itk", re.IGNORECASE)
_GENERIC = set(LABEL_WORDS) - {"lesion"} | {
    *("segm", "segmented", "segment", "labelmap", "labelled", "labeled", "groundtruth", "annot", "annotated"),
    *(
        "manual",
        "final",
        "expert",
        "rater",
        "consensus",
        "corrected",
        "edited",
        "checked",
        "reader",
        "approved",
    ),
    *("derivatives", "derivative", "data", "anat", "annotation", "ground", "label", "nifti", "nii", "lab"),
    *("native", "space", "orig", "reg", "registered", "on", "in", "to", "of", "the", "new", "all", "train"),
    *(
        "test",
        "val",
        "patient",
        "subject",
        "case",
        "image",
        "img",
        "scan",
        "volume",
        "multi",
        "class",
        "binary",
    ),
    *("auto", "automatic", "pred", "prediction", "predicted", "second", "first", "copy", "edit", "fixed"),
    *(
        "by",
        "from",
        "for",
        "with",
        "msk",
        "maske",
        "masken",
        "segmentierung",
        "segmentation",
        "etikett",
        "handmade",
    ),
    *("observer", "annotator", "reviewer", "reference", "ref", "masque", "masques", "mascara", "etiqueta"),
    *("colour", "color", "colours", "colors", "coloured", "colored", "farbig", "rgb", "png", "bw", "binaer"),
    *("ot", "voi"),  # ISLES 2015, BraTS 2015
    *("aseg", "aparc", "parc", "parcellation", "labelstr", "result", "output", "drawn", "hand", "work"),
    *("outline", "contour", "kontur", "umriss", "delineation", "maska", "maschera", "maskers", "masker"),
    *("máscara", "maseczka", "segmentacion", "segmentación", "segmentazione", "segmentacja", "etiket"),
    *("маска", "разметка", "сегментация", "正解", "标签", "標識", "分割", "掩码", "掩膜", "マスク", "라벨"),
}


_READ_ME = re.compile(r"(?:read_?me(?:\.(?:md|txt|rst))?|dataset_description\.json)", re.IGNORECASE)
_STRUCTURE = re.compile(
    r"\b(lesion|tumou?r|infarct|h(?:a|ae)ematoma|aneurysm|hippocampus|liver|spleen|kidney|pancreas|prostate"
    r"|heart|nodule|polyp|vessel)s?\b",
    re.IGNORECASE,
)
_CONTRAST_BEFORE = re.compile(r"^(?:T1w?|T2w?|PD|FLAIR)(?=[a-z]{3})")
_RATER = re.compile(r"(?:rater|reader|expert|observer|annotator|reviewer|radiologist)[_-]?[A-Z\d]{1,2}", re.I)
_GLUED = re.compile(r"([^\W\d_]{3,})(?:mask|seg|label|roi)s?")
_INITIALS = re.compile(r"[A-Z]{2}")
_TWO_LETTERS = {
    *("GM", "WM", "LV", "RV", "LA", "RA", "CA", "DG", "SN", "GP", "CC", "PZ", "TZ", "CZ", "ED", "ET", "NC"),
    *("WT", "TC", "IS", "MS"),
}
"""Structures of two capitals; others are somebody's initials."""

_SIDES = {"left", "right", "l", "r", "lh", "rh"}


@dataclass(frozen=True)
class Table:
    """Names of values, and the file, relative to the folder of the data, that gives them."""

    path: str
    names: dict[int, str]


def tables(root: Path, paths: Iterable[str]) -> list[Table]:
    """Read the files among ``paths``, relative to ``root``, that name label values; pass over others."""
    chosen = [
        path
        for path in paths
        if path.lower().endswith(_SUFFIXES) and not _ABOUT_PEOPLE.search(path.rpartition("/")[2])
    ]
    chosen.sort(key=lambda path: _ABOUT_LABELS.search(path.rpartition("/")[2]) is None)
    read = (Table(path, _read(root / path)) for path in chosen[:_MOST_FILES])
    return [table for table in read if any(value > 0 for value in table.names)]


def best(tables: Sequence[Table], values: Iterable[int], label: str) -> tuple[Table | None, tuple[str, ...]]:
    """The table that names most of the values, the one next to the label maps of equals, and remarks.

    ``label`` is the label maps' pattern. Tables that name none of the values are none of theirs.
    """
    wanted = {value for value in values if value != 0}
    folder = label.rpartition("/")[0]

    def merit(table: Table) -> tuple[int, bool, int, str]:
        own = table.path.rpartition("/")[0]
        is_near = own == folder or label.startswith(f"{own}/")
        return -len(wanted & table.names.keys()), not is_near, len(table.names), table.path

    usable = sorted((t for t in tables if wanted & t.names.keys()), key=merit)
    if not usable:
        return None, ()
    first = usable[0]
    remarks = []
    if unnamed := sorted(wanted - first.names.keys()):
        remarks.append(f"{first.path} names no value {', '.join(map(str, unnamed[:6]))}")
    for other in usable[1:]:
        if any(
            other.names.get(value, name) != name for value, name in first.names.items() if value in wanted
        ):
            remarks.append(f"names of classes come from {first.path}; {other.path} gives others")
            break
    return first, tuple(remarks)


def usable(names: Mapping[int, str]) -> dict[int, str]:
    """Names that a class list may have: printable, none reserved, and no two equal."""
    clean = {value: " ".join(filter(str.isprintable, name.split())) for value, name in names.items()}
    counts = Counter(name.casefold() for name in clean.values())
    return {
        value: f"{name or 'label'}_{value}"
        if value and (not name or counts[name.casefold()] > 1 or name.casefold() in RESERVED_NAMES)
        else name
        for value, name in clean.items()
    }


def of_file_name(label: str, channels: Iterable[str]) -> str | None:
    """The name of a single class by its label maps' pattern: ``{case}_lesion_mask`` → lesion; or None."""
    shared = {word.lower() for text in channels for word in path_words.words_of(_bare(text))}
    *folders, name = _bare(label).split("/")
    for part in (name, *reversed(folders)):
        words = []
        for word in path_words.words_of(part):
            entity = re.fullmatch(r"(?:label|desc|seg)-([A-Za-z]\w*)", word)
            text = _CONTRAST_BEFORE.sub("", entity[1]) if entity else word
            glued = _GLUED.fullmatch(text)
            text = glued[1] if glued else text
            if not _is_generic(text, shared) and not (entity is None and "-" in word):
                words.append(text)
        if any(word.lower() not in _SIDES for word in words):
            return "_".join(words)
    return None


def of_read_me(root: Path, paths: Iterable[str]) -> tuple[str, str] | None:
    """The one structure of which a README or dataset_description.json at the top speaks, and its path."""
    for path in sorted(filter(_READ_ME.fullmatch, paths)):
        words = {hit.lower() for hit in _STRUCTURE.findall(small_text(root / path))}
        if len(words) == 1:
            return words.pop(), path
    return None


def of_structures(labels: Sequence[str], channels: Sequence[str]) -> list[str] | None:
    """Names of label maps of one structure each, by their patterns; None if they could mean the same.

    Names that share a word, as two raters' do, are not told apart, unless they tell sides.
    """
    names = [of_file_name(label, channels) for label in labels]
    words = [set(name.lower().split("_")) for name in names if name]
    if len(words) < len(labels) or len(set(names)) < len(names):
        return None
    for i, own in enumerate(words):
        for other in words[:i]:
            if own & other - _SIDES and not (own & _SIDES and other & _SIDES):
                return None
    return [name for name in names if name]


def of_values(values: Iterable[int], label: str) -> dict[int, str] | None:
    """FreeSurfer's names where the label maps are called as FreeSurfer's and hold its values; or None."""
    wanted = set(values)
    named = {value: name for value, name in freesurfer_names.ASEG.items() if value in wanted}
    words = {word.lower() for word in path_words.words_of(_bare(label))}
    is_freesurfer = bool(words & {"aseg", "aparc", "wmparc", "synthseg", "desc-aseg"})
    return named if is_freesurfer and 2 * len(named) >= len(wanted) else None


def _is_generic(word: str, shared: set[str]) -> bool:
    lower = word.lower()
    if lower in _SIDES:
        return False
    return (
        lower in _GENERIC
        or _RATER.fullmatch(word) is not None
        or lower.removesuffix("s") in _GENERIC
        or lower in shared
        or path_words.is_contrast(word)
        or path_words.has_number(word)
        or len(word) < 2
        or (_INITIALS.fullmatch(word) is not None and word not in _TWO_LETTERS)
    )


def _bare(pattern: str) -> str:
    """A pattern without suffix, placeholders, ``*`` and words in brackets; ``brainmask`` as two words."""
    text = re.sub(r"\{\w+\}|\*|\([^()/]*\)", " ", without_suffix(pattern))
    return text.replace("brainmask", "brain_mask")


def small_text(path: Path) -> str:
    """The text of a small file; empty for one that is large, no text, or cannot be read."""
    try:
        return files.read_text(path, _LARGEST_BYTES, "utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


def _read(path: Path) -> dict[int, str]:
    """Value → name, empty for a file that names no values."""
    text = small_text(path)
    if path.suffix.lower() == ".json":
        return _of_json(path, text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    about_labels = _ABOUT_LABELS.search(path.name) is not None
    return _of_columns(lines, strict=not about_labels) or _of_lines(lines, strict=not about_labels)


def _of_json(path: Path, text: str) -> dict[int, str]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    if isinstance(content, list):
        rows = [row for row in content if isinstance(row, dict) and {"value", "name"} <= row.keys()]
        content = {"labels": {str(row["value"]): row["name"] for row in rows}}
    if not isinstance(content, dict):
        return {}
    if "labels" not in content and _ABOUT_LABELS.search(path.name):
        content = {"labels": content}
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(v, str | int | list) for v in labels.values()):
        return {}
    return dataset_json.labels(content).classes or {}


def _of_columns(lines: Sequence[str], *, strict: bool) -> dict[int, str]:
    """A table with a header, its columns divided by tabs, commas or semicolons.

    Where ``strict`` the values' column must be called as only label values are.
    """
    divider = next((d for d in "\t,;" if lines and d in lines[0]), None)
    if divider is None:
        return {}
    header, *rows = csv.reader(lines, delimiter=divider)
    columns = [cell.strip().lower() for cell in header]
    value = next((c for c in _VALUE_COLUMNS if c in columns), None)
    name = next((c for c in _NAME_COLUMNS if c in columns and c != value), None)
    if value is None or name is None or (strict and value not in _SURE_COLUMNS):
        return {}
    places = columns.index(value), columns.index(name)
    pairs = [(row[places[0]].strip(), row[places[1]].strip()) for row in rows if len(row) > max(places)]
    if not pairs or not all(number.isdigit() and text for number, text in pairs):
        return {}
    return {int(number): text for number, text in pairs}


def _of_lines(lines: Sequence[str], *, strict: bool) -> dict[int, str]:
    """Lines of a colour table or of label descriptions; ``1: liver`` alone where not ``strict``."""
    for form in (_ITK_SNAP, _COLOUR_TABLE, *(() if strict else (_PLAIN_LINE,))):
        hits = [form.fullmatch(line.strip()) for line in lines]
        names = {int(hit[1]): hit[2].strip(' "') for hit in hits if hit}
        if names and len(names) >= 0.9 * len(lines):
            return names
    return {}
