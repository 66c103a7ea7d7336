"""`medseg init` on a DICOM export: a recipe of the series that segmentations refer to, and their segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import Code, MedsegError, some
from medseg.grid import axis_order
from medseg.ingest.layouts import Guess
from medseg.ingest.path_words import is_contrast, words_of
from medseg.ingest.tree import files_under
from medseg.io import scans
from medseg.io.dicom import require_packages, segments, terms
from medseg.io.dicom.files import begins_like_export, files_below
from medseg.io.dicom.rules import SeriesRules, escaped
from medseg.io.dicom.segments import SegHeader
from medseg.io.dicom.series import Export, SeriesVolume, volumes_of

_MOST_STUDIES = 0.8
"""Share of the studies with a segmented series that must have another one, on its grid."""

_Sort = tuple[str, str]
"""Modality and description of a series."""


def read(data: Path) -> Export | None:
    """The DICOM series below a folder that a recipe would be about; None if it is about other files.

    Where there are scans or images of other formats, too, those count, unless there are segmentations.
    """
    names = [name for name in files_under(data) if not scans.detect_kind(Path(name))]
    if not any(begins_like_export(data / name) for name in names):
        return None
    require_packages()
    export = volumes_of(list(files_below(data)))
    alone = len(names) == len(files_under(data)) and (export.volumes or export.findings)
    return export if alone or (export.volumes and segmentations(export)) else None


def segmentations(export: Export) -> list[SegHeader]:
    """The SEG objects of an export."""
    objects = (segments.read_header(file) for file, f in export.findings if f.code == Code.NOT_A_SCAN)
    return [header for header in objects if isinstance(header, SegHeader)]


def guess(data: Path, export: Export) -> Guess:
    """The series that most segmentations refer to, else most series, and those on its grid in the study.

    Series are told by their modality and description. Classes are named as the segments are labelled. Raises
    NOTHING_USABLE where no series is a volume.
    """
    usable = [volume for volume in export.volumes if volume.refusal is None]
    if not usable:
        raise _no_volume(data, export)
    segs = segmentations(export)
    referred = {uid for seg in segs for uid in seg.series_uids}
    labelled = [volume for volume in usable if volume.header.series_uid in referred]
    shown = Counter(_sort(volume) for volume in labelled or usable)
    first, count = shown.most_common(1)[0]
    chosen = [volume for volume in usable if _sort(volume) == first]
    beside, other_grid = _beside(usable, [volume for volume in chosen if volume in labelled])
    labels = list(dict.fromkeys(segment.label for seg in segs for segment in seg.segments if segment.label))
    remarks = []
    if not segs:
        remarks.append("no DICOM SEG is there: without labels there is nothing to train on")
    if others := len(labelled or usable) - count:
        remarks.append(f"{others} further series have other descriptions: name them in data.series")
    if other_grid:
        remarks.append(
            f"not channels, for they lie on another grid than the segmented series: {some(other_grid)}"
        )
    channels = [first, *beside]
    n_chosen = sum(_sort(volume) in channels for volume in usable)
    return Guess(
        "dicom",
        {},
        None,
        {0: "background", **dict(enumerate(labels, 1))} if labels else None,
        n_cases=len(chosen),
        n_labelled=sum(volume.header.series_uid in referred for volume in chosen),
        n_other=len(export.volumes) - n_chosen,
        series=dict(zip(_names(channels), map(_rules, channels), strict=True)),
        remarks=tuple(remarks),
    )


def _no_volume(data: Path, export: Export) -> MedsegError:
    codes = Counter(str(volume.refusal.code) for volume in export.volumes if volume.refusal)
    refused = ", ".join(f"{count} {code}" for code, count in codes.items())
    details = f"no DICOM series is a volume: {refused}" if codes else "DICOM files, but no series of images"
    how_to_fix = "`medseg check` names the reason for each series"
    return MedsegError(Code.NOTHING_USABLE, data, details, how_to_fix)


def _sort(volume: SeriesVolume) -> _Sort:
    return volume.header.modality, volume.header.description.strip()


def _beside(
    usable: Sequence[SeriesVolume], labelled: Sequence[SeriesVolume]
) -> tuple[list[_Sort], list[str]]:
    """Sorts of series that most studies with a segmented one have, once each and on its grid.

    Gives also the descriptions of those that lie on other grids.
    """
    by_study: dict[str, list[SeriesVolume]] = defaultdict(list)
    for volume in usable:
        by_study[volume.header.study_uid].append(volume)
    same: Counter[_Sort] = Counter()
    other: Counter[_Sort] = Counter()
    for volume in labelled:
        in_study = by_study[volume.header.study_uid]
        counts = Counter(map(_sort, in_study))
        for one in in_study:
            if _sort(one) != _sort(volume) and counts[_sort(one)] == 1:
                fits = one.grid and volume.grid and axis_order(one.grid, volume.grid) is not None
                (same if fits else other)[_sort(one)] += 1
    enough = _MOST_STUDIES * len(labelled)
    return sorted(s for s in same if same[s] >= enough), sorted(s[1] for s in other if other[s] >= enough)


def _names(sorts: Sequence[_Sort]) -> list[str]:
    """Channel names: the modality of one channel; of several the contrasts in their descriptions."""
    if len(sorts) == 1:
        return [sorts[0][0].lower() or "image"]
    contrasts = ["_".join(w for w in words_of(text) if is_contrast(w)).lower() for _, text in sorts]
    if all(contrasts) and len(set(contrasts)) == len(contrasts):
        return contrasts
    return [f"{modality.lower() or 'image'}_{number}" for number, (modality, _) in enumerate(sorts, 1)]


def _rules(sort: _Sort) -> SeriesRules:
    modality, description = sort
    return SeriesRules(
        modality=(modality,) if modality in terms.MODALITIES else (),
        description=(escaped(description) if description else "*",),
    )
