"""Inferers: the ways in which slices go through a predictor, as settings of :mod:`medseg.infer.predict`."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.errors import Code, MedsegError
from medseg.model.description import MEMORY_MB, CRFSettings, Description

Pair = tuple[int, int]


@dataclass(frozen=True)
class WholeSlice:
    """Whole slices, ``batch`` in one forward pass, mirrored at their end to a size that the network takes.

    Without a ``batch`` it is 4 on a CPU, see :func:`inputs_at_once`.
    With a ``crf`` each slice's probabilities are refined by it, guided by an image's colours or the grey
    values of channel 0.
    """

    batch: int | None = None
    crf: CRFSettings | None = None


@dataclass(frozen=True)
class MajorityVote:
    """Windows on the covering grid of each slice, ``batch`` at a time; their arg-max votes.

    Without a ``batch`` it is 64 on a CPU, see :func:`inputs_at_once`.
    """

    window: tuple[int, int] = (40, 40)
    stride: tuple[int, int] = (10, 10)
    batch: int | None = None


@dataclass(frozen=True)
class OverlapTile:
    """Overlap-tiles, ``batch`` in one forward pass.

    ``tile`` is the network's input in pixels, one number for both sides. Without it the cheapest tiles are
    used of which a batch fits in ``memory_mb`` (MiB). ``stride`` is the distance between tiles in pixels;
    without it, the largest possible. A ``crf`` refines each slice.
    """

    tile: int | Pair | None = None
    memory_mb: int = MEMORY_MB
    batch: int = 4
    stride: Pair | None = None
    crf: CRFSettings | None = None


@dataclass(frozen=True)
class GaussianWindow:
    """Windows on the covering grid of each slice, ``batch`` at a time, weighted by a Gaussian, averaged.

    Without a ``stride`` windows overlap by half, without a ``batch`` it is that of `MajorityVote`. A ``crf``
    refines each slice.
    """

    window: Pair = (40, 40)
    stride: Pair | None = None
    batch: int | None = None
    crf: CRFSettings | None = None


Inferer = WholeSlice | MajorityVote | OverlapTile | GaussianWindow

_SLICES, _WINDOWS = 4, 64
_PIXELS_ON_A_GPU = 2**20
"""Pixels of one forward pass that keep a GPU busy: hundreds of windows, four slices of 512×512."""


def inputs_at_once(inferer: WholeSlice | MajorityVote | GaussianWindow, pixels: int, device: str) -> int:
    """Inputs of ``pixels`` in one forward pass: as many as the inferer says, or as suit the device."""
    if inferer.batch is not None:
        return inferer.batch
    few = _SLICES if isinstance(inferer, WholeSlice) else _WINDOWS
    return few if device == "cpu" else max(few, _PIXELS_ON_A_GPU // pixels)


def choose_inferer(description: Description, mode: str | None = None) -> Inferer:
    """The inferer of a model, or of the `mode` asked for: vote, gaussian, tiles or dense.

    Raises KEYWORD_INVALID for a mode that does not go with several views.
    """
    mode = mode or description.mode
    if description.several_views and mode in ("vote", "tiles"):
        details = f"mode {mode} of a model that predicts at several scales or flips"
        raise MedsegError(Code.KEYWORD_INVALID, "mode", details, "use dense or gaussian")
    match mode:
        case "vote":
            stride = description.stride or (min(10, description.window[0]), min(10, description.window[1]))
            return MajorityVote(description.window, stride, description.batch)
        case "gaussian":
            return GaussianWindow(
                description.window,
                description.stride,
                description.batch,
                description.crf,
            )
        case "tiles":
            return OverlapTile(
                description.tile,
                description.memory_mb,
                description.batch or OverlapTile.batch,
                description.stride,
                description.crf,
            )
        case _:
            return WholeSlice(description.batch, description.crf)
