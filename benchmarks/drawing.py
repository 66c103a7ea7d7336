"""Drawing and augmenting 2.5D patches: medseg on one core and on two, TorchIO's queue, MONAI's cached data.

    python benchmarks/drawing.py [--rounds 7] [--seconds 2]

Needs TorchIO and MONAI (extra `bench`). Each draws batches of 64 patches of 40×40 px and three slices from
the same eight volumes: elastic deformation, rotation, scale, shift, flip, contrast, brightness, gamma and
noise. TorchIO changes whole volumes before its queue cuts 64 patches from each, MONAI changes larger patches
of cached volumes, as their documentation has it. All are measured in turn, each for some seconds a round;
what is printed and written to `benchmarks/results/drawing.json` are medians of patches a second, and of
ratios within a round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import monai.transforms as mt
import nibabel as nib
import numpy as np
import torch
import torchio as tio
from monai.data import CacheDataset
from scipy import ndimage

from medseg.grid import Grid
from medseg.patches.artefacts import ArtefactAugmenter, Artefacts
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.sampler import PatchSampler
from medseg.preprocess import geometry, store
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase
from medseg.train.batches import BatchMaker
from medseg.train.prefetch import ahead
from medseg.volume import Volume

SHAPE, WINDOW, DEPTH, BATCH, VOLUMES = (160, 192, 144), (40, 40), 3, 64, 8
RESULT = Path(__file__).parent / "results/drawing.json"
AUGMENTATION = Augmentation(
    flip=("left_right",),
    rotate_degrees=15,
    scale=0.1,
    shift_px=3,
    contrast=0.2,
    brightness=0.2,
    gamma=0.2,
    noise=0.1,
    elastic_px=4,
)
ARTEFACTS = Artefacts(
    bias_field=0.3, gibbs=0.3, ghosting=0.3, low_resolution=0.3, histogram_shift=0.5, coarse_dropout=0.2
)


def make(folder: Path) -> list[PreprocessedCase]:
    """Write smooth volumes with three classes as NIfTI for the others, and as prepared cases."""
    cases = []
    for number in range(VOLUMES):
        rng = np.random.default_rng(number)
        coarse = rng.normal(size=tuple(n // 8 for n in SHAPE))
        smooth = ndimage.zoom(coarse, 8, order=1) * 100 + 400
        image = np.asfortranarray((smooth + rng.normal(0, 10, SHAPE)).astype(np.int16))
        label = np.asfortranarray(np.digitize(smooth, [400, 480]).astype(np.uint8))
        for name, array in (("image", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}{number}.nii")
        grid = Grid(SHAPE, np.eye(4))
        scaling = Normalization((float(image.mean()),), (float(image.std()),))
        record = geometry.apply(Volume(image[None], grid, None, ()), geometry.GeometryPlan())[1]
        volume = NormalizedVolume(image[None], grid, scaling)
        path = store.write(folder / "store", f"c{number}", f"c{number}", volume, label, record, 0)
        cases.append(store.open(path))
    return cases


def medseg_batches(
    cases: list[PreprocessedCase], cores: int, artefacts: Artefacts | None = None
) -> Iterator[Any]:
    """Batches as training has them: on one core from a thread, on several from a process on each."""
    augmenter = Augmenter(AUGMENTATION, WINDOW, BATCH, seed=0)
    sampler = PatchSampler(
        cases, "axial", DEPTH, WINDOW, BATCH, 0, 0.5, augmenter.field, boxes=augmenter.boxes, placed=True
    )
    helpers = cores if cores > 1 else 0
    change = augmenter if artefacts is None else ArtefactAugmenter(augmenter, artefacts, BATCH, seed=0)
    maker = BatchMaker(sampler, change, [slice(None)], torch.device("cpu"), False, helpers)
    if maker.draw_helpers is not None:
        maker.draw_helpers.start(wait=True)
    with closing(maker), closing(ahead(maker.draw, range(10**6), cores)) as batches:
        for _, taken in batches:
            yield taken()


def torchio_batches(folder: Path) -> Iterator[Any]:
    """TorchIO's patch-based pipeline: transforms of whole volumes, a queue, a loader."""
    change = tio.Compose(
        [
            tio.ZNormalization(),
            tio.RandomFlip(axes=0),
            tio.RandomAffine(scales=0.1, degrees=(0, 0, 0, 0, -15, 15), translation=3),
            tio.RandomElasticDeformation(max_displacement=7.5),
            tio.RandomGamma(log_gamma=0.2),
            tio.RandomNoise(std=(0, 0.1)),
        ]
    )
    subjects = [
        tio.Subject(
            image=tio.ScalarImage(folder / f"image{n}.nii"), label=tio.LabelMap(folder / f"label{n}.nii")
        )
        for n in range(VOLUMES)
    ]
    queue = tio.Queue(
        tio.SubjectsDataset(subjects, transform=change),
        max_length=4 * BATCH,
        samples_per_volume=BATCH,
        sampler=tio.UniformSampler((*WINDOW, DEPTH)),
        num_workers=0,
    )
    while True:
        yield from tio.SubjectsLoader(queue, batch_size=BATCH)


def monai_batches(folder: Path, *, with_artefacts: bool = False) -> Iterator[Any]:
    """MONAI's cached data set: volumes in memory, patches cut with a margin and changed one by one."""
    both, one = ("image", "label"), ("image",)
    mode = ("bilinear", "nearest")
    change = mt.Compose(
        [
            mt.LoadImaged(both),
            mt.EnsureChannelFirstd(both),
            mt.NormalizeIntensityd(one),
            mt.RandSpatialCropSamplesd(both, (64, 64, DEPTH), num_samples=BATCH, random_size=False),
            mt.Lambdad(both, lambda array: array[0].movedim(-1, 0)),
            mt.Rand2DElasticd(
                both,
                spacing=(20, 20),
                magnitude_range=(2, 6),
                prob=1,
                rotate_range=np.pi / 12,
                scale_range=0.1,
                translate_range=3,
                spatial_size=WINDOW,
                mode=mode,
                padding_mode="border",
            ),
            mt.RandFlipd(both, prob=0.5, spatial_axis=0),
            mt.RandScaleIntensityd(one, 0.2, prob=1),
            mt.RandShiftIntensityd(one, 0.2, prob=1),
            mt.RandAdjustContrastd(one, prob=1, gamma=(0.8, 1.2)),
            mt.RandGaussianNoised(one, prob=1, std=0.1),
            *(_monai_artefacts(one) if with_artefacts else ()),
        ]
    )
    files = [{"image": folder / f"image{n}.nii", "label": folder / f"label{n}.nii"} for n in range(VOLUMES)]
    data = CacheDataset(files, change, progress=False, num_workers=1)
    for number in itertools.count():
        patches = data[number % VOLUMES]
        yield tuple(torch.stack([patch[name].as_tensor() for patch in patches]) for name in both)


def _monai_artefacts(keys: tuple[str, ...]) -> list[Any]:
    """MONAI's own transforms for all artefacts but ghosts, which it has none for."""
    return [
        mt.RandBiasFieldd(keys, degree=3, coeff_range=(-0.3, 0.3), prob=1),
        mt.RandGibbsNoised(keys, alpha=(0.0, 0.3), prob=1),
        mt.RandSimulateLowResolutiond(keys, upsample_mode="bilinear", zoom_range=(0.7, 1.0), prob=1),
        mt.RandHistogramShiftd(keys, num_control_points=10, prob=1),
        mt.RandCoarseDropoutd(
            keys, holes=1, max_holes=4, spatial_size=1, max_spatial_size=8, fill_value=0, prob=1
        ),
    ]


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Patches a second, of at least one batch after a first one."""
    next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or not count:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - start)


def on_cores(cores: int, make_batches: Callable[[], Iterator[Any]], seconds: float) -> float:
    """Measure on so many processors; threads that are started meanwhile keep to them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[-cores:]))
    try:
        with closing(make_batches()) as batches:  # type: ignore[type-var]
            return rate(batches, seconds)
    finally:
        os.sched_setaffinity(0, allowed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = make(folder)
        tools: dict[str, Callable[[], float]] = {
            "medseg, 1 core": lambda: on_cores(1, lambda: medseg_batches(cases, 1), arguments.seconds),
            "medseg, 2 cores": lambda: on_cores(2, lambda: medseg_batches(cases, 2), arguments.seconds),
            "TorchIO Queue": lambda: on_cores(1, lambda: torchio_batches(folder), arguments.seconds),
            "MONAI CacheDataset": lambda: on_cores(1, lambda: monai_batches(folder), arguments.seconds),
        }
        rounds = [{tool: measure() for tool, measure in tools.items()} for _ in range(arguments.rounds)]
    first = "medseg, 1 core"
    result = {
        tool: {
            "patches_per_s": round(statistics.median(r[tool] for r in rounds), 1),
            "medseg_1_core_over_it": round(statistics.median(r[first] / r[tool] for r in rounds), 2),
        }
        for tool in tools
    }
    packages = {package: metadata.version(package) for package in ("torch", "torchio", "monai", "numpy")}
    content = {
        "machine": platform.machine(),
        "rounds": arguments.rounds,
        "versions": packages,
        "tools": result,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
