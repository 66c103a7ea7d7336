"""Batches of a training on drawn people: each depends on (seed, t) alone, and cuts image and labels alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from medseg.synth import stream
from medseg.synth.atlas import Atlas
from medseg.synth.scanner import Scan
from medseg.synth.stream import Stream
from tests.synth.toy_atlas import SHAPE, toy_atlas


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return toy_atlas()


@pytest.fixture
def make(atlas: Atlas) -> Iterator[object]:
    opened: list[Stream] = []

    def open_stream(seed: int = 0) -> Stream:
        opened.append(Stream(atlas, seed, rows=2, depth=3, side=32, shape=SHAPE))
        return opened[-1]

    yield open_stream
    for one in opened:
        one.close()


def test_a_batch_depends_on_seed_and_number_alone(make: object) -> None:
    first = make()  # type: ignore[operator]
    batches = {t: first(t, slice(None)) for t in (0, 1, 100)}
    later = make()(100, slice(None))  # type: ignore[operator]
    for one, other in zip(batches[100], later, strict=True):
        np.testing.assert_array_equal(one, other)
    share = first(100, slice(1, None, 2))
    np.testing.assert_array_equal(share[0], batches[100][0][1:])
    assert (batches[0][0] != batches[1][0]).any()
    assert (make(1)(0, slice(None))[0] != batches[0][0]).any()  # type: ignore[operator]


def test_patches_have_the_form_of_a_batch(make: object) -> None:
    patches, labels = make()(0, slice(None))  # type: ignore[operator]
    assert (patches.shape, patches.dtype) == ((2, 3, 32, 32), np.float32)
    assert (labels.shape, labels.dtype) == ((2, 32, 32), np.uint8)


def test_slots_change_their_scans_one_after_the_other(make: object) -> None:
    batches = make()  # type: ignore[operator]
    numbers = [[batches._number(t, slot) for slot in range(2)] for t in range(3 * stream.PATCHES)]
    changes = [t for t in range(1, len(numbers)) if numbers[t] != numbers[t - 1]]
    half = stream.PATCHES // 2
    assert changes == [half, 2 * half, 3 * half, 4 * half, 5 * half]
    assert all(sum(a != b for a, b in zip(numbers[t], numbers[t - 1], strict=True)) == 1 for t in changes)
    used = {n for pair in numbers for n in pair}
    assert used >= set(range(6)), "no scan is left out"


@pytest.mark.parametrize("side", [8, 24])
def test_patches_cut_image_and_labels_at_one_place(side: int) -> None:
    """Grey values are the voxels' own numbers, and so are labels, modulo 251."""
    numbers = np.arange(10 * 12 * 14).reshape(10, 12, 14)
    scan = Scan((numbers % 251).astype(np.float16), (numbers % 251).astype(np.uint8))
    planes = set()
    for seed in range(40):
        image, labels = stream.patch(scan, np.random.default_rng(seed), 3, side)
        assert image.shape == (3, side, side)
        np.testing.assert_array_equal(image[1], labels)
        assert (labels > 0).sum() <= 14 * 14
        planes.add(int(abs(labels[side // 2, side // 2].astype(int) - labels[side // 2, side // 2 - 1])))
    assert len(planes) > 1, "slices of several planes are cut"
