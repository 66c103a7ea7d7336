"""The fingerprint of cases: grids in RAS+, foreground, classes, grey values."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.grid import Grid
from medseg.preprocess.fingerprint import CaseFingerprint, Fingerprint, of_case
from medseg.volume import Case, Volume

CLASSES = ClassList.from_names({0: "background", 1: "a", 2: "b"}, {}, ())


def a_case(*, fills: bool = True, label_at: int = 20, lowest: float = 0.0) -> Case:
    """A body of 10 and 30 in a volume stored as (S, L, A): 2 mm along S, 1 mm along R and A."""
    affine = np.array([[0, -1, 0, 0], [0, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 1]], np.float64)
    grid = Grid((30, 40, 50), affine)
    array = np.full((1, 30, 40, 50), lowest, np.float32)
    array[0, 14:18, 18:24, 18:32] = 10
    array[0, 16:18, 18:24, 18:32] = 30
    if not fills:
        array[0] += np.random.default_rng(0).random(grid.shape, np.float32)
    label = np.zeros((1, 30, 40, 50), np.uint8)
    label[0, 14:16, 18:24, 18:32] = 1
    label[0, 16:18, 18:24, label_at : label_at + 5] = 2
    return Case("c", "c", Volume(array, grid), Volume(label, grid))


def test_a_case_is_measured_along_right_anterior_superior() -> None:
    one = of_case(a_case(), CLASSES)
    assert one.shape == (40, 50, 30) and one.spacing == (1.0, 1.0, 2.0)
    assert one.cropped == (22, 30, 20)  # 6 × 14 × 4 voxels and 8 around
    assert (one.fills, one.label_outside, one.channels, one.lowest) == (True, 0, 1, 0.0)
    assert one.voxels == {0: 60000 - 168 - 60, 1: 168, 2: 60}
    assert one.means[1] == pytest.approx(-1) and one.means[2] == pytest.approx(1)


def test_labels_beyond_the_foreground_are_counted() -> None:
    assert of_case(a_case(label_at=42), CLASSES).label_outside == 2 * 6 * 5
    full = of_case(a_case(fills=False, label_at=42), CLASSES)
    assert (full.fills, full.label_outside, full.cropped) == (False, 0, full.shape)


def test_masks_that_overlap_are_counted_one_by_one() -> None:
    case = a_case()
    assert case.label is not None
    packed = case.label.with_array(case.label.array | (case.label.array == 2))  # 3: in both masks
    masks = ClassList.of_masks({"whole": (), "core": ()}, (), {})
    one = of_case(Case("c", "c", case.image, packed), masks)
    assert one.voxels == {0: 168 + 60, 1: 60} and one.means == {}


def test_a_case_without_label_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="no label"):
        of_case(Case("c", "c", a_case().image), CLASSES)


def test_cases_together() -> None:
    def one(side: float, mean: float, lowest: float = -1000.0) -> CaseFingerprint:
        return CaseFingerprint(
            1,
            (99, 99, 10),
            (80, 80, 10),
            (side, side, 4.0),
            0,
            True,
            lowest,
            {0: 97029, 1: 981},
            {1: mean},
        )

    three = Fingerprint([one(0.5, 0), one(1.0, 1), one(0.8, 2)], 3, 1, CLASSES, "mm")
    assert three.spacing == (0.8, 0.8, 4.0) and three.spacing_ratio == 2
    assert three.shape(cropped=True) == (80, 80, 10)
    assert three.shape(cropped=True, spacing=three.spacing) == (80, 80, 10)
    assert three.rarest == pytest.approx(981 / 98010)
    assert three.is_ct and not Fingerprint([one(1, 0, 0.0)], 1, 0, CLASSES, "mm").is_ct
    assert three.grey_spread == pytest.approx(np.std([0, 1, 2]))
    assert Fingerprint([one(1, 0)], 1, 0, CLASSES, "px").is_ct is False
