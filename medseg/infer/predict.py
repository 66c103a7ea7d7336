"""Label one volume, slice by slice along the predictor's plane, or along several planes.

Memory holds one batch, the label map (one byte per voxel) and, if asked for, the confidence map (two bytes);
probabilities lie in a temporary file (one byte per voxel and class).
Nothing else grows with the number of slices, except for one label map per plane where planes vote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Plane
from medseg.infer import slice_scores
from medseg.infer.confidence_tally import ConfidenceTally
from medseg.infer.decide import Decided, Decision
from medseg.infer.empty import EmptySkipper
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble
from medseg.infer.inferers import (
    Inferer,
    MajorityVote,
    OverlapTile,
    WholeSlice,
)
from medseg.infer.onto_scan import ScoreResampler
from medseg.infer.plane_fusion import JOINED, MeanOverPlanes, VoteOverPlanes
from medseg.infer.predictor import Predictor, Spec
from medseg.infer.probability_maps import ProbabilityMaps, box_of_scan
from medseg.infer.tiles import check_tiles
from medseg.patches.slabs import plane_view, slices
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import NormalizedVolume
from medseg.transfer import downloaded

Progress = Callable[[int, int], None]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A volume's labels with their confidence.

    ``labels`` (X, Y, Z) uint8 are class indices, or bits of overlapping masks. ``confidence`` (X, Y, Z)
    float16, 0 to 1, is the highest minus the second highest of what ``quality_kind`` names, where it was
    asked for. For overlapping masks it is |2p − 1| of the least certain mask, p being its probability; with a
    threshold other than 0.5, a confidence of 0 is therefore not where the decision changes (windows vote by
    the thresholds, and the decision on their shares changes at 0.5). ``quality`` is the mean confidence over
    the predicted foreground (all that lies in some mask), 0 where there is none. ``probabilities`` are what
    ``quality_kind`` names of each class or mask, on the scan's own grid, where they were asked for.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float16] | None
    quality: float
    quality_kind: Literal["vote share", "probability"]
    probabilities: ProbabilityMaps | None = None


def label(
    volume: NormalizedVolume,
    predictor: Predictor | MultiPlaneEnsemble,
    inferer: Inferer,
    *,
    confidence: bool = False,
    progress: Progress | None = None,
    onto: Record | None = None,
    tally: ConfidenceTally | None = None,
    probabilities: Record | None = None,
) -> Prediction:
    """Label every voxel of ``volume``; ``progress(done, of)`` is called after each slice.

    A ``tally`` counts the confidence of each class.

    With ``onto``, the record of how the scan was resampled to ``volume``, class scores are interpolated and
    then decided on, see :mod:`medseg.infer.onto_scan`; labels and confidence lie on the scan's own grid.
    With ``probabilities``, the record of how the scan became ``volume``, these are kept, too.

    Every slice goes to the predictor, with several planes along each of them. Raises
    CHANNEL_MISSING for another number of channels than the predictor takes, SIZE_IMPOSSIBLE for windows or
    outputs of a wrong size, NAN_OR_INF for logits that are not numbers, and what :func:`check` does.
    """
    along = _of_planes(predictor)
    for one in along:
        _check_channels(volume, one.spec)
        check(inferer, one.spec)
    labels = np.zeros(volume.grid.shape if onto is None else onto.original.shape, np.uint8, order="F")
    confidences = np.zeros(labels.shape, np.float16, order="F") if confidence else None
    total, voxels = 0.0, 0
    first = int(along[0].spec.background or bool(along[0].spec.thresholds))
    results = partial(_for_the_host, first=first, confidence=confidence or tally is not None)
    with torch.inference_mode():
        if onto is None and probabilities is None:
            decided = _decided(volume, predictor, inferer, progress, everywhere=confidence)
            kept = _Slices(map(results, decided), partial(plane_view, plane=_plane(predictor)))
        else:
            scores, decision = _scores(volume, predictor, inferer, progress, everywhere=confidence)
            kept = _by_scores(scores, decision, results, predictor, onto, probabilities)
        for index, (slice_labels, sure, inside, *more) in enumerate(downloaded(kept.results)):
            kept.place(labels)[index] = slice_labels
            if kept.maps is not None:
                kept.maps.put(kept.place_in_maps or kept.place, index, more.pop())
            if confidences is not None:
                kept.place(confidences)[index] = more[0]
            if tally is not None:
                tally.add(slice_labels, more[0])
            total += float(sure)
            voxels += int(inside)
    quality = total / voxels if voxels else 0.0
    kind: Literal["vote share", "probability"]
    kind = "vote share" if _by_votes(predictor, inferer) else "probability"
    return Prediction(labels, confidences, quality, kind, kept.maps)


def _of_planes(predictor: Predictor | MultiPlaneEnsemble) -> tuple[Predictor, ...]:
    return predictor.predictors if isinstance(predictor, MultiPlaneEnsemble) else (predictor,)


def _plane(predictor: Predictor | MultiPlaneEnsemble) -> Plane:
    """The plane along which results come."""
    return JOINED if isinstance(predictor, MultiPlaneEnsemble) else predictor.spec.plane


_Place = Callable[[Array], Array]
"""Views the part of an array (X, Y, Z) that results go to as (slices, H, W)."""


@dataclass(frozen=True, eq=False)
class _Slices:
    """Results of each slice, as :func:`_for_the_host` has them, and their place in the maps of labels.

    With probabilities, their steps come last, and go to ``place_in_maps`` of ``maps``, or where labels go.
    """

    results: Iterator[list[Tensor]]
    place: _Place
    maps: ProbabilityMaps | None = None
    place_in_maps: _Place | None = None


def _by_scores(
    scores: Iterator[Tensor],
    decision: Decision,
    results: Callable[[Decided], list[Tensor]],
    predictor: Predictor | MultiPlaneEnsemble,
    onto: Record | None,
    probabilities: Record | None,
) -> _Slices:
    """Results by the scores (K, H, W) of each slice: interpolated first, and kept, where a record says so."""
    plane = _plane(predictor)
    place: _Place = partial(plane_view, plane=plane)
    if onto is not None:
        resampler = ScoreResampler(onto, plane)
        scores, place = resampler(scores), resampler.place
    if probabilities is None:
        return _Slices(map(results, map(decision, scores)), place)
    maps = ProbabilityMaps(probabilities, _of_planes(predictor)[0].spec.classes, decision.thresholds)
    with_steps = (_with_steps(one, decision, maps, results) for one in scores)
    return _Slices(with_steps, place, maps, box_of_scan(probabilities, plane) if onto is None else None)


def _for_the_host(decided: Decided, first: int, *, confidence: bool) -> list[Tensor]:
    """Labels of a slice, the sum of their confidence over the foreground, its pixels, and the confidence.

    So that labels alone come back from a GPU, unless the confidence is asked for; ``first`` is the lowest
    label of the foreground.
    """
    labels, sure = decided
    inside = labels >= first
    wide = torch.float32 if sure.device.type == "mps" else torch.float64
    total = (sure * inside).sum(dtype=wide)
    return [labels, total, inside.sum(), *([sure.half()] if confidence else [])]


def _with_steps(
    scores: Tensor, decision: Decision, maps: ProbabilityMaps, results: Callable[[Decided], list[Tensor]]
) -> list[Tensor]:
    """The results of a slice by its scores (K, H, W), and the steps of its probabilities after them."""
    decided = decision(scores)
    return [*results(decided), maps.steps(decision.probabilities(scores), decided[0])]


def _decided(
    volume: NormalizedVolume,
    predictor: Predictor | MultiPlaneEnsemble,
    inferer: Inferer,
    progress: Progress | None,
    *,
    everywhere: bool,
) -> Iterator[Decided]:
    """Labels and confidence of each slice on the volume's own grid."""
    if isinstance(predictor, MultiPlaneEnsemble):
        joined = _joined(volume, predictor, inferer, progress).result()
        return ((torch.from_numpy(labels), torch.from_numpy(sure)) for labels, sure in joined)
    of = slices(volume.grid.shape, predictor.spec.plane)
    labels = slice_scores.labels(volume, predictor, inferer, everywhere=everywhere)
    return _counted(labels, of, progress)


def _scores(
    volume: NormalizedVolume,
    predictor: Predictor | MultiPlaneEnsemble,
    inferer: Inferer,
    progress: Progress | None,
    *,
    everywhere: bool,
) -> tuple[Iterator[Tensor], Decision]:
    """Scores (K, H, W) of each slice, and the rule that decides on them.

    They are logits, but shares where planes are joined or anything votes: a logit says nothing of a vote.
    """
    scores: Iterator[Tensor]
    if isinstance(predictor, MultiPlaneEnsemble):
        spec = predictor.predictors[0].spec
        scores = map(torch.from_numpy, _joined(volume, predictor, inferer, progress).shares())
        by_votes = predictor.ensemble == "vote" or isinstance(inferer, MajorityVote)
        thresholds = _vote_thresholds(spec) if by_votes else spec.thresholds
        return scores, Decision(_as_they_are, thresholds, int(spec.background), everywhere)
    spec, of = predictor.spec, slices(volume.grid.shape, predictor.spec.plane)
    if not isinstance(inferer, MajorityVote) and not _by_votes(predictor, inferer):
        scores = _counted(slice_scores.logits(volume, predictor, inferer), of, progress)
        return scores, Decision(spec.probabilities, spec.thresholds, int(spec.background), everywhere)
    scores = _counted(slice_scores.shares(volume, predictor, inferer), of, progress)
    return scores, Decision(_as_they_are, _vote_thresholds(spec), int(spec.background), everywhere)


def _as_they_are(shares: Tensor) -> Tensor:
    return shares


def _vote_thresholds(spec: Spec) -> tuple[float, ...]:
    """More than half of the votes decide on a mask: they are cast by its own threshold."""
    return (0.5,) * len(spec.thresholds)


def _by_votes(predictor: Predictor | MultiPlaneEnsemble, inferer: Inferer) -> bool:
    """True if the confidence comes from votes, of windows, members or planes."""
    if isinstance(predictor, EmptySkipper):
        return _by_votes(predictor.predictor, inferer)
    if isinstance(predictor, MultiPlaneEnsemble):
        return predictor.ensemble == "vote" or any(_by_votes(one, inferer) for one in predictor.predictors)
    return isinstance(inferer, MajorityVote) or (
        isinstance(predictor, Ensemble) and predictor.ensemble == "vote"
    )


def _joined(
    volume: NormalizedVolume, planes: MultiPlaneEnsemble, inferer: Inferer, progress: Progress | None
) -> MeanOverPlanes | VoteOverPlanes:
    """Label the volume along each plane and join the results; they come slice by slice of ``JOINED``."""
    shape, along = volume.grid.shape, [one.spec.plane for one in planes.predictors]
    join: MeanOverPlanes | VoteOverPlanes
    scores: Callable[[NormalizedVolume, Predictor, Inferer], Iterator[Tensor]]
    spec = planes.predictors[0].spec
    if planes.ensemble == "mean":
        least = _vote_thresholds(spec) if isinstance(inferer, MajorityVote) else spec.thresholds
        join, scores = MeanOverPlanes(shape, along, planes.classes, least), slice_scores.shares
    else:
        join = VoteOverPlanes(shape, along, planes.classes, multilabel=bool(spec.thresholds))
        scores = _labels_alone
    scored_slices = (
        (one.spec.plane, index, scored)
        for one in planes.predictors
        for index, (scored,) in enumerate(downloaded([x] for x in scores(volume, one, inferer)))
    )
    for plane, index, scored in _counted(
        scored_slices, sum(slices(shape, plane) for plane in along), progress
    ):
        join.add(plane, index, scored)
    return join


def _labels_alone(volume: NormalizedVolume, predictor: Predictor, inferer: Inferer) -> Iterator[Tensor]:
    return (labels for labels, _ in slice_scores.labels(volume, predictor, inferer, everywhere=False))


def _counted(items: Iterator[_T], of: int, progress: Progress | None) -> Iterator[_T]:
    """Pass items on, and report each one after it has been used."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, of)


def check(inferer: Inferer, spec: Spec) -> None:
    """Check an inferer against the network's input and output, before any scan is read.

    Raises KEYWORD_INVALID for one that does not suit the network's padding or memory, and for a CRF of
    masks that overlap, SIZE_IMPOSSIBLE for windows, tiles or strides that the network cannot take.
    """
    if spec.thresholds and not isinstance(inferer, MajorityVote) and inferer.crf is not None:
        details = "a CRF shares each pixel out among classes, and masks overlap"
        raise MedsegError(Code.KEYWORD_INVALID, "crf", details, "leave it out")
    if isinstance(inferer, OverlapTile):
        check_tiles(inferer, spec)
        return
    if spec.border:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "mode",
            f"dense, gaussian or vote, but the network's output lacks {spec.border} px on each side",
            "use tiles, the mode for networks of valid convolutions",
        )
    if not isinstance(inferer, WholeSlice):
        _check_window(inferer.window, spec)


def _check_channels(volume: NormalizedVolume, spec: Spec) -> None:
    if len(volume.array) != spec.channels:
        raise MedsegError(
            Code.CHANNEL_MISSING,
            "image",
            f"{len(volume.array)} channels where the model takes {spec.channels}",
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
