"""Inference on a device that holds no numbers: what reads a value there fails, as it would wait on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg import transfer
from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.infer import predict, predictor
from medseg.infer.inferers import (
    GaussianWindow,
    Inferer,
    MajorityVote,
    OverlapTile,
    WholeSlice,
    inputs_at_once,
)
from medseg.infer.predictor import NetworkPredictor, Spec, checked
from medseg.preprocess.intensity import Normalization, NormalizedVolume

PADDED = Spec("axial", 3, 1, 3, 4)
SCAN = NormalizedVolume(
    np.zeros((1, 20, 18, 5), np.int16), Grid((20, 18, 5), np.eye(4)), Normalization((0.0,), (1.0,))
)


class OnMeta:
    """A predictor that has shapes alone; autocast, and so ``NetworkPredictor``, does not know the device."""

    def __init__(self, spec: Spec) -> None:
        self.spec = replace(spec, device="meta")
        self._network = nn.Conv2d(3, 3, 2 * spec.border + 1, device="meta")

    def __call__(self, batch: Tensor) -> Tensor:
        assert batch.device.type == "meta"
        logits: Tensor = self._network(batch)
        return logits


class Promise:
    """A copy from the device that is never done before it is waited for, and then holds zeros."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.is_done = False
        self._tensors = tensors

    def wait(self) -> list[Tensor]:
        return [torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in self._tensors]


@pytest.mark.parametrize(
    ("inferer", "spec"),
    [
        (MajorityVote((8, 8), (3, 5)), PADDED),
        (MajorityVote((8, 8), (4, 4), 5), replace(PADDED, thresholds=(0.5, 0.3, 0.4))),
        (WholeSlice(), PADDED),
        (WholeSlice(), replace(PADDED, thresholds=(0.5, 0.3, 0.4))),
        (GaussianWindow((8, 8)), PADDED),
        (OverlapTile(16), replace(PADDED, border=2)),
    ],
)
@pytest.mark.parametrize("confidence", [False, True])
def test_no_value_is_read_on_the_way(
    inferer: Inferer, spec: Spec, confidence: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "Download", Promise)
    monkeypatch.setattr(predictor, "Download", Promise)
    result = predict.label(SCAN, OnMeta(spec), inferer, confidence=confidence)
    assert result.labels.shape == (20, 18, 5)
    assert (result.quality, result.confidence is not None) == (0.0, confidence)


def test_reading_a_value_there_fails() -> None:
    with pytest.raises(NotImplementedError):
        predict.label(SCAN, OnMeta(PADDED), WholeSlice())


def test_logits_that_are_not_numbers_are_noticed_one_batch_later_or_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(Promise):
        def wait(self) -> list[Tensor]:
            return list(self._tensors)

    monkeypatch.setattr(predictor, "Download", Late)
    one = NetworkPredictor(nn.Identity(), replace(PADDED, depth=1, classes=1), "cpu")
    good, bad = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), torch.nan)
    for batches in ([bad, good], [good, bad]):
        with pytest.raises(MedsegError) as refused, checked(one) as logits_of:
            assert [len(logits_of(batch)) for batch in batches] == [1, 1]
        assert refused.value.code == Code.NAN_OR_INF


def test_a_gpu_gets_about_a_million_pixels_unless_the_model_says_otherwise() -> None:
    vote, dense = MajorityVote(), WholeSlice()
    assert [inputs_at_once(vote, 40 * 40, device) for device in ("cpu", "cuda", "cuda:1")] == [64, 655, 655]
    assert [inputs_at_once(dense, 160 * 128, device) for device in ("cpu", "cuda")] == [4, 51]
    assert inputs_at_once(dense, 4096**2, "cuda") == 4
    assert inputs_at_once(MajorityVote(batch=7), 40 * 40, "cuda") == 7
