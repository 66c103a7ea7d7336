"""A scan folder of synthetic subjects: ``sub-01/sub-01.nii.gz`` beside ``sub-01/sub-01_seg.nii.gz``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medseg.errors import Code, MedsegError
from medseg.files import read_json, sha256, write_json
from medseg.io import nifti
from medseg.synth import subject, tissues

VERSION = 2
"""Raised when the same settings give other subjects."""

RECORD = ".made.json"
"""Hidden, so that no command lists it among the files of the folder."""


def write(
    folder: Path,
    subjects: int = 12,
    seed: int = 0,
    spacing_mm: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Make subjects 1 to ``subjects`` in ``folder`` and return their image files, in order.

    Label values are those of :data:`medseg.synth.subject.CLASSES`. ``.made.json`` records the settings and
    each file's sha256: files made with the same settings and not changed since are kept, files made with
    other settings (or beyond ``subjects``) are removed. ``progress`` receives (done, total) after each
    subject. Raises USAGE if a file to be written exists and was not made here.
    """
    settings = {"version": VERSION, "seed": seed, "spacing_mm": spacing_mm, "subjects": subjects}
    pairs = [_files(folder, number) for number in range(1, subjects + 1)]
    hashes = _clear(folder, settings, pairs)
    write_json(folder / RECORD, {**settings, "sha256": hashes})
    anatomy = None
    for number, pair in enumerate(pairs, start=1):
        if not all(file.is_file() and hashes.get(file.name) == sha256(file) for file in pair):
            anatomy = anatomy or tissues.load(spacing_mm)
            for volume, file in zip(subject.make(anatomy, seed, number), pair, strict=True):
                nifti.write(volume, file)
                hashes[file.name] = sha256(file)
            write_json(folder / RECORD, {**settings, "sha256": hashes})
        if progress:
            progress(number, subjects)
    return [image_file for image_file, _ in pairs]


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    name = f"sub-{number:02d}"
    return folder / name / f"{name}.nii.gz", folder / name / f"{name}_seg.nii.gz"


def _clear(folder: Path, settings: dict[str, Any], pairs: list[tuple[Path, Path]]) -> dict[str, str]:
    """Remove files that an earlier call made and this one does not keep; give the hashes of the others.

    Raises USAGE rather than touch files that were not made here.
    """
    if not (folder / RECORD).exists():
        for file in (f for pair in pairs for f in pair if f.exists()):
            raise MedsegError(
                Code.USAGE,
                file,
                f"the file exists and no {RECORD} says that it was made here",
                "name another folder for the synthetic subjects",
            )
        return {}
    record = read_json(folder / RECORD)
    hashes: dict[str, str] = dict(record.get("sha256", {}))
    same = all(record[key] == value for key, value in settings.items() if key != "subjects")
    kept = settings["subjects"] if same else 0
    for number in range(kept + 1, record["subjects"] + 1):
        for file in _files(folder, number):
            file.unlink(missing_ok=True)
            hashes.pop(file.name, None)
        if file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()
    return hashes
