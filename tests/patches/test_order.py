"""Each case once an epoch, windows as large as images, and labels outside an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.classes import VOID
from medseg.grid import Grid
from medseg.patches.sampler import PatchSampler
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase


def picture(number: int, shape: tuple[int, int] = (6, 8)) -> PreprocessedCase:
    """A prepared image of three colours whose values are its own number; labels 0, 1, 2 in rows."""
    grid = Grid((*shape, 1), np.eye(4), "px")
    array = np.full((3, *shape, 1), number, np.uint8)
    label = np.broadcast_to((np.arange(shape[0]) % 3)[:, None, None], (*shape, 1)).astype(np.uint8)
    found = [np.argwhere(label == c) for c in range(3)]
    rows = [np.column_stack([np.full(len(xyz), c), xyz]) for c, xyz in enumerate(found)]
    positions = np.concatenate(rows).astype(np.int16)
    ready = NormalizedVolume(array, grid, Normalization((0.0,) * 3, (1.0,) * 3))
    record = Record.__new__(Record)  # drawing does not look at it
    return PreprocessedCase(str(number), str(number), ready, label, positions, record, {}, {})


def drawer(cases: int = 7, batch: int = 3, window: tuple[int, int] = (6, 8), **keywords: Any) -> PatchSampler:
    held = [picture(n) for n in range(cases)]
    return PatchSampler(held, "axial", 1, window, batch, seed=5, **keywords)


def test_the_order_at_random_draws_what_it_always_drew() -> None:
    found = [tuple(place[:4]) for place in drawer(3, 6, (4, 4), foreground_oversampling=0.5).places(9)]
    assert found == [(2, 0, 1, 4), (1, 0, 0, 3), (0, 0, 2, 4), (2, 0, 1, 4), (0, 0, 1, 2), (0, 0, 2, 1)]


@given(cases=st.integers(1, 12), batch=st.integers(1, 5), epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_each_case_is_used_once_an_epoch_and_the_last_batch_is_filled_up_with_the_first(
    cases: int, batch: int, epoch: int
) -> None:
    draws = drawer(cases, batch, order="shuffled")
    steps = draws.steps_shuffled
    assert steps == int(np.ceil(cases / batch))
    used = [p.case for t in range(epoch * steps, (epoch + 1) * steps) for p in draws.places(t)]
    assert len(used) == steps * batch
    assert sorted(used[:cases]) == list(range(cases))
    assert used[cases:] == (used[:cases] * batch)[: len(used) - cases]


def test_epochs_have_orders_of_their_own_by_seed_and_epoch() -> None:
    draws = drawer(40, 40, order="shuffled")
    orders = [[p.case for p in draws.places(t)] for t in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert orders[1] == [p.case for p in drawer(40, 40, order="shuffled").places(1)]
    other = PatchSampler(draws.cases, "axial", 1, (6, 8), 40, seed=6, order="shuffled")
    assert orders[0] != [p.case for p in other.places(0)]


def test_processes_share_a_batch_of_each_once() -> None:
    draws = drawer(8, 4, order="shuffled")
    whole = draws(1)[0]
    parts = [draws(1, slice(rank, None, 2))[0] for rank in range(2)]
    np.testing.assert_array_equal(np.stack(parts, 1).reshape(whole.shape), whole)


def test_a_window_as_large_as_the_image_is_the_image() -> None:
    draws = drawer(4, 4, order="shuffled")
    patches, labels = draws(0)
    assert patches.shape == (4, 3, 6, 8)
    for patch, label, place in zip(patches, labels, draws.places(0), strict=True):
        assert (place.row, place.column) == (0, 0)
        np.testing.assert_array_equal(patch, draws.cases[place.case].volume.array[..., 0])
        np.testing.assert_array_equal(label, draws.cases[place.case].label[..., 0])  # type: ignore[index]


def test_images_of_other_sizes_are_cropped_at_random_or_mirrored_and_void_there_when_asked() -> None:
    held = [picture(0, (6, 8)), picture(1, (12, 20)), picture(2, (4, 11))]
    draws = PatchSampler(held, "axial", 1, (6, 8), 3, seed=0, order="shuffled", outside="void")
    mirrored = PatchSampler(held, "axial", 1, (6, 8), 3, seed=0, order="shuffled")
    starts = set()
    for t in range(30):
        for place, label, other in zip(draws.places(t), draws(t)[1], mirrored(t)[1], strict=True):
            if place.case == 1:
                starts.add((place.row, place.column))
            inside = min(6, held[place.case].volume.grid.shape[0])
            np.testing.assert_array_equal(label[:inside], other[:inside])
            assert (label[inside:] == VOID).all()
            assert not (other == VOID).any()
    assert {row for row, _ in starts} == set(range(7))
    assert min(column for _, column in starts) <= 2 and max(column for _, column in starts) >= 10


@pytest.mark.parametrize("outside", ["mirror", "void"])
def test_a_field_around_the_window_is_void_where_it_leaves_the_image(outside: Any) -> None:
    draws = PatchSampler([picture(9)], "axial", 1, (6, 8), 1, seed=0, field=(10, 14), outside=outside)
    patches, labels = draws(0)
    assert (patches == 9).all()  # the image itself is mirrored in any case
    frame = np.ones((10, 14), bool)
    frame[2:8, 3:11] = False
    assert (labels[0][frame] == VOID).all() == (outside == "void")
    assert not (labels[0][~frame] == VOID).any()
