"""Small folders in other languages, formats and habits of naming, with what `medseg init` should read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.helpers.everyday_folders import SHAPE, Folder, label, scan

ONE = {0: "background", 1: "label_1"}
TWO = ONE | {2: "label_2"}


def french(root: Path) -> None:
    for place, name in enumerate(("Dupont Jean", "Martin Élodie", "Bernard Luc", "Petit Zoé")):
        for contrast in ("T1", "T2"):
            scan(root / name / f"IRM {contrast}.nii.gz", place)
        label(root / name / "Masque lésion.nii.gz", 1, place=place)


def named(image: str, mask: str) -> Callable[[Path], None]:
    """A function that writes an image and a label map of four cases, ``{}`` their numbers."""

    def build(root: Path) -> None:
        for place in range(1, 5):
            scan(root / image.format(place), place)
            label(root / mask.format(place), 1, 2, place=place)

    return build


def numbered_visits(root: Path) -> None:
    for person in range(1, 5):
        for visit in (1, 2):
            scan(root / f"{person}/{visit}/1.nii.gz", person + 9 * visit)
            label(root / f"{person}/{visit}/2.nii.gz", 1, place=person + 9 * visit)


def numbered_channels(root: Path) -> None:
    for place in range(1, 5):
        for number in (1, 2):
            scan(root / f"{place}/{number}.nii.gz", place)
        label(root / f"{place}/3.nii.gz", 1, place=place)


def beside(*others: str, label_map: str) -> Callable[[Path], None]:
    """A function that writes a T1 and a label map, and other label maps beside it."""

    def build(root: Path) -> None:
        for place in range(4):
            scan(root / f"P{place}/t1.nii.gz", place)
            scan(root / f"P{place}/t1_brain.nii.gz", place)
            label(root / f"P{place}/{label_map}.nii.gz", 1, place=place)
            for other in others:
                label(root / f"P{place}/{other}.nii.gz", 1, place=place)

    return build


def tissue_maps(root: Path) -> None:
    rng = np.random.default_rng(0)
    for place in range(4):
        scan(root / f"s{place}/anat.nii.gz", place)
        label(root / f"s{place}/labels.nii.gz", 1, 2, place=place)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        affine[:3, 3] = place
        for tissue in ("gm", "wm"):
            image = nib.Nifti1Image(rng.random(SHAPE, np.float32), affine)
            image.to_filename(root / f"s{place}/{tissue}.nii.gz")


def weeks(root: Path) -> None:
    for week in range(14):
        scan(root / f"week{week:02}/flair.nii.gz", week)
        label(root / f"week{week:02}/lesion.nii.gz", 1, place=week)


def initials(root: Path) -> None:
    for place, (name, date) in enumerate((("AB", "2020-01-02"), ("CD", "2020-02-03"), ("EF", "2020-05-06"))):
        for contrast in ("T1", "FLAIR"):
            scan(root / f"{name}_{date}_{contrast}.nii.gz", place)
        label(root / f"{name}_{date}_seg_JM.nii.gz", 1, place=place)


def of_spm(root: Path) -> None:
    for place in range(4):
        name = f"s{place:02}"
        for before in ("", "m", "c1", "c2"):
            scan(root / f"{before}{name}.nii", place)
        label(root / f"lesion_{name}.nii", 1, place=place)


def roles_in_capitals(root: Path) -> None:
    for place, role in enumerate(("TRAIN", "TRAIN", "TRAIN", "VAL", "TEST")):
        scan(root / role / f"{place:03}/T2.nii.gz", place)
        label(root / role / f"{place:03}/ROI.nii.gz", 1, place=place)


WORLDLY: dict[str, Folder] = {
    "French": Folder(french, {"T1", "T2"}, 4, 4, 4, {0: "background", 1: "lésion"}),
    "Japanese": Folder(named("患者{}/画像.nii.gz", "患者{}/正解.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "Dutch": Folder(named("beelden/{}.nii.gz", "maskers/{}.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "FreeSurfer's format": Folder(named("s{}/head.mgz", "s{}/drawn.mgz"), {"image"}, 4, 4, 4, TWO),
    "scan 1, label 2": Folder(named("{}/1.nii.gz", "{}/2.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "1 and 2 behind the case": Folder(named("{}_1.nii.gz", "{}_2.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "folders 1 and 2": Folder(named("1/{}.nii.gz", "2/{}.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "a letter behind": Folder(named("{}a.nii.gz", "{}b.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "a letter before": Folder(named("i{:03}.nii.gz", "m{:03}.nii.gz"), {"image"}, 4, 4, 4, TWO),
    "numbers of persons, visits and files": Folder(numbered_visits, {"image"}, 8, 8, 4, ONE),
    "numbers of channels": Folder(numbered_channels, {"channel_1", "channel_2"}, 4, 4, 4, ONE),
    "a program's beside people's": Folder(
        beside("t1_auto_seg", "t1_pred", label_map="t1_manual"), {"t1"}, 4, 4, 4, ONE
    ),
    "brain masks beside": Folder(
        beside("t1_brain_mask", label_map="t1_brain_tumour_mask"),
        {"t1"},
        4,
        4,
        4,
        {0: "background", 1: "brain_tumour"},
    ),
    "maps of tissues beside": Folder(tissue_maps, {"image"}, 4, 4, 4, TWO),
    "many weeks of one": Folder(weeks, {"flair"}, 14, 14, 1, {0: "background", 1: "lesion"}),
    "SPM's files beside": Folder(of_spm, {"image"}, 4, 4, 4, {0: "background", 1: "lesion"}),
    "train, val and test in capitals": Folder(roles_in_capitals, {"T2"}, 5, 5, 5, ONE),
    "a rater's initials": Folder(initials, {"T1", "FLAIR"}, 3, 3, 3, ONE),
}
"""Folders with a label map each."""
