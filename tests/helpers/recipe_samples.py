"""Samples of the data that packaged recipes are for, laid out as distributed, and small networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile

from medseg.grid import Array
from tests.helpers.image_sets import SAMPLES, Sample
from tests.helpers.images import SIZE, draw, save, stripes


@dataclass(frozen=True)
class RecipeSample:
    """What builds a data folder, the number of its cases, and settings that make the recipe small."""

    build: Callable[[Path], None]
    cases: int
    settings: tuple[str, ...]


def small(window: int = 32, **keywords: Any) -> tuple[str, ...]:
    """Two epochs of one step each of a narrow network, and one validation."""
    words = ", ".join(f"{key}: {value}" for key, value in keywords.items())
    return (
        *("train.epochs=2", "train.steps_per_epoch=1", "train.batch=2", "train.threads=1"),
        *("train.precision=fp32", "train.validate_every=2", "tracking.enabled=false"),
        f"sampling.window=[{window}, {window}]",
        f"network.keywords={{{words}}}",
    )


def image_set(name: str, copies: int) -> tuple[Callable[[Path], None], int]:
    """A sample of an image set, each of its labelled cases ``copies`` times more, and its number of cases."""
    sample = _more(SAMPLES[name], copies)
    return sample.build, len(sample.files)


def _more(sample: Sample, copies: int) -> Sample:
    files, texts = dict(sample.files), dict(sample.texts)
    for case, (picture, mask) in sample.files.items():
        for n in range(copies if mask is not None else 0):
            new = f"{case}{n}"
            files[new] = (picture.replace(case, new), (mask or "").replace(case, new))
            for path, text in texts.items():
                if case in text:
                    texts[path] = f"{text.rstrip()}\n{new}\n"
    return replace(sample, files=files, texts=texts)


def cells(numbers: int) -> Array:
    """Numbers (40, 48) of objects: columns of squares of 8 px, two and two touching."""
    found = np.zeros((40, 48), np.uint16)
    for n in range(numbers):
        row, column = divmod(n, 4)
        left = 2 + 8 * column + 4 * (column // 2)
        found[4 + 12 * row : 12 + 12 * row, left : left + 8] = n + 1
    return found


def cell_tracking(root: Path) -> None:
    """Two videos of two frames of the Cell Tracking Challenge, with silver masks and what else is there."""
    for video in ("01", "02"):
        for frame in range(2):
            numbers = cells(5 + frame) * 7
            picture = np.where(numbers > 0, 160, 60) + draw(frame, numbers.shape)[..., 0] // 8
            for path, array in (
                (f"{video}/t{frame:03}.tif", picture.astype(np.uint8)),
                (f"{video}_ST/SEG/man_seg{frame:03}.tif", numbers),
                (f"{video}_GT/TRA/man_track{frame:03}.tif", numbers),
            ):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(root / path, array)


def _ct(seed: int, size: tuple[int, int, int]) -> tuple[Array, Array]:
    """A scan in HU, int16, and its labels: air, a body, an organ (1) with a lesion (2)."""
    label = np.zeros(size, np.uint8)
    label[8:20, 8:22], label[12:16, 12:16] = 1, 2
    scan = np.full(size, -1000.0)
    scan[4:-4, 4:-4] = 40
    scan[label == 1], scan[label == 2] = 110, 60
    return (scan + np.random.default_rng(seed).normal(0, 9, size)).astype(np.int16), label


def _scans(root: Path, pairs: list[tuple[str, str]], *, lesion: int = 2) -> None:
    for n, names in enumerate(pairs):
        scan, label = _ct(n, (28, 30, 6))
        for name, array in zip(names, (scan, np.where(label == 2, lesion, label)), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(array.astype(np.int16), np.diag([2, 2, 5, 1])).to_filename(root / name)


def lits(root: Path) -> None:
    """Six scans of the Liver Tumor Segmentation Challenge."""
    _scans(root, [(f"batch/volume-{n}.nii", f"batch/segmentation-{n}.nii") for n in range(6)])


def lidc(root: Path) -> None:
    """Crops around nodules of six patients, of one of them two."""
    names = [f"LIDC-IDRI-{n:04}_1.nii.gz" for n in range(6)] + ["LIDC-IDRI-0000_2.nii.gz"]
    _scans(root, [(f"images/{name}", f"masks/{name}") for name in names], lesion=1)


def polyps(root: Path) -> None:
    """Frames of CVC-ClinicDB at the ends of the recipe's split."""
    for n in (1, 430, 431, 520, 521, 612):
        save(root / f"Original/{n}.png", draw(n))
        save(root / f"Ground Truth/{n}.png", stripes([0, 3, 250, 255], SIZE))


def ibsr(root: Path) -> None:
    """The ten labelled scans of IBSR-18 by name."""
    for n in (1, 3, 4, 5, 6, 7, 8, 9, 16, 18):
        scan, label = _ct(n, (28, 30, 6))
        name = f"IBSR_{n:02}/IBSR_{n:02}"
        (root / name).parent.mkdir(parents=True)
        nib.Nifti1Image(scan + 1100, np.eye(4)).to_filename(root / f"{name}.nii.gz")
        nib.Nifti1Image(label + (label > 0), np.eye(4)).to_filename(root / f"{name}_seg.nii.gz")


def nuclei(root: Path) -> None:
    """Images of DSB-2018, one for each glob of the split, with touching nuclei, each with a mask."""
    for n, case in enumerate(("0a", "a1", "ab", "b0", "c0", "c3", "d0")):
        numbers = cells(2 + n)
        picture = np.where(numbers > 0, 200, 20)[..., None] + draw(n, numbers.shape) // 8
        save(root / f"{case}/images/{case}.png", picture.astype(np.uint8))
        for number in range(1, int(numbers.max()) + 1):
            mask = np.where(numbers == number, 255, 0).astype(np.uint8)
            save(root / f"{case}/masks/{number}.png", mask)


_V3PLUS = small(width=4, hidden=4, backbone="resnet18", output_stride=16)
_NESTED = small(width=2, depth=2, batch_norm="false")
_VALID = small(36, padding="valid", width=2, depth=1, batch_norm="false")
_FCN = small(width=2, hidden=4)
_PHASES = (
    'train.phases=[{epochs: 2, lr: 1.0e-3, layers: ["backbone.*", "top.*", "score.*", "skip_scores.*"]}]'
)

RECIPES: dict[str, RecipeSample] = {
    "kitti_deeplabv3plus": RecipeSample(*image_set("kitti", 2), _V3PLUS),
    "bdd100k_deeplabv3plus": RecipeSample(*image_set("bdd100k", 1), _V3PLUS),
    "mapillary_deeplabv3plus": RecipeSample(*image_set("mapillary", 1), _V3PLUS),
    "apolloscape_deeplabv3plus": RecipeSample(*image_set("apolloscape", 1), _V3PLUS),
    "pascal_context_deeplabv3plus": RecipeSample(*image_set("pascal_context", 1), _V3PLUS),
    "cocostuff_deeplabv3plus": RecipeSample(*image_set("cocostuff", 1), _V3PLUS),
    "camvid_mobilenet": RecipeSample(*image_set("camvid", 1), _V3PLUS),
    "camvid_largefov": RecipeSample(*image_set("camvid", 1), _FCN),
    "camvid_largefov_crf": RecipeSample(*image_set("camvid", 1), _FCN),
    "camvid_fcn": RecipeSample(*image_set("camvid", 1), (*_FCN, _PHASES)),
    "camvid_fcn_learnt": RecipeSample(*image_set("camvid", 1), small(width=2, hidden=4, learned_last="true")),
    "camvid_deconvnet": RecipeSample(*image_set("camvid", 1), small(224, width=2, hidden=4)),
    "polyps_unetpp": RecipeSample(polyps, 6, _NESTED),
    "lits_unetpp": RecipeSample(lits, 6, _NESTED),
    "lidc_unetpp": RecipeSample(lidc, 7, _NESTED),
    "ibsr18_unet_kumar": RecipeSample(ibsr, 10, small(width=2)),
    "dsb2018_unet_quick": RecipeSample(nuclei, 7, small(width=2, depth=2)),
    "ctc_dic_hela": RecipeSample(cell_tracking, 4, _VALID),
    "ctc_phc_u373": RecipeSample(cell_tracking, 4, _VALID),
}
