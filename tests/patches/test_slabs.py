"""Slabs: channel-major order, edge slices repeated, any plane."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Grid, Plane
from medseg.patches import slabs
from medseg.preprocess.intensity import Normalization, NormalizedVolume


def ready(shape: tuple[int, int, int] = (2, 3, 4), channels: int = 2) -> NormalizedVolume:
    array = np.arange(channels * np.prod(shape), dtype=np.int16).reshape(channels, *shape)
    normalization = Normalization(tuple(range(channels)), tuple(2.0 + c for c in range(channels)))
    return NormalizedVolume(np.asfortranarray(array), Grid(shape, np.eye(4)), normalization)


@pytest.mark.parametrize(
    ("plane", "count", "size"),
    [("axial", 4, (2, 3)), ("coronal", 3, (2, 4)), ("sagittal", 2, (3, 4))],
)
def test_slices_of_each_plane(plane: Plane, count: int, size: tuple[int, int]) -> None:
    assert slabs.slices((2, 3, 4), plane) == count
    assert slabs.slice_shape((2, 3, 4), plane) == size
    assert slabs.plane_view(np.zeros((2, 3, 4)), plane).shape == (count, *size)


def test_plane_view_writes_through() -> None:
    array = np.zeros((2, 3, 4))
    slabs.plane_view(array, "coronal")[1] = 1
    assert array[:, 1].all()
    assert array.sum() == 8


@pytest.mark.parametrize("plane", list(PLANE_AXIS))
@pytest.mark.parametrize("depth", [1, 3, 5, 9])
def test_a_slab_by_the_rule_of_its_index(plane: Plane, depth: int) -> None:
    scan = ready()
    count = slabs.slices(scan.grid.shape, plane)
    for index in range(count):
        slab = slabs.read_slab(scan, plane, index, depth)
        assert slab.dtype == np.float32
        assert slab.flags.c_contiguous
        assert slab.shape == (2 * depth, *slabs.slice_shape(scan.grid.shape, plane))
        for c in range(2):
            for offset in range(-(depth // 2), depth // 2 + 1):
                at = min(max(index + offset, 0), count - 1)
                expected = (np.take(scan.array[c], at, PLANE_AXIS[plane]) - c) / (2 + c)
                assert np.allclose(slab[c * depth + depth // 2 + offset], expected)


def test_the_first_slab_of_the_paper_is_slices_0_0_1() -> None:
    array = np.arange(5, dtype=np.int16).reshape(1, 1, 1, 5)
    scan = NormalizedVolume(array, Grid((1, 1, 5), np.eye(4)), Normalization((0,), (1,)))
    assert slabs.read_slab(scan, "axial", 0, 3).ravel().tolist() == [0, 0, 1]
    assert slabs.read_slab(scan, "axial", 2, 3).ravel().tolist() == [1, 2, 3]
    assert slabs.read_slab(scan, "axial", 4, 3).ravel().tolist() == [3, 4, 4]


@pytest.mark.parametrize("depth", [0, 2, -1])
def test_an_even_depth_is_refused(depth: int) -> None:
    with pytest.raises(MedsegError) as refused:
        slabs.read_slab(ready(), "axial", 0, depth)
    assert refused.value.code == Code.KEYWORD_INVALID


@pytest.mark.parametrize("index", [-1, 4])
def test_a_slice_outside_the_volume_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match="of 4"):
        slabs.read_slab(ready(), "axial", index, 3)
