"""Each image set in small, laid out as it is distributed: its tree, its masks, its lists and roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.classes import VOID
from tests.helpers.images import draw, save, stripes

Colour = tuple[int, int, int]

VOC = "VOCdevkit/VOC2012"
APOLLO = "Record001/Camera 5/170908_061502408_Camera_5"


@dataclass(frozen=True)
class Sample:
    """A set's tree: case → picture and mask; what the masks hold, as file values or colours; lists' texts."""

    files: dict[str, tuple[str, str | None]]
    mask: Sequence[int] | Sequence[Colour]
    indices: Sequence[int]
    roles: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    wrong: int = 200
    others: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    def build(self, root: Path) -> None:
        for n, (picture, mask) in enumerate(self.files.values()):
            save(root / picture, draw(n))
            if mask is not None:
                save(root / mask, self.labels())
        for n, picture in enumerate(self.others):
            save(root / picture, draw(n))
        for path, text in self.texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

    def labels(self) -> Any:
        if isinstance(self.mask[0], int):
            return stripes([int(v) for v in self.mask if isinstance(v, int)])
        return np.array(self.mask, np.uint8)[stripes(range(len(self.mask)))]


def pairs(picture: str, mask: str | None, **names: str) -> dict[str, tuple[str, str | None]]:
    """Case → files from two forms with {} for the case and {role} for what comes with it."""
    return {
        case: (picture.format(case, role=role), mask and mask.format(case, role=role))
        for case, role in names.items()
    }


SAMPLES: dict[str, Sample] = {
    "voc": Sample(
        pairs(
            f"{VOC}/JPEGImages/{{}}.jpg",
            f"{VOC}/SegmentationClass/{{}}.png",
            **{"2007_000032": "", "2007_000033": ""},
        ),
        mask=[0, 1, 20, 255],
        indices=[0, 1, 20, VOID],
        roles={"2007_000032": "train", "2007_000033": "val"},
        texts={
            f"{VOC}/ImageSets/Segmentation/train.txt": "2007_000032\n",
            f"{VOC}/ImageSets/Segmentation/val.txt": "2007_000033\n",
            f"{VOC}/ImageSets/Segmentation/trainval.txt": "2007_000032\n2007_000033\n",
            f"{VOC}/ImageSets/Main/train.txt": "2007_000999\n",
        },
        others=(f"{VOC}/JPEGImages/2007_000027.jpg", f"{VOC}/SegmentationObject/2007_000032.png"),
    ),
    "voc_aug": Sample(
        pairs(
            "VOC2012/JPEGImages/{}.jpg",
            "VOC2012/SegmentationClassAug/{}.png",
            **{"a": "", "b.1": "", "c": ""},
        ),
        mask=[0, 255, 7],
        indices=[0, VOID, 7],
        roles={"a": "train", "b.1": "train", "c": "val"},
        texts={
            "VOC2012/ImageSets/Segmentation/trainaug.txt": "/JPEGImages/a.jpg /Aug/a.png\nb.1\n",
            "VOC2012/ImageSets/Segmentation/train.txt": "a\n",
            "VOC2012/ImageSets/Segmentation/val.txt": "c\n",
        },
        data={"class_file": "voc", "layout": "voc_aug"},
    ),
    "camvid": Sample(
        pairs(
            "{role}/{}.png",
            "{role}annot/{}.png",
            **{"0001TP_1": "train", "0016E5_2": "val", "Seq05VD_3": "test"},
        ),
        mask=[0, 10, 11],
        indices=[0, 10, VOID],
        roles={"0001TP_1": "train", "0016E5_2": "val", "Seq05VD_3": "test"},
        texts={
            "train.txt": "/SegNet/CamVid/train/0001TP_1.png /SegNet/CamVid/trainannot/0001TP_1.png\n",
            "val.txt": "D:\\SegNet\\val\\0016E5_2.png D:\\SegNet\\valannot\\0016E5_2.png\n\n",
            "test.txt": "test/Seq05VD_3.png testannot/Seq05VD_3.png",
        },
    ),
    "camvid32": Sample(
        pairs(
            "CamVid/701_StillsRaw_full/{}.png",
            "CamVid/LabeledApproved_full/{}_L.png",
            **{"0001TP_006690": "", "Seq05VD_f00000": ""},
        ),
        mask=[(64, 128, 64), (64, 192, 0), (0, 0, 0), (128, 128, 128)],
        indices=[0, 30, VOID, 21],
    ),
    "cityscapes": Sample(
        {
            **pairs(
                "leftImg8bit/{role}/{}_leftImg8bit.png",
                "gtFine/{role}/{}_gtFine_labelIds.png",
                **{"aachen_000000_000019": "train/aachen", "frankfurt_000001_000019": "val/frankfurt"},
            ),
            "berlin_000000_000019": (
                "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png",
                None,
            ),
        },
        mask=[0, 7, 33, 3, 29],
        indices=[VOID, 0, 18, VOID, VOID],
        roles={
            "aachen_000000_000019": "train",
            "frankfurt_000001_000019": "val",
            "berlin_000000_000019": "test",
        },
        others=(
            "gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png",
            "gtFine/test/berlin/berlin_000000_000019_gtFine_labelIds.png",
        ),
        wrong=99,
    ),
    "ade20k": Sample(
        pairs(
            "ADEChallengeData2016/images/{role}/{}.jpg",
            "ADEChallengeData2016/annotations/{role}/{}.png",
            ADE_train_00000001="training",
            ADE_val_00000001="validation",
        ),
        mask=[0, 1, 150],
        indices=[VOID, 0, 149],
        roles={"ADE_train_00000001": "train", "ADE_val_00000001": "val"},
    ),
    "kitti": Sample(
        {
            **pairs(
                "data_semantics/{role}/image_2/{}.png",
                "data_semantics/{role}/semantic/{}.png",
                **{"000000_10": "training"},
            ),
            **pairs("data_semantics/{role}/image_2/{}.png", None, **{"000001_10": "testing"}),
        },
        mask=[7, 26, 0],
        indices=[0, 13, VOID],
        roles={"000000_10": "train", "000001_10": "test"},
        others=("data_semantics/training/semantic_rgb/000000_10.png",),
        wrong=99,
    ),
    "kitti_road": Sample(
        {
            f"{part}_000000": (
                f"data_road/training/image_2/{part}_000000.png",
                f"data_road/training/gt_image_2/{part}_road_000000.png",
            )
            for part in ("um", "umm")
        },
        mask=[(255, 0, 255), (255, 0, 0), (0, 0, 0)],
        indices=[1, 0, VOID],
        roles={"um_000000": "train", "umm_000000": "train"},
        others=("data_road/training/gt_image_2/um_lane_000000.png",),
    ),
    "bdd100k": Sample(
        pairs(
            "bdd100k/images/10k/{role}/{}.jpg",
            "bdd100k/labels/sem_seg/masks/{role}/{}.png",
            **{"0a0a0b1a-7c39d841": "train", "7d06fefd-f7be05a6": "val"},
        ),
        mask=[0, 18, 255],
        indices=[0, 18, VOID],
        roles={"0a0a0b1a-7c39d841": "train", "7d06fefd-f7be05a6": "val"},
        others=("bdd100k/labels/sem_seg/colormaps/train/0a0a0b1a-7c39d841.png",),
    ),
    "mapillary": Sample(
        pairs(
            "vistas/{role}/images/{}.jpg",
            "vistas/{role}/v1.2/labels/{}.png",
            M2kh294N9c72sICO990Uew="training",
            q="validation",
        ),
        mask=[0, 64, 65],
        indices=[0, 64, VOID],
        roles={"M2kh294N9c72sICO990Uew": "train", "q": "val"},
        others=("vistas/training/v2.0/labels/M2kh294N9c72sICO990Uew.png",),
    ),
    "apolloscape": Sample(
        {
            "170908_061502408_Camera_5": (
                f"road01_ins/ColorImage/{APOLLO}.jpg",
                f"road01_ins/Label/{APOLLO}_bin.png",
            ),
            "170908_061502408_Camera_6": (
                "ColorImage/road02_seg/Record001/Camera 6/170908_061502408_Camera_6.jpg",
                "Label/road02_seg/Record001/Camera 6/170908_061502408_Camera_6_bin.png",
            ),
        },
        mask=[33, 161, 113, 98, 255],
        indices=[1, 1, 21, VOID, VOID],
        others=(f"road01_ins/Label/{APOLLO}_instanceIds.png",),
    ),
    "pascal_context": Sample(
        pairs(
            "VOC2010/JPEGImages/{}.jpg", "59_context_labels/{}.png", **{"2008_000002": "", "2008_000003": ""}
        ),
        mask=[0, 1, 59],
        indices=[VOID, 0, 58],
    ),
    "cocostuff": Sample(
        pairs(
            "coco/images/{role}/{}.jpg",
            "coco/annotations/{role}/{}.png",
            **{"000000000009": "train2017", "000000000139": "val2017"},
        ),
        mask=[0, 12, 181, 255],
        indices=[0, 11, 170, VOID],
        roles={"000000000009": "train", "000000000139": "val"},
    ),
    "masks": Sample(
        pairs(
            "stage1_train/{0}/images/{0}.png",
            "stage1_train/{0}/masks/cell.png",
            **{"00ae65": "", "0402a8": ""},
        ),
        mask=[0, 255],
        indices=[0, 1],
        data={"layout": "masks", "classes": {0: "background", 255: "nucleus"}},
    ),
}
