"""Random changes of training patches: drawn once as numbers, then applied in batches on the device.

Geometry (elastic deformation of the whole slice, then rotation, scale and shift of the window, as one
resampling; then flips) is applied to patches and labels together, labels by nearest neighbour. It is that of
the patient, not of the array: where pixels are not square, turned things keep their shape in mm. Grey-value
changes are a function of patches alone: they cannot reach a label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from medseg.grid import Plane, centre_crop
from medseg.patches import elastic, touching
from medseg.patches.grey_values import change_colours, change_grey
from medseg.patches.sampler import Boxes
from medseg.patches.slabs import FLIP_AXIS, Flip, slice_axes
from medseg.transfer import upload

Pair = tuple[int, int]
Floats = npt.NDArray[np.float64]

_BATCHES_KEPT = 64  # whose places are kept for their augmentation; more are never drawn ahead
_STREAM = 1  # keeps these numbers apart from those of drawing, which are seeded by (seed, t)


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the changes; zero or empty is off.

    Rotation is uniform in ±``rotate_degrees``; magnification log-uniform from 1/(1 + ``scale``) to 1 +
    ``scale``; shift uniform in ±``shift_px`` along both axes; each direction of ``flip`` is mirrored in half
    of the patches, in planes in which it lies. On scaled grey values: the deviation from the patch's mean is
    multiplied by a factor uniform in 1 ± ``contrast``; a number uniform in ±``brightness`` is added; the
    patch's range is bent by an exponent log-uniform from 1/(1 + ``gamma``) to 1 + ``gamma``; Gaussian noise
    is added whose standard deviation is uniform from 0 to ``noise``. All channels of a patch change alike,
    noise apart.

    Colours: the distance from grey is multiplied by a factor uniform in 1 ± ``saturation``, and the hue is
    turned by a part of the colour circle uniform in ±``hue``, both in the linear YIQ space of NTSC, so that
    luma stays. They are for patches of red, green and blue, whatever these are scaled by.

    ``elastic_px`` is the standard deviation of the displacements of :mod:`medseg.patches.elastic`. The
    paper's 10 px are for slices of 512; below a twelfth of a slice's shorter side, hardly any field folds.
    Where pixels are not square, ``elastic_px`` and ``shift_px`` count their shorter side, along both axes.
    """

    flip: tuple[Flip, ...] = ()
    rotate_degrees: float = 0.0
    scale: float = 0.0
    shift_px: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    elastic_px: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    @property
    def resamples(self) -> bool:
        """True where patches are cut from larger fields."""
        return self.rotate_degrees > 0 or self.scale > 0 or self.shift_px > 0


@dataclass(frozen=True, eq=False)
class AugmentParams:
    """Numbers of one batch, one a patch: (B,), ``shift_px`` (B, 2) as rows, columns.

    ``elastic_px`` holds the nodes (B, 2, 3, 3) of :func:`medseg.patches.elastic.displacement`. Both are in
    units of the shorter side of a pixel, whose sides ``pixel`` (B, 2) gives in that unit.
    """

    flip_h: npt.NDArray[np.bool_]
    flip_w: npt.NDArray[np.bool_]
    rotate_radians: Floats
    magnify: Floats
    shift_px: Floats
    contrast: Floats
    brightness: Floats
    gamma: Floats
    noise: Floats
    noise_seed: npt.NDArray[np.int64]
    elastic_px: Floats
    saturation: Floats
    hue_radians: Floats
    pixel: Floats

    def of(self, rows: slice) -> AugmentParams:
        """Select those of some patches."""
        return AugmentParams(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def in_slices(
        self, flip: Sequence[Flip], axes: npt.NDArray[np.integer[Any]], pixel: Floats
    ) -> AugmentParams:
        """Keep the flips that lie in each patch's slice, and take its pixels' shape.

        ``axes`` (B, 2) are the axes of (X, Y, Z) that rows and columns run along; ``pixel`` (B, 2) as above.
        """
        reversible = [FLIP_AXIS[name] for name in flip]
        rows, columns = np.isin(axes, reversible).T
        return replace(self, flip_h=self.flip_h & rows, flip_w=self.flip_w & columns, pixel=pixel)


@dataclass(frozen=True)
class Augmenter:
    """Augments batch t by (seed, t): fields (B, C·D, h', w') become windows (B, C·D, h, w).

    Fields are cut at the fixed size :attr:`field`, or where :attr:`boxes` says if that is not None.
    ``planes`` and ``pixels`` are the planes of the slices and the shapes of their pixels
    (:func:`medseg.patches.slabs.pixel_shape`) that occur in training. With ``instances`` the last of the maps
    that come with patches holds numbers of objects, which are separated anew in what comes out. With
    ``reconstructs`` the windows as they are moved, before any change of grey values, come out in place of the
    labels: (B, C·D, h, w) float32.
    """

    settings: Augmentation
    window: Pair
    batch: int
    seed: int
    planes: tuple[Plane, ...] = ("axial",)
    pixels: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    instances: bool = False
    reconstructs: bool = False
    _places: dict[int, tuple[npt.NDArray[np.float32], Tensor]] = dataclass_field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Of batches that await augmentation: the windows' placement, and where their pixels are read."""

    @property
    def field(self) -> Pair:
        """Size (h', w') that patches must be cut at."""
        heights, widths = zip(
            *(field_size(self.window, self.settings, pixel) for pixel in self.pixels), strict=True
        )
        return max(heights), max(widths)

    @property
    def boxes(self) -> Boxes | None:
        """Places of the fields of batch t if they differ; see ``boxes`` of ``PatchSampler``."""
        return self._boxes if self.settings.elastic_px else None

    @property
    def placed(self) -> bool:
        """True where batches must come with their placement, as patches differ in more than their pixels."""
        return self.settings.elastic_px > 0 or len(self.planes) > 1 or len(self.pixels) > 1

    def __call__(
        self, patches: Tensor, labels: Tensor, t: int, rows: slice = slice(None), *more: Tensor
    ) -> tuple[Tensor, ...]:
        """Augment patches float32 and labels uint8 (B, h', w') of batch ``t``, or those of its ``rows``.

        ``more`` are maps (B, h', w') float32 that lie on the patches (weights and the like), which come out
        likewise; behind them, with :attr:`instances`, numbers of objects, which do not come out; behind them,
        where :attr:`placed`, the placement (B, 5, 2) that the sampler gave.
        """
        maps, placement = (more[:-1], more[-1]) if self.placed else (more, None)
        maps, numbers = (maps[:-1], maps[-1:]) if self.instances else (maps, ())
        draws = self._draws(t, rows, None if placement is None else placement.cpu().numpy())
        bent = placement if self.settings.elastic_px else None
        at = None if bent is None else self._take_places(t, bent)
        patches, labels, *moved = move(patches, labels, draws, self.window, maps, bent, at, numbers)
        if self.instances:
            labels = touching.separated(labels, moved.pop())
        truth = patches if self.reconstructs else labels
        return change_grey(change_colours(patches, draws), draws), truth, *moved

    def _draws(
        self, t: int, rows: slice = slice(None), placement: npt.NDArray[np.float32] | None = None
    ) -> AugmentParams:
        draws = draw(self.settings, self.batch, np.random.default_rng((self.seed, t, _STREAM))).of(rows)
        size = len(draws.pixel)
        if placement is None:
            axes, pixel = np.array([slice_axes(self.planes[0])] * size), np.array([self.pixels[0]] * size)
        else:
            axes, pixel = placement[:, 2].astype(np.intp), placement[:, 3].astype(np.float64)
        return draws.in_slices(self.settings.flip, axes, pixel)

    def _boxes(
        self, t: int, windows: npt.NDArray[np.float32], device: str | torch.device
    ) -> tuple[npt.NDArray[np.intp], Pair]:
        start, shape = upload(windows[:, :2], device).unbind(dim=1)
        draws = self._draws(t, placement=windows)
        at = _places_in_slice(draws, self.window, start, shape)
        self._places[t] = (windows, at)
        self._places.pop(t - _BATCHES_KEPT, None)
        return elastic.box(at)

    def _take_places(self, t: int, placement: Tensor) -> Tensor | None:
        """Take the places that batch ``t`` was cut for, unless these are other patches or another device."""
        windows, at = self._places.pop(t, (None, None))
        if windows is None or at is None or at.device != placement.device:
            return None
        return at if np.array_equal(windows, placement[:, : windows.shape[1]].cpu().numpy()) else None


def draw(settings: Augmentation, batch: int, generator: np.random.Generator) -> AugmentParams:
    """Draw all numbers of a batch; as many are drawn whatever is off, and new kinds after all others.

    They are those of slices with square pixels in which every flip lies; see :meth:`AugmentParams.in_slices`.
    """

    def uniform(reach: float, *shape: int) -> Floats:
        return generator.uniform(-1, 1, (batch, *shape)) * reach

    return AugmentParams(
        flip_h=(generator.random(batch) < 0.5) & bool(settings.flip),
        flip_w=(generator.random(batch) < 0.5) & bool(settings.flip),
        rotate_radians=uniform(math.radians(settings.rotate_degrees)),
        magnify=np.exp(uniform(math.log1p(settings.scale))),
        shift_px=uniform(settings.shift_px, 2),
        contrast=1 + uniform(settings.contrast),
        brightness=uniform(settings.brightness),
        gamma=np.exp(uniform(math.log1p(settings.gamma))),
        noise=generator.random(batch) * settings.noise,
        noise_seed=generator.integers(2**62, size=batch),
        elastic_px=elastic.draw_nodes(settings.elastic_px, batch, generator),
        saturation=1 + uniform(settings.saturation),
        hue_radians=uniform(2 * math.pi * settings.hue),
        pixel=np.ones((batch, 2)),
    )


def field_size(window: Pair, settings: Augmentation, pixel: tuple[float, float] = (1.0, 1.0)) -> Pair:
    """Give the smallest field (h', w') that holds every pixel any draw may ask for.

    It is the window if nothing moves, and exceeds it by even numbers, so that both have one centre. ``pixel``
    is the height and width of a pixel in units of the shorter side.
    """
    if not settings.resamples:
        return window
    (h, w), (height, width) = window, pixel
    shift = settings.shift_px
    return (
        _side(h, w * (width / height), settings, shift / height),
        _side(w, h * (height / width), settings, shift / width),
    )


def _side(along: int, across: float, settings: Augmentation, shift: float) -> int:
    # A rectangle turned by a is along·cos a + across·sin a long; that is largest at tan a = across / along.
    angle = min(math.radians(settings.rotate_degrees), math.atan2(across, along))
    turned = along * math.cos(angle) + across * math.sin(angle)
    side = math.ceil(turned * (1 + settings.scale) + 2 * shift) + 2
    return side + (side - along) % 2


def move(
    patches: Tensor,
    labels: Tensor,
    draws: AugmentParams,
    window: Pair,
    maps: Sequence[Tensor] = (),
    placement: Tensor | None = None,
    at: Tensor | None = None,
    numbers: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Resample (B, C·D, h', w'), labels, maps and numbers (B, h', w') to the window, then flip.

    The window is at the field's centre, or where ``placement`` (B, 5, 2) says: first row and column of the
    window in the slice, rows and columns of the slice, its axes, its pixels' shape, first row and column of
    the field in the slice. It is needed for elastic deformation. ``at`` (B, h, w, 2) are the places in the
    slice where the window's pixels are read, if they are known. Patches and maps are read bilinearly, labels
    and numbers by nearest neighbour. Where nothing bends, turns, scales or shifts, the window is cut out of
    the field's centre, bit for bit.
    """
    if placement is not None or _resampling(draws):
        field = patches.shape[-2], patches.shape[-1]
        if placement is None:
            grid = _sampling_grid(draws, field, window, patches.device)
        else:
            grid = _elastic_grid(draws, field, window, placement, at)

        def read(one: Tensor, mode: str) -> Tensor:
            return F.grid_sample(one.float(), grid, mode, "border", align_corners=False)

        labels = read(labels.unsqueeze(1), "nearest").squeeze(1).to(labels.dtype)
        patches = read(patches, "bilinear")
        maps = [read(one.unsqueeze(1), "bilinear").squeeze(1) for one in maps]
        maps += [read(one.unsqueeze(1), "nearest").squeeze(1) for one in numbers]
    else:
        patches, labels, *maps = (centre_crop(array, window) for array in (patches, labels, *maps, *numbers))
    for axis, flips in ((-2, draws.flip_h), (-1, draws.flip_w)):
        chosen = upload(flips, patches.device)
        patches = torch.where(chosen.view(-1, 1, 1, 1), patches.flip(axis), patches)
        labels, *maps = (
            torch.where(chosen.view(-1, 1, 1), array.flip(axis), array) for array in (labels, *maps)
        )
    return patches, labels, *maps


def _resampling(draws: AugmentParams) -> bool:
    return bool(draws.rotate_radians.any() or (draws.magnify != 1).any() or draws.shift_px.any())


def _sampling_grid(draws: AugmentParams, field: Pair, window: Pair, device: torch.device) -> Tensor:
    """Places in the field where the window's pixels are read, (B, h, w, 2) float32: x, y, as torch has it."""
    y, x = _offsets(draws, window, device)
    # torch's -1 and 1 are the outer edges of the first and last pixel (align_corners=False).
    return torch.stack([2 * x / field[1], 2 * y / field[0]], dim=-1).float().to(device)


def _elastic_grid(
    draws: AugmentParams, field: Pair, window: Pair, placement: Tensor, at: Tensor | None
) -> Tensor:
    """Give :func:`_sampling_grid` with elastic deformation, on the placement's device."""
    start, shape, first = placement[:, 0], placement[:, 1], placement[:, -1]
    if at is None:
        at = _places_in_slice(draws, window, start, shape)
    at = at - first.view(-1, 1, 1, 2)
    size = torch.tensor(field, device=at.device)
    return ((2 * at + 1) / size - 1).flip(-1)


def _places_in_slice(draws: AugmentParams, window: Pair, start: Tensor, shape: Tensor) -> Tensor:
    """Places in their slices where the window's pixels are read, (B, h, w, 2) float32, row before column.

    The window starts at ``start`` (B, 2) in slices of ``shape`` (B, 2). It is turned, scaled and shifted in
    the deformed slice.
    """
    from_centre = zip(_offsets(draws, window, start.device), window, strict=True)
    offsets = torch.stack([(along + (n - 1) / 2).float() for along, n in from_centre], dim=1)
    at = (offsets.to(start.device) + start.view(-1, 2, 1, 1)).movedim(1, -1)
    nodes_px = draws.elastic_px / draws.pixel[:, :, None, None]
    nodes = upload(nodes_px.astype(np.float32), start.device)
    return at + elastic.displacement(nodes, at, shape)


def _offsets(draws: AugmentParams, window: Pair, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns (B, h, w) float64 at which the window is read, px from its centre, before bending."""
    cosine, sine = np.cos(draws.rotate_radians) / draws.magnify, np.sin(draws.rotate_radians) / draws.magnify
    height, width = draws.pixel.T
    ratio = height / width  # turns in mm: pixels are made square, turned, and made what they were
    shift_h, shift_w = draws.shift_px[:, 0] / height, draws.shift_px[:, 1] / width
    numbers = np.stack([cosine, sine / ratio, sine * ratio, shift_h, shift_w])
    on = torch.device("cpu") if device.type == "mps" else device  # which has no float64
    turn, across, along, down, right = upload(numbers, on)[..., None, None]
    i, j = (torch.arange(n, dtype=torch.float64, device=on) - (n - 1) / 2 for n in window)
    rows, columns = i[:, None], j[None, :]
    return turn * rows - across * columns + down, along * rows + turn * columns + right
