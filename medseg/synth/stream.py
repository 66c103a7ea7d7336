"""Training batches from people that are drawn while training runs.

Batch t depends on (seed, t) alone. Each of its patches comes from another scan; a scan is used for
``PATCHES`` steps, and scans are replaced in turn, so that a thread has time to make the next. A person is
scanned ``SCANS`` times, with another contrast each time.
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

PATCHES = 128
SCANS = 4
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

_AHEAD = 2
"""Scans that are made before they are needed."""


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
        slots = range(self._rows)[rows]
        now = [self._number(t, slot) for slot in slots]
        soon = [
            self._number(t + later * PATCHES // self._rows, slot)
            for later in range(1, _AHEAD + 1)
            for slot in slots
        ]
        with self._lock:
            self._scans = {number: self._scan(number) for number in dict.fromkeys([*now, *soon])}
            waiting = [self._scans[number] for number in now]
        patches = [
            patch(future.result(), np.random.default_rng([self._seed, t, slot]), self._depth, self._side)
            for slot, future in zip(slots, waiting, strict=True)
        ]
        return np.stack([image for image, _ in patches]), np.stack([labels for _, labels in patches])

    def close(self) -> None:
        """Give up scans that nobody will ask for."""
        self._pool.shutdown(cancel_futures=True)

    def _number(self, t: int, slot: int) -> int:
        """The scan that a slot shows at step ``t``: slots change one after the other."""
        return (t + slot * PATCHES // self._rows) // PATCHES * self._rows + slot

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


def patch(
    scan: Scan, rng: np.random.Generator, depth: int, side: int
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Cut a slab (D, h, w) float32 of any plane at a labelled place, and its labels (h, w) uint8.

    Slices smaller than the patch are continued by background; the edge slice is repeated.
    """
    plane = PLANES[rng.integers(len(PLANES))]
    image, labels = (np.moveaxis(array, PLANE_AXIS[plane], 0) for array in (scan.image, scan.labels))
    index = int(rng.integers(len(image)))
    near = np.clip(np.arange(depth) + index - depth // 2, 0, len(image) - 1)
    corner = [int(rng.integers(min(0, n - side), max(0, n - side) + 1)) for n in image.shape[1:]]
    return (
        _cut(image[near].astype(np.float32), corner, side, np.float32(scan.image.min())),
        _cut(labels[index][None], corner, side, np.uint8(0))[0],
    )


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
    """Scans as those of the training, each of another person."""
    for who in range(count):
        person = anatomy.draw(atlas, np.random.default_rng([seed, 5, who]))
        yield scanner.scan(person, np.random.default_rng([seed, 6, who]))
