"""Training batches from people that are drawn while training runs.

Batch t depends on (seed, t) alone. Its patches come from different scans of a pool, in turn; each scan gives
``PATCHES`` patches and is then replaced, one after the other, so that a thread has time to make the next. A
person is scanned ``SCANS`` times, with another contrast each time. The grey values of each patch are bent by
a curve of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.grid import PLANE_AXIS, Plane
from medseg.synth import anatomy, scanner
from medseg.synth.anatomy import Shape
from medseg.synth.atlas import Atlas, Floats
from medseg.synth.scanner import Scan

POOL = 48
"""Scans that are in use at a time: the more, the less a network adapts to those of the moment."""

PATCHES = 128
SCANS = 4
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

_AHEAD = 2
"""Scans that are made before they are needed."""

_KNOTS = np.array([-8.0, -3.0, -1.8, -0.9, 0.0, 0.9, 1.8, 3.0, 8.0])
"""Grey values at which the curves of patches are drawn."""


class Stream:
    """Batches of ``rows`` patches: slabs of ``depth`` slices and ``side``² pixels, along any plane."""

    def __init__(
        self, atlas: Atlas, seed: int, *, rows: int, depth: int, side: int, shape: Shape = anatomy.SHAPE
    ) -> None:
        self._atlas, self._seed, self._shape = atlas, seed, shape
        self._rows, self._depth, self._side = rows, depth, side
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="people")
        self._scans: dict[int, Future[Scan]] = {}
        self._people: OrderedDict[int, anatomy.Person] = OrderedDict()
        self._lock = Lock()

    def __call__(self, t: int, rows: slice) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Patches (B, D, h, w) float32 and labels (B, h, w) uint8 of batch ``t``."""
        places = range(t * self._rows, (t + 1) * self._rows)[rows]
        with self._lock:
            first, last = self._rows * t, self._rows * t + POOL + _AHEAD * PATCHES
            needed = dict.fromkeys(scan_number(place) for place in range(first, last))
            self._scans = {number: self._scan(number) for number in needed}
            waiting = [self._scans[scan_number(place)] for place in places]
        patches = [
            patch(future.result(), np.random.default_rng([self._seed, 7, place]), self._depth, self._side)
            for place, future in zip(places, waiting, strict=True)
        ]
        return np.stack([image for image, _ in patches]), np.stack([labels for _, labels in patches])

    def close(self) -> None:
        """Give up scans that nobody will ask for."""
        self._pool.shutdown(cancel_futures=True)

    def _scan(self, number: int) -> Future[Scan]:
        return self._scans.get(number) or self._pool.submit(self._make, number)

    def _make(self, number: int) -> Scan:
        who = number // SCANS
        if who not in self._people:
            rng = np.random.default_rng([self._seed, 1, who])
            self._people[who] = anatomy.draw(self._atlas, rng, shape=self._shape)
            while len(self._people) > 2:
                self._people.popitem(last=False)
        return scanner.scan(self._people[who], np.random.default_rng([self._seed, 2, number]))


def scan_number(place: int) -> int:
    """The scan of the patch at a place in the order of all patches: slots of the pool change one by one."""
    turn, slot = divmod(place, POOL)
    return (turn + (POOL - 1 - slot) * PATCHES // POOL) // PATCHES * POOL + slot


def patch(
    scan: Scan, rng: np.random.Generator, depth: int, side: int
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Cut a slab (D, h, w) float32 along any plane, with its labels (h, w) uint8.

    Slices smaller than the patch are continued by background; the edge slice is repeated. Half of the patches
    are mirrored left to right.
    """
    plane = PLANES[rng.integers(len(PLANES))]
    image, labels = (np.moveaxis(array, PLANE_AXIS[plane], 0) for array in (scan.image, scan.labels))
    index = int(rng.integers(len(image)))
    near = np.clip(np.arange(depth) + index - depth // 2, 0, len(image) - 1)
    corner = [int(rng.integers(min(0, n - side), max(0, n - side) + 1)) for n in image.shape[1:]]
    background = np.float32(scan.image.min())
    slab = _cut(image[near].astype(np.float32), corner, side, background)
    truth = _cut(labels[index][None], corner, side, np.uint8(0))[0]
    if plane != "sagittal" and rng.uniform() < 0.5:
        slab, truth = slab[:, ::-1], truth[::-1]
    return bent(slab, background, scan, rng), np.ascontiguousarray(truth)


def bent(slab: Floats, background: np.float32, scan: Scan, rng: np.random.Generator) -> Floats:
    """A slab whose grey values have gone through a random rising curve, scaled by the curve's effect on all.

    The ``background`` stays the lowest value.
    """
    rises = np.exp(rng.normal(0, rng.uniform(0, 0.7), len(_KNOTS) - 1)) * np.diff(_KNOTS)
    values = np.concatenate([[0.0], np.cumsum(rises)])
    some = scan.image[::9, ::9, ::9].astype(np.float32)
    some = np.interp(some[some > background], _KNOTS, values)
    mean, std = (float(some.mean()), float(some.std())) if some.size else (0.0, 1.0)
    curve = (values - mean) / max(std, 1e-3)
    result = np.interp(slab, _KNOTS, curve).astype(np.float32)
    lowest = np.interp(background - rng.uniform(0, 0.3), _KNOTS, curve)
    result[slab <= background] = np.float32(lowest)
    return result


def _cut(stack: npt.NDArray[np.generic], corner: list[int], side: int, fill: np.generic) -> npt.NDArray[Any]:
    cut = np.full((len(stack), side, side), fill, stack.dtype)
    here = [(max(0, c), min(n, c + side)) for c, n in zip(corner, stack.shape[1:], strict=True)]
    (top, bottom), (left, right) = here
    inner = stack[:, top:bottom, left:right]
    cut[:, top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]] = inner
    return cut


def held_out(atlas: Atlas, seed: int, count: int, shape: Shape = anatomy.SHAPE) -> Iterator[Scan]:
    """Scans of people of other seeds, whose deformations go beyond those of the training."""
    for who in range(count):
        person = anatomy.draw(atlas, np.random.default_rng([seed, 3, who]), anatomy.HARDER, shape)
        yield scanner.scan(person, np.random.default_rng([seed, 4, who]))


def scans(atlas: Atlas, seed: int, count: int) -> Iterator[Scan]:
    """Scans as those of the training, of other people."""
    for number in range(count):
        if number % SCANS == 0:
            person = anatomy.draw(atlas, np.random.default_rng([seed, 5, number]))
        yield scanner.scan(person, np.random.default_rng([seed, 6, number]))
