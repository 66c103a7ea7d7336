"""Small folders in which something stands once that names repeat elsewhere, or that vary in depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.helpers.everyday_folders import Folder, label, scan

ONE = {0: "background", 1: "label_1"}


def sessions(*words: str, above: str = "") -> Callable[[Path], None]:
    """A function that writes a folder with a T1 and a label map for each word."""

    def build(root: Path) -> None:
        for place, word in enumerate(words):
            scan(root / above / word / "T1.nii.gz", place)
            label(root / above / word / "seg.nii.gz", 1, place=place)

    return build


def names(*words: str) -> Callable[[Path], None]:
    """A function that writes files side by side, the word before each."""

    def build(root: Path) -> None:
        for place, word in enumerate(words):
            scan(root / f"{word}_T1.nii.gz", place)
            label(root / f"{word}_seg.nii.gz", 1, place=place)

    return build


def bids(root: Path) -> None:
    root.joinpath("dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for place, session in enumerate(("ses-1", "ses-2")):
        name = f"sub-01_{session}"
        scan(root / f"sub-01/{session}/anat/{name}_T1w.nii.gz", place)
        mask = f"derivatives/masks/sub-01/{session}/anat/{name}_label-lesion_mask.nii.gz"
        label(root / mask, 1, place=place)


def freesurfer(*others: str) -> Callable[[Path], None]:
    """A function that writes the folder of one subject of FreeSurfer's, with further label maps."""

    def build(root: Path) -> None:
        for name in ("orig", "T1", "nu", "norm", "brain", "brainmask"):
            scan(root / f"bert/mri/{name}.mgz")
        for name in ("aseg", *others):
            label(root / f"bert/mri/{name}.mgz", 2, 41, 17)

    return build


def some_with_visits(in_names: str) -> Callable[[Path], None]:
    """A function that writes two patients' folders without visits, and three with two of them."""

    def build(root: Path) -> None:
        for place in range(5):
            for visit in ("",) if place < 2 else ("baseline", "followup"):
                start = "".join(f"{word}_" for word in (f"P{place}", visit) if word and in_names)
                for contrast in ("T1", "FLAIR"):
                    scan(root / f"P{place}" / visit / f"{start}{contrast}.nii.gz", place)
                label(root / f"P{place}" / visit / f"{start}lesion.nii.gz", 1, place=place)

    return build


LESION = {0: "background", 1: "lesion"}
FREESURFER = {
    **{0: "background", 2: "Left-Cerebral-White-Matter", 17: "Left-Hippocampus"},
    41: "Right-Cerebral-White-Matter",
}

LONE: dict[str, Folder] = {
    "two sessions alone": Folder(sessions("baseline", "followup"), {"T1"}, 2, 2, 1, ONE),
    "one patient, two sessions": Folder(sessions("baseline", "followup", above="anna"), {"T1"}, 2, 2, 1, ONE),
    "one patient, three dates": Folder(
        sessions("2020-01-02", "2021-03-04", "2022-05-06", above="P001"), {"T1"}, 3, 3, 1, ONE
    ),
    "one patient, numbers": Folder(sessions("1", "2", "3", above="patient_3"), {"T1"}, 3, 3, 1, ONE),
    "dates alone": Folder(sessions("20200102", "20210304"), {"T1"}, 2, 2, 1, ONE),
    "left and right": Folder(sessions("left", "right"), {"T1"}, 2, 2, 1, ONE),
    "one patient in names": Folder(names("P07_v1", "P07_v2", "P07_v3"), {"T1"}, 3, 3, 1, ONE),
    "one patient's sides in names": Folder(names("anna_left", "anna_right"), {"T1"}, 2, 2, 1, ONE),
    "BIDS with one subject": Folder(bids, {"T1w"}, 2, 2, 1, LESION),
    "one site": Folder(sessions("001", "002", "003", above="Oslo"), {"T1"}, 3, 3, 3, ONE),
    "numbers alone": Folder(sessions("1", "2", "3", "4"), {"T1"}, 4, 4, 4, ONE),
    "a visit each": Folder(sessions("anna/v1", "bert/v1", "carl/v1"), {"T1"}, 3, 3, 3, ONE),
    "a subject of FreeSurfer's": Folder(freesurfer(), {"image"}, 1, 1, 1, FREESURFER),
    "a subject of FreeSurfer's, all label maps": Folder(
        freesurfer("aparc+aseg", "wmparc", "wm"), {"image"}, 1, 1, 1, FREESURFER
    ),
    "visits of some": Folder(some_with_visits(""), {"T1", "FLAIR"}, 8, 8, 5, LESION),
    "visits of some in names": Folder(some_with_visits("yes"), {"T1", "FLAIR"}, 8, 8, 5, LESION),
}
