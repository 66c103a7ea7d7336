"""Volumes of an export: data sets grouped by series, series split where they hold several volumes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import Code, Finding
from medseg.grid import Grid
from medseg.io.dicom import mosaic, terms
from medseg.io.dicom.duplicates import UniqueInstances, unique_instances
from medseg.io.dicom.files import DicomFile, files_below
from medseg.io.dicom.frames import Directory, FileHeader, FrameHeader, read_headers
from medseg.io.dicom.geometry import SAME_POSITION_MM, Refusal, heights, is_square, stack
from medseg.io.dicom.groups import contrasts, differing, partition
from medseg.io.dicom.origins import by_origin
from medseg.io.dicom.parts import SAME_COSINE, SAME_MM, Part, join_changed, with_incomplete_refused
from medseg.io.dicom.pixels import expect

_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """A part of a series that is a volume, or that is refused with a finding.

    ``frames`` are sorted along the normal; ``grid`` (columns, rows, slices) is RAS in mm. ``label`` tells the
    volume from others of its series: `echo time (ms) 7`, empty where the series is one volume.
    """

    header: FileHeader
    number: int
    label: str
    frames: tuple[FrameHeader, ...]
    grid: Grid | None = None
    refusal: Finding | None = None
    notes: tuple[Finding, ...] = ()
    no_seg: str = ""
    """The reason why no DICOM SEG can refer to the volume; empty where one can."""

    def __str__(self) -> str:
        """The volume in words that tell no identity."""
        return f"{self.header.modality} series" + (f" ({self.label})" if self.label else "")

    @property
    def instances(self) -> tuple[tuple[str, int], ...]:
        """UID and frame number of each slice."""
        return tuple((frame.instance_uid, frame.index) for frame in self.frames)

    def content_sha256(self) -> str:
        """The hash of the bytes of all its files and of which frames are its slices."""
        content = hashlib.sha256(repr(self.instances).encode())
        for file in self.files:
            with file.open() as stream:
                content.update(hashlib.sha256(stream.read()).digest())
        return content.hexdigest()

    @property
    def files(self) -> tuple[DicomFile, ...]:
        """The files that hold its frames, each once."""
        return tuple(dict.fromkeys(frame.file for frame in self.frames))


@dataclass(frozen=True)
class Export:
    """Everything found below a folder: volumes, and files that are no scans or are damaged.

    ``others`` are files that are no DICOM data sets.
    """

    volumes: tuple[SeriesVolume, ...]
    findings: tuple[tuple[DicomFile, Finding], ...]
    others: tuple[DicomFile, ...] = field(default=())


def read_export(root: Path, progress: Any = None) -> Export:
    """Read the headers of every file below ``root``, in parallel, and sort its frames into volumes.

    ``progress(done, "")`` is called after each file.
    """
    return volumes_of(list(files_below(root)), progress)


def read_files(paths: Sequence[Path], progress: Any = None) -> Export:
    """Sort the frames of these files, and of entries of zip archives among them, into volumes."""
    return volumes_of([file for path in paths for file in files_below(path)], progress)


def volumes_of(files: Sequence[DicomFile], progress: Any = None) -> Export:
    """Read the headers of files and entries of archives, in parallel, and sort their frames into volumes."""
    headers: list[FileHeader] = []
    findings: list[tuple[DicomFile, Finding]] = []
    others: list[DicomFile] = []
    for file, header in zip(files, read_headers(files, progress), strict=True):
        if header is None:
            others.append(file)
        elif isinstance(header, Directory):
            findings += [(file, finding) for finding in _absent(header)]
        elif isinstance(header, Finding):
            findings.append((file, header))
        elif header.not_a_scan is not None:
            details = f"{header.not_a_scan} ({header.modality})"
            finding = Finding(Code.NOT_A_SCAN, str(file), details, "none is needed: it is no scan")
            findings.append((file, finding))
        else:
            expect(header.frames)
            headers.append(header)
    volumes: list[SeriesVolume] = []
    for origin, series in by_origin(headers):
        unique = unique_instances(series)
        findings += unique.damaged
        volumes += split_series(unique, origin)
    return Export(tuple(volumes), tuple(findings), tuple(others))


def _absent(directory: Directory) -> Iterator[Finding]:
    """A note if files that a DICOMDIR names are not there."""
    folder = directory.file.path.parent
    there = {path.relative_to(folder).as_posix().upper() for path in folder.rglob("*")}
    absent = [name for name in directory.names if name.upper() not in there]
    if absent and not directory.file.entry:
        details = f"{len(absent)} of the {len(directory.names)} files that it names are not there"
        yield Finding(Code.DICOMDIR_INCOMPLETE, str(directory.file), details, "copy the whole medium")


def split_series(series: UniqueInstances, origin: str = "") -> Iterator[SeriesVolume]:
    """Yield the volumes of one series, numbered from 1, those that are refused with their finding.

    ``origin`` tells the series from others with its UID, in the volumes' labels.
    """
    parts = list(_parts(series.headers))
    several = len(parts) > 1
    by_file = {header.file: header for header in series.headers}
    for number, part in enumerate(with_incomplete_refused(parts), 1):
        part = _without_conflicts(part, series.conflicts)
        header = by_file[part.frames[0].file]
        refusal = None
        if part.refusal is not None:
            where = str(part.frames[0].file.path if len(by_file) == 1 else part.frames[0].file.path.parent)
            details = "; ".join(filter(None, (part.refusal.details, _burned_in(part, by_file))))
            refusal = Finding(part.refusal.code, where, details, part.refusal.how_to_fix)
        label = ", ".join(filter(None, (origin, part.label if several else "")))
        yield SeriesVolume(
            header,
            number,
            label,
            part.frames,
            part.grid,
            refusal,
            tuple(_notes(part, by_file, series.copies)),
            _no_seg(part, by_file),
        )


def _without_conflicts(part: Part, conflicts: set[str]) -> Part:
    """Refuse a volume one of whose instances lies there twice with different pixels."""
    doubtful = [frame for frame in part.frames if frame.instance_uid in conflicts]
    if not doubtful or part.grid is None:
        return part
    details = f"{len(doubtful)} instance(s) lie there twice with different pixels or places"
    refusal = Refusal(Code.INSTANCES_DIFFER, details, "export the series again into an empty folder")
    return replace(part, grid=None, refusal=refusal)


def _no_seg(part: Part, by_file: Mapping[DicomFile, FileHeader]) -> str:
    """The reason why a SEG cannot refer to a volume's slices as one series; empty where it can."""
    headers = [by_file[file] for file in dict.fromkeys(frame.file for frame in part.frames)]
    if any(not header.study_uid or not header.series_uid for header in headers):
        return "it lacks the UID of its study or series"
    for attribute, words in (("study_uid", "studies"), ("frame_of_reference", "frames of reference")):
        if len(values := {getattr(header, attribute) for header in headers}) > 1:
            return f"its slices state {len(values)} different {words}"
    if any(header.mosaic for header in headers):
        return "the tiles of a mosaic are no frames that a SEG could refer to"
    return ""


def _burned_in(part: Part, by_file: Mapping[DicomFile, FileHeader]) -> str:
    """A warning if text may be burned into the pixels of a part; empty where nothing points to it."""
    reasons = (by_file[frame.file].burned_in for frame in part.frames)
    reason = next(filter(None, reasons), "")
    return f"text may be burned into the pixels ({reason})" if reason else ""


def _notes(
    part: Part, by_file: Mapping[DicomFile, FileHeader], copies: Mapping[str, int]
) -> Iterator[Finding]:
    header = by_file[part.frames[0].file]
    where = str(header.file)
    if count := sum(copies.get(uid, 0) for uid in {frame.instance_uid for frame in part.frames}):
        details = f"{count} further file(s) hold instances of this volume"
        yield Finding(Code.DUPLICATE_INSTANCE, where, details, "none is needed")
    if details := _burned_in(part, by_file):
        yield Finding(Code.BURNED_IN, where, details, "look at the image before it leaves the hospital")
    if header.padding is not None and part.grid is not None:
        details = f"pixels outside the image hold the padding value {header.padding}"
        yield Finding(Code.PADDED, where, details, "none is needed")


def _parts(headers: Sequence[FileHeader]) -> Iterator[Part]:
    """Split a series by everything that no volume can differ in, then by contrast, then by repetition."""
    mosaics = [header for header in headers if header.mosaic]
    for header in mosaics:
        yield _mosaic_part(header)
    usable: list[FrameHeader] = []
    refused: dict[Refusal, list[FrameHeader]] = defaultdict(list)
    for header in (h for h in headers if not h.mosaic):
        refusal = _unusable(header)
        (usable if refusal is None else refused[refusal]).extend(header.frames)
    for number, (reason, without_volume) in enumerate(refused.items(), 1):
        yield Part(f"unusable {number}", tuple(without_volume), refusal=reason)
    stacks, changed = join_changed(list(_by_geometry(usable)))
    yield from changed
    lone = [frames for frames in stacks if len(frames) == 1]
    if len(lone) > 1:
        mixed = tuple(frame for group in lone for frame in group)
        details = f"{len(lone)} slices of {len(lone)} orientations or sizes"
        refusal = Refusal(Code.ORIENTATIONS_MIXED, details, "none: a localizer is no volume")
        yield Part("single slices", mixed, refusal=refusal)
        stacks = [frames for frames in stacks if len(frames) > 1]
    for number, frames in enumerate(stacks, 1):
        prefix = f"stack {number}" if len(stacks) > 1 else ""
        for label, group in _by_contrast(frames):
            yield _stacked(", ".join(filter(None, (prefix, label))), group)


def _unusable(header: FileHeader) -> Refusal | None:
    """Say why no frame of a file can be part of a volume; None if they can."""
    if not header.photometric or not header.frames or min(header.frames[0].shape) < 1:
        return Refusal(Code.DICOM_DAMAGED, "a data set without an image", "export it again")
    if header.samples != 1 or header.photometric not in _MONOCHROME:
        details = f"SamplesPerPixel {header.samples}, PhotometricInterpretation {header.photometric}"
        return Refusal(Code.NOT_SCALAR, details, "export the series in grey values")
    if any(f.position is None or f.orientation is None for f in header.frames):
        details = "no position or orientation in space (ImagePositionPatient, ImageOrientationPatient)"
        return Refusal(Code.NO_POSITION, details, "export the original series, not a secondary capture")
    if any(f.spacing is None for f in header.frames):
        return Refusal(Code.NO_POSITION, "no pixel spacing", "export the original series")
    if not all(is_square(f.orientation) for f in header.frames if f.orientation is not None):
        details = "the directions of rows and columns are not perpendicular unit vectors"
        return Refusal(Code.NO_POSITION, details, "export the original series")
    return None


def _mosaic_part(header: FileHeader) -> Part:
    unpacked = mosaic.unpack_geometry(header)
    label = f"mosaic {header.frames[0].instance_number}"
    if isinstance(unpacked, Refusal):
        return Part(label, header.frames, refusal=unpacked)
    return Part(label, header.frames, grid=unpacked)


def _by_geometry(frames: Sequence[FrameHeader]) -> Iterator[list[FrameHeader]]:
    """Groups of frames of one orientation, matrix and pixel spacing."""
    values = np.array([(*f.shape, *(f.orientation or (0,) * 6), *(f.spacing or (0, 0))) for f in frames])
    within = np.array([0.5] * 2 + [SAME_COSINE] * 6 + [SAME_MM] * 2)
    left = np.arange(len(frames))
    while len(left):  # all that are like the first, at once: there may be thousands of geometries
        same = (np.abs(values[left] - values[left[0]]) < within).all(axis=1)
        yield [frames[i] for i in left[same]]
        left = left[~same]


def _by_contrast(frames: Sequence[FrameHeader]) -> Iterator[tuple[str, list[FrameHeader]]]:
    """Groups of one contrast, and those of one repetition among them; each with its label."""
    groups = partition(frames, contrasts(frames))
    names = differing([key for key, _ in groups])
    for key, group in groups:
        label = ", ".join(f"{name} {terms.word(value)}" for name, value in key if name in names)
        for repetition, repeated in _by_repetition(group):
            yield ", ".join(filter(None, (label, repetition))), repeated


def _by_repetition(frames: Sequence[FrameHeader]) -> Iterator[tuple[str, list[FrameHeader]]]:
    """Split frames that share positions by the first value that tells the repetitions apart.

    A value serves if it has no more different values than frames lie at one position, and leaves fewer of
    them there. Where none serves, frames at one position are taken in the order of their instance numbers,
    provided that there are equally many everywhere.
    """
    most = max(_at_positions(frames).values())
    if most == 1:
        yield "", list(frames)
        return
    for name, _ in frames[0].order:
        groups = partition(frames, [dict(frame.order).get(name) for frame in frames])
        if not 1 < len(groups) <= most:
            continue
        if max(max(_at_positions(group).values()) for _, group in groups) < most:
            words = terms.words(value for value, _ in groups)
            for value, group in groups:
                for label, repeated in _by_repetition(group):
                    yield ", ".join(filter(None, (f"{name} {words[value]}", label))), repeated
            return
    yield from _in_order(frames, most)


def _in_order(frames: Sequence[FrameHeader], most: int) -> Iterator[tuple[str, list[FrameHeader]]]:
    counts = _at_positions(frames)
    if set(counts.values()) != {most}:
        yield "", list(frames)
        return
    seen: Counter[int] = Counter()
    groups: dict[int, list[FrameHeader]] = defaultdict(list)
    places = _places(frames)
    for place, frame in sorted(
        zip(places, frames, strict=True), key=lambda pair: (pair[1].instance_number, pair[1].index)
    ):
        groups[seen[place]].append(frame)
        seen[place] += 1
    for number, group in sorted(groups.items()):
        yield f"repetition {number + 1}", group


def _places(frames: Sequence[FrameHeader]) -> list[int]:
    """The number of each frame's position along the normal, positions counted from the lowest."""
    height = heights(frames)
    order = np.argsort(height, kind="stable")
    steps = np.concatenate([[0], np.diff(height[order]) > SAME_POSITION_MM]).cumsum()
    places = np.empty(len(frames), int)
    places[order] = steps
    return [int(place) for place in places]


def _at_positions(frames: Sequence[FrameHeader]) -> Counter[int]:
    return Counter(_places(frames))


def _stacked(label: str, frames: Sequence[FrameHeader]) -> Part:
    stacked = stack(frames)
    if isinstance(stacked, Refusal):
        return Part(label, tuple(frames), refusal=stacked)
    ordered, grid = stacked
    return Part(label, tuple(ordered), grid=grid)
