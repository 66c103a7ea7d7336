"""Small folders with visits, dates and numbers of a kind of their own, and what `medseg init` should read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from tests.helpers.everyday_folders import SHAPE, Folder, label, scan

BACKGROUND = {0: "background"}
ONE = BACKGROUND | {1: "label_1"}


def placed(
    names: Iterable[tuple[str, ...]], images: tuple[str, ...], mask: str, *values: int
) -> Callable[[Path], None]:
    """A function that writes images and a label map for each tuple of words, on a grid of its own.

    ``{0}``, ``{1}`` … in the paths stand for the words.
    """

    def build(root: Path) -> None:
        for place, words in enumerate(names):
            for image in images:
                scan(root / image.format(*words), place)
            label(root / mask.format(*words), *(values or (1,)), place=place)

    return build


def own_dates(root: Path) -> None:
    dates = (("P001", "2019-03-01"), ("P001", "2020-04-01"), ("P002", "2019-03-02"), ("P003", "2019-03-03"))
    for place, (person, date) in enumerate((*dates, ("P003", "2020-04-03"), ("P004", "2020-04-04"))):
        scan(root / person / date / "flair.nii.gz", place)
        label(root / person / date / "flair_seg.nii.gz", 1, place=place)


def images_of_two_volumes(root: Path) -> None:
    rng = np.random.default_rng(0)
    for path in ("imagesTr/p_0", "imagesTr/p_1", "imagesTr/p_2", "imagesTs/p_9"):
        array = rng.normal(100, 20, (*SHAPE, 2)).astype(np.int16)
        (root / path).parent.mkdir(exist_ok=True)
        nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(root / f"{path}.nii.gz")
        if "Tr" in path:
            scan_of = root / path.replace("imagesTr", "labelsTr")
            scan_of.parent.mkdir(exist_ok=True)
            mask = np.zeros(SHAPE, np.uint8)
            mask[3:5, 3:9, 1:5] = 1
            mask[6:8, 3:9, 1:5] = 2
            nib.Nifti1Image(mask, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(f"{scan_of}.nii.gz")
    description = {"modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "PZ", "2": "TZ"}}
    (root / "dataset.json").write_text(json.dumps(description))


def unlabelled_with_a_letter(root: Path) -> None:
    for number in range(1, 4):
        scan(root / f"c{number:02}.nii.gz", number)
        label(root / f"c{number:02}_seg.nii.gz", 1, place=number)
        scan(root / f"hc{number:02}.nii.gz", number + 8)
        scan(root / f"mc{number:02}.nii.gz", number + 16)


def padded_pictures(root: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(1, 13):
        photo = rng.integers(0, 255, (40, 48, 3), np.uint8)
        Image.fromarray(photo).save(root / f"images/img_{number}.png")
        mask = np.zeros((40, 48), np.uint8)
        mask[8:20, 8:30] = 255
        Image.fromarray(mask).save(root / f"masks/mask_{number:03}.png")


def some_empty(root: Path) -> None:
    for number in range(6):
        scan(root / f"P{number}_T1.nii.gz", number)
        label(root / f"P{number}_T1_mask.nii.gz", *([1] if number % 2 else []), place=number)


def beside_fmriprep(root: Path) -> None:
    for place in range(1, 5):
        name = f"sub-{place:02}"
        for contrast in ("T1w", "FLAIR"):
            scan(root / f"{name}/anat/{name}_{contrast}.nii.gz", place)
        label(root / f"derivatives/manual/{name}/anat/{name}_FLAIR_lesions.nii.gz", 1, place=place)
        start = root / f"derivatives/fmriprep/{name}/anat"
        scan(start / f"{name}_desc-preproc_T1w.nii.gz", place)
        label(start / f"{name}_desc-brain_mask.nii.gz", 1, place=place)
        label(start / f"{name}_dseg.nii.gz", 1, 2, 3, place=place)


def unlabelled_tests(root: Path) -> None:
    for number in range(1, 8):
        role = "train" if number < 6 else "test"
        scan(root / f"{role}/images/{number:03}.nii.gz", number)
        if number < 6:
            label(root / f"{role}/labels/{number:03}.nii.gz", 1, place=number)


NUMBERS = [(str(number),) for number in range(1, 13)]
VISITS = [(f"P{person}", f"T{visit}") for person in range(1, 4) for visit in (1, 2)] + [("P4", "T1")]
YEARS = [(year, f"P{person:02}") for year in ("2019", "2021") for person in range(1, 5)]
TIMED = tuple(f"{{0}}/{{1}}/{{0}}_{{1}}_{contrast}.nii.gz" for contrast in ("FLAIR", "T1", "T2"))

VARIED: dict[str, Folder] = {
    "dates of each patient's own": Folder(own_dates, {"flair"}, 6, 6, 4, ONE),
    "visits called T1 and T2": Folder(
        placed(VISITS, TIMED, "{0}/{1}/{0}_{1}_MASK.nii.gz"), {"FLAIR", "T1", "T2"}, 7, 7, 4, ONE
    ),
    "years above patients": Folder(
        placed(YEARS, ("{0}/{1}/t1.nii.gz",), "{0}/{1}/seg.nii.gz"), {"t1"}, 8, 8, 4, ONE
    ),
    "Decathlon with test images of two volumes": Folder(
        images_of_two_volumes, {"T2", "ADC"}, 4, 3, 4, BACKGROUND | {1: "PZ", 2: "TZ"}
    ),
    "scans of others with a letter before": Folder(unlabelled_with_a_letter, {"image"}, 9, 3, 9, ONE),
    "label maps numbered with zeros": Folder(
        placed(NUMBERS, ("images/{0}.nii.gz",), "labels/{0:0>3}.nii.gz"), {"image"}, 12, 12, 12, ONE
    ),
    "some numbers written alike": Folder(
        placed(NUMBERS, ("pat{0}.nii.gz",), "pat{0:0>2}_mask.nii.gz"), {"image"}, 12, 12, 12, ONE
    ),
    "zeros in folders": Folder(
        placed(NUMBERS[:4], ("scans/patient{0}/T1.nii.gz",), "labels/patient{0:0>2}/seg.nii.gz"),
        {"T1"},
        4,
        4,
        4,
        ONE,
    ),
    "channels and label maps with zeros": Folder(
        placed(NUMBERS, ("scans/{0}_T1.nii.gz", "scans/{0}_T2.nii.gz"), "rois/{0:0>3}_roi.nii.gz"),
        {"T1", "T2"},
        12,
        12,
        12,
        ONE,
    ),
    "pictures numbered with zeros": Folder(
        padded_pictures, {"red", "green", "blue"}, 12, 12, 12, BACKGROUND | {255: "foreground"}
    ),
    "label maps beside those of fMRIPrep": Folder(
        beside_fmriprep, {"T1w", "FLAIR"}, 4, 4, 4, BACKGROUND | {1: "lesions"}
    ),
    "a test folder without label maps": Folder(unlabelled_tests, {"image"}, 7, 5, 7, ONE),
    "3D in names": Folder(
        placed(
            NUMBERS[:4],
            ("{0:0>3}-FLAIR-3D-sag.nii.gz", "{0:0>3}-T1-sag.nii.gz"),
            "{0:0>3}-FLAIR-3D-sag-lesions.nii.gz",
        ),
        {"FLAIR", "T1"},
        4,
        4,
        4,
        BACKGROUND | {1: "lesions"},
    ),
    "sites before numbers": Folder(
        placed(
            [(site, f"{i:03}") for site in ("siteA", "siteB") for i in range(1, 4)],
            ("{0}_{1}_t1.nii.gz",),
            "{0}_{1}_seg.nii.gz",
        ),
        {"t1"},
        6,
        6,
        6,
        ONE,
    ),
    "sites, patients, visits": Folder(
        placed(
            [(s, n, v) for s in ("Hamburg", "Berlin") for n in ("001", "002") for v in ("bl", "fu")],
            ("{0}/{1}/{2}/t1.nii.gz",),
            "{0}/{1}/{2}/seg.nii.gz",
        ),
        {"t1"},
        8,
        8,
        4,
        ONE,
    ),
    "some label maps empty": Folder(some_empty, {"T1"}, 6, 6, 6, ONE),
}
"""Folders with a label map each."""
