"""The viewer of one case: a self-contained page on which its slices can be scrolled, without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Array
from medseg.names import check_name
from medseg.report import viewer_volumes
from medseg.report.colors import ERRORS, warm
from medseg.report.viewer_volumes import Turned
from medseg.volume import Volume

VERSION = 1
"""Raised when pages of the same case would differ."""

SUFFIX = ".html"

_END = b"<!-- medseg "  # before a page's key and its hash
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Heading:
    """Texts around a case's slices: its name, facts such as its set, and a score by class.

    ``worse`` and ``better`` are the cases whose pages lie beside it in the report's order.
    """

    case: str
    title: str
    facts: Sequence[str] = ()
    scores: Mapping[str, str] = field(default_factory=dict)
    worse: str | None = None
    better: str | None = None


def path_of(folder: Path, case: str) -> Path:
    """The page of a case; raises NAME_INVALID."""
    return folder / f"{check_name(case, folder)}{SUFFIX}"


def link_to(case: str) -> str:
    """The page's name as part of an address, every character quoted that means something there."""
    return quote(case + SUFFIX, safe="")


def address(page: Path) -> str:
    """The address of a page from the report, one folder above."""
    return f"{quote(page.parent.name)}/{quote(page.name, safe='')}"


def key_of(path: Path) -> str | None:
    """The key that a page was made with; None where there is no page, or it is not as it was written."""
    if not path.is_file():
        return None
    text = path.read_bytes()
    page, _, end = text.rpartition(_END)
    key, _, sha256 = end.partition(b" ")
    if sha256.rstrip(b" ->\n") != hashlib.sha256(page).hexdigest().encode():
        return None
    return key.decode("ascii", "replace")


def render(
    heading: Heading,
    image: Volume,
    channels: Sequence[str],
    classes: ClassList,
    *,
    truth: Array | None = None,
    prediction: Array | None = None,
    confidence: Array | None = None,
    key: str = "",
) -> str:
    """Write the page of a case.

    ``truth`` and ``prediction`` are class indices (X, Y, Z) on the image's grid, or bits of overlapping
    masks; ``confidence`` is a share in 0 to 1. ``channels`` are the names of the image's channels. Grey
    values are shown in at most 256 steps. An image in px has one plane and its own colours.
    """
    given = {"truth": truth, "prediction": prediction}
    labels = {name: array for name, array in given.items() if array is not None}
    case = viewer_volumes.turned(image, labels, confidence)
    packed = viewer_volumes.channels(case, channels)
    both = len(labels) == 2
    layers = ["none", *labels, *(["errors"] if both else []), *([] if confidence is None else ["confidence"])]
    page = {
        "unit": image.grid.unit,
        "shape": list(case.shape),
        "spacing": case.spacing,
        "first": [w.start for w in case.window],
        "steps": list(case.steps),
        "affine": viewer_volumes.position_affine(case),
        "sides": viewer_volumes.sides(case.affine),
        "start": viewer_volumes.start(case),
        "channels": packed,
        "exact": image.array.dtype == np.uint8 and image.grid.unit == "px" and _is_whole(packed[0]),
        "labels": {name: viewer_volumes.packed(case.shown(array)) for name, array in case.labels.items()},
        "confidence": None if case.confidence is None else viewer_volumes.packed(case.shown(case.confidence)),
        "names": list(classes.names),
        "classes": [
            {"index": i, "name": classes.names[i], "colour": classes.classes[i].colour}
            for i in classes.foreground
        ],
        "multilabel": classes.multilabel,
        "background": classes.zero_is_outside,
        "has_void": any(bool((array == VOID).any()) for array in labels.values()),
        "void_colour": VOID_COLOUR,
        "errors": [{"name": name, "colour": colour} for name, colour in ERRORS.items()],
        "scale": [[round(255 * v) for v in colour] for colour in warm(np.linspace(0, 1, 9)).tolist()],
        "layers": layers,
        "layer": next(name for name in ("prediction", "truth", "none") if name in layers),
    }
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css"] = lambda colour: "rgb({}, {}, {})".format(*colour)
    environment.filters["page_name"] = link_to
    scripts = [Markup((_HERE / name).read_text(encoding="utf-8")) for name in ("viewer_draw.js", "viewer.js")]
    text = environment.get_template("viewer.html.j2").render(
        case=heading, page=page, layers=layers, scripts=scripts, notes=_notes(case, packed[0])
    )
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}{_END.decode()}{key} {sha256} -->\n"


def _notes(case: Turned, channel: Mapping[str, Any]) -> list[str]:
    """Say where less is shown than the files hold."""
    notes = []
    if max(case.steps) > 1:
        notes.append(f"every {' × '.join(map(str, case.steps))}th voxel is shown")
    if max(channel["blocks"]) > 1:
        notes.append(f"grey values are means of {' × '.join(map(str, channel['blocks']))} voxels")
    return notes


def _is_whole(channel: Mapping[str, Any]) -> bool:
    """True where a channel's steps are those of eight bits, of every voxel."""
    return bool(channel["levels"] == 256 and max(channel["blocks"]) == 1)
