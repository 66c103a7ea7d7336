"""Batches of a training on drawn people: each depends on (seed, t) alone, and cuts image and labels alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
def make(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stream]]:
    """Opens streams of two patches a batch, from a pool of four scans."""
    monkeypatch.setattr(stream, "POOL", 4)
    opened: list[Stream] = []

    def open_stream(seed: int = 0) -> Stream:
        opened.append(Stream(atlas, seed, rows=2, depth=3, side=32, shape=SHAPE))
        return opened[-1]

    yield open_stream
    for one in opened:
        one.close()


def test_a_batch_depends_on_seed_and_number_alone(make: Callable[..., Stream]) -> None:
    first = make()
    batches = {t: first(t, slice(None)) for t in (0, 1, 100)}
    later = make()(100, slice(None))
    for one, other in zip(batches[100], later, strict=True):
        np.testing.assert_array_equal(one, other)
    share = first(100, slice(1, None, 2))
    np.testing.assert_array_equal(share[0], batches[100][0][1:])
    assert (batches[0][0] != batches[1][0]).any()
    assert (make(1)(0, slice(None))[0] != batches[0][0]).any()


def test_patches_have_the_form_of_a_batch(make: Callable[..., Stream]) -> None:
    patches, labels = make()(0, slice(None))
    assert (patches.shape, patches.dtype) == ((2, 3, 32, 32), np.float32)
    assert (labels.shape, labels.dtype) == ((2, 32, 32), np.uint8)


def test_scans_are_replaced_one_after_the_other_and_used_equally() -> None:
    numbers = [stream.scan_number(place) for place in range(3 * stream.POOL * stream.PATCHES)]
    first = {number: place for place, number in reversed(list(enumerate(numbers)))}
    order = sorted(first, key=lambda number: first[number])
    assert order == list(range(len(order))), "no scan is left out, none comes too early"
    gaps = np.diff([first[number] for number in order[stream.POOL :]])
    assert gaps.max() < 2 * stream.PATCHES and gaps.min() > stream.PATCHES / 2
    whole = [n for n in order if stream.POOL <= n < order[-1] - stream.POOL]
    counts = np.bincount(numbers)[whole]
    assert set(counts.tolist()) == {stream.PATCHES}
    in_use = {len(set(numbers[at : at + stream.POOL])) for at in range(0, len(numbers), 500)}
    assert in_use == {stream.POOL}


def mapped(scan: Scan, seed: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    image, labels = stream.patch(scan, np.random.default_rng(seed), 3, side)
    assert image.shape == (3, side, side)
    return image[1], labels


@pytest.mark.parametrize("side", [8, 24])
def test_patches_cut_image_and_labels_at_one_place(side: int) -> None:
    """Labels are the grey values' ranks: a curve that rises leaves them in order, wherever a patch is cut."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 200, (10, 12, 14)).astype(np.uint8)
    scan = Scan((labels / 50 - 2).astype(np.float16), labels)
    several = set()
    for seed in range(30):
        image, truth = mapped(scan, seed, side)
        order = np.argsort(truth, axis=None, kind="stable")
        assert (np.diff(image.ravel()[order]) >= -1e-5).all()
        several.add(tuple(truth[side // 2, side // 2 - 2 : side // 2].tolist()))
    assert len(several) > 10


def test_every_patch_has_a_curve_of_its_own_and_the_scale_of_a_scan(atlas: Atlas) -> None:
    rng = np.random.default_rng(1)
    image = np.where(rng.uniform(size=(40, 40, 40)) < 0.5, -3, rng.normal(size=(40, 40, 40)))
    scan = Scan(image.astype(np.float16), np.zeros(image.shape, np.uint8))
    background = np.float32(scan.image.min())
    slab = scan.image.astype(np.float32)
    bents = [stream.bent(slab, background, scan, np.random.default_rng(seed)) for seed in range(6)]
    for one in bents:
        inside = one[slab > background]
        assert inside.mean() == pytest.approx(0, abs=0.1) and inside.std() == pytest.approx(1, abs=0.1)
        assert one[slab <= background].max() <= inside.min() + 1e-5
    assert np.ptp([one[slab > background].min() for one in bents]) > 0.1
