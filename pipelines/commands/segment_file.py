"""`medseg segment SCAN OUT.nii.gz`: one scan, whose label map is a file of that name."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import results
from medseg.model import folder as model_folder
from medseg.model.description import Description
from pipelines.commands import segment
from pipelines.commands.segment import Settings

_SUFFIXES = (*results.ENDINGS.values(), ".nii", ".mha", ".nrrd", ".mgz", ".jpg", ".tif", ".tiff")
"""Suffixes by which OUT names a file; only those of label maps that medseg writes are taken."""


def is_file(out: Path) -> bool:
    """True if OUT names a file for one label map, and not a folder."""
    return out.name.lower().endswith(_SUFFIXES) and not out.is_dir()


def run(paths: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Segment the only scan among `paths` into the file `out`; its JSON, and what else is asked for, beside.

    No tables are written. A result that is up to date is kept. Raises USAGE for several scans, another suffix
    than the label map has, a file that is no result, and a model of masks, which gives a file for each.
    """
    description = model_folder.read(settings.model).description
    _require_possible(out, description, paths, overwrite=settings.overwrite)
    folder, name = out.parent, results.case_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    lock, details = out.with_name(f".{out.name}.lock"), "another medseg command writes this file"
    with ExitStack() as stack:
        stack.enter_context(files.hold_lock(lock, out, details, "wait for it to end, or name another file"))
        stack.callback(lock.unlink, missing_ok=True)  # while it is held
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-")))
        results.write_label_names(temporary, description.class_list())
        label = results.label_map(temporary, name, description.unit)
        for path in filter(Path.is_file, _files(out)):
            shutil.copy2(path, temporary)
        unheard = say if say.json_lines else replace(say, results=io.StringIO())
        ended = segment.run(paths, temporary, replace(settings, name=name, figure=False), unheard)
        if ended is not ExitCode.NOTHING_USABLE:
            for path in filter(
                Path.is_file, reversed([*_files(label)])
            ):  # the JSON last: it proves the others
                path.replace(folder / path.name)
            say.result(str(out))
    return ended


def _files(label: Path) -> Iterator[Path]:
    """Files that a result may have, its JSON first."""
    yield from results.files_of(label)
    yield from results.dicom_files(label)


def _require_possible(out: Path, description: Description, paths: Sequence[Path], *, overwrite: bool) -> None:
    ending, masks = results.ENDINGS[description.unit], description.class_list().masks
    how_to_fix = "name a folder for OUT"
    if not out.name.endswith(ending) or out.name == ending:
        details = f"label maps of this model are files `…{ending}`"
        raise MedsegError(Code.USAGE, out, details, f"{how_to_fix}, or a file that ends in {ending}")
    if masks:
        details = f"the model gives a file for each of its masks {', '.join(masks)}"
        raise MedsegError(Code.USAGE, out, details, how_to_fix)
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        raise MedsegError(Code.USAGE, out, "the label map would overwrite its scan", "name another file")
    if out.exists() and not results.metadata_path(out).is_file() and not overwrite:
        details = "a file that is no result of segment is there"
        raise MedsegError(Code.USAGE, out, details, "name another file, or give --overwrite")
