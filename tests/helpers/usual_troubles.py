"""Small folders with what machines and programs leave in them: copies, links, hidden files, odd suffixes."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from tests.helpers.everyday_folders import PATIENTS, SHAPE, Folder, label, scan

ONE = {0: "background", 1: "label_1"}
TWO = ONE | {2: "label_2"}


def patients(root: Path, *values: int, as_float: bool = False) -> None:
    for place, name in enumerate(PATIENTS):
        scan(root / name / "t1.nii.gz", place)
        label(root / name / "seg.nii.gz", *(values or (1,)), place=place, as_float=as_float)


def macos(root: Path) -> None:
    patients(root)
    for name in PATIENTS:
        (root / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        for file in ("t1.nii.gz", "seg.nii.gz"):
            (root / name / f"._{file}").write_bytes(b"\0\5\x16\7Mac OS X" + bytes(50))
    scan(root / "__MACOSX/P01/t1.nii.gz")


def hidden(root: Path) -> None:
    patients(root)
    for folder in (".git/annex/objects", ".ipynb_checkpoints", ".Trash-1000/files/P06", ".cache/P07"):
        scan(root / folder / "t1.nii.gz")
        label(root / folder / "seg.nii.gz", 7)


def links(root: Path) -> None:
    patients(root.parent / "elsewhere")
    for name in PATIENTS:
        (root / f"linked {name}").symlink_to(root.parent / "elsewhere" / name)


def annexed(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        objects = root / ".git/annex/objects"
        scan(objects / f"{name}a.nii.gz", place)
        label(objects / f"{name}b.nii.gz", 1, place=place)
        (root / name).mkdir()
        for file, content in (("T1w", "a"), ("dseg", "b")):
            target = f"../.git/annex/objects/{name}{content}.nii.gz"
            (root / name / f"{name}_{file}.nii.gz").symlink_to(target)


def two_formats(root: Path) -> None:
    patients(root)
    for name in PATIENTS[:3]:
        packed = (root / name / "t1.nii.gz").read_bytes()
        (root / name / "t1.nii").write_bytes(gzip.decompress(packed))
    packed = (root / "P04/seg.nii.gz").read_bytes()
    (root / "P04/seg.nii").write_bytes(gzip.decompress(packed))


def upper_case(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        for path in (root / f"{name}_T1.nii.gz", root / f"{name}_SEG.nii.gz"):
            scan(path, place) if "T1" in path.name else label(path, 1, 2, place=place)
            path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))


def blanks(root: Path) -> None:
    for place, name in enumerate(("Frau Müller", "Herr Groß", "Jörg Öz", "Anna-Lena Weiß")):
        scan(root / name / "T1 MPRAGE sag.nii.gz", place)
        label(root / name / "Läsion (final).nii.gz", 1, place=place)


def uids(root: Path) -> None:
    for place in range(1, 4):
        scan(root / f"1.2.840.113619.2.55.3.{place}/ct.nii.gz", place)
        label(root / f"1.2.840.113619.2.55.3.{place}/gtv.nii.gz", 1, place=place)


def four_axes(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        array = np.random.default_rng(place).random((*SHAPE, 3), np.float32)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        affine[:3, 3] = place
        (root / name).mkdir()
        nib.Nifti1Image(array, affine).to_filename(root / name / "multi.nii.gz")
        label(root / name / "seg.nii.gz", 1, 2, place=place)


def single_slices(root: Path) -> None:
    for place, name in enumerate(PATIENTS):
        array = np.random.default_rng(place).normal(100, 20, (32, 30, 1)).astype(np.float32)
        mask = np.zeros(array.shape, np.uint8)
        mask[5:15, 8:20] = 1
        for path, content in ((f"{name}.nii.gz", array), (f"{name}_seg.nii.gz", mask)):
            nib.Nifti1Image(content, np.diag([1.0, 1.0, 5.0, 1.0])).to_filename(root / path)


def dates(root: Path) -> None:
    for place, name in enumerate(("Meier", "Huber", "Schmid")):
        for date in ("20200103", "20210412"):
            scan(root / name / date / "T1.nii.gz", place)
            label(root / name / date / "lesion.nii.gz", 1, place=place)


def nested_derivatives(root: Path) -> None:
    root.joinpath("dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for place, name in enumerate(("sub-01", "sub-02", "sub-03", "sub-04")):
        scan(root / name / f"anat/{name}_T1w.nii.gz", place)
        folder = root / "derivatives/fmriprep" / name / "anat"
        scan(folder / f"{name}_space-MNI152_desc-preproc_T1w.nii.gz", place + 40)
        label(folder / f"{name}_desc-brain_mask.nii.gz", 1, place=place)
        folder = root / "derivatives/fmriprep/derivatives/lesions" / name / "anat"
        label(folder / f"{name}_label-lesion_mask.nii.gz", 1, place=place)


def black_and_white_colours(root: Path) -> None:
    for number in range(5):
        for folder in ("img", "gt"):
            (root / folder).mkdir(exist_ok=True)
        grey = np.random.default_rng(number).integers(0, 255, (40, 48), np.uint8)
        Image.fromarray(grey).convert("RGB").save(root / f"img/slice {number}.jpg")
        mask = np.zeros((40, 48, 3), np.uint8)
        mask[5:20, 6:30] = 255
        Image.fromarray(mask).save(root / f"gt/slice {number}.png")


def results_inside(root: Path) -> None:
    patients(root)
    for name in PATIENTS[:2]:
        label(root / "work/mine/predictions" / f"{name}.nii.gz", 1)
    scan(root / "out/P01.nii.gz")


LESION = {0: "background", 1: "lesion"}
TROUBLES: dict[str, Folder] = {
    "files of macOS": Folder(macos, {"t1"}, 5, 5, 5, ONE),
    "hidden folders": Folder(hidden, {"t1"}, 5, 5, 5, ONE),
    "linked subjects": Folder(links, {"t1"}, 5, 5, 5, ONE),
    "links of git-annex": Folder(annexed, {"T1w"}, 5, 5, 5, ONE),
    "nii beside nii.gz": Folder(two_formats, {"t1"}, 5, 5, 5, ONE),
    "suffixes in capitals": Folder(upper_case, {"T1"}, 5, 5, 5, TWO),
    "blanks and umlauts": Folder(blanks, {"T1_MPRAGE"}, 4, 4, 4, {0: "background", 1: "Läsion"}),
    "folders named by UIDs": Folder(uids, {"ct"}, 3, 3, 3, {0: "background", 1: "gtv"}),
    "channels on the fourth axis": Folder(four_axes, {"channel_1", "channel_2", "channel_3"}, 5, 5, 5, TWO),
    "volumes of one slice": Folder(single_slices, {"image"}, 5, 5, 5, ONE),
    "visits by date": Folder(dates, {"T1"}, 6, 6, 3, LESION),
    "derivatives in derivatives": Folder(nested_derivatives, {"T1w"}, 4, 4, 4, LESION),
    "labels in floating point": Folder(
        lambda root: patients(root, 1, 2, 4, as_float=True), {"t1"}, 5, 5, 5, TWO | {4: "label_4"}
    ),
    "masks of 0 and 255": Folder(
        lambda root: patients(root, 255), {"t1"}, 5, 5, 5, {0: "background", 255: "label_255"}
    ),
    "masks in three equal colours": Folder(
        black_and_white_colours, {"grey"}, 5, 5, 5, {0: "background", 255: "foreground"}
    ),
    "results among the scans": Folder(results_inside, {"t1"}, 5, 5, 5, ONE),
}
