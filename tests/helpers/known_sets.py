"""Small folders named as public data sets are, with what `medseg init` should read from each."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from tests.helpers.everyday_folders import SHAPE, Folder, label, scan


def atlas(root: Path) -> None:
    for place, (site, number) in enumerate((s, n) for s in ("R001", "R002") for n in (1, 2, 3)):
        name = f"sub-r{site[1:]}s{number:03}"
        start = f"Training/{site}/{name}/ses-1/anat/{name}_ses-1_space-MNI152NLin2009aSym"
        scan(root / f"{start}_T1w.nii.gz", place)
        label(root / f"{start}_label-L_desc-T1lesion_mask.nii.gz", 1, place=place)


def adni(root: Path) -> None:
    kind = "MPR__GradWarp__B1_Correction__N3__Scaled"
    subjects = ("002_S_0295", "002_S_0413", "005_S_0221")
    for place, name in enumerate(subjects):
        for visit, date in enumerate(("2006-04-18_08_20_30.0", "2006-11-02_08_16_44.0")):
            series, image = f"S{13400 + 2 * place + visit}", f"I{40966 + 2 * place + visit}"
            folder = root / "ADNI" / name / kind / date / series
            scan(folder / f"ADNI_{name}_MR_{kind}_Br_{20070216 + place}_{series}_{image}.nii", place)
            label(folder / f"ADNI_{name}_hippocampus_mask_{image}.nii", 1, place=place)


def acdc(root: Path) -> None:
    for role, numbers in (("training", (1, 2, 3)), ("testing", (101, 102))):
        for place in numbers:
            name = f"patient{place:03}"
            for frame in (1, 8 + place):
                scan(root / role / name / f"{name}_frame{frame:02}.nii.gz", place)
                label(root / role / name / f"{name}_frame{frame:02}_gt.nii.gz", 1, 2, 3, place=place)
            series = np.random.default_rng(place).random((*SHAPE, 4), np.float32)
            affine = np.diag([1.0, 1.0, 2.0, 1.0])
            nib.Nifti1Image(series, affine).to_filename(root / role / name / f"{name}_4d.nii.gz")


def msseg(root: Path) -> None:
    patients = (("Center_01", "01"), ("Center_01", "02"), ("Center_07", "01"), ("Center_07", "02"))
    for place, (centre, number) in enumerate(patients):
        folder = root / "Training" / centre / f"Patient_{number}"
        for contrast in ("FLAIR", "T1", "GADO"):
            scan(folder / f"Raw_Data/{contrast}.nii.gz", place + 50)
            scan(folder / f"Preprocessed_Data/{contrast}_preprocessed.nii.gz", place)
        for name in ("Brain_Mask", "Consensus", "ManualSegmentation_1", "ManualSegmentation_2"):
            label(folder / f"Masks/{name}.nii.gz", 1, place=place)


def isbi_2015(root: Path) -> None:
    for place in range(1, 4):
        for time in ("01", "02"):
            folder, name = root / f"training{place:02}", f"training{place:02}_{time}"
            for contrast in ("flair", "mprage"):
                scan(folder / f"preprocessed/{name}_{contrast}_pp.nii", place)
                scan(folder / f"orig/{name}_{contrast}.nii.gz", place + 50)
            label(folder / f"masks/{name}_mask1.nii", 1, place=place)
            label(folder / f"masks/{name}_mask2.nii", 1, place=place)


def ibsr(root: Path) -> None:
    for place in range(1, 5):
        start = root / f"IBSR_{place:02}" / f"IBSR_{place:02}"
        scan(start.with_name(f"{start.name}_ana.nii.gz"), place)
        scan(start.with_name(f"{start.name}_ana_strip.nii.gz"), place)
        label(start.with_name(f"{start.name}_segTRI_ana.nii.gz"), 1, 2, 3, place=place)
        label(start.with_name(f"{start.name}_ana_brainmask.nii.gz"), 1, place=place)


def spleen(root: Path) -> None:
    folder, training = root / "Task09_Spleen", []
    for place in (2, 3, 6, 8):
        image, mask = f"imagesTr/spleen_{place}.nii.gz", f"labelsTr/spleen_{place}.nii.gz"
        scan(folder / image, place)
        label(folder / mask, 1, place=place)
        training.append({"image": f"./{image}", "label": f"./{mask}"})
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}, "training": training}
    folder.joinpath("dataset.json").write_text(json.dumps(content))


STRUCTURES = (
    *("adrenal_gland_left", "brain", "liver", "rib_left_1", "skull", "spleen"),
    *("vertebrae_C1", "vertebrae_T1", "vertebrae_T12"),
)


ORGANS = ("Bone_Mandible", "Brainstem", "Eye_L", "Eye_R", "Larynx", "Lips", "OpticNrv_L", "Parotid_L")


def totalsegmentator(root: Path) -> None:
    for place in range(4):
        scan(root / f"s{place:04}/ct.nii.gz", place)
        for number, name in enumerate(STRUCTURES):
            values = (0,) * number + (1,) if (number + place) % 4 else ()  # some are empty
            label(root / f"s{place:04}/segmentations/{name}.nii.gz", *values, place=place)
    root.joinpath("meta.csv").write_text("image_id;age\ns0000;61\n")


def organs_at_risk(root: Path) -> None:
    for place in range(3):
        name = f"case_{place + 1:02}"
        scan(root / name / f"{name}_IMG_CT.nii.gz", place)
        for number, organ in enumerate(ORGANS):
            label(root / name / f"{name}_OAR_{organ}.nii.gz", *(0,) * number, 255, place=place)


def drive(root: Path) -> None:
    height, width = 58, 56
    view = (np.mgrid[:height, :width] - np.array([[[29]], [[28]]])) ** 2
    field_of_view = view.sum(0) < 26**2
    for role, numbers in (("training", range(21, 26)), ("test", range(1, 6))):
        folder = root / "DRIVE" / role
        for name in ("images", "mask", *(["1st_manual"] if role == "training" else [])):
            (folder / name).mkdir(parents=True)
        for number in numbers:
            colours = np.random.default_rng(number).integers(60, 200, (height, width, 3)).astype(np.uint8)
            image = Image.fromarray(colours * field_of_view[..., None])
            image.save(folder / f"images/{number:02}_{role}.tif")
            mask = Image.fromarray(field_of_view * np.uint8(255))
            mask.save(folder / f"mask/{number:02}_{role}_mask.gif")
            if role == "training":
                vessels = (np.arange(width) + number) % 11 < 2
                mask = Image.fromarray((vessels & field_of_view) * np.uint8(255))
                mask.save(folder / f"1st_manual/{number}_manual1.gif")


def isles_2022(root: Path) -> None:
    name = "ISLES22: a multi-center MRI dataset for ischemic stroke lesion segmentation"
    root.joinpath("dataset_description.json").write_text(json.dumps({"Name": name, "BIDSVersion": "1.6.0"}))
    for place in range(1, 5):
        start = f"sub-strokecase{place:04}/ses-0001"
        case = f"sub-strokecase{place:04}_ses-0001"
        for contrast in ("dwi", "adc"):
            scan(root / start / "dwi" / f"{case}_{contrast}.nii.gz", place)
        scan(root / start / "anat" / f"{case}_FLAIR.nii.gz", place + 50)  # of a grid of its own
        label(root / "derivatives" / start / f"{case}_msk.nii.gz", 1, place=place)


def isles_2015(root: Path) -> None:
    for place in range(1, 5):
        for contrast in ("T1", "Flair", "DWI"):
            name = f"VSD.Brain.XX.O.MR_{contrast}.{70000 + 7 * place + len(contrast)}"
            scan(root / str(place) / name / f"{name}.nii", place)
        name = f"VSD.Brain.XX.O.OT.{80000 + place}"
        label(root / str(place) / name / f"{name}.nii", 1, place=place)


def three_of_many(root: Path) -> None:
    for place in range(40):
        scan(root / f"P{place:03}_t1.nii.gz", place)
        if place in (7, 19, 33):
            label(root / f"P{place:03}_seg.nii.gz", 1, place=place)


LESION = {0: "background", 1: "L_lesion"}
ONE = {0: "background", 1: "label_1"}
THREE = ONE | {2: "label_2", 3: "label_3"}

KNOWN: dict[str, Folder] = {
    "ATLAS": Folder(atlas, {"T1w"}, 6, 6, 6, LESION),
    "ADNI": Folder(adni, {"MPR"}, 6, 6, 3, {0: "background", 1: "hippocampus"}),
    "ACDC": Folder(acdc, {"image"}, 10, 10, 5, THREE),
    "MSSEG": Folder(msseg, {"FLAIR", "T1", "GADO"}, 4, 4, 4, ONE),
    "ISBI 2015": Folder(isbi_2015, {"flair", "mprage"}, 6, 6, 3, ONE),
    "IBSR": Folder(ibsr, {"image"}, 4, 4, 4, THREE),
    "Decathlon in a folder": Folder(spleen, {"CT"}, 4, 4, 4, {0: "background", 1: "spleen"}),
    "TotalSegmentator": Folder(
        totalsegmentator, {"ct"}, 4, 4, 4, {0: "background"} | dict(enumerate(STRUCTURES, 1))
    ),
    "organs at risk": Folder(organs_at_risk, {"CT"}, 3, 3, 3, {0: "background"} | dict(enumerate(ORGANS, 1))),
    "DRIVE": Folder(drive, {"red", "green", "blue"}, 10, 5, 10, {0: "background", 255: "foreground"}),
    "ISLES 2022": Folder(isles_2022, {"dwi", "adc"}, 4, 4, 4, {0: "background", 1: "lesion"}),
    "ISLES 2015": Folder(isles_2015, {"T1", "Flair", "DWI"}, 4, 4, 4, ONE),
    "three of forty labelled": Folder(three_of_many, {"t1"}, 40, 3, 40, ONE),
}
