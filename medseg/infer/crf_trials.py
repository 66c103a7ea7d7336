"""Label maps of a volume by several settings of a dense CRF, from one pass of the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from medseg.grid import Array
from medseg.infer import crf, slice_scores
from medseg.infer.inferers import GaussianWindow, OverlapTile, WholeSlice
from medseg.infer.predictor import Predictor
from medseg.model.description import CRFSettings
from medseg.preprocess.intensity import NormalizedVolume


def labels_of_slices(
    volume: NormalizedVolume,
    predictor: Predictor,
    inferer: WholeSlice | OverlapTile | GaussianWindow,
    several: Sequence[CRFSettings],
) -> Iterator[list[Array]]:
    """Label each slice of the predictor's plane without a CRF, and with each of the settings, (H, W) uint8.

    What is given for a setting is what :func:`predict.label` gives with it on the volume's own grid; the
    ``crf`` of the inferer does not count. Memory holds one slice.
    """
    with torch.inference_mode():
        scores = slice_scores.logits(volume, predictor, replace(inferer, crf=None))
        for logits, guide in zip(scores, crf.guides(volume, predictor.spec.plane), strict=True):
            probabilities = logits.softmax(dim=0).cpu().numpy()
            refined = crf.refinements(probabilities, guide, several)
            yield [one.argmax(axis=0).astype(np.uint8) for one in (probabilities, *refined)]
