"""`medseg init` on a DICOM export: a recipe of the series that segmentations refer to, and their segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.errors import Code, MedsegError, some
from medseg.grid import axis_order
from medseg.ingest.dicom_rules import plain_words
from medseg.ingest.layouts import Guess
from medseg.ingest.path_words import is_contrast, words_of
from medseg.ingest.tree import files_under
from medseg.io import scans
from medseg.io.dicom import require_packages, segments
from medseg.io.dicom.files import begins_like_export, files_below
from medseg.io.dicom.rules import escaped
from medseg.io.dicom.segments import SegHeader
from medseg.io.dicom.series import Export, SeriesVolume, volumes_of
from pipelines.commands import init_series
from pipelines.commands.init_series import Sort

_MOST_STUDIES = 0.8
"""Share of the studies with a segmented series that must have another one, on its grid."""


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

    Series are told by their modality and description (:mod:`pipelines.commands.init_series`). Classes are
    named as the segments are labelled. Raises NOTHING_USABLE where no series is a volume.
    """
    usable = [volume for volume in export.volumes if volume.refusal is None]
    if not usable:
        raise _no_volume(data, export)
    segs, label, readers = _of_one_reader(segmentations(export))
    referred = {uid for seg in segs for uid in seg.series_uids}
    labelled = [volume for volume in usable if volume.header.series_uid in referred]
    sorts = init_series.sorted_by(usable, labelled)
    first = Counter(sorts[volume] for volume in labelled or usable).most_common(1)[0][0]
    chosen = [volume for volume in usable if sorts[volume] == first]
    beside, other_grid = _beside(sorts, [volume for volume in chosen if volume in labelled])
    labels = {
        plain_words(segment.label): segment.label.strip()
        for seg in reversed(segs)
        for segment in reversed(seg.segments)
        if segment.label.strip()
    }
    remarks = [*readers]
    if not segs:
        remarks.append("no DICOM SEG is there: without labels there is nothing to train on")
    channels = [first, *beside]
    if others := sum(sorts[volume] not in channels for volume in labelled or usable):
        remarks.append(f"{others} further series have other descriptions: name them in data.series")
    if other_grid:
        remarks.append(
            f"not channels, for they lie on another grid than the segmented series: {some(other_grid)}"
        )
    n_chosen = sum(sorts[volume] in channels for volume in usable)
    names = list(labels.values())[::-1]
    return Guess(
        "dicom",
        {},
        label,
        {0: "background", **dict(enumerate(names, 1))} if names else None,
        n_cases=len(chosen),
        n_labelled=sum(volume.header.series_uid in referred for volume in chosen),
        n_other=len(export.volumes) - n_chosen,
        series=dict(
            zip(_names(channels), (init_series.rules(sort, sorts) for sort in channels), strict=True)
        ),
        remarks=tuple(remarks),
    )


def _of_one_reader(segs: list[SegHeader]) -> tuple[list[SegHeader], str | None, tuple[str, ...]]:
    """Choose segmentations of one description where several readers drew the same; its pattern, a remark."""
    holders = Counter(
        (uid, plain_words(label))
        for seg in segs
        for uid in seg.series_uids
        for label in {segment.label for segment in seg.segments}
    )
    if max(holders.values(), default=0) < 2:
        return segs, None, ()
    described = Counter(seg.description.strip() for seg in segs)
    first = min(described, key=lambda text: (-described[text], text))
    own = [seg for seg in segs if seg.description.strip() == first]
    once = Counter(
        (uid, plain_words(s.label)) for seg in own for uid in seg.series_uids for s in seg.segments
    )
    if not first or max(once.values(), default=0) > 1:
        return segs, None, ()
    others = some([f"{text} ({count})" for text, count in described.items() if text != first], 4)
    remark = f"several segmentations hold the same segments: those called {first} are taken, beside {others}"
    return own, escaped(first), (f"{remark}; choose by data.label",)


def _no_volume(data: Path, export: Export) -> MedsegError:
    codes = Counter(str(volume.refusal.code) for volume in export.volumes if volume.refusal)
    refused = ", ".join(f"{count} {code}" for code, count in codes.items())
    details = f"no DICOM series is a volume: {refused}" if codes else "DICOM files, but no series of images"
    how_to_fix = "`medseg check` names the reason for each series"
    return MedsegError(Code.NOTHING_USABLE, data, details, how_to_fix)


def _beside(
    sorts: Mapping[SeriesVolume, Sort], labelled: Sequence[SeriesVolume]
) -> tuple[list[Sort], list[str]]:
    """Sorts of series that most studies with a segmented one have, once each and on its grid.

    Gives also the descriptions of those that lie on other grids.
    """
    by_study: dict[str, list[SeriesVolume]] = defaultdict(list)
    for volume in sorts:
        by_study[volume.header.study_uid].append(volume)
    same: Counter[Sort] = Counter()
    other: Counter[Sort] = Counter()
    for volume in labelled:
        in_study = by_study[volume.header.study_uid]
        counts = Counter(sorts[one] for one in in_study)
        for one in in_study:
            if sorts[one] != sorts[volume] and counts[sorts[one]] == 1:
                fits = one.grid and volume.grid and axis_order(one.grid, volume.grid) is not None
                (same if fits else other)[sorts[one]] += 1
    enough = _MOST_STUDIES * len(labelled)
    return sorted(s for s in same if same[s] >= enough), sorted(s[1] for s in other if other[s] >= enough)


def _names(sorts: Sequence[Sort]) -> list[str]:
    """Channel names: the modality of one channel; of several the contrasts in their descriptions."""
    if len(sorts) == 1:
        return [sorts[0][0].lower() or "image"]
    contrasts = ["_".join(w for w in words_of(text) if is_contrast(w)).lower() for _, text in sorts]
    if all(contrasts) and len(set(contrasts)) == len(contrasts):
        return contrasts
    return [f"{modality.lower() or 'image'}_{number}" for number, (modality, _) in enumerate(sorts, 1)]
