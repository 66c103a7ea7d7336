"""`medseg init` on a DICOM export: a recipe of the series that segmentations refer to, and their segments."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.ingest.layouts import Guess
from medseg.ingest.tree import files_under
from medseg.io import scans
from medseg.io.dicom import require_packages, segments, terms
from medseg.io.dicom.files import begins_like_export, files_below
from medseg.io.dicom.rules import SeriesRules, escaped
from medseg.io.dicom.segments import SegHeader
from medseg.io.dicom.series import Export, volumes_of


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
    """One channel: the description that most of the series with a segmentation have, else most series.

    Classes are named as the segments are labelled. Raises NOTHING_USABLE where no series is a volume.
    """
    usable = [volume for volume in export.volumes if volume.refusal is None]
    if not usable:
        codes = Counter(str(volume.refusal.code) for volume in export.volumes if volume.refusal)
        refused = ", ".join(f"{count} {code}" for code, count in codes.items())
        details = (
            f"no DICOM series is a volume: {refused}" if codes else "DICOM files, but no series of images"
        )
        how_to_fix = "`medseg check` names the reason for each series"
        raise MedsegError(Code.NOTHING_USABLE, data, details, how_to_fix)
    segs = segmentations(export)
    referred = {uid for seg in segs for uid in seg.series_uids}
    headers = [volume.header for volume in usable]
    labelled = [header for header in headers if header.series_uid in referred]
    shown = Counter((header.modality, header.description.strip()) for header in labelled or headers)
    (modality, description), count = shown.most_common(1)[0]
    chosen = [one for one in headers if (one.modality, one.description.strip()) == (modality, description)]
    rules = SeriesRules(
        modality=(modality,) if modality in terms.MODALITIES else (),
        description=(escaped(description) if description else "*",),
    )
    labels = list(dict.fromkeys(segment.label for seg in segs for segment in seg.segments if segment.label))
    remarks = []
    if not segs:
        remarks.append("no DICOM SEG is there: without labels there is nothing to train on")
    if others := len(labelled or headers) - count:
        remarks.append(f"{others} further series have other descriptions: name them in data.series")
    return Guess(
        "dicom",
        {},
        None,
        {0: "background", **dict(enumerate(labels, 1))} if labels else None,
        n_cases=len(chosen),
        n_labelled=sum(one.series_uid in referred for one in chosen),
        n_other=len(export.volumes) - len(chosen),
        series={modality.lower() or "image": rules},
        remarks=tuple(remarks),
    )
