"""`medseg init` on a DICOM export: a recipe of the series that segmentations refer to, and their segments."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.ingest.layouts import Guess
from medseg.ingest.series_rules import escaped, read_facts
from medseg.ingest.tree import files_under
from medseg.io import scans
from medseg.io.dicom import require_packages, segments
from medseg.io.dicom.files import begins_like_export, files_below
from medseg.io.dicom.segments import SegHeader
from medseg.io.dicom.series import volumes_of


def is_export(data: Path) -> bool:
    """True for a folder with DICOM files and no file of another kind that is read."""
    names = files_under(data)
    if any(scans.detect_kind(Path(name)) for name in names):
        return False
    return any(begins_like_export(data / name) for name in names)


def guess(data: Path) -> Guess:
    """One channel: the description that most of the series with a segmentation have, else most series.

    Classes are named as the segments are labelled. Raises NOTHING_USABLE where no series is a volume.
    """
    require_packages()
    export = volumes_of(list(files_below(data)))
    usable = [volume for volume in export.volumes if volume.refusal is None]
    if not usable:
        codes = Counter(str(volume.refusal.code) for volume in export.volumes if volume.refusal)
        details = f"no DICOM series is a volume: {', '.join(f'{n} {code}' for code, n in codes.items())}"
        how_to_fix = "`medseg check` names the reason for each series"
        raise MedsegError(Code.NOTHING_USABLE, data, details if codes else "no DICOM series", how_to_fix)
    objects = (segments.read_header(file) for file, f in export.findings if f.code == Code.NOT_A_SCAN)
    segs = [header for header in objects if isinstance(header, SegHeader)]
    referred = {uid for seg in segs for uid in seg.series_uids}
    facts = [read_facts(volume) for volume in usable]
    labelled = [one for one in facts if one.series_uid in referred]
    shown = Counter((one.modality, one.description) for one in labelled or facts)
    (modality, description), count = shown.most_common(1)[0]
    pattern = escaped(description) if description else "*"
    chosen = [one for one in facts if (one.modality, one.description) == (modality, description)]
    labels = list(dict.fromkeys(segment.label for seg in segs for segment in seg.segments if segment.label))
    remarks = []
    if not segs:
        remarks.append("no DICOM SEG is there: without labels there is nothing to train on")
    if others := len(labelled or facts) - count:
        remarks.append(f"{others} further series have other descriptions: name them in data.series")
    return Guess(
        "dicom",
        {modality.lower() or "image": pattern},
        None,
        {0: "background", **dict(enumerate(labels, 1))} if labels else None,
        n_cases=len(chosen),
        n_labelled=sum(one.series_uid in referred for one in chosen),
        n_other=len(export.volumes) - len(chosen),
        remarks=tuple(remarks),
    )
