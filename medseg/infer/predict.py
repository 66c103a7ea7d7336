"""Label one volume, slice by slice along the predictor's plane, or along several planes.

Memory holds one batch, the label map (one byte a voxel) and, if asked for, the margin map (two bytes):
nothing else grows with the number of slices, but for a label map a plane where planes vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid, Plane
from medseg.infer import crf as dense_crf
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.plane_fusion import JOINED, MeanOverPlanes, VoteOverPlanes
from medseg.infer.predictor import Predictor, Spec, checked_logits
from medseg.infer.stitch import MultilabelVoteStitcher, VoteStitcher
from medseg.infer.tiles import blended, check_tiles, tiled
from medseg.model.description import CRFSettings
from medseg.patches.slabs import plane_view, read_slab, slice_shape, slices
from medseg.patches.windows import covering_grid, cut, mirrored
from medseg.preprocess.intensity import NormalizedVolume
from medseg.preprocess.resize2d import Resize

Progress = Callable[[int, int], None]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A volume's labels and how sure they are.

    ``labels`` (X, Y, Z) uint8 class indices, or bits of overlapping masks. ``margin`` (X, Y, Z) float16,
    first minus second of what ``quality_kind`` names, 0 to 1, where it was asked for; of overlapping masks
    |2p − 1| of the mask that is least sure: how certain the probability p is, whatever the mask's threshold,
    so that with another than 0.5 a margin of 0 does not lie where the decision turns (votes are cast by
    thresholds, and of p their share the decision turns at 0.5). ``quality`` is the margin's mean over the
    predicted foreground (what lies in any mask), 0 where there is none.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float16] | None
    quality: float
    quality_kind: Literal["vote share", "probability"]


_LEAST = math.log(np.finfo(np.float32).tiny)
"""What stands for the logarithm, or logit, of a probability of 0 where logits are interpolated."""

_Slice = tuple[Array, Array]  # labels (H, W) uint8 and margin (H, W) float32 of one slice


def label(
    ready: NormalizedVolume,
    predictor: Predictor | MultiPlaneEnsemble,
    how: Inferer,
    *,
    confidence: bool = False,
    progress: Progress | None = None,
    onto: Grid | None = None,
) -> Prediction:
    """Label every voxel of ``ready``; ``progress(done, of)`` is called after each slice.

    With ``onto``, a pixel grid of the same axes, centre and slices, the logits of each slice are resized to
    it before anything is decided, and labels and margin lie on it. Votes are not resized: ``how`` must not
    vote; nor are several planes.

    Every slice goes through the network, empty ones too; with several planes, along each of them. Raises
    CHANNEL_MISSING for another number of channels than the predictor takes, SIZE_IMPOSSIBLE for windows or
    outputs of a wrong size, NAN_OR_INF for logits that are not numbers, and what :func:`check` does.
    """
    along = predictor.predictors if isinstance(predictor, MultiPlaneEnsemble) else (predictor,)
    for one in along:
        _check_channels(ready, one.spec)
        check(how, one.spec)
    if onto is not None and len(along) > 1:
        raise MedsegError(
            Code.KEYWORD_INVALID, "plane", "several planes of a resized image", "take axial for images"
        )
    shape = (ready.grid if onto is None else onto).shape
    plane = JOINED if isinstance(predictor, MultiPlaneEnsemble) else predictor.spec.plane
    labels = np.zeros(shape, np.uint8, order="F")
    confidences = np.zeros(shape, np.float16, order="F") if confidence else None
    certain, found, first = 0.0, 0, int(along[0].spec.background or bool(along[0].spec.thresholds))
    if isinstance(predictor, MultiPlaneEnsemble):
        every = _joined(ready, predictor, how, progress)
    else:
        every = _counted(_label_slices(ready, predictor, how, onto), slices(shape, plane), progress)
    with torch.inference_mode():
        for index, (slice_labels, slice_margin) in enumerate(every):
            plane_view(labels, plane)[index] = slice_labels
            if confidences is not None:
                plane_view(confidences, plane)[index] = slice_margin
            inside = slice_labels >= first
            certain += float(slice_margin[inside].sum(dtype=np.float64))
            found += int(np.count_nonzero(inside))
    kind: Literal["vote share", "probability"] = "vote share" if _by_votes(predictor, how) else "probability"
    return Prediction(labels, confidences, certain / found if found else 0.0, kind)


def _by_votes(predictor: Predictor | MultiPlaneEnsemble, how: Inferer) -> bool:
    """Whether margins are of votes somewhere on the way."""
    if isinstance(predictor, MultiPlaneEnsemble):
        return predictor.ensemble == "vote" or any(_by_votes(one, how) for one in predictor.predictors)
    return isinstance(how, MajorityVote) or (isinstance(predictor, Ensemble) and predictor.ensemble == "vote")


def _joined(
    ready: NormalizedVolume, planes: MultiPlaneEnsemble, how: Inferer, progress: Progress | None
) -> Iterator[_Slice]:
    """Label the volume along each plane, then give what they say together, slice by slice of ``JOINED``."""
    shape, along = ready.grid.shape, [one.spec.plane for one in planes.predictors]
    join: MeanOverPlanes | VoteOverPlanes
    scores: Callable[[NormalizedVolume, Predictor, Inferer], Iterator[Array]]
    least = planes.predictors[0].spec.thresholds
    if planes.ensemble == "mean":
        least = (
            (0.5,) * len(least) if isinstance(how, MajorityVote) else least
        )  # votes are cast by the thresholds
        join, scores = MeanOverPlanes(shape, along, planes.classes, least), _share_slices
    else:
        join = VoteOverPlanes(shape, along, planes.classes, multilabel=bool(least))
        scores = _labels_alone
    every = (
        (one.spec.plane, index, scored)
        for one in planes.predictors
        for index, scored in enumerate(scores(ready, one, how))
    )
    for plane, index, scored in _counted(every, sum(slices(shape, plane) for plane in along), progress):
        join.add(plane, index, scored)
    yield from join.result()


def _counted(found: Iterator[_T], of: int, progress: Progress | None) -> Iterator[_T]:
    """What is found; each is told once it has been taken care of."""
    for done, each in enumerate(found, 1):
        yield each
        if progress is not None:
            progress(done, of)


def _label_slices(
    ready: NormalizedVolume, predictor: Predictor, how: Inferer, onto: Grid | None = None
) -> Iterator[_Slice]:
    if isinstance(how, MajorityVote):
        return (votes.result() for votes in _vote(ready, predictor, how))
    scores = _logit_slices(ready, predictor, how)
    scores = scores if onto is None else _resized(scores, Resize(ready.grid, onto))
    if predictor.spec.thresholds:
        return (_decide_masks(logits, predictor.spec) for logits in scores)
    return map(_decide, scores)


def _labels_alone(ready: NormalizedVolume, predictor: Predictor, how: Inferer) -> Iterator[Array]:
    return (labels for labels, _ in _label_slices(ready, predictor, how))


def _share_slices(ready: NormalizedVolume, predictor: Predictor, how: Inferer) -> Iterator[Array]:
    """Probabilities (K, H, W) float32 of each slice, or shares of votes."""
    if isinstance(how, MajorityVote):
        return (votes.shares() for votes in _vote(ready, predictor, how))
    scores = _logit_slices(ready, predictor, how)
    return (predictor.spec.probabilities(logits).cpu().numpy() for logits in scores)


def _logit_slices(
    ready: NormalizedVolume, predictor: Predictor, how: WholeSlice | OverlapTile | GaussianWindow
) -> Iterator[Tensor]:
    match how:
        case WholeSlice():
            scores = _dense(ready, predictor, how)
        case OverlapTile():
            scores = tiled(ready, predictor, how)
        case GaussianWindow():
            scores = blended(ready, predictor, how)
    if how.crf is not None:
        scores = _refined(scores, ready, predictor.spec.plane, how.crf)
    return scores


def _dense(ready: NormalizedVolume, predictor: Predictor, how: WholeSlice) -> Iterator[Tensor]:
    """Logits (K, H, W) float32 of each slice, from whole slices."""
    spec = predictor.spec
    height, width = slice_shape(ready.grid.shape, spec.plane)
    padded = (spec.size_from(height), spec.size_from(width))
    of = slices(ready.grid.shape, spec.plane)
    for first in range(0, of, how.batch):
        indices = range(first, min(first + how.batch, of))
        slabs = [mirrored(read_slab(ready, spec.plane, index, spec.depth), padded) for index in indices]
        yield from checked_logits(predictor, np.stack(slabs))[..., :height, :width]


def _refined(
    scores: Iterator[Tensor], ready: NormalizedVolume, plane: Plane, crf: CRFSettings
) -> Iterator[Tensor]:
    """Logits (K, H, W) of each slice → the log of the CRF's marginals, on the CPU."""
    for logits, guide in zip(scores, dense_crf.guides(ready, plane), strict=True):
        probabilities = logits.softmax(dim=0).cpu().numpy()
        yield torch.from_numpy(dense_crf.refine(probabilities, guide, crf)).log()


def _resized(scores: Iterator[Tensor], resize: Resize) -> Iterator[Tensor]:
    """Logits (K, H, W) of each slice → (K, H', W') float32 on the CPU."""
    for logits in scores:
        finite = logits.nan_to_num(neginf=_LEAST, posinf=-_LEAST).cpu().numpy()
        yield torch.from_numpy(np.stack([resize(one).astype(np.float32) for one in finite]))


def _vote(
    ready: NormalizedVolume, predictor: Predictor, how: MajorityVote
) -> Iterator[VoteStitcher | MultilabelVoteStitcher]:
    """Each slice's votes, all cast."""
    spec = predictor.spec
    shape = slice_shape(ready.grid.shape, spec.plane)
    starts = covering_grid(shape, how.window, how.stride)
    stitcher = MultilabelVoteStitcher if spec.thresholds else VoteStitcher
    for index in range(slices(ready.grid.shape, spec.plane)):
        slab = mirrored(read_slab(ready, spec.plane, index, spec.depth), how.window)
        votes = stitcher(shape, how.window, how.stride, spec.classes)
        for first in range(0, len(starts), how.batch):
            some = starts[first : first + how.batch]
            logits = checked_logits(predictor, cut(slab, some, how.window))
            votes.add(spec.labels(logits).cpu().numpy(), some)
        yield votes


def _decide(logits: Tensor) -> _Slice:
    """Logits (K, H, W) → labels (H, W) uint8, ties to the lowest index, and probability margins (H, W)."""
    best = logits.argmax(dim=0, keepdim=True)
    probabilities = logits.softmax(dim=0)
    first = probabilities.gather(0, best)
    second = probabilities.scatter_(0, best, -1.0).amax(dim=0, keepdim=True)
    return best[0].to(torch.uint8).cpu().numpy(), (first - second)[0].cpu().numpy()


def _decide_masks(logits: Tensor, spec: Spec) -> _Slice:
    """Logits (L, H, W) of overlapping masks → their bits (H, W) uint8, and the least of |2p − 1| (H, W).

    The latter tells how certain the probabilities are, not the decisions: it knows no thresholds.
    """
    confidences = (2 * spec.probabilities(logits) - 1).abs().amin(dim=0)
    return spec.labels(logits).cpu().numpy(), confidences.cpu().numpy()


def check(how: Inferer, spec: Spec) -> None:
    """What can be known of a stitching rule before any scan is read.

    Raises KEYWORD_INVALID for a rule that does not suit the network's padding or memory, and for a CRF of
    masks that overlap, SIZE_IMPOSSIBLE for windows, tiles or strides that the network cannot take.
    """
    if spec.thresholds and not isinstance(how, MajorityVote) and how.crf is not None:
        found = "a CRF shares each pixel out among classes, and masks overlap"
        raise MedsegError(Code.KEYWORD_INVALID, "predict.crf", found, "leave it out")
    if isinstance(how, OverlapTile):
        check_tiles(how, spec)
        return
    if spec.border:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "predict.mode",
            f"{type(how).__name__.lower()}, but the network's output lacks {spec.border} px on each side",
            "use tiles, the mode for networks of valid convolutions",
        )
    if not isinstance(how, WholeSlice):
        _check_window(how.window, spec)


def _check_channels(ready: NormalizedVolume, spec: Spec) -> None:
    if len(ready.array) != spec.channels:
        raise MedsegError(
            Code.CHANNEL_MISSING,
            "image",
            f"{len(ready.array)} channels where the model takes {spec.channels}",
            "give the channels that the model was trained on, in its order",
        )


def _check_window(window: tuple[int, int], spec: Spec) -> None:
    usable = spec.size_from(window[0]), spec.size_from(window[1])
    if usable != window:
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "window",
            f"{window} at a size divisor of {spec.size_divisor}",
            f"use a window such as {usable}",
        )
