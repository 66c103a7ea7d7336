"""A scan of a drawn person: grey values of any contrast, and what scanners and later steps do to them.

A scan is made on the person's grid: its resolution, thick slices included, is lowered and brought back to
1 mm, as preprocessing does with a real one. Labels stay those of the person, background where the brain was
cut away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.grid import Array
from medseg.synth.anatomy import Person
from medseg.synth.atlas import Floats
from medseg.synth.fields import smooth_field

_APART = 0.1
"""Grey values of two tissues differ by this part of their range at least."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A skull-stripped scan (X, Y, Z) float16, mean 0 and standard deviation 1 in its foreground.

    The background is one value, the lowest. ``labels`` (X, Y, Z) uint8 are indices of
    :data:`medseg.synth.anatomy.CLASSES`.
    """

    image: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Contrast:
    """Grey values of fluid, grey matter, white matter and its nuclei, whose range is about 1."""

    csf: float
    gm: float
    wm: float
    deep: float
    rim: float


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """Draw a T1 weighting in two of three cases, T2 or any other order of the tissues otherwise."""
    kind = rng.uniform()
    if kind < 0.68:
        gm = rng.uniform(0.5, 0.87)
        csf, wm = gm - rng.uniform(0.18, 0.5), 1.0
    elif kind < 0.8:
        wm = rng.uniform(0.25, 0.5)
        gm = wm + rng.uniform(0.12, 0.35)
        csf = gm + rng.uniform(0.15, 0.6)
    else:
        while True:
            csf, gm, wm = rng.uniform(0.1, 1, 3)
            if min(abs(csf - gm), abs(gm - wm), abs(csf - wm)) > _APART:
                break
    deep = gm + (wm - gm) * rng.uniform(0.0, 0.7)
    return Contrast(float(csf), float(gm), float(wm), float(deep), float(rng.uniform(0.05, 1.0)))


def scan(person: Person, rng: np.random.Generator) -> Scan:
    """Scan a person: contrast, texture, bias field, resolution, noise, ghosts, skull-stripping, cuts."""
    contrast = draw_contrast(rng)
    shape = person.labels.shape
    signal, brain = _signal(person, contrast, rng)
    kept = _stripped(brain, person, rng)
    outside = contrast.rim * (1 + _mottle(shape, 0.4, rng))
    signal += np.clip(1 - brain, 0, 1) * np.maximum(outside, 0)
    signal *= np.exp(smooth_field(shape, 1.0, rng.uniform(45, 110), rng.uniform(0, 0.22), rng))
    image = _acquired(signal, rng)
    if rng.uniform() < 0.3:
        image = _gamma(image, rng.uniform(0.7, 1.4))
    labels = np.where(kept, person.labels, np.uint8(0))
    return _normalised(np.maximum(image, np.float32(1e-3)) * kept, labels, kept, rng)


def _signal(person: Person, contrast: Contrast, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The clean signal (X, Y, Z) and the brain's share of each voxel."""
    ventricles, gm, wm, sulci = (share.astype(np.float32) for share in person.shares)
    shape = gm.shape
    grey = contrast.gm + (contrast.deep - contrast.gm) * person.deep.astype(np.float32)
    spread = rng.uniform(0, 0.04)
    signal = contrast.csf * (ventricles + sulci * np.float32(rng.uniform(0.85, 1.2)))
    signal += gm * grey * (1 + smooth_field(shape, 1.0, rng.uniform(8, 25), spread, rng))
    wm_value = contrast.wm + (contrast.gm - contrast.wm) * _lesions(shape, rng)
    signal += wm * wm_value * (1 + smooth_field(shape, 1.0, rng.uniform(8, 25), spread, rng))
    signal += rng.uniform(0, 1.0) * (contrast.wm - contrast.gm) / 0.3 * person.texture * (gm + wm)
    signal *= 1 + _mottle(shape, rng.uniform(0, 0.02), rng)
    return np.asarray(signal, np.float32), ventricles + gm + wm + sulci


def _lesions(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats | np.float32:
    """The share (X, Y, Z) of white matter that looks like grey matter, in a third of the scans."""
    if rng.uniform() > 0.33:
        return np.float32(0)
    field = smooth_field(shape, 1.0, rng.uniform(5, 9), 1.0, rng)
    return np.asarray(1 / (1 + np.exp((np.float32(rng.uniform(1.6, 2.6)) - field) / 0.15)))


def _mottle(shape: tuple[int, ...], sd: float, rng: np.random.Generator) -> Floats:
    """A rough random field (X, Y, Z) of this standard deviation."""
    field = ndimage.uniform_filter(rng.standard_normal(shape, dtype=np.float32), 3, mode="wrap")
    return np.asarray(field * np.float32(sd * 27**0.5))


def _stripped(brain: Floats, person: Person, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """The voxels (X, Y, Z) that skull-stripping leaves: brain with a rim of what surrounds it, or less."""
    tissue = brain if rng.uniform() < 0.65 else brain - person.shares[3].astype(np.float32)
    smooth = ndimage.gaussian_filter(tissue, rng.uniform(0.5, 2.5), truncate=3)
    smooth += smooth_field(brain.shape, 1.0, rng.uniform(10, 40), rng.uniform(0, 0.12), rng)
    kept = smooth > rng.uniform(0.2, 0.55)
    deepest = ndimage.uniform_filter(brain, 9) > 0.97  # a mask has no holes
    return np.asarray(kept | deepest)


def _acquired(signal: Floats, rng: np.random.Generator) -> Floats:
    """The signal (X, Y, Z) as a scanner of another resolution sees it, with its noise, back at 1 mm."""
    edges = rng.uniform(0.7, 1.3, 3)
    if rng.uniform() < 0.6:
        edges[rng.integers(3)] = rng.uniform(1.0, 2.0) if rng.uniform() < 0.5 else rng.uniform(2.0, 6.0)
    down = [_averaging(n, edge, rng.uniform(0.8, 1.2)) for n, edge in zip(signal.shape, edges, strict=True)]
    low = _along_axes(signal, [matrix for matrix, _ in down])
    if rng.uniform() < 0.25:
        low = _with_ghost(low, rng)
    level = np.float32(rng.uniform(0.0, 0.07) if rng.uniform() < 0.8 else rng.uniform(0.05, 0.14))
    level *= np.float32(np.quantile(low[::4, ::4, ::4], 0.98))
    real, imaginary = level * rng.standard_normal((2, *low.shape), dtype=np.float32)
    return _along_axes(np.hypot(low + real, imaginary), [matrix for _, matrix in down])


def _averaging(n: int, edge: float, blur: float) -> tuple[Floats, Floats]:
    """Matrices along an axis of n voxels of 1 mm: to voxels of ``edge`` mm (m, n), linearly back (n, m)."""
    m = max(2, round(n / edge))
    centres = (n - 1) / 2 + edge * (np.arange(m) - (m - 1) / 2)
    width = max(1.0, edge * blur)
    overlap = np.minimum(centres[:, None] + width / 2, np.arange(n) + 0.5)
    overlap -= np.maximum(centres[:, None] - width / 2, np.arange(n) - 0.5)
    forward = np.clip(overlap, 0, 1) + 1e-9
    place = np.clip((np.arange(n) - centres[0]) / edge, 0, m - 1)
    back = np.clip(1 - np.abs(place[:, None] - np.arange(m)), 0, 1)
    return (forward / forward.sum(axis=1, keepdims=True)).astype(np.float32), back.astype(np.float32)


def _along_axes(array: Array, matrices: list[Floats]) -> Floats:
    """Apply a matrix along each axis in turn."""
    for matrix in matrices:  # each pass consumes the first axis and appends the new one
        array = np.tensordot(array, matrix, axes=(0, 1))
    return np.ascontiguousarray(array)


def _with_ghost(image: Floats, rng: np.random.Generator) -> Floats:
    """The image with a faint copy of itself, shifted along an axis, as movement leaves."""
    axis = int(rng.integers(3))
    shift = max(2, round(image.shape[axis] * rng.uniform(0.1, 0.5)))
    return np.asarray(image + np.float32(rng.uniform(0.02, 0.1)) * np.roll(image, shift, axis))


def _gamma(image: Floats, exponent: float) -> Floats:
    top = np.float32(image.max())
    return np.asarray(top * (np.maximum(image, 0) / top) ** np.float32(exponent))


def _normalised(image: Floats, labels: Array, kept: Array, rng: np.random.Generator) -> Scan:
    """The scan cut to its foreground and scaled; with one chance in seven an end of the head is missing."""
    cut = [slice(max(0, s.start - 8), s.stop + 8) for s in ndimage.find_objects(kept.astype(np.uint8))[0]]
    if rng.uniform() < 0.15:
        axis, length = (k := int(rng.integers(3))), cut[k].stop - cut[k].start
        missing = round(length * rng.uniform(0.05, 0.45))
        first = rng.uniform() < 0.5
        start, stop = cut[axis].start, cut[axis].stop
        cut[axis] = slice(start + missing, stop) if first else slice(start, stop - missing)
    image, labels, kept = image[tuple(cut)], labels[tuple(cut)], kept[tuple(cut)]
    if rng.uniform() < 0.5:
        image, labels, kept = image[::-1], labels[::-1], kept[::-1]
    values = image[kept]
    scaled = (image - values.mean()) / max(float(values.std()), 1e-6)
    return Scan(scaled.astype(np.float16), np.ascontiguousarray(labels))
