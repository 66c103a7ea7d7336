"""Label one volume, slice by slice along the predictor's plane.

Memory holds one batch, the label map (one byte a voxel) and, if asked for, the margin map (two bytes):
nothing else grows with the number of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.infer import crf as dense_crf
from medseg.infer.crf import Crf
from medseg.infer.predictor import Members, NetworkPredictor, Precision, Predictor, Spec
from medseg.infer.stitch import VoteStitcher
from medseg.patches.slabs import plane_view, read_slab, slice_shape, slices
from medseg.patches.windows import covering_grid, cut, mirrored
from medseg.preprocess.intensity import Ready
from medseg.volume import Array

__all__ = [
    "Dense",
    "How",
    "Members",
    "NetworkPredictor",
    "Precision",
    "Prediction",
    "Predictor",
    "Spec",
    "Voting",
    "label",
]


@dataclass(frozen=True)
class Dense:
    """Whole slices, ``batch`` in one forward pass, mirrored at their end up to the network's step.

    With a ``crf`` each slice's probabilities are refined by it, guided by the grey values of channel 0.
    """

    batch: int = 4
    crf: Crf | None = None


@dataclass(frozen=True)
class Voting:
    """Windows on the covering grid of each slice, ``batch`` at a time; their arg-max votes."""

    window: tuple[int, int] = (40, 40)
    stride: tuple[int, int] = (10, 10)
    batch: int = 64


How = Dense | Voting


@dataclass(frozen=True, eq=False)
class Prediction:
    """A volume's labels and how sure they are.

    ``labels`` (X, Y, Z) uint8 class indices. ``margin`` (X, Y, Z) float16, first minus second of what
    ``quality_kind`` names, 0 to 1, where it was asked for. ``quality`` is the margin's mean over the
    predicted foreground (index > 0), 0 where there is none.
    """

    labels: npt.NDArray[np.uint8]
    margin: npt.NDArray[np.float16] | None
    quality: float
    quality_kind: Literal["vote share", "probability"]


_Slice = tuple[Array, Array]  # labels (H, W) uint8 and margin (H, W) float32 of one slice


def label(
    ready: Ready,
    predictor: Predictor,
    how: How,
    *,
    margin: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Label every voxel of ``ready``; ``progress(done, of)`` is called after each slice.

    Every slice goes through the network, empty ones too. Raises CHANNEL_MISSING for another number of
    channels than the predictor takes, SIZE_IMPOSSIBLE for windows or outputs of a wrong size, NAN_OR_INF
    for logits that are not numbers.
    """
    _check_channels(ready, predictor.spec)
    shape, plane = ready.grid.shape, predictor.spec.plane
    labels = np.zeros(shape, np.uint8, order="F")
    margins = np.zeros(shape, np.float16, order="F") if margin else None
    certain, found, of = 0.0, 0, slices(shape, plane)
    with torch.inference_mode():
        for index, (slice_labels, slice_margin) in enumerate(_label_slices(ready, predictor, how)):
            plane_view(labels, plane)[index] = slice_labels
            if margins is not None:
                plane_view(margins, plane)[index] = slice_margin
            inside = slice_labels > 0
            certain += float(slice_margin[inside].sum(dtype=np.float64))
            found += int(np.count_nonzero(inside))
            if progress is not None:
                progress(index + 1, of)
    kind: Literal["vote share", "probability"] = "vote share" if isinstance(how, Voting) else "probability"
    return Prediction(labels, margins, certain / found if found else 0.0, kind)


def _label_slices(ready: Ready, predictor: Predictor, how: How) -> Iterator[_Slice]:
    return _dense(ready, predictor, how) if isinstance(how, Dense) else _vote(ready, predictor, how)


def _dense(ready: Ready, predictor: Predictor, how: Dense) -> Iterator[_Slice]:
    spec = predictor.spec
    height, width = slice_shape(ready.grid.shape, spec.plane)
    padded = (_round_up(height, spec.step), _round_up(width, spec.step))
    of = slices(ready.grid.shape, spec.plane)
    greys = dense_crf.greys(ready) if how.crf else None
    for first in range(0, of, how.batch):
        indices = range(first, min(first + how.batch, of))
        slabs = [mirrored(read_slab(ready, spec.plane, index, spec.depth), padded) for index in indices]
        logits = _logits(predictor, np.stack(slabs))[..., :height, :width]
        if how.crf and greys:
            shown = plane_view(ready.array[0], spec.plane)
            logits = _refined(logits, [greys.guide(shown[index]) for index in indices], how.crf)
        labels, margins = _decide(logits)
        yield from zip(labels.cpu().numpy(), margins.cpu().numpy(), strict=True)


def _vote(ready: Ready, predictor: Predictor, how: Voting) -> Iterator[_Slice]:
    spec = predictor.spec
    _check_window(how.window, spec.step)
    shape = slice_shape(ready.grid.shape, spec.plane)
    starts = covering_grid(shape, how.window, how.stride)
    for index in range(slices(ready.grid.shape, spec.plane)):
        slab = mirrored(read_slab(ready, spec.plane, index, spec.depth), how.window)
        votes = VoteStitcher(shape, how.window, how.stride, spec.classes)
        for first in range(0, len(starts), how.batch):
            some = starts[first : first + how.batch]
            logits = _logits(predictor, cut(slab, some, how.window))
            votes.add(logits.argmax(dim=1).to(torch.uint8).cpu().numpy(), some)
        yield votes.result()


def _refined(logits: Tensor, guides: list[Array], crf: Crf) -> Tensor:
    """Logits (B, K, H, W) → the log of the CRF's marginals, on the CPU."""
    probabilities = logits.softmax(dim=1).cpu().numpy()
    made = [dense_crf.refine(p, guide, crf) for p, guide in zip(probabilities, guides, strict=True)]
    return torch.from_numpy(np.stack(made)).log()


def _decide(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K, H, W) → labels (B, H, W) uint8, ties to the lowest index, and probability margins."""
    best = logits.argmax(dim=1, keepdim=True)
    probabilities = logits.softmax(dim=1)
    first = probabilities.gather(1, best)
    second = probabilities.scatter_(1, best, -1.0).amax(dim=1, keepdim=True)
    return best.squeeze(1).to(torch.uint8), (first - second).squeeze(1)


def _logits(predictor: Predictor, batch: Array) -> Tensor:
    logits = predictor(torch.from_numpy(batch))
    wanted = (len(batch), predictor.spec.classes, *batch.shape[2:])
    if tuple(logits.shape) != wanted:
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "network output",
            f"{tuple(logits.shape)} for an input of {batch.shape}",
            f"the network must give {wanted}: same padding, and as many classes as its spec says",
        )
    if torch.isnan(logits).any():
        raise MedsegError(
            Code.NAN_OR_INF, "network output", "logits that are not numbers", "predict with precision fp32"
        )
    return logits


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step


def _check_channels(ready: Ready, spec: Spec) -> None:
    if len(ready.array) != spec.channels:
        raise MedsegError(
            Code.CHANNEL_MISSING,
            "image",
            f"{len(ready.array)} channels where the model takes {spec.channels}",
            "give the channels that the model was trained on, in its order",
        )


def _check_window(window: tuple[int, int], step: int) -> None:
    if any(w % step for w in window):
        usable = tuple(_round_up(w, step) for w in window)
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE, "window", f"{window} at a step of {step}", f"use a window such as {usable}"
        )
