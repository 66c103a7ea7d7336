"""A scan folder of synthetic subjects: ``sub-01/sub-01.nii.gz`` beside ``sub-01/sub-01_seg.nii.gz``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medseg.errors import Code, MedsegError
from medseg.files import read_json, write_json
from medseg.io import nifti
from medseg.synth import subject, tissues

VERSION = 2
"""Raised when the same settings give other subjects."""

RECORD = "made.json"


def write(
    folder: Path,
    subjects: int = 12,
    seed: int = 0,
    spacing_mm: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Make subjects 1 to ``subjects`` in ``folder`` and return their image files, in order.

    Label values are those of :data:`medseg.synth.subject.CLASSES`. ``made.json`` records the settings:
    files already made with the same ones are kept, files made with others (or beyond ``subjects``) are
    removed. ``progress`` receives (done, total) after each subject. Raises USAGE if a file to be written
    exists and was not made here.
    """
    settings = {"version": VERSION, "seed": seed, "spacing_mm": spacing_mm, "subjects": subjects}
    wanted = [_files(folder, number) for number in range(1, subjects + 1)]
    _clear(folder, settings, wanted)
    write_json(folder / RECORD, settings)
    anatomy = None
    for number, (image_file, label_file) in enumerate(wanted, start=1):
        if not (image_file.exists() and label_file.exists()):
            anatomy = anatomy or tissues.load(spacing_mm)
            image, labels = subject.make(anatomy, seed, number)
            nifti.write(image, image_file)
            nifti.write(labels, label_file)
        if progress:
            progress(number, subjects)
    return [image_file for image_file, _ in wanted]


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    name = f"sub-{number:02d}"
    return folder / name / f"{name}.nii.gz", folder / name / f"{name}_seg.nii.gz"


def _clear(folder: Path, settings: dict[str, Any], wanted: list[tuple[Path, Path]]) -> None:
    """Remove what an earlier call made and this one does not keep; refuse to touch anything else."""
    if not (folder / RECORD).exists():
        for file in (f for pair in wanted for f in pair if f.exists()):
            raise MedsegError(
                Code.USAGE,
                file,
                f"the file exists and no {RECORD} says that it was made here",
                "name another folder for the synthetic subjects",
            )
        return
    made = read_json(folder / RECORD)
    same = {**made, "subjects": None} == {**settings, "subjects": None}
    kept = settings["subjects"] if same else 0
    for number in range(kept + 1, made["subjects"] + 1):
        for file in _files(folder, number):
            file.unlink(missing_ok=True)
        if file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()
