"""Sizes and shapes against counts by hand, and label maps that collapsed while every step said success."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.classes import VOID, ClassList
from medseg.errors import Code
from medseg.grid import Grid
from medseg.model import shapes
from medseg.model.shapes import Shape

CLASSES = ClassList.from_names({0: "background", 1: "outer", 2: "inner"})
GRID = Grid((20, 24, 12), np.diag([1.0, 1.0, 2.0, 1.0]))


def boxes(shrunk: int = 0) -> Any:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2 + shrunk : 18, 2:22, 2:10] = 1
    labels[7:13, 8:16, 4:8] = 2
    return labels


KNOWN = shapes.ranges([shapes.measure(boxes(n), GRID, CLASSES) for n in (0, 1, 2)])


def test_a_box_is_measured_as_by_hand() -> None:
    inner = shapes.measure(boxes(), GRID, CLASSES)["inner"]
    assert inner.volume_ml == pytest.approx(6 * 8 * 4 * 2 / 1000)
    assert inner.extent_mm == (6, 8, 8)
    assert inner.largest == 1
    faces = 2 * (8 * 8 + 6 * 8 + 6 * 8)  # mm² of a box of 6 × 8 × 8 mm
    assert inner.roughness == pytest.approx(faces / (6 * 8 * 8) ** (2 / 3))


def test_extents_are_along_r_a_s_whatever_the_axes() -> None:
    turned = Grid((12, 24, 20), np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]]))
    shape = shapes.measure(boxes().transpose(2, 1, 0), turned, CLASSES)["outer"]
    assert shape.extent_mm == shapes.measure(boxes(), GRID, CLASSES)["outer"].extent_mm == (16, 20, 16)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_labels_are_measured_as_voxel_by_voxel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (4, 5, 3)).astype(np.uint8)
    grid = Grid((4, 5, 3), np.diag([1.0, 2.0, 0.5, 1.0]))
    measured = shapes.measure(labels, grid, CLASSES)
    for index, name in ((1, "outer"), (2, "inner")):
        mask = labels == index
        assert measured[name].volume_ml == pytest.approx(mask.sum() * 1.0 / 1000)
        if not mask.any():
            continue
        hits = np.argwhere(mask)
        np.testing.assert_allclose(measured[name].extent_mm, (np.ptp(hits, axis=0) + 1) * grid.spacing)
        assert measured[name].largest == pytest.approx(_largest(hits) / len(hits))
        assert measured[name].roughness == pytest.approx(_surface(hits, grid) / mask.sum() ** (2 / 3))


def _largest(hits: Any) -> int:
    """The most voxels that touch each other, by walking from voxel to voxel."""
    left, most = {tuple(hit) for hit in hits}, 0
    while left:
        reached, edge = set(), [left.pop()]
        while edge:
            voxel = edge.pop()
            reached.add(voxel)
            touching = {v for v in left if max(abs(a - b) for a, b in zip(v, voxel, strict=True)) == 1}
            left -= touching
            edge += touching
        most = max(most, len(reached))
    return most


def _surface(hits: Any, grid: Grid) -> float:
    """Area of the faces of voxels that no other voxel of the set lies behind."""
    voxels = {tuple(hit) for hit in hits}
    total = 0.0
    for voxel in voxels:
        for axis in range(3):
            for step in (-1, 1):
                neighbour = tuple(v + step * (a == axis) for a, v in enumerate(voxel))
                total += grid.voxel_size / grid.spacing[axis] * (neighbour not in voxels)
    return total


def test_overlapping_masks_and_void_are_measured_by_themselves() -> None:
    masks = ClassList.of_masks({"whole": (), "part": ()}, (), {})
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3, 1:3, 1:3] = 0b01
    labels[1, 1, 1] = 0b11
    labels[0] = VOID
    measured = shapes.measure(labels, Grid((4, 4, 4), np.eye(4)), masks)
    assert (measured["whole"].volume_ml, measured["part"].volume_ml) == (0.008, 0.001)


def collapsed() -> dict[str, Any]:
    """Label maps that a broken step may leave; each holds something."""
    sheet = np.zeros_like(boxes())
    sheet[10, 2:22, 2:10], sheet[11, 8:16, 4:8] = 1, 2
    speckles = np.zeros_like(boxes())
    rng = np.random.default_rng(0)
    drawn = rng.permutation(speckles.size)
    speckles.reshape(-1)[drawn[:2000]], speckles.reshape(-1)[drawn[2000:2192]] = 1, 2
    one_class = np.where(boxes() > 0, np.uint8(1), np.uint8(0))
    everywhere = np.full_like(boxes(), 2)
    halves = boxes()
    halves[10:] = 0
    voxel = np.zeros_like(boxes())
    voxel[3, 3, 3], voxel[10, 10, 5] = 1, 2
    scattered = boxes()
    scattered[:, ::2] = 0  # slices lost, the extent kept
    return {
        "nothing": np.zeros_like(boxes()),
        "a sheet": sheet,
        "speckles of the right volume": speckles,
        "one class took the other's place": one_class,
        "one class everywhere": everywhere,
        "a third of a structure": np.where(np.arange(20)[:, None, None] < 8, boxes(), np.uint8(0)),
        "single voxels": voxel,
        "every second slice": scattered,
    }


@pytest.mark.parametrize("name", collapsed())
def test_a_collapsed_label_map_is_implausible(name: str) -> None:
    finding = shapes.check(shapes.measure(collapsed()[name], GRID, CLASSES), KNOWN, "case")
    assert [one.code for one in finding] == [Code.IMPLAUSIBLE] and finding[0].is_note


@pytest.mark.parametrize("shrunk", [0, 1, 4])
def test_label_maps_like_those_of_the_training_are_plausible(shrunk: int) -> None:
    assert shapes.check(shapes.measure(boxes(shrunk), GRID, CLASSES), KNOWN, "case") == []


def test_a_structure_that_some_training_cases_lack_may_be_absent() -> None:
    absent = np.where(boxes() == 2, np.uint8(1), boxes())
    measured = [shapes.measure(one, GRID, CLASSES) for one in (boxes(), absent)]
    known = shapes.ranges(measured)
    assert not known["inner"].always
    assert shapes.check(measured[1], known, "case") == []


def test_distances_grow_with_the_distance_and_are_largest_for_nothing() -> None:
    known = KNOWN["inner"]
    near = shapes.distances(shapes.measure(boxes(), GRID, CLASSES)["inner"], known)
    far = shapes.distances(shapes.measure(collapsed()["a sheet"], GRID, CLASSES)["inner"], known)
    nothing = shapes.distances(Shape(0.0), known)
    assert all(value >= 0 for value in (*near.values(), *far.values()))
    assert near["size"] < far["size"] <= nothing["size"] and near["extent"] < far["extent"]
    assert all(nothing[name] >= far[name] for name in far)


def test_members_ranges_are_joined_from_least_to_largest() -> None:
    small = shapes.ranges([shapes.measure(boxes(2), GRID, CLASSES)])
    large = shapes.ranges([shapes.measure(boxes(), GRID, CLASSES)])
    joined = shapes.merged([small, large])["outer"]
    assert joined.volume_ml == (small["outer"].volume_ml[0], large["outer"].volume_ml[1])
    assert joined.extent_mm[0] == (14.0, 16.0)
    assert shapes.merged([small, {}]) == {} == shapes.merged([])
