"""The readers as shipped, each as a function of an input's folder that gives the codes it ended with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from tests.helpers.fuzz.seeds import AFFINE

READ = "read"
LEFT_OUT = "left out"

Codes = set[str]


def outcome(target: str, folder: Path, hit: str) -> Codes:
    """Read an input and give its codes, ``read`` for what was read; any other error passes."""
    try:
        return _READERS[target](folder, folder / hit)
    except MedsegError as error:
        return _codes(error)


def _codes(error: MedsegError) -> Codes:
    """The code of a refusal, which must be printable and say where, what and how to fix it."""
    problems = getattr(error, "problems", ()) or (error.finding,)
    for problem in problems:
        line = str(problem)
        if not (problem.where and problem.details and problem.how_to_fix and line.isprintable()):
            raise ValueError(f"an incomplete or unprintable line: {line!r}")
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"a line of {len(line)} characters: {line[:300]!r}")
    return {str(problem.code) for problem in problems}


_LONGEST_LINE = 8000
_MOST_SIDE = 64


def _scan(_: Path, path: Path) -> Codes:
    from medseg.io import scans

    codes = set()
    for channels_last in (False, True):
        try:
            volume = scans.read(path, channels_last=channels_last)
        except MedsegError as error:
            codes |= _codes(error)
        else:
            codes |= {READ, *(str(note.code) for note in volume.notes)}
            if volume.array.size != np.prod((len(volume.array), *volume.grid.shape)):
                raise ValueError("the array and its grid have different shapes")
    return codes


def _image(folder: Path, path: Path) -> Codes:
    from medseg.io import images

    codes = _scan(folder, path)
    for read in (images.read_values, images.read_palette):
        try:
            read(path)
        except MedsegError as error:
            codes |= _codes(error)
    return codes


def _export(folder: Path, _: Path) -> Codes:
    from medseg.io import scans
    from medseg.io.dicom.series import read_export

    export = read_export(folder)
    codes = {str(finding.code) for _, finding in export.findings}
    codes |= {LEFT_OUT} if export.others else set()
    for volume in export.volumes:
        try:
            if not np.isfinite(scans.read(volume).grid.affine).all():
                raise ValueError("an affine that is not finite")
        except MedsegError as error:
            codes |= _codes(error)
        else:
            codes.add(READ)
    return codes or {LEFT_OUT}


def _segmentation(_: Path, path: Path) -> Codes:
    from medseg.io.dicom import seg

    seg.read(path, Grid((16, 12, 3), AFFINE))
    return {READ}


def _table(folder: Path, path: Path) -> Codes:
    from medseg.ingest import layouts

    return _contents(layouts.find(folder, "csv", table=path.name).strays)


def _dataset_json(folder: Path, _: Path) -> Codes:
    from medseg.ingest import layouts

    layouts.guess(folder)
    return _contents(layouts.find(folder, "decathlon").strays)


def _contents(strays: Iterable[object]) -> Codes:
    return {READ} | {str(getattr(stray, "code", Code.FILE_MISSING)) for stray in strays}


def _model(folder: Path, _: Path) -> Codes:
    from medseg.infer import loading

    loading.load(folder)
    return {READ}


def _graph(folder: Path, _: Path) -> Codes:
    import torch

    from medseg.infer import loading
    from medseg.model import folder as model_folder

    rows = model_folder.read(folder).graphs
    numerics = loading.Numerics(rows[0].runtime, rows[0].precision, threads=1) if rows else None
    loaded = loading.load(folder, numerics=numerics)
    height, width = loaded.description.window
    channels = len(loaded.description.channels) * loaded.description.depth
    loaded.predictor(torch.zeros(2, channels, min(height, _MOST_SIDE), min(width, _MOST_SIDE)))
    return {READ}


def _recipe(_: Path, path: Path) -> Codes:
    from medseg.config import load

    load.load(str(path))
    return {READ}


_READERS: dict[str, Callable[[Path, Path], Codes]] = {
    "nifti": _scan,
    "itk": _scan,
    "image": _image,
    "dicom": _export,
    "compressed": _export,
    "archive": _export,
    "dicomdir": _export,
    "segmentation": _segmentation,
    "table": _table,
    "dataset_json": _dataset_json,
    "model": _model,
    "graph": _graph,
    "recipe": _recipe,
}
