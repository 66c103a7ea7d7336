"""Layouts, channels and label patterns that are guessed from the names of a folder's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.ingest import layouts

Touch = Callable[..., Path]

GUESSES: list[tuple[str, list[str], str, dict[str, str], str | None, int, int]] = [
    (
        "images beside labels",
        ["images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz"],
        *("plain", {"image": "images/{case}.nii.gz"}, "labels/{case}.nii.gz", 2, 1),
    ),
    (
        "other words, mixed suffixes, a suffix to the name",
        ["image/a.nii", "image/b.mha", "masks/a_mask.nii", "masks/b_mask.nii"],
        *("plain", {"image": "image/{case}"}, "masks/{case}_mask.nii", 2, 2),
    ),
    (
        "prefixes",
        ["images/volume-0.nii", "images/volume-1.nii", "seg/segmentation-0.nii", "seg/segmentation-1.nii"],
        *("plain", {"image": "images/volume-{case}.nii"}, "seg/segmentation-{case}.nii", 2, 2),
    ),
    (
        "no dataset.json",
        ["imagesTr/h_1.nii", "imagesTr/h_2.nii", "imagesTs/h_3.nii", "labelsTr/h_1.nii", "labelsTr/h_2.nii"],
        *("plain", {"image": "imagesT*/{case}.nii"}, "labelsTr/{case}.nii", 3, 2),
    ),
    (
        "deeper",
        ["images/x/a.nii", "images/y/b.nii", "labels/x/a.nii"],
        *("plain", {"image": "images/**/{case}.nii"}, "labels/**/{case}.nii", 2, 1),
    ),
    ("images alone", ["images/a.nii"], "plain", {"image": "images/{case}.nii"}, None, 1, 0),
    (
        "one folder",
        ["a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b_seg.nii.gz", "c.nii.gz"],
        *("plain", {"image": "{case}.nii.gz"}, "{case}_seg.nii.gz", 3, 2),
    ),
    ("scans alone", ["a.nii", "b.mgz"], "plain", {"image": "{case}"}, None, 2, 0),
    (
        "subjects named after their folder",
        ["s1/s1.nii", "s1/s1_seg.nii", "s2/s2.nii"],
        *("subjects", {"image": "{case}/{case}.nii"}, "{case}/{case}_seg.nii", 2, 1),
    ),
    (
        "subjects with plain names",
        ["s1/anat/T1.nii", "s1/anat/labels.nii", "s2/anat/T1.nii", "s2/anat/labels.nii"],
        *("subjects", {"image": "{case}/anat/T1.nii"}, "{case}/anat/labels.nii", 2, 2),
    ),
    (
        "several contrasts",
        [f"b{i}/b{i}_{kind}.nii" for i in (1, 2) for kind in ("t1", "flair", "seg")],
        *("subjects", {"flair": "{case}/{case}_flair.nii", "t1": "{case}/{case}_t1.nii"}),
        *("{case}/{case}_seg.nii", 2, 2),
    ),
    (
        "subjects one level down",
        ["train/s1/s1.nii", "train/s1/s1_seg.nii", "test/s2/s2.nii"],
        *("subjects", {"image": "*/{case}/{case}.nii"}, "*/{case}/{case}_seg.nii", 2, 1),
    ),
    (
        "one subject alone",
        ["s1/s1.nii", "s1/s1_seg.nii"],
        *("subjects", {"image": "**/{case}.nii"}, "**/{case}_seg.nii", 1, 1),
    ),
    (
        "bids with sessions",
        [
            *("sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "sub-1/ses-b/anat/sub-1_ses-b_T1w.nii"),
            *("sub-2/anat/sub-2_T1w.nii", "sub-2/anat/sub-2_T2w.nii"),
            "derivatives/manual/sub-1/ses-a/anat/sub-1_ses-a_dseg.nii",
            "derivatives/manual/sub-1/ses-a/anat/sub-1_ses-a_desc-brain_mask.nii",
            "derivatives/manual/sub-2/anat/sub-2_dseg.nii",
            "derivatives/fmriprep/sub-2/anat/sub-2_T1w.nii",
        ],
        *("bids", {"T1w": "{subject}/**/anat/{case}_T1w.nii"}),
        *("derivatives/manual/{subject}/**/anat/{case}_dseg.nii", 3, 2),
    ),
    (
        "subjects' folders named as in bids",
        ["sub-1/sub-1.nii", "sub-1/sub-1_seg.nii", "sub-2/sub-2.nii", "sub-2/sub-2_seg.nii"],
        *("subjects", {"image": "{case}/{case}.nii"}, "{case}/{case}_seg.nii", 2, 2),
    ),
    (
        "subjects' folders with modalities as in bids",
        [f"sub-{i}/sub-{i}_{kind}.nii" for i in (1, 2) for kind in ("T1w", "seg")],
        *("subjects", {"image": "{case}/{case}_T1w.nii"}, "{case}/{case}_seg.nii", 2, 2),
    ),
    (
        "bids without anat",
        ["sub-1/ses-a/sub-1_ses-a_T1w.nii", "sub-1/ses-b/sub-1_ses-b_T1w.nii"],
        *("bids", {"T1w": "{subject}/**/{case}_T1w.nii"}, None, 2, 0),
    ),
    (
        "bids with masks beside the scans",
        ["sub-1/anat/sub-1_T2w.nii", "sub-1/anat/sub-1_mask.nii", "sub-2/anat/sub-2_mask.nii"],
        *("bids", {"T2w": "{subject}/**/anat/{case}_T2w.nii"}, "{subject}/**/anat/{case}_mask.nii", 1, 1),
    ),
    (
        "bids with lesions beside the scans",
        [
            *(f"sub-{i}/ses-1/anat/sub-{i}_ses-1_T1w.nii" for i in (1, 2)),
            *(f"sub-{i}/ses-1/anat/sub-{i}_ses-1_T1w_label-lesion_roi.nii" for i in (1, 2)),
            *(f"sub-{i}/ses-1/anat/sub-{i}_ses-1_T2w.nii" for i in (1, 2)),
        ],
        *("bids", {"T1w": "{subject}/**/anat/{case}_T1w.nii"}),
        *("{subject}/**/anat/{case}_T1w_label-lesion_roi.nii", 2, 2),
    ),
    (
        "bids with label maps in another space",
        [
            "sub-1/anat/sub-1_acq-a_T1w.nii",
            "derivatives/f/sub-1/anat/sub-1_acq-a_dseg.nii",
            "derivatives/f/sub-1/anat/sub-1_acq-a_desc-aseg_dseg.nii",
            "derivatives/f/sub-1/anat/sub-1_acq-a_space-MNI152_res-2_dseg.nii",
            "derivatives/f/sub-1/anat/sub-1_acq-a_label-GM_probseg.nii",
        ],
        *("bids", {"T1w": "{subject}/**/anat/{case}_T1w.nii"}),
        *("derivatives/f/{subject}/**/anat/{case}_dseg.nii", 1, 1),
    ),
    (
        "bids with label maps in another space alone",
        ["sub-1/anat/sub-1_T1w.nii", "derivatives/f/sub-1/anat/sub-1_space-MNI152_dseg.nii"],
        *("bids", {"T1w": "{subject}/**/anat/{case}_T1w.nii"}, None, 1, 0),
    ),
    (
        "bids with lesions and brains in one folder",
        [
            "sub-1/anat/sub-1_T1w.nii",
            "derivatives/m/sub-1/anat/sub-1_desc-brain_mask.nii",
            "derivatives/m/sub-1/anat/sub-1_desc-lesion_mask.nii",
        ],
        *("bids", {"T1w": "{subject}/**/anat/{case}_T1w.nii"}),
        *("derivatives/m/{subject}/**/anat/{case}_desc-lesion_mask.nii", 1, 1),
    ),
    (
        "bids with scans and lesions in one space that is not the scanner's",
        [f"sub-{i}/anat/sub-{i}_space-MNI_{end}.nii" for i in (1, 2) for end in ("T1w", "label-L_mask")],
        *("bids", {"T1w": "{subject}/**/anat/{case}_space-MNI_T1w.nii"}),
        *("{subject}/**/anat/{case}_space-MNI_label-L_mask.nii", 2, 2),
    ),
    (
        "processed scans as in bids, in two spaces",
        [
            f"sub-{i}/anat/sub-{i}_{end}.nii"
            for i in (1, 2)
            for end in ("desc-preproc_T1w", "space-MNI_desc-preproc_T1w", "dseg", "space-MNI_dseg")
        ],
        *("bids", {"T1w": "{subject}/**/anat/{case}_desc-preproc_T1w.nii"}),
        *("{subject}/**/anat/{case}_dseg.nii", 2, 2),
    ),
    (
        "several contrasts in one folder",
        [f"b{i}_{kind}.nii" for i in (1, 2) for kind in ("flair", "t2_flair", "seg")],
        *("plain", {"flair": "{case}_flair.nii", "t2_flair": "{case}_t2_flair.nii"}, "{case}_seg.nii", 2, 2),
    ),
    (
        "names of a word and a number",
        [f"{word}{i}.nii" for word in ("im", "seg") for i in (1, 2, 10)],
        *("plain", {"image": "im{case}.nii"}, "seg{case}.nii", 3, 3),
    ),
    (
        "names of a word and their folder's number",
        [f"{i}/{word}{i}.nii" for word in ("scan", "mask") for i in (1, 2, 10)],
        *("subjects", {"image": "**/scan{case}.nii"}, "**/mask{case}.nii", 3, 3),
    ),
    (
        "names that begin with words of labels",
        [
            f"{site}{i}{end}.nii"
            for site in ("segovia", "gtx", "roisin", "masked", "labelle")
            for i in (1, 2)
            for end in ("", "_seg")
        ],
        *("plain", {"image": "{case}.nii"}, "{case}_seg.nii", 10, 10),
    ),
    (
        "a site whose code is a word of labels",
        [f"{site}_{i}{end}.nii" for site in ("SEG", "GT", "ROI") for i in (1, 2) for end in ("", "_mask")],
        *("plain", {"image": "{case}.nii"}, "{case}_mask.nii", 6, 6),
    ),
    (
        "folders named by one digit",
        [f"{i}/{kind}.nii" for i in (1, 2, 3) for kind in ("T1", "T2", "seg")],
        *("subjects", {"T1": "{case}/T1.nii", "T2": "{case}/T2.nii"}, "{case}/seg.nii", 3, 3),
    ),
    (
        "folders whose names begin their files'",
        [f"p{i}/p{i}T1.nii" for i in (1, 2, 11)],
        *("subjects", {"image": "{case}/{case}T1.nii"}, None, 3, 0),
    ),
    (
        "sessions in folders",
        [f"p{i}/{ses}/{kind}.nii" for i in (1, 2) for ses in ("ses1", "ses2") for kind in ("t1", "seg")],
        *("subjects", {"image": "{subject}/{case}/t1.nii"}, "{subject}/{case}/seg.nii", 4, 4),
    ),
    (
        "frames with a label map each",
        [f"p{i}/p{i}_frame{f}{end}.nii" for i in (1, 2) for f in ("01", f"1{i}") for end in ("", "_gt")],
        *("subjects", {"image": "**/{case}.nii"}, "**/{case}_gt.nii", 4, 4),
    ),
    (
        "contrasts in folders",
        [f"p{i}/{kind}/scan.nii" for i in (1, 2, 3) for kind in ("T1", "FLAIR", "labels")],
        *("subjects", {"FLAIR_scan": "{case}/FLAIR/scan.nii", "T1_scan": "{case}/T1/scan.nii"}),
        *("{case}/labels/scan.nii", 3, 3),
    ),
    (
        "names that repeat from folder to folder",
        [f"{top}/p{i}/{ses}.nii" for top in ("images", "labels") for i in (1, 2) for ses in ("a", "b")],
        *("plain", {"image": "images/{subject}/{case}.nii"}, "labels/{subject}/{case}.nii", 4, 4),
    ),
    (
        "one name in every folder",
        [f"{top}/p{i}/{name}.nii" for top, name in (("images", "T1"), ("labels", "seg")) for i in (1, 2)],
        *("plain", {"image": "images/{case}/T1.nii"}, "labels/{case}/seg.nii", 2, 2),
    ),
    (
        "another folder that begins as those of images",
        ["imagesTr/a.nii", "imagesTr/b.nii", "imagesTs/c.nii", "imagesTold/a.nii", "labelsTr/a.nii"],
        *("plain", {"image": "imagesTr/{case}.nii"}, "labelsTr/{case}.nii", 2, 1),
    ),
    (
        "bids without T1w",
        ["sub-1/anat/sub-1_FLAIR.nii"],
        *("bids", {"FLAIR": "{subject}/**/anat/{case}_FLAIR.nii"}, None, 1, 0),
    ),
]
"""Name, files, layout, channels, label pattern, cases, labelled."""


@pytest.mark.parametrize("row", GUESSES, ids=lambda row: row[0])
def test_guesses(touch: Touch, row: tuple[Any, ...]) -> None:
    _, names, layout, channels, label, cases, labelled = row
    guess = layouts.guess(touch(*names))
    assert (guess.layout, guess.channels, guess.label) == (layout, channels, label)
    assert (guess.n_cases, guess.n_labelled) == (cases, labelled)
    assert guess.classes is None


@pytest.mark.parametrize("row", GUESSES, ids=lambda row: row[0])
def test_what_is_guessed_finds_the_same_when_written_down(touch: Touch, row: tuple[Any, ...]) -> None:
    root = touch(*row[1])
    found = layouts.find(root)
    again = layouts.find(root, found.layout, found.patterns.channels, found.patterns.label)  # type: ignore[arg-type]
    assert again == found
    assert found.files() == {root / name for name in row[1]}
