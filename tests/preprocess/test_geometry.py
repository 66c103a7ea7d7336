"""Do and undo of geometry: identities for every orientation, oracles for resampling, refusals."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Array, Grid, axis_order, same_grid
from medseg.preprocess import geometry
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.volume import Volume
from tests.oracles import geometry as oracle

ORIENTATIONS = [(axes, senses) for axes in permutations(range(3)) for senses in product((1, -1), repeat=3)]


def affine_of(
    axes: tuple[int, ...], senses: tuple[int, ...], spacing: tuple[float, ...] = (1, 1, 1)
) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for file_axis, (ras_axis, sense) in enumerate(zip(axes, senses, strict=True)):
        affine[ras_axis, file_axis] = sense * spacing[file_axis]
    affine[:3, 3] = (-31.7, 12.3, 5.9)
    return affine


def tilted(affine: Array, degrees: float) -> Array:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def volume(array: Array, affine: Array | None = None) -> Volume:
    shape = array.shape[1:]
    return Volume(array, Grid((shape[0], shape[1], shape[2]), np.eye(4) if affine is None else affine))


def numbered(shape: tuple[int, int, int]) -> Array:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(1, *shape)


def through_json(record: Record) -> Record:
    return Record.from_json(json.loads(json.dumps(record.to_json())))


@pytest.mark.parametrize(("axes", "senses"), ORIENTATIONS)
def test_all_48_orientations_come_to_ras_as_views_and_back(
    axes: tuple[int, ...], senses: tuple[int, ...]
) -> None:
    array = numbered((2, 3, 4))
    affine = tilted(affine_of(axes, senses, (1.0, 1.5, 0.7)), 8.6)
    ready, record = geometry.apply(volume(array, affine), GeometryPlan())
    assert np.shares_memory(ready.array, array)
    closest = nib.as_closest_canonical(nib.Nifti1Image(array[0], affine))
    assert np.array_equal(ready.array[0], np.asanyarray(closest.dataobj))
    assert np.allclose(ready.grid.affine, closest.affine)
    assert nib.aff2axcodes(ready.grid.affine) == ("R", "A", "S")
    back = geometry.undo(ready, through_json(record))
    assert np.array_equal(back.array, array)
    assert np.array_equal(back.grid.affine, affine)
    assert back.array.dtype == array.dtype


def test_every_voxel_stays_where_it_was_in_mm() -> None:
    array = numbered((3, 4, 5))
    affine = tilted(affine_of((2, 0, 1), (-1, 1, -1), (2.0, 1.0, 0.5)), 30)
    ready, _ = geometry.apply(volume(array, affine), GeometryPlan(crop=True, crop_margin=0, foreground=17.0))
    for index in product(*map(range, ready.grid.shape)):
        value = ready.array[(0, *index)]
        old = np.argwhere(array[0] == value)[0]
        place = ready.grid.affine[:3, :3] @ index + ready.grid.affine[:3, 3]
        assert np.allclose(place, affine[:3, :3] @ old + affine[:3, 3])


def test_crop_is_a_view_of_the_foreground_box_and_its_margin() -> None:
    array = np.zeros((2, 10, 10, 10), np.uint8)
    array[0, 4, 5, 6] = 9
    array[1, 6, 5, 9] = 9
    ready, record = geometry.apply(volume(array), GeometryPlan(crop=True, crop_margin=1))
    assert record.box == ((3, 8), (4, 7), (5, 10))
    assert ready.grid.shape == (5, 3, 5)
    assert ready.grid.affine[:3, 3].tolist() == [3, 4, 5]
    assert np.shares_memory(ready.array, array)


@pytest.mark.parametrize("value", [0, 7])
def test_without_contrast_the_box_is_the_whole_volume(value: int) -> None:
    array = np.full((1, 4, 5, 6), value, np.int16)
    ready, _ = geometry.apply(volume(array), GeometryPlan(crop=True, crop_margin=0))
    assert ready.grid.shape == (4, 5, 6)


@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.integers(0, 2),
    st.integers(0, 2**31),
)
@settings(max_examples=300, deadline=None)
def test_undo_of_apply_is_the_identity_on_labels_inside_the_box(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], shape: tuple[int, int, int], margin: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    array = (random.random((1, *shape)) < 0.2).astype(np.int16)
    labels = array.astype(np.uint8) * random.integers(1, 4, array.shape, dtype=np.uint8)
    affine = affine_of(*orientation, spacing=(0.9375, 1.5, 0.837))
    _, record = geometry.apply(volume(array, affine), GeometryPlan(crop=True, crop_margin=margin))
    ready = geometry.apply_to_labels(volume(labels, affine), record)
    assert same_grid(ready.grid, record.grid)
    back = geometry.undo(ready, through_json(record))
    assert np.array_equal(back.array, labels)
    assert back.array.dtype == np.uint8
    assert np.array_equal(back.grid.affine, affine)


@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None)
def test_up_sampling_by_whole_factors_and_back_is_the_identity_on_labels(
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int, int],
    factors: tuple[int, int, int],
    seed: int,
) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (1, *shape), dtype=np.uint8)
    affine = tilted(affine_of(*orientation, spacing=(0.9375, 1.5, 0.837)), 8.6)
    ras, _ = geometry.apply(volume(labels, affine), GeometryPlan())
    sx, sy, sz = (s / f for s, f in zip(ras.grid.spacing, factors, strict=True))
    _, record = geometry.apply(volume(labels, affine), GeometryPlan(spacing_mm=(sx, sy, sz)))
    ready = geometry.apply_to_labels(volume(labels, affine), record)
    assert ready.grid.shape == tuple(n * f for n, f in zip(ras.grid.shape, factors, strict=True))
    back = geometry.undo(ready, through_json(record))
    assert np.array_equal(back.array, labels)
    assert np.array_equal(back.grid.affine, affine)


@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.floats(0.4, 3.1)] * 3),
    st.integers(0, 2**31),
    st.permutations(range(3)),
)
@settings(max_examples=150, deadline=None)
def test_resampling_equals_the_oracle_there_and_back(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int, order: list[int]
) -> None:
    in_memory = np.random.default_rng(seed).integers(0, 200, [shape[axis] for axis in order], np.uint8)
    array = in_memory[:, ::-1].transpose(np.argsort(order))[None]
    affine = tilted(affine_of((0, 1, 2), (1, 1, 1), (1.0, 1.5, 0.8)), 8.6)
    scan = volume(array, affine)
    ready, record = geometry.apply(scan, GeometryPlan(spacing_mm=spacing))
    assert np.allclose(ready.grid.spacing, spacing, rtol=2e-4)
    assert np.allclose(ready.array[0], oracle.linear(array[0], scan.grid, ready.grid), atol=1e-3)
    labels = geometry.apply_to_labels(scan, record)
    assert np.array_equal(labels.array[0], oracle.nearest(array[0], scan.grid, ready.grid))
    back = geometry.undo(labels, record)
    assert np.array_equal(back.array[0], oracle.nearest(labels.array[0], ready.grid, scan.grid))


@pytest.mark.parametrize("order", ["C", "F"])
def test_labels_that_are_resampled_stay_in_their_order_in_memory(order: Literal["C", "F"]) -> None:
    source, target = Grid((4, 6, 8), np.eye(4)), Grid((8, 9, 4), np.diag([0.5, 2 / 3, 2, 1]))
    labels = np.asarray(np.random.default_rng(0).integers(0, 4, source.shape, np.uint8), order=order)
    made = geometry._nearest(labels[None], source, target)[0]
    assert made.flags[f"{order}_CONTIGUOUS"] and made.shape == target.shape


def test_resampling_by_hand() -> None:
    # four voxels of 1 mm, 0 10 20 30, seen as two of 2 mm: half-way between the pairs, 5 and 25
    scan = volume(np.array([0, 10, 20, 30], np.int16).reshape(1, 4, 1, 1))
    ready, record = geometry.apply(scan, GeometryPlan(spacing_mm=(2, 1, 1)))
    assert ready.array.ravel().tolist() == [5, 25]
    assert ready.array.dtype == np.float32
    assert ready.grid.affine[:3, 3].tolist() == [0.5, 0, 0]
    labels = geometry.apply_to_labels(scan, record)
    assert labels.array.ravel().tolist() == [0, 20]  # a tie takes the lower index
    assert geometry.undo(labels, record).array.ravel().tolist() == [0, 0, 20, 20]


def test_axes_do_not_turn_when_an_oblique_scan_is_resampled() -> None:
    affine = tilted(np.diag([1.0, 2.0, 3.0, 1.0]), 20)
    scan = volume(np.zeros((1, 9, 8, 7), np.int16), affine)
    ready, _ = geometry.apply(scan, GeometryPlan(spacing_mm=(1.5, 1.5, 1.5)))
    directions = ready.grid.affine[:3, :3] / ready.grid.spacing
    assert np.allclose(directions, affine[:3, :3] / scan.grid.spacing)
    centre = [(n - 1) / 2 for n in scan.grid.shape] + [1]
    new_centre = [(n - 1) / 2 for n in ready.grid.shape] + [1]
    assert np.allclose(affine @ centre, ready.grid.affine @ new_centre)


def test_the_same_spacing_stays_a_view_in_its_own_dtype() -> None:
    array = numbered((3, 3, 3))
    ready, _ = geometry.apply(volume(array), GeometryPlan(spacing_mm=(1.00001, 1, 1)))
    assert np.shares_memory(ready.array, array)


def test_a_margin_map_keeps_its_floats_and_is_zero_outside_the_box() -> None:
    array = np.zeros((1, 6, 6, 6), np.int16)
    array[0, 2:4, 2:4, 2:4] = 5
    scan = volume(array, affine_of((1, 0, 2), (-1, 1, 1)))
    ready, record = geometry.apply(scan, GeometryPlan(crop=True, crop_margin=0))
    margin = ready.with_array(np.full(ready.array.shape, 0.3, np.float16))
    back = geometry.undo(margin, record)
    assert back.array.dtype == np.float16
    assert np.array_equal(back.array > 0, array > 0)


def test_source_and_notes_survive() -> None:
    note = Finding(Code.FLIPPED, "a.nii", "LAS", "none")
    scan = Volume(numbered((2, 2, 2)), Grid((2, 2, 2), np.eye(4)), "header", (note,))
    ready, record = geometry.apply(scan, GeometryPlan(spacing_mm=(0.5, 1, 1), crop=True))
    for result in (ready, geometry.apply_to_labels(scan, record), geometry.undo(ready, record)):
        assert (result.source, result.notes) == ("header", (note,))


def test_maps_on_another_grid_are_refused() -> None:
    scan = volume(numbered((4, 4, 4)))
    _, record = geometry.apply(scan, GeometryPlan())
    moved = np.eye(4)
    moved[0, 3] = 0.2
    for function in (geometry.undo, geometry.apply_to_labels):
        with pytest.raises(MedsegError, match=r"0\.2 apart") as refused:
            function(volume(numbered((4, 4, 4)), moved), record)
        assert refused.value.code == Code.GRID_MISMATCH
        with pytest.raises(MedsegError, match=r"\(4, 4, 3\)"):
            function(volume(numbered((4, 4, 3))), record)


@pytest.mark.parametrize("keywords", [{"spacing_mm": (1, 0, 1)}, {"spacing_mm": (1, 1)}, {"crop_margin": -1}])
def test_impossible_plans_are_refused(keywords: dict[str, object]) -> None:
    with pytest.raises(MedsegError) as refused:
        GeometryPlan(**keywords)  # type: ignore[arg-type]
    assert refused.value.code == Code.KEYWORD_INVALID


@pytest.mark.data
def test_a_real_brain_goes_there_and_back(data: Path) -> None:
    scan, truth = (nib.load(data / "ibsr18" / "IBSR_01" / f"IBSR_01{part}.nii.gz") for part in ("", "_seg"))
    image = volume(np.asanyarray(scan.dataobj).squeeze()[None], scan.affine)
    labels = volume(np.asanyarray(truth.dataobj).squeeze().astype(np.uint8)[None], truth.affine)
    _, record = geometry.apply(image, GeometryPlan(crop=True))
    ready = geometry.apply_to_labels(labels, record)
    assert ready.array.size < 0.5 * labels.array.size
    assert np.array_equal(geometry.undo(ready, record).array, labels.array)


@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1e10), (np.int64, 2**40), (np.uint32, 2**31)])
def test_resampling_keeps_grey_levels_far_from_zero(dtype: type, offset: float) -> None:
    near = np.random.default_rng(0).integers(0, 1000, (1, 6, 7, 8))
    plan = GeometryPlan(spacing_mm=(0.8, 1.3, 1.1))
    expected, _ = geometry.apply(volume(near.astype(np.float64)), plan)
    far, _ = geometry.apply(volume(near.astype(dtype) + np.array(offset, dtype)), plan)
    assert expected.array.dtype == np.float32
    np.testing.assert_allclose(far.array - float(offset), expected.array, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.floats(0, 90),
    st.tuples(*[st.integers(1, 5)] * 3),
)
def test_another_order_of_axes_is_found_and_undone(
    axes: list[int], senses: tuple[int, int, int], degrees: float, shape: tuple[int, int, int]
) -> None:
    there = Volume(numbered(shape), Grid(shape, tilted(affine_of((1, 0, 2), (1, -1, 1), (1, 2, 3)), degrees)))
    wanted: Any = tuple(zip(axes, senses, strict=True))
    other = there.reordered(wanted)
    order = axis_order(other.grid, there.grid)
    assert order is not None
    back = other.reordered(order)
    assert same_grid(back.grid, there.grid)
    if min(shape) > 1:
        np.testing.assert_array_equal(back.array, there.array)


def test_grids_that_no_order_of_axes_makes_one() -> None:
    grid = Grid((2, 3, 4), np.eye(4))
    for other in (
        Grid((2, 3, 5), np.eye(4)),
        Grid((2, 3, 4), np.diag([1.2, 1, 1, 1])),
        Grid((2, 3, 4), np.eye(4), "px"),
        Grid((2, 3, 4), tilted(np.eye(4), 20)),
        Grid((2, 3, 4), np.zeros((4, 4))),
    ):
        assert axis_order(other, grid) is None
