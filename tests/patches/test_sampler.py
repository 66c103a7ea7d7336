"""Drawing of training patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Grid, Plane
from medseg.patches.field import mirrored_index, read_field, slice_piece
from medseg.patches.sampler import PatchSampler
from medseg.patches.slabs import plane_view, read_slab
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase

PLANES = tuple(PLANE_AXIS)


def _ready(seed: int, shape: tuple[int, int, int], channels: int = 2) -> NormalizedVolume:
    array = np.random.default_rng(seed).integers(-50, 50, (channels, *shape)).astype(np.int16)
    normalization = Normalization(tuple(range(channels)), tuple(2.0 + c for c in range(channels)))
    return NormalizedVolume(array, Grid(shape, np.eye(4)), normalization)


def _case(name: str, label: Array, seed: int = 0) -> PreprocessedCase:
    found = [np.argwhere(label == c) for c in range(4)]
    rows = [np.column_stack([np.full(len(xyz), c), xyz]) for c, xyz in enumerate(found)]
    positions = np.concatenate(rows).astype(np.int16)
    ready = _ready(seed, label.shape)
    record = Record.__new__(Record)  # drawing does not look at it
    return PreprocessedCase(name, name, ready, label, positions, record, {}, {})


def _slow_field(
    ready: NormalizedVolume, plane: Plane, index: int, depth: int, first: Array, size: Array
) -> Array:
    """The whole slab, mirrored far beyond every side pixel by pixel, then cut."""
    slab = read_slab(ready, plane, index, depth)
    far = 40
    for axis in (1, 2):
        if slab.shape[axis] == 1:
            slab = np.repeat(slab, 2 * far + 1, axis)
        else:
            widths = [(0, 0)] * 3
            widths[axis] = (far, far)
            slab = np.pad(slab, widths, mode="reflect")
    (r, c), (h, w) = first, size
    return slab[:, far + r : far + r + h, far + c : far + c + w]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    plane=st.sampled_from(PLANES),
    depth=st.sampled_from([1, 3, 5]),
    first=st.tuples(*[st.integers(-12, 8)] * 2),
    size=st.tuples(*[st.integers(1, 15)] * 2),
    data=st.data(),
)
def test_a_field_is_a_piece_of_the_mirrored_slab(
    seed: int,
    shape: tuple[int, int, int],
    plane: Plane,
    depth: int,
    first: tuple[int, int],
    size: tuple[int, int],
    data: st.DataObject,
) -> None:
    ready = _ready(seed, shape)
    index = data.draw(st.integers(0, shape[PLANE_AXIS[plane]] - 1))
    field = read_field(ready, plane, index, depth, first, size)
    assert field.dtype == np.float32
    np.testing.assert_array_equal(field, _slow_field(ready, plane, index, depth, first, size))
    label = ready.array[0].astype(np.uint8)
    as_image = NormalizedVolume(label[None], ready.grid, Normalization((0.0,), (1.0,)))
    expected = _slow_field(as_image, plane, index, 1, first, size)[0]
    np.testing.assert_array_equal(slice_piece(plane_view(label, plane), index, first, size), expected)


def test_mirrored_index_by_hand() -> None:
    assert mirrored_index(-3, 9, 3).tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert mirrored_index(-1, 3, 1).tolist() == [0, 0, 0]


def _label(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> Array:
    label = np.zeros(shape, np.uint8)
    generator = np.random.default_rng(seed)
    label[tuple(generator.integers(n) for n in shape)] = 1
    label[4:, 5:, 3:] = 2
    return label


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    cases = [_case("a", _label(1)), _case("b", _label(2), seed=5)]
    drawer = PatchSampler(cases, "coronal", 3, (4, 5), 6, seed=3, foreground_oversampling=0.5)
    patches, labels = drawer(7)
    assert patches.shape == (6, 6, 4, 5)
    assert patches.dtype == np.float32
    assert labels.shape == (6, 4, 5)
    assert labels.dtype == np.uint8
    again = PatchSampler(cases, "coronal", 3, (4, 5), 6, seed=3, foreground_oversampling=0.5)
    again(2)
    np.testing.assert_array_equal(again(7)[0], patches)
    assert not np.array_equal(drawer(8)[0], patches)
    other = PatchSampler(cases, "coronal", 3, (4, 5), 6, seed=4, foreground_oversampling=0.5)
    assert not np.array_equal(other(7)[0], patches)
    for rank in range(2):
        share = drawer(7, slice(rank, None, 2))
        np.testing.assert_array_equal(share[0], patches[rank::2])
        np.testing.assert_array_equal(share[1], labels[rank::2])


@pytest.mark.parametrize("plane", PLANES)
def test_patches_lie_where_their_place_says(plane: Plane) -> None:
    case = _case("a", _label(1))
    drawer = PatchSampler([case], plane, 1, (4, 4), 8, seed=0, foreground_oversampling=0.5, field=(8, 6))
    patches, labels = drawer(0)
    assert patches.shape == (8, 2, 8, 6)
    stack = plane_view(case.label, plane)
    slab = plane_view(case.volume.array[1], plane)
    for place, patch, label in zip(drawer.places(0), patches, labels, strict=True):
        window = np.s_[place.slice, place.row : place.row + 4, place.column : place.column + 4]
        assert stack[window].shape == (4, 4)
        np.testing.assert_array_equal(label[2:6, 1:5], stack[window])
        np.testing.assert_array_equal(patch[1, 2:6, 1:5] * 3 + 1, slab[window])


def test_one_plane_draws_the_numbers_that_it_always_drew() -> None:
    cases = [_case("a", _label(1)), _case("b", _label(2), seed=5)]
    expected = [(1, 5, 1, 1), (1, 2, 4, 0), (0, 5, 2, 2), (0, 0, 0, 1), (0, 4, 5, 2)]
    for plane in ("coronal", ("coronal",)):
        drawer = PatchSampler(cases, plane, 3, (4, 5), 5, seed=3, foreground_oversampling=0.5)  # type: ignore[arg-type]
        assert drawer.places(7) == [(*place, "coronal") for place in expected]


def test_several_planes_are_drawn_equally_often_and_cut_from_their_own_slices() -> None:
    case = _case("a", _label(1))
    drawer = PatchSampler([case], PLANES, 1, (4, 4), 90, seed=0, foreground_oversampling=0.5, field=(8, 6))
    places, (patches, labels) = drawer.places(0), drawer(0)
    drawn = [place.plane for t in range(20) for place in drawer.places(t)]
    assert all(0.3 < drawn.count(plane) / len(drawn) < 0.37 for plane in PLANES)
    for place, patch, label in zip(places, patches, labels, strict=True):
        stack, slab = plane_view(case.label, place.plane), plane_view(case.volume.array[1], place.plane)
        window = np.s_[place.slice, place.row : place.row + 4, place.column : place.column + 4]
        assert stack[window].shape == (4, 4)
        np.testing.assert_array_equal(label[2:6, 1:5], stack[window])
        np.testing.assert_array_equal(patch[1, 2:6, 1:5] * 3 + 1, slab[window])
    again = PatchSampler([case], PLANES, 1, (4, 4), 90, seed=0, foreground_oversampling=0.5, field=(8, 6))
    again(5)
    np.testing.assert_array_equal(again(0)[0], patches)
    assert drawer.places(1) != places


def test_fields_of_several_planes_are_asked_for_with_their_slices_sizes() -> None:
    case, asked = _case("a", _label(1)), []

    def boxes(t: int, windows: Array, device: object) -> tuple[Array, tuple[int, int]]:
        asked.append(windows)
        return windows[:, 0], (4, 4)

    drawer = PatchSampler([case], PLANES, 1, (4, 4), 20, seed=0, boxes=boxes)
    placement = drawer(0)[2]
    sizes = [plane_view(case.label, place.plane).shape[1:] for place in drawer.places(0)]
    assert asked[0][:, 1].tolist() == placement[:, 1].tolist() == [list(size) for size in sizes]
    assert len(set(sizes)) == 3


def test_planes_that_are_none_or_twice_the_same_are_refused() -> None:
    case = _case("a", _label(1))
    for planes in ((), ("axial", "axial"), ("oblique",)):
        with pytest.raises(ValueError, match="plane"):
            PatchSampler([case], planes, 1, (4, 4), 2, seed=0)(0)  # type: ignore[arg-type]


def test_class_share_one_always_shows_a_foreground_class_anywhere_in_the_window() -> None:
    label = np.zeros((20, 20, 5), np.uint8)
    label[10, 9, 2] = 1
    drawer = PatchSampler([_case("a", label)], "axial", 1, (5, 5), 50, seed=0, foreground_oversampling=1.0)
    seen = np.stack([drawer(t)[1] for t in range(10)]).reshape(-1, 5, 5)
    assert (seen.sum(axis=(1, 2)) == 1).all()
    assert (seen.sum(axis=0) > 0).all()


def test_classes_are_drawn_equally_often_and_none_without_a_share() -> None:
    label = np.zeros((30, 30, 3), np.uint8)
    label[:15, :, 0] = 1
    label[29, 29, 2] = 2
    rare = PatchSampler([_case("a", label)], "axial", 1, (3, 3), 400, seed=1, foreground_oversampling=1.0)
    share = np.mean((rare(0)[1] == 2).any(axis=(1, 2)))
    assert 0.4 < share < 0.6
    uniform = PatchSampler([_case("a", label)], "axial", 1, (3, 3), 400, seed=1)
    assert np.mean((uniform(0)[1] == 2).any(axis=(1, 2))) < 0.05
    places = uniform.places(0)
    assert {p.slice for p in places} == {0, 1, 2}
    assert (min(p.row for p in places), max(p.row for p in places)) == (0, 27)


def test_background_alone_is_drawn_from_and_a_small_slice_is_mirrored() -> None:
    case = _case("a", np.zeros((3, 2, 1), np.uint8))
    patches, labels = PatchSampler([case], "axial", 3, (6, 5), 2, seed=0, foreground_oversampling=1.0)(0)
    assert patches.shape == (2, 6, 6, 5)
    assert not labels.any()
    row = [0, 1, 2, 1, 0, 1]
    expected = read_slab(case.volume, "axial", 0, 3)[:, row][:, :, [0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(patches[0], expected)


def test_what_a_valid_network_predicts_lies_in_the_slice_and_holds_the_drawn_class() -> None:
    label = np.zeros((20, 12, 3), np.uint8)
    label[0, 11, 1] = 1
    case = _case("a", label)
    drawer = PatchSampler([case], "axial", 1, (9, 8), 60, seed=0, foreground_oversampling=1.0, border=2)
    patches, labels = drawer(0)
    middles = labels[:, 2:7, 2:6]
    assert (middles.sum(axis=(1, 2)) == 1).all()
    assert {(p.row, p.column) for p in drawer.places(0)} == {(-2, 6)}  # the corner's only place
    row, column = [2, 1, 0, 1, 2, 3, 4, 5, 6], [6, 7, 8, 9, 10, 11, 10, 9]
    expected = read_slab(case.volume, "axial", 1, 1)[:, row][:, :, column]
    np.testing.assert_array_equal(patches[0], expected)
    uniform = PatchSampler([case], "axial", 1, (9, 8), 400, seed=0, border=2).places(0)
    assert (min(p.row for p in uniform), max(p.row for p in uniform)) == (-2, 13)


def test_refusals() -> None:
    with pytest.raises(MedsegError) as refusal:
        PatchSampler([], "axial", 1, (4, 4), 2, seed=0)
    assert refusal.value.code == Code.NOTHING_USABLE
    case = _case("a", _label(0))
    with pytest.raises(MedsegError, match="3 patches for 2 processes"):
        PatchSampler([case], "axial", 1, (4, 4), 3, seed=0)(0, slice(0, None, 2))
    with pytest.raises(ValueError, match="odd number of slices"):
        PatchSampler([case], "axial", 2, (4, 4), 2, seed=0)
    for field in ((5, 4), (2, 4)):
        with pytest.raises(ValueError, match="must exceed window"):
            PatchSampler([case], "axial", 1, (4, 4), 2, seed=0, field=field)
    unlabelled = PreprocessedCase("u", "u", case.volume, None, case.positions, case.record, {}, {})
    with pytest.raises(ValueError, match="without labels"):
        PatchSampler([case, unlabelled], "axial", 1, (4, 4), 2, seed=0)


def test_cases_without_labels_are_drawn_like_others_where_none_are_needed() -> None:
    labelled = [_case("a", _label(1), 1), _case("b", _label(2), 2)]
    bare = [replace(one, label=None, positions_source=np.empty((0, 4), np.int16)) for one in labelled]
    with pytest.raises(ValueError, match="cases without labels cannot be drawn from: a, b"):
        PatchSampler(bare, "axial", 3, (4, 4), 6, 5)
    source = PatchSampler(bare, "axial", 3, (4, 4), 6, 5, needs_labels=False)
    for t in range(3):
        patches, labels = source(t)
        assert np.array_equal(patches, PatchSampler(labelled, "axial", 3, (4, 4), 6, 5)(t)[0])
        assert labels.shape == (6, 4, 4) and labels.dtype == np.uint8 and not labels.any()
