"""Fully connected CRF after a network (Krähenbühl, Koltun 2011; DeepLab): mean field with Gaussian kernels.

With pixels at p and grey or colour values I (0 to 255), Potts labels and P the network's probabilities,

    K_ij = w1 · N[exp(−|p_i − p_j|²/2σα² − |I_i − I_j|²/2σβ²)] + w2 · N[exp(−|p_i − p_j|²/2σγ²)]
    Q_i(l) ∝ P_i(l) · exp(−Σ_{j≠i} K_ij (1 − Q_j(l))),    Q⁰ = P, all pixels at once,

where N divides k_ij by √(D_i D_j), D_i = Σ_j k_ij with j = i (symmetric normalisation): without it the sum
over a flat region drowns the unary term. The kernel of w2 is separable and exact; that of w1 goes through
:class:`Bilateral`, whose cost does not grow with the square of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.grid import PLANE_AXIS, Array, Plane
from medseg.model.description import CRFSettings

if TYPE_CHECKING:  # recipes are checked without loading the readers of grey values
    from medseg.preprocess.intensity import NormalizedVolume

Floats = npt.NDArray[np.float32]
Filter = Callable[[Floats], Floats]
"""Values (H, W) → Σ_j k_ij q_j, also (H, W)."""

BRIGHTEST = 99.5
"""Percentile of a volume that becomes 255."""

_LEVELS = 4096
_SPACINGS = (
    (1 / 8, 1 / 8),
    (1 / 8, 1 / 4),
    (1 / 4, 1 / 4),
    (1 / 4, 1 / 2),
    (1 / 2, 1 / 2),
    (1 / 2, 3 / 4),
    (1 / 2, 1),
)
"""Spacings of the bilateral grid in σα and σβ, from accurate to fast."""
_MOST_NODES = 2**22
_MOST_PAIRS = 2**22
_MOST_PRODUCTS = 2**26
_REACH = 3.5
"""Standard deviations beyond which the colour kernel between nodes counts as 0."""
_FLOOR = 1e-20


def refine(probabilities: Floats, guide: Array, crf: CRFSettings) -> Floats:
    """Mean-field marginals Q (K, H, W) from probabilities (K, H, W) and the image they are of.

    ``guide`` (C, H, W) holds grey values or colours from 0 to 255.
    """
    return next(refinements(probabilities, guide, [crf]))


def refinements(probabilities: Floats, guide: Array, several: Iterable[CRFSettings]) -> Iterator[Floats]:
    """Give what :func:`refine` does for each of several settings; those of equal widths share kernels."""
    for kernels, crf in _kernels(guide, several):
        yield mean_field(probabilities, kernels, crf.iterations)


def course(probabilities: Floats, guide: Array, crf: CRFSettings) -> Iterator[tuple[Floats, Floats]]:
    """Give what :func:`mean_field_steps` does on the way to :func:`refine`."""
    ((kernels, _),) = _kernels(guide, [crf])
    return mean_field_steps(probabilities, kernels, crf.iterations)


def _kernels(guide: Array, several: Iterable[CRFSettings]) -> Iterator[tuple[list[Filter], CRFSettings]]:
    """Make the weighted kernels of each of the settings for an image (C, H, W)."""
    shape = (guide.shape[1], guide.shape[2])
    bilateral = cache(partial(Bilateral, guide))
    smooth = cache(partial(Smooth, shape))
    for crf in several:
        kernels: list[tuple[float, Bilateral | Smooth]] = []
        if crf.w1:
            kernels.append((crf.w1, bilateral(crf.sigma_alpha, crf.sigma_beta)))
        if crf.w2:
            kernels.append((crf.w2, smooth(crf.sigma_gamma)))
        yield [_normalised(weight, kernel, kernel.own) for weight, kernel in kernels], crf


def mean_field(probabilities: Floats, kernels: list[Filter], iterations: int) -> Floats:
    """Q (K, H, W) after ``iterations`` steps; each kernel sums q (H, W) over the other pixels, weighted."""
    for step in mean_field_steps(probabilities, kernels, iterations):
        _, marginals = step  # the earlier ones are not kept
    return marginals


def mean_field_steps(
    probabilities: Floats, kernels: list[Filter], iterations: int
) -> Iterator[tuple[Floats, Floats]]:
    """Give the scores and the marginals Q, both (K, H, W), before the first step and after each.

    A step's scores are log P + Σ_{j≠i} K_ij Q_j(l), of which Q is the softmax over the labels; the first are
    log P. Σ_{j≠i} K_ij (1 − Q_j(l)) differs from −Σ_{j≠i} K_ij Q_j(l) by what is the same for every label.
    """
    unary = np.log(np.maximum(probabilities, _FLOOR))
    marginals = probabilities
    yield unary, marginals
    for _ in range(iterations):
        energy = unary.copy()
        for label, q in enumerate(marginals):
            for kernel in kernels:
                energy[label] += kernel(q)
        marginals = np.exp(energy - energy.max(axis=0))
        marginals /= marginals.sum(axis=0)
        yield energy, marginals


def _normalised(weight: float, kernel: Filter, own: Floats) -> Filter:
    """``weight`` · N[k] without each pixel's own term k_ii (``own``)."""
    root = np.asarray(1 / np.sqrt(kernel(np.ones_like(own))), np.float32)
    selves = own * root * root

    def message(q: Floats) -> Floats:
        others: Floats = np.float32(weight) * (root * kernel(root * q) - selves * q)
        return others

    return message


class Smooth:
    """exp(−|p_i − p_j|²/2σ²) over a slice: one matrix along each axis, exact."""

    def __init__(self, shape: tuple[int, int], sigma: float) -> None:
        self._rows, self._columns = (_gaussian(n, 1 / sigma) for n in shape)
        self.own: Floats = np.ones(shape, np.float32)

    def __call__(self, q: Floats) -> Floats:
        """Values (H, W) float32 → filtered (H, W)."""
        return np.asarray(self._rows @ q @ self._columns, np.float32)


class Bilateral:
    """exp(−|p_i − p_j|²/2σα² − |I_i − I_j|²/2σβ²) by splatting to a grid, blurring there, and slicing.

    The grid's axes are rows, columns and the guide's C channels; a pixel's value is shared linearly among
    the 2^(2+C) nodes around it. Nodes are kept for every place in the slice, but only for colours that
    occur. The blur is the kernel itself between nodes, narrower by the variance that sharing adds. The
    spacing is the finest of seven whose work stays within a limit: an eighth of both σ for small slices and
    most grey images, σα/2 and σβ for large images of many colours.

    ``own`` (H, W) is each pixel's kernel with itself: 1, but for the approximation.
    """

    def __init__(self, guide: Array, sigma_alpha: float, sigma_beta: float) -> None:
        self._shape = (guide.shape[1], guide.shape[2])
        for place, colour in _SPACINGS:
            # Rows and columns are whole numbers: nodes closer than a pixel would hold nothing.
            places = [_Axis(np.arange(n), max(1.0, place * sigma_alpha), sigma_alpha) for n in self._shape]
            channels = [_Axis(values.ravel(), colour * sigma_beta, sigma_beta) for values in guide]
            nodes, corners = _occupied(channels)
            from scipy.spatial import KDTree  # here, as every segmentation imports this module: 0.2 s

            tree = KDTree(nodes * [axis.step for axis in channels])
            if _is_affordable(tree, places[0].count * places[1].count):
                break
        self._rows, self._columns = (axis.height * _gaussian(axis.count, axis.step) for axis in places)
        self._colours = _between(tree) * np.float32(math.prod(axis.height for axis in channels))
        self._share = _sharing(places, channels, corners)
        self.own = np.outer(places[0].own(), places[1].own())
        for axis in channels:
            self.own *= axis.own().reshape(self._shape)

    def __call__(self, q: Floats) -> Floats:
        """Values (H, W) float32 → filtered (H, W)."""
        nodes = (self._share.T @ q.ravel()).reshape(-1, len(self._rows), len(self._columns))
        smooth = (self._rows @ (nodes @ self._columns)).reshape(len(nodes), -1)
        filtered: Floats = self._share @ (self._colours @ smooth).ravel()
        return filtered.reshape(self._shape)


class _Axis:
    """Nodes along one axis: where ``values`` (n,) lie between them, and the kernel between nodes.

    Sharing a value linearly between two nodes is a blur of variance t(1 − t)·spacing², at the splat and
    again at the slice; the kernel between nodes has so much less, and is ``height`` at its middle.
    """

    def __init__(self, values: Array, spacing: float, sigma: float) -> None:
        at = (values - values.min()) / spacing
        self.lower = np.floor(at).astype(np.int64)
        self.upper_share: Floats = (at - self.lower).astype(np.float32)
        self.count = int(self.lower.max()) + 2
        spread = 2 * spacing**2 * float(np.mean(self.upper_share * (1 - self.upper_share)))
        narrowed = math.sqrt(sigma**2 - spread)
        self.step = spacing / narrowed
        self.height = sigma / narrowed

    def share(self, corner: int) -> Floats:
        """The share of each value (n,) that goes to the lower (0) or upper (1) node."""
        return self.upper_share if corner else np.asarray(1 - self.upper_share, np.float32)

    def own(self) -> Floats:
        """The kernel of each value with itself, through the nodes (n,)."""
        lower, upper = self.share(0), self.share(1)
        beside = math.exp(-(self.step**2) / 2)
        own: Floats = np.float32(self.height) * (lower**2 + upper**2 + 2 * beside * lower * upper)
        return own


def _gaussian(count: int, step: float) -> Floats:
    """exp(−d²/2) between ``count`` points that lie ``step`` standard deviations apart (count, count)."""
    places = np.arange(count) * step
    kernel: Floats = np.exp(-((places[:, None] - places) ** 2) / 2).astype(np.float32)
    return kernel


def _occupied(channels: list[_Axis]) -> tuple[Array, Array]:
    """The colour nodes in use (M, C), and which of them stand at the corners around each pixel (2^C, N)."""
    counts = [axis.count for axis in channels]
    keys = np.stack(
        [
            np.ravel_multi_index([a.lower + c for a, c in zip(channels, corner, strict=True)], counts)
            for corner in product((0, 1), repeat=len(channels))
        ]
    )
    used, corners = np.unique(keys, return_inverse=True)
    return np.stack(np.unravel_index(used, counts), axis=1), corners.reshape(keys.shape).astype(np.int32)


def _is_affordable(tree: Any, places: int) -> bool:
    if tree.n * places > _MOST_NODES:
        return False
    pairs = tree.count_neighbors(tree, _REACH)
    return bool(pairs <= _MOST_PAIRS and pairs * places <= _MOST_PRODUCTS)


def _between(tree: Any) -> Any:
    """exp(−d²/2) between colour nodes within reach, sparse (M, M) float32."""
    import scipy.sparse

    apart = tree.sparse_distance_matrix(tree, _REACH, output_type="ndarray")
    kernel = np.exp(-(apart["v"] ** 2) / 2).astype(np.float32)
    return scipy.sparse.csr_matrix((kernel, (apart["i"], apart["j"])), shape=(tree.n, tree.n))


def _sharing(places: list[_Axis], channels: list[_Axis], corners: Array) -> Any:
    """The shares of the nodes around each pixel: sparse (N, M · rows · columns), 2^(2+C) in a row."""
    import scipy.sparse

    rows, columns = places
    pixels = len(rows.lower) * len(columns.lower)
    per_pixel = 4 * len(corners)
    nodes = np.empty((pixels, per_pixel), np.int32)
    shares = np.empty((pixels, per_pixel), np.float32)
    colour_corners = product((0, 1), repeat=len(channels))
    for n, (corner, (a, b)) in enumerate(product(colour_corners, product((0, 1), repeat=2))):
        place = np.add.outer((rows.lower + a) * columns.count, columns.lower + b).ravel()
        nodes[:, n] = corners[n // 4] * (rows.count * columns.count) + place
        shares[:, n] = np.outer(rows.share(a), columns.share(b)).ravel()
        for axis, side in zip(channels, corner, strict=True):
            shares[:, n] *= axis.share(side)
    starts = np.arange(pixels + 1, dtype=np.int32) * per_pixel
    shape = (pixels, (int(corners.max()) + 1) * rows.count * columns.count)
    return scipy.sparse.csr_matrix((shares.ravel(), nodes.ravel(), starts), shape=shape)


@dataclass(frozen=True)
class Greys:
    """A linear map of a volume's values to 0 to 255: from ``low`` to ``high``, cut off beyond."""

    low: float
    high: float

    def guide(self, values: Array) -> Floats:
        """Values (H, W) → guide (1, H, W) of :func:`refine`."""
        scaled = (values[None].astype(np.float32) - self.low) * (255 / (self.high - self.low))
        greys: Floats = np.clip(scaled, 0, 255).astype(np.float32, copy=False)
        return greys


def guides(volume: NormalizedVolume, plane: Plane) -> Iterator[Array]:
    """The guide (C, H, W) of each slice: an image's three colours, else the grey values of channel 0.

    Colours of 8 bits are taken as they are; those of other integers are brought to 0…255 from their range.
    """
    stack = np.moveaxis(volume.array, PLANE_AXIS[plane] + 1, 0)  # (slices, C, H, W)
    if volume.grid.unit == "px" and len(volume.array) == 3 and volume.array.dtype.kind == "u":
        factor = np.float32(255 / np.iinfo(volume.array.dtype).max)
        yield from (colours.astype(np.float32) * factor for colours in stack)
    else:
        scale = greys(volume)
        yield from (scale.guide(channels[0]) for channels in stack)


def greys(volume: NormalizedVolume) -> Greys:
    """From a volume's lowest value to its 99.5th percentile in channel 0, found slice by slice (±1/4096)."""
    slices = [volume.array[0, :, :, z] for z in range(volume.grid.shape[2])]
    low, top = float(min(s.min() for s in slices)), float(max(s.max() for s in slices))
    if low == top:
        return Greys(low, low + 1)
    counts = sum(np.histogram(s, _LEVELS, (low, top))[0] for s in slices)
    reached = int(np.searchsorted(np.cumsum(counts), BRIGHTEST / 100 * np.sum(counts)))
    return Greys(low, low + (top - low) * (reached + 1) / _LEVELS)
