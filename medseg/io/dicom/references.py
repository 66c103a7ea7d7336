"""Reference files: a DICOM series, or segmentations of one, as one small file that is read like a scan.

Stages after ingest know a scan by one path. A series is many files, whose names tell identities; so ingest
writes a reference below the work folder's `private/`, which lists the files and frames of the volume and the
hash of their content. Whoever reads the reference gets the voxels of the DICOM files themselves, which are
copied nowhere, or INPUT_CHANGED where they are not what ingest read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, Finding, MedsegError
from medseg.io import affine_checks, itk, nifti
from medseg.io.dicom import decode, segments
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.segments import SegPart
from medseg.io.dicom.series import SeriesVolume, volumes_of
from medseg.volume import Volume

SUFFIXES = (".dicom.json",)
"""Ending of a reference's name."""

_AGAIN = "put the files back, or run `medseg ingest` again"


def can_read(path: Path) -> bool:
    """Tell by the file's name whether it is a reference."""
    return path.name.endswith(SUFFIXES)


def write(
    path: Path, volume: SeriesVolume, parts: Sequence[SegPart] = (), *, background: int | None = None
) -> None:
    """Write a reference to a volume, or with ``background`` to the label map that SEGs make on its grid.

    The file has mode 0600, as it tells where the files are, and is left alone where it is there already.
    """
    sources = [*volume.files, *(part.file for part in parts)]
    content: dict[str, Any] = {
        "files": [_place(source) for source in volume.files],
        "instances": volume.instances,
        "stamps": [files.stamp(source.path) for source in sources],
    }
    if background is not None:
        content["background"] = background
        content["segmentations"] = [
            {"file": _place(part.file), "values": sorted(part.values.items())} for part in parts
        ]
    _write(path, content, lambda: _content_hash(volume, parts))


def write_file(path: Path, label: Path) -> None:
    """Write a reference to a label map's own file, whose name may tell an identity, as :func:`write` does."""
    content = {"label": str(label.absolute()), "stamps": [files.stamp(label)]}
    _write(path, content, lambda: files.sha256(label))


def _write(path: Path, content: dict[str, Any], content_hash: Callable[[], str]) -> None:
    content = json.loads(json.dumps(content))
    if _without_hash(path) == content:
        return
    content["sha256"] = content_hash()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with files.written_aside(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    path.chmod(0o600)


def _place(file: DicomFile) -> list[str]:
    return [str(file.path.absolute()), file.entry]


def read(
    path: Path,
    *,
    channels_last: bool = False,  # noqa: ARG001 - a series has one channel
    max_voxels: int = affine_checks.MAX_VOXELS,
) -> Volume:
    """Read the volume (1, X, Y, Z) that a reference names, or its label map int32, on the series's grid.

    Findings name the reference, which tells no identity. Raises INPUT_CHANGED, FILE_MISSING, and what reading
    the series or its segmentations raises.
    """
    try:
        content = files.read_json(path)
        if "label" in content:
            return _label_file(content, path, max_voxels)
        volume = _volume(content, path)
        if "background" not in content:
            return _renamed(decode.read_volume(volume, max_voxels=max_voxels), path)
        parts = _parts(content)
        if volume.grid is None:
            raise _changed(path, "the series is no volume any more")
        labels = segments.read_values(parts, volume.grid, path, background=content["background"])
        return Volume(labels[None], volume.grid, None)
    except MedsegError as error:
        f = error.finding
        raise MedsegError(f.code, path, f.details, f.how_to_fix) from None
    except FileNotFoundError:
        raise MedsegError(Code.FILE_MISSING, path, "a file that ingest read is gone", _AGAIN) from None
    except OSError as error:
        details = error.strerror or type(error).__name__
        raise MedsegError(Code.FILE_UNREADABLE, path, details, "check the permissions") from None
    except (ValueError, KeyError, TypeError):
        raise MedsegError(Code.INPUT_CHANGED, path, "not a reference as ingest writes it", _AGAIN) from None


def _volume(content: dict[str, Any], path: Path) -> SeriesVolume:
    """The volume whose frames a reference lists, once its content is known to be the same."""
    sources = [DicomFile(Path(file), entry) for file, entry in content["files"]]
    for source in sources:
        source.path.stat()  # a file that is gone is told as such
    wanted = tuple((str(uid), int(index)) for uid, index in content["instances"])
    volume = next((v for v in volumes_of(sources).volumes if v.instances == wanted), None)
    if volume is None:
        raise _changed(path, f"{len(sources)} files no longer hold the volume of {len(wanted)} slices")
    if _content_hash(volume, _parts(content)) != content["sha256"]:
        raise _changed(path, "the content of its files is not the same")
    return volume


def _label_file(content: dict[str, Any], path: Path, max_voxels: int) -> Volume:
    label = Path(content["label"])
    if files.sha256(label) != content["sha256"]:
        raise _changed(path, "the content of the label map's file is not the same")
    reader = nifti if nifti.can_read(label) else itk
    return _renamed(reader.read(label, max_voxels=max_voxels), path)


def _parts(content: dict[str, Any]) -> list[SegPart]:
    return [
        SegPart(DicomFile(Path(item["file"][0]), item["file"][1]), dict(map(tuple, item["values"])))
        for item in content.get("segmentations", ())
    ]


def _content_hash(volume: SeriesVolume, parts: Sequence[SegPart]) -> str:
    """The hash of a volume's files; of a label map those of its SEGs and the grid, not the image's pixels."""
    if not parts:
        return volume.content_sha256()
    content = sha256(b"" if volume.grid is None else volume.grid.affine.tobytes())
    for part in parts:
        with part.file.open() as stream:
            content.update(sha256(stream.read()).digest())
    return content.hexdigest()


def _without_hash(path: Path) -> Any:
    """The content of a reference that is there but for its hash; None where there is none."""
    try:
        content = files.read_json(path)
        content.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return content


def _changed(path: Path, details: str) -> MedsegError:
    return MedsegError(Code.INPUT_CHANGED, path, details, _AGAIN)


def _renamed(volume: Volume, path: Path) -> Volume:
    notes: tuple[Finding, ...] = tuple(replace(note, where=str(path)) for note in volume.notes)
    return Volume(volume.array, volume.grid, volume.source, notes, volume.white)
