"""Further small folders, each odd in its own way, with what `medseg init` should read from each."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from tests.helpers.everyday_folders import PATIENTS, SHAPE, Folder, label, scan

BACKGROUND = {0: "background"}


def bids_runs_and_raters(root: Path) -> None:
    root.joinpath("dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for place in range(1, 4):
        for session in ("ses-01", "ses-02"):
            for run in ("run-1", "run-2"):
                folder, name = f"sub-{place:02}/{session}/anat", f"sub-{place:02}_{session}_{run}"
                scan(root / folder / f"{name}_T1w.nii.gz", place)
                for rater in ("raterA", "raterB"):
                    label(root / f"derivatives/{rater}/{folder}/{name}_dseg.nii.gz", 1, 2, place=place)
    root.joinpath("derivatives/raterA/dseg.tsv").write_text("index\tname\n1\tcortex\n2\twhite matter\n")


def prefixes(root: Path) -> None:
    for place in range(1, 6):
        for contrast in ("T1", "T2", "FLAIR"):
            scan(root / f"{contrast}_pat{place}.nii.gz", place)
        label(root / f"seg_pat{place}.nii.gz", 1, 3, place=place)


def mixed_formats(root: Path) -> None:
    for place in range(1, 6):
        scan(root / f"K{place}/image.nii.gz", place)
        label(root / f"K{place}/seg/Segmentation.nii.gz", 1, place=place)
        if place % 2:
            for path in (root / f"K{place}/image.nii.gz", root / f"K{place}/seg/Segmentation.nii.gz"):
                image = sitk.ReadImage(path)
                clean = sitk.GetImageFromArray(sitk.GetArrayFromImage(image))
                clean.CopyInformation(image)
                sitk.WriteImage(clean, path.with_name(path.name.replace(".nii.gz", ".mha")))
                path.unlink()


def umlauts(root: Path) -> None:
    for place, name in enumerate(("Müller, Anna", "Größe.v2", "Łukasz 3", "Jürgen K. 4", "Ötzi")):
        scan(root / "Aufnahmen" / f"{name}.nii.gz", place)
        label(root / "Masken" / f"{name}.nii.gz", 1, 2, place=place)


def unpadded(root: Path) -> None:
    for place in range(1, 13):
        scan(root / f"Case {place}" / f"{place} T1 axial.nii", place)
        label(root / f"Case {place}" / f"Segmentation-{place}.nii", 1, place=place)


def sides(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        scan(root / f"{name}.nii.gz", place)
        for side in "LR":
            label(root / f"{name}_hippocampus_{side}.nii.gz", 1, place=place)


def structures_of_255(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        scan(root / name / "ct.nii.gz", place)
        label(root / name / "segmentations/liver.nii.gz", 255, place=place)
        label(root / name / "segmentations/spleen.nii.gz", 255, place=place)


def no_dataset_json(root: Path) -> None:
    for place in range(1, 6):
        for number in ("0000", "0001"):
            scan(root / f"imagesTr/hip_{place:03}_{number}.nii.gz", place)
        label(root / f"labelsTr/hip_{place:03}.nii.gz", 1, 2, place=place)


def probabilities(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        scan(root / f"{name}-T1.nii.gz", place)
        label(root / f"{name}-T1_seg.nii.gz", 1, 2, place=place)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        affine[:3, 3] = place
        for tissue in ("pve_0", "pve_1"):
            array = np.random.default_rng(place).random(SHAPE, np.float32)
            nib.Nifti1Image(array, affine).to_filename(root / f"{name}-T1_{tissue}.nii.gz")


def two_raters(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        scan(root / f"{name}.nii.gz", place)
        for rater in "AB":
            label(root / f"{name}-rater{rater}.nii.gz", 1, place=place)


def one_case(root: Path) -> None:
    scan(root / "anna/t1.nii.gz")
    scan(root / "anna/flair.nii.gz")
    label(root / "anna/lesion.nii.gz", 1)


def few_labelled(root: Path) -> None:
    for place in range(1, 13):
        scan(root / f"scans/vol{place}.nii.gz", place)
        if place <= 5:
            label(root / f"ground truth/vol{place}_GT.nii.gz", 1, place=place)


def _photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8)).save(path)


def _mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((40, 48), np.uint8)
    mask[5:20, 6:30] = 255
    Image.fromarray(mask).save(path)


def roles_by_number(root: Path) -> None:
    for number, (role, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        for i in range(count):
            _photo(root / role / "images" / f"{i}.jpg", 10 * number + i)
            _mask(root / role / "labels" / f"{i}.png")


def roles_beside(root: Path) -> None:
    for number, (role, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        for i in range(count):
            _photo(root / role / f"{role} {i}.jpg", 10 * number + i)
            _mask(root / role / f"{role} {i}_mask.png")


def german_masks(root: Path) -> None:
    for i in range(5):
        _photo(root / "Fotos" / f"DSC{i:04}.png", i)
        _mask(root / "Masken" / f"DSC{i:04}_Maske.png")


def stroke(root: Path) -> None:
    root.joinpath("participants.json").write_text(json.dumps({"age": {}}))
    for place in range(1, 6):
        name = f"sub-strokecase{place:04}"
        for contrast in ("dwi", "adc", "flair"):
            scan(root / f"rawdata/{name}/ses-0001/dwi/{name}_ses-0001_{contrast}.nii.gz", place)
        label(root / f"derivatives/{name}/ses-0001/{name}_ses-0001_msk.nii.gz", 1, place=place)


IMAGE = {"red", "green", "blue"}
ONE = BACKGROUND | {1: "label_1"}
TWO = ONE | {2: "label_2"}

ODD: dict[str, Folder] = {
    "BIDS with sessions, runs and two raters": Folder(
        bids_runs_and_raters, {"T1w"}, 12, 12, 3, BACKGROUND | {1: "cortex", 2: "white matter"}
    ),
    "channels by prefix": Folder(prefixes, {"T1", "T2", "FLAIR"}, 5, 5, 5, ONE | {3: "label_3"}),
    "two formats, label maps in a folder below": Folder(mixed_formats, {"image"}, 5, 5, 5, ONE),
    "umlauts, blanks and dots": Folder(umlauts, {"image"}, 5, 5, 5, TWO),
    "numbers without zeros": Folder(unpadded, {"T1"}, 12, 12, 12, ONE),
    "imagesTr without dataset.json": Folder(no_dataset_json, {"channel_0000", "channel_0001"}, 5, 5, 5, TWO),
    "probability maps": Folder(probabilities, {"T1"}, 5, 5, 5, TWO),
    "two raters beside the scans": Folder(two_raters, {"image"}, 5, 5, 5, ONE),
    "one case": Folder(one_case, {"t1", "flair"}, 1, 1, 1, BACKGROUND | {1: "lesion"}),
    "few cases labelled": Folder(few_labelled, {"image"}, 12, 5, 12, ONE),
    "train, val and test that count anew": Folder(
        roles_by_number, IMAGE, 8, 8, 8, BACKGROUND | {255: "foreground"}
    ),
    "train, val and test with masks beside": Folder(
        roles_beside, IMAGE, 8, 8, 8, BACKGROUND | {255: "foreground"}
    ),
    "masks in German": Folder(german_masks, IMAGE, 5, 5, 5, BACKGROUND | {255: "foreground"}),
    "stroke in BIDS-like folders": Folder(stroke, {"adc", "dwi", "flair"}, 5, 5, 5, ONE),
}
"""Folders with a label map each."""

MASKS: dict[str, tuple[Folder, tuple[str, ...], float | None]] = {
    "both sides": (Folder(sides, {"image"}, 5, 5, 5, {}), ("hippocampus_L", "hippocampus_R"), None),
    "structures of 0 and 255": (
        Folder(structures_of_255, {"ct"}, 5, 5, 5, {}),
        ("liver", "spleen"),
        0.5,
    ),
}
"""Folders with a mask for each structure: their names, and the threshold that the recipe must have."""
