"""Small folders named as people name them, with what `medseg init` should read from each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (12, 14, 6)
PATIENTS = ("P01", "P02", "P03", "P04", "P05")


@dataclass(frozen=True)
class Folder:
    """Functions that write a folder, and what it holds: channels, cases, labelled ones, subjects, classes."""

    build: Callable[[Path], None]
    channels: set[str]
    cases: int
    labelled: int
    subjects: int
    classes: dict[int, str]
    label: str | None = None


def scan(path: Path, place: float = 0.0, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write noise around a bright body, on a grid that begins at ``place`` mm."""
    rng = np.random.default_rng(sum(map(ord, str(path))))
    array = rng.normal(100, 20, shape).astype(np.float32)
    array[:2] = array[-2:] = 0
    _save(path, array.astype(np.int16), place)


def label(path: Path, *values: int, place: float = 0.0, as_float: bool = False) -> None:
    """Write boxes of these values on the grid of :func:`scan`."""
    array = np.zeros(SHAPE, np.float32 if as_float else np.uint8)
    for i, value in enumerate(values):
        array[3 + i : 4 + i, 3:9, 1:5] = value
    _save(path, array, place)


def _save(path: Path, array: np.ndarray, place: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = place
    kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
    kind(array, affine).to_filename(path)


def _numbered(names: tuple[str, ...] = PATIENTS) -> Iterator[tuple[float, str]]:
    return ((float(i), name) for i, name in enumerate(names))


def flat(root: Path) -> None:
    for place, name in _numbered():
        scan(root / f"{name}_t1.nii.gz", place)
        scan(root / f"{name}_flair.nii.gz", place)
        label(root / f"{name}_manual.nii.gz", 1, place=place)


def patient_visit_sequence(root: Path) -> None:
    for place, name in _numbered():
        for visit in ("visit1", "visit2"):
            scan(root / name / visit / "T1" / "scan.nii.gz", place)
            scan(root / name / visit / "FLAIR" / "scan.nii.gz", place)
            initials = "AB" if place < 2 else "CD"
            label(root / name / visit / "rois" / f"{initials}_final.nii.gz", 1, 2, place=place)


def bids_lesions(root: Path) -> None:
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for place, name in _numbered(("sub-01", "sub-02", "sub-03", "sub-04", "sub-05")):
        for ses in ("ses-1", "ses-2"):
            for contrast in ("T1w", "T2w", "FLAIR"):
                scan(root / name / ses / "anat" / f"{name}_{ses}_{contrast}.nii.gz", place)
            place_of_mask = root / "derivatives/lesions" / name / ses / "anat"
            label(place_of_mask / f"{name}_{ses}_label-lesion_mask.nii.gz", 1, place=place, as_float=True)


def nnunet_regions(root: Path) -> None:
    for place, name in _numbered():
        for number in ("0000", "0001"):
            scan(root / "imagesTr" / f"brats_{name}_{number}.nii.gz", place)
        label(root / "labelsTr" / f"brats_{name}.nii.gz", 1, 2, 3, 4, place=place)
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))


def decathlon(root: Path) -> None:
    training = []
    for place, name in _numbered():
        scan(root / "imagesTr" / f"liver_{name}.nii.gz", place)
        label(root / "labelsTr" / f"liver_{name}.nii.gz", 1, 2, place=place)
        training.append(
            {"image": f"./imagesTr/liver_{name}.nii.gz", "label": f"./labelsTr/liver_{name}.nii.gz"}
        )
    scan(root / "imagesTs" / "liver_T1.nii.gz", 9.0)
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "tumour"},
        "training": training,
        "test": ["./imagesTs/liver_T1.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(content))


def longitudinal(root: Path) -> None:
    for place, name in _numbered():
        for time in ("baseline", "followup"):
            for contrast in ("T1", "T2"):
                scan(root / name / f"{name}_{time}_{contrast}.nii.gz", place)
            label(root / name / f"{name}_{time}_lesions.nii.gz", 1, place=place)


def two_centres(root: Path) -> None:
    for centre, start in (("Oslo", 0.0), ("Bergen", 20.0)):
        for place, name in _numbered(("001", "002", "003")):
            scan(root / centre / name / "t1.nii.gz", start + place)
            scan(root / centre / name / "t2.nii.gz", start + place)
            label(root / centre / name / "tumor.nii.gz", 1, place=start + place)


def parallel_tree(root: Path) -> None:
    for place, name in _numbered():
        scan(root / "data" / name / f"2021-03-0{int(place) + 1}" / "FLAIR.nii.gz", place)
        scan(root / "data" / name / f"2021-03-0{int(place) + 1}" / "T1.nii.gz", place)
        label(root / "annotation" / "experts" / f"{name}.nii.gz", 1, 2, place=place)
    (root / "annotation/labels.tsv").write_text("index\tname\n0\tbackground\n1\tstroke\n2\toedema\n")


def images_and_masks(root: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(5):
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(root / f"images/img_{i:03}.png")
        mask = np.zeros((40, 48), np.uint8)
        mask[5:20, 6:30] = 255
        Image.fromarray(mask).save(root / f"masks/img_{i:03}.png")


FOLDERS: dict[str, Folder] = {
    "flat with suffixes": Folder(flat, {"t1", "flair"}, 5, 5, 5, {0: "background", 1: "label_1"}),
    "patient/visit/sequence": Folder(
        patient_visit_sequence, {"T1", "FLAIR"}, 10, 10, 5, {0: "background", 1: "label_1", 2: "label_2"}
    ),
    "BIDS with three contrasts and lesion masks": Folder(
        bids_lesions, {"T1w", "T2w", "FLAIR"}, 10, 10, 5, {0: "background", 1: "lesion"}
    ),
    "nnU-Net raw with regions": Folder(
        nnunet_regions,
        {"T1", "FLAIR"},
        5,
        5,
        5,
        {0: "background", 1: "label_1", 2: "label_2", 3: "enhancing"},
    ),
    "Decathlon": Folder(decathlon, {"CT"}, 6, 5, 6, {0: "background", 1: "liver", 2: "tumour"}),
    "longitudinal": Folder(longitudinal, {"T1", "T2"}, 10, 10, 5, {0: "background", 1: "lesions"}),
    "two centres with equal ids": Folder(two_centres, {"t1", "t2"}, 6, 6, 6, {0: "background", 1: "tumor"}),
    "labels in a parallel tree": Folder(
        parallel_tree, {"FLAIR", "T1"}, 5, 5, 5, {0: "background", 1: "stroke", 2: "oedema"}
    ),
    "images and masks": Folder(
        images_and_masks, {"red", "green", "blue"}, 5, 5, 5, {0: "background", 255: "foreground"}
    ),
}
