"""Scores of each slice of a volume by one predictor, in order: logits, shares of classes, or labels.

Memory holds one batch and the slices that it is part of.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from medseg.grid import Plane
from medseg.infer import crf as dense_crf
from medseg.infer.decide import Decided, Decision
from medseg.infer.inferers import (
    GaussianWindow,
    Inferer,
    MajorityVote,
    OverlapTile,
    WholeSlice,
    inputs_at_once,
)
from medseg.infer.predictor import Predictor, Spec, checked
from medseg.infer.stitch import MultilabelVoteStitcher, VoteStitcher
from medseg.infer.tiles import blended, tiled
from medseg.model.description import CRFSettings
from medseg.patches.slabs import read_slab, slice_shape, slices
from medseg.patches.windows import Pair, blocks, covering_grid, cut, mirrored
from medseg.preprocess.intensity import NormalizedVolume
from medseg.transfer import upload


def labels(
    volume: NormalizedVolume, predictor: Predictor, inferer: Inferer, *, everywhere: bool
) -> Iterator[Decided]:
    """Labels (H, W) uint8 and confidence (H, W) float32 of each slice.

    Unless ``everywhere``, the confidence may be 0 in rows without foreground.
    """
    if isinstance(inferer, MajorityVote):
        return (votes.result() for votes in _votes(volume, predictor, inferer))
    spec = predictor.spec
    decision = Decision(spec.probabilities, spec.thresholds, int(spec.background), everywhere)
    return map(decision, logits(volume, predictor, inferer))


def shares(volume: NormalizedVolume, predictor: Predictor, inferer: Inferer) -> Iterator[Tensor]:
    """Probabilities (K, H, W) float32 of each slice, or shares of votes."""
    if isinstance(inferer, MajorityVote):
        return (votes.shares() for votes in _votes(volume, predictor, inferer))
    return map(predictor.spec.probabilities, logits(volume, predictor, inferer))


def logits(
    volume: NormalizedVolume, predictor: Predictor, inferer: WholeSlice | OverlapTile | GaussianWindow
) -> Iterator[Tensor]:
    """Logits (K, H, W) float32 of each slice, refined by the inferer's CRF if it has one."""
    match inferer:
        case WholeSlice():
            scores = _dense(volume, predictor, inferer)
        case OverlapTile():
            scores = tiled(volume, predictor, inferer)
        case GaussianWindow():
            scores = blended(volume, predictor, inferer)
    if inferer.crf is not None:
        scores = _refined(scores, volume, predictor.spec.plane, inferer.crf)
    return scores


def _dense(volume: NormalizedVolume, predictor: Predictor, inferer: WholeSlice) -> Iterator[Tensor]:
    """Logits (K, H, W) float32 of each slice, from whole slices."""
    spec = predictor.spec
    height, width = slice_shape(volume.grid.shape, spec.plane)
    padded = (spec.size_from(height), spec.size_from(width))
    batch = inputs_at_once(inferer, padded[0] * padded[1], spec.device)
    with checked(predictor) as logits_of:
        for slabs in _slabs(volume, spec, padded, batch):
            yield from logits_of(slabs)[..., :height, :width]


def _slabs(volume: NormalizedVolume, spec: Spec, least: Pair, batch: int) -> Iterator[Tensor]:
    """Slabs (B, C·D, H, W) of all slices in order, ``batch`` at a time, mirrored up to ``least``."""
    of = slices(volume.grid.shape, spec.plane)
    for first in range(0, of, batch):
        indices = range(first, min(first + batch, of))
        slabs = [mirrored(read_slab(volume, spec.plane, index, spec.depth), least) for index in indices]
        yield upload(np.stack(slabs), spec.device)


def _refined(
    scores: Iterator[Tensor], volume: NormalizedVolume, plane: Plane, crf: CRFSettings
) -> Iterator[Tensor]:
    """Logits (K, H, W) of each slice → the log of the CRF's marginals, on the CPU."""
    for logits, guide in zip(scores, dense_crf.guides(volume, plane), strict=True):
        probabilities = logits.softmax(dim=0).cpu().numpy()
        yield torch.from_numpy(dense_crf.refine(probabilities, guide, crf)).log()


def _votes(
    volume: NormalizedVolume, predictor: Predictor, inferer: MajorityVote
) -> Iterator[VoteStitcher | MultilabelVoteStitcher]:
    """Yield each slice's votes when all are cast."""
    spec, window = predictor.spec, inferer.window
    shape = slice_shape(volume.grid.shape, spec.plane)
    batch = inputs_at_once(inferer, window[0] * window[1], spec.device)
    grid = covering_grid(shape, window, inferer.stride)
    stitcher = MultilabelVoteStitcher if spec.thresholds else VoteStitcher
    with checked(predictor) as logits_of:
        for slabs in _slabs(volume, spec, window, max(1, batch // len(grid))):
            laid_out = slabs.contiguous(memory_format=spec.memory_format)
            votes = [stitcher(shape, window, inferer.stride, spec.classes, spec.device) for _ in slabs]
            for block in blocks(grid, batch):
                said = spec.labels(logits_of(cut(laid_out, block, window)))
                for of_slice, of_block in zip(votes, said.view(len(slabs), -1, *window), strict=True):
                    of_slice.add(of_block, block)
            yield from votes
