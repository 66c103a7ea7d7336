"""The rows of docs/results.md: what is trained or measured, on which cases, for how long, beside what.

A row is one number that somebody may want to make again: `make results ROW=<name> DATA=<folder>`. The length
of every training stands here, in one place. Cases of the role `test` are used by the last evaluation alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from medseg.config.training import Train

BEST_MINUTES = 60.0
"""Training of the recipes for brain tissue and hippocampus, each fold, on two cores."""

FOLD_MINUTES = 18.0
"""Training of a fold of the five, on one core: a third of the hour that a recipe is made for."""

PAPER_MINUTES = 4.0
"""Training of each network of the U-SegNet paper's comparison, each fold, on one core."""

GPU_MINUTES = 15.0

PLANNED = ("epochs", "steps_per_epoch", "validate_every", "validate_cases")
"""Keys of `train` that a budget of minutes plans, so that recipes may not give them, too."""

IBSR_PAIRS = (("01", "07"), ("03", "08"), ("04", "09"), ("05", "16"), ("06", "18"))
"""The ten labelled scans: each pair is tested once, and the next pair validates then."""

Kind = Literal["training", "baseline", "script"]


@dataclass(frozen=True)
class Published:
    """A figure from a paper, by class or `mean`, and how its protocol differs from the row's.

    Papers on images print other scores than Dice: G, C, mIoU and BF over all pixels.
    """

    source: str
    dice: tuple[tuple[str, float], ...]
    differs: str
    of_images: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Row:
    """A row: a recipe trained on a data set, a baseline on its test cases, or a script that writes its JSON.

    `data` is a folder of the data folder. `minutes` of training are planned by `train.minutes`; 0 leaves the
    recipe's own length. A `script` is a command line in which DATA, WORK and JSON stand for paths.
    """

    name: str
    title: str
    group: str
    data: str
    recipe: str = ""
    kind: Kind = "training"
    minutes: float = 0.0
    settings: tuple[str, ...] = ()
    folds: tuple[dict[str, list[str]], ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"
    published: tuple[Published, ...] = ()
    script: str = ""
    needs: str = ""
    remark: str = field(default="", kw_only=True)

    def sets(self, seed: int) -> list[str]:
        """The `--set` values of the row's recipe; the reference for its length, its splits and its seed."""
        values = [*length(self.minutes), *self.settings, f"train.seed={seed}"]
        if self.folds:
            values.append(f"data.splits={json.dumps(self.folds)}")
        if self.kind == "baseline":
            values.append("tracking.enabled=false")  # nothing is trained
        if self.device == "cuda":
            values.append("train.device=cuda")
        return values


def length(minutes: float) -> list[str]:
    """Settings that make a training last so many minutes; none while recipes cannot be planned by time."""
    if not minutes or "minutes" not in Train.model_fields:
        return []
    return [f"train.minutes={minutes:g}", *(f"train.{key}=null" for key in PLANNED)]


def five_folds() -> tuple[dict[str, list[str]], ...]:
    """The five folds over the ten labelled scans of IBSR-18."""
    folds = []
    for number, tested in enumerate(IBSR_PAIRS):
        validated = IBSR_PAIRS[(number + 1) % len(IBSR_PAIRS)]
        rest = [n for pair in IBSR_PAIRS if pair not in (tested, validated) for n in pair]
        names = {"train": sorted(rest), "val": list(validated), "test": list(tested)}
        folds.append({role: [f"IBSR_{n}" for n in numbers] for role, numbers in names.items()})
    return tuple(folds)


U_SEGNET_PAPER = "U-SegNet's paper (IBSR-18)"
NOT_THE_SAME_SPLIT = (
    "nine scans train and nine are tested, of 18; here ten are at hand, of which two are tested in each fold "
    "and six train. CSF is the ventricles alone, as in the data set"
)


def _paper(gm: float, wm: float, csf: float) -> tuple[Published, ...]:
    dice = (("csf", csf), ("gm", gm), ("wm", wm))
    return (Published(U_SEGNET_PAPER, dice, NOT_THE_SAME_SPLIT),)


BEST_ON_IBSR = (
    Published(
        "3-D nnU-Net (arXiv 2411.05456)", (("mean", 0.937),), "10 / 5 / 3 scans of 18; a GPU for hours"
    ),
    Published(
        "ensemble of 3-D CNNs",
        (("csf", 0.906), ("gm", 0.947), ("wm", 0.945)),
        "10 / 5 / 3 scans of 18; several 3-D networks",
    ),
    *_paper(0.9033, 0.8923, 0.6658),
)
NNUNET_ON_HIPPOCAMPUS = (
    Published(
        "nnU-Net, Medical Segmentation Decathlon",
        (("anterior", 0.90), ("posterior", 0.89)),
        "the challenge's own test cases, trained on all 260 labelled crops; figures quoted from memory",
    ),
)

SEGNET_ON_CAMVID = (
    Published(
        "SegNet-Basic, median frequency (SegNet's paper, Table 1)",
        (),
        "the 233 test frames; another network, trained at full size",
        (("G", 0.827), ("C", 0.620), ("mIoU", 0.477), ("BF", 0.3578)),
    ),
    Published(
        "SegNet (its paper, Table 3)",
        (),
        "the 233 test frames; encoder from ImageNet",
        (("G", 0.904), ("C", 0.712), ("mIoU", 0.601), ("BF", 0.4684)),
    ),
)

CAMVID_LISTS = (
    'data.splits={"train": ["0001TP_*", "0006R0_*", "0016E5_0[0126]*", "0016E5_07[0-8]*", "0016E5_0792*", '
    '"0016E5_0819*", "0016E5_08[2-6]*"], "val": ["0016E5_04*", "0016E5_05*"], '
    '"test": ["0016E5_0795*", "0016E5_079[6-9]*", "0016E5_080*", "0016E5_081[0-5]*"]}'
)
"""Tests SegNet's validation frames, where its test frames are not at hand; training frames validate."""

TISSUE, HIPPOCAMPUS, STREETS = "Brain tissue", "Hippocampus", "Street scenes"
PAPER = "The U-SegNet paper's comparison"
OUT_OF_THE_BOX, QUALITY = "Out of the box", "Knowing when it is wrong"

CALIBRATED = ("predict.calibrate=true",)

ROWS = (
    Row(
        name="ibsr18_60min",
        title="an hour on two cores, six training scans",
        group=TISSUE,
        data="ibsr18",
        recipe="ibsr18_best",
        minutes=BEST_MINUTES,
        settings=CALIBRATED,
        published=BEST_ON_IBSR,
    ),
    Row(
        name="ibsr18_folds",
        title="five folds over the ten labelled scans",
        group=TISSUE,
        data="ibsr18",
        recipe="ibsr18_best",
        minutes=FOLD_MINUTES,
        folds=five_folds(),
        published=BEST_ON_IBSR,
    ),
    Row(
        name="ibsr18_gpu",
        title="15 minutes on one GPU, six training scans",
        group=TISSUE,
        data="ibsr18",
        recipe="ibsr18_gpu",
        minutes=GPU_MINUTES,
        device="cuda",
        published=BEST_ON_IBSR,
    ),
    Row(
        name="hippocampus_60min",
        title="an hour on two cores, 130 training crops",
        group=HIPPOCAMPUS,
        data="hippocampus",
        recipe="hippocampus_best",
        minutes=BEST_MINUTES,
        settings=CALIBRATED,
        published=NNUNET_ON_HIPPOCAMPUS,
        remark="The data set does not say which crops are of one person; left and right of a person may be "
        "on both sides of the split.",
    ),
    Row(
        name="hippocampus_gpu",
        title="15 minutes on one GPU, 130 training crops",
        group=HIPPOCAMPUS,
        data="hippocampus",
        recipe="hippocampus_gpu",
        minutes=GPU_MINUTES,
        device="cuda",
        published=NNUNET_ON_HIPPOCAMPUS,
    ),
    Row(
        name="camvid_60min",
        title="DeepLab v3+ on MobileNet v2 without pretraining, an hour on two cores, frames of half size",
        group=STREETS,
        data="camvid",
        recipe="camvid_mobilenet",
        minutes=BEST_MINUTES,
        settings=(CAMVID_LISTS, "preprocess.spacing_px=[2,2]", "sampling.window=[176,240]"),
        published=SEGNET_ON_CAMVID,
        remark="Trained on 312 of SegNet's training frames, validated on 55 and tested on its 101 validation "
        "frames, which are of a drive that training has seen: the score flatters.",
    ),
    Row(
        name="camvid_gpu",
        title="DeepLab v3+ on MobileNet v2 without pretraining, 300 epochs of whole frames on one GPU",
        group=STREETS,
        data="camvid",
        recipe="camvid_mobilenet",
        device="cuda",
        published=SEGNET_ON_CAMVID,
        remark="SegNet's own lists: 367 frames train, 101 validate and 233 are tested.",
    ),
    *(
        Row(
            name=f"paper_{name}",
            title=title,
            group=PAPER,
            data="ibsr18",
            recipe=f"ibsr18_{name}_quick",
            minutes=PAPER_MINUTES,
            folds=five_folds(),
            published=published,
        )
        for name, title, published in (
            ("usegnet", "U-SegNet: SegNet with one skip, the topmost", _paper(0.9033, 0.8923, 0.6658)),
            ("usegnet2", "U-SegNet-2: two skips", _paper(0.8817, 0.8595, 0.5781)),
            ("segnet", "SegNet: pooling indices, no skip", _paper(0.8736, 0.8415, 0.5904)),
            ("unet", "U-Net: a skip at every level", _paper(0.8687, 0.8358, 0.5836)),
        )
    ),
    Row(
        name="paper_fcm",
        title="fuzzy c-means: grey values alone",
        group=PAPER,
        data="ibsr18",
        recipe="ibsr18_usegnet_quick",
        kind="baseline",
        folds=five_folds(),
        published=_paper(0.8311, 0.9183, 0.217),
        remark="It is not trained; the training scans tell the order of the classes by brightness.",
    ),
    Row(
        name="out_of_box",
        title="the model that comes with the package, on ten scans of IBSR-18 and a ladder of degradations",
        group=OUT_OF_THE_BOX,
        data="ibsr18",
        kind="script",
        script="-m benchmarks.out_of_box DATA --ladder --json JSON",
    ),
    Row(
        name="quality_hippocampus",
        title="predicted Dice and review flags on the test hippocampi and a ladder of corruptions",
        group=QUALITY,
        data="hippocampus",
        kind="script",
        needs="hippocampus_60min",
        script="benchmarks/quality.py WORK --out JSON",
    ),
)

COMPARED_WITH = "paper_usegnet"
"""The row that the others of the paper's comparison are subtracted from, scan by scan."""
