"""Labelling a volume: planes, dense and voting, ties, quality, members, precision, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid, Plane
from medseg.infer import predict
from medseg.infer.ensemble import Ensemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, WholeSlice
from medseg.infer.predictor import NetworkPredictor, Spec, autocast_dtype
from medseg.patches.slabs import plane_view
from medseg.preprocess.intensity import Normalization, NormalizedVolume

PLANES: list[Plane] = ["axial", "coronal", "sagittal"]
HOWS: list[Inferer] = [
    WholeSlice(batch=3),
    MajorityVote((8, 4), (3, 2), batch=5),
    GaussianWindow((8, 4), (3, 2), batch=5),
]


class Given:
    """A predictor from a function of the batch; it keeps the shapes it saw."""

    def __init__(self, function: Any, spec: Spec) -> None:
        self.spec = spec
        self.function = function
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.seen.append(tuple(batch.shape))
        return self.function(batch)  # type: ignore[no-any-return]


def spec(plane: Plane = "axial", depth: int = 1, channels: int = 1, classes: int = 3, step: int = 4) -> Spec:
    return Spec(plane, depth, channels, classes, step)


def ready(array: Array) -> NormalizedVolume:
    x, y, z = array.shape[1:]
    channels = len(array)
    return NormalizedVolume(
        array, Grid((x, y, z), np.eye(4)), Normalization((0.0,) * channels, (1.0,) * channels)
    )


def classes_of(shape: tuple[int, int, int], classes: int = 3) -> Array:
    return np.random.default_rng(0).integers(0, classes, (1, *shape)).astype(np.int16)


def reads_the_middle(depth: int, classes: int) -> Any:
    """Logits that are largest for the class whose number stands in the middle slice."""

    def function(batch: Tensor) -> Tensor:
        numbers = torch.arange(classes).reshape(1, -1, 1, 1)
        return -((batch[:, depth // 2, None] - numbers) ** 2)

    return function


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("depth", [1, 3])
def test_every_voxel_gets_the_label_its_pixel_was_given(plane: Plane, how: Inferer, depth: int) -> None:
    array = classes_of((9, 6, 7))
    predictor = Given(reads_the_middle(depth, 3), spec(plane, depth))
    result = predict.label(ready(array), predictor, how, confidence=True)
    assert result.labels.dtype == np.uint8
    assert np.array_equal(result.labels, array[0])
    assert result.confidence is not None
    assert result.confidence.dtype == np.float16
    assert all(shape[1] == depth and shape[2] % 4 == shape[3] % 4 == 0 for shape in predictor.seen)


def test_slices_smaller_than_the_window_are_mirrored_and_cropped() -> None:
    array = classes_of((3, 1, 4))
    predictor = Given(reads_the_middle(1, 3), spec())
    result = predict.label(ready(array), predictor, MajorityVote((8, 8), (2, 2)))
    assert np.array_equal(result.labels, array[0])
    assert predictor.seen == [(4, 1, 8, 8)]  # the windows of several slices share a forward pass


def test_dense_mirrors_at_the_end_up_to_the_step() -> None:
    array = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    seen: list[Tensor] = []

    def function(batch: Tensor) -> Tensor:
        seen.append(batch.clone())
        return torch.zeros(len(batch), 3, *batch.shape[2:])

    predict.label(ready(array), Given(function, spec(step=5)), WholeSlice())
    assert seen[0][0, 0, :, 0].tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("how", HOWS)
def test_equal_logits_go_to_the_lowest_class(how: Inferer) -> None:
    def function(batch: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1).expand(len(batch), 3, *batch.shape[2:])

    result = predict.label(ready(classes_of((9, 6, 2))), Given(function, spec()), how)
    assert (result.labels == 1).all()


def test_probability_margin_and_quality_by_hand() -> None:
    # two voxels: p = (.2, .7, .1) margin .5 in class 1; p = (.8, .1, .1) margin .7 in the background
    array = np.array([1, 0], np.int16).reshape(1, 2, 1, 1)

    def function(batch: Tensor) -> Tensor:
        table = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]).log()
        return table[batch[:, 0].long()].permute(0, 3, 1, 2)

    result = predict.label(ready(array), Given(function, spec(step=1)), WholeSlice(), confidence=True)
    assert result.quality_kind == "probability"
    assert result.confidence is not None
    assert np.allclose(result.confidence.ravel(), [0.5, 0.7], atol=1e-3)
    assert result.quality == pytest.approx(0.5, abs=1e-6)  # the foreground's alone


def test_vote_share_margin_and_quality_by_hand() -> None:
    # one row of four pixels, windows of 2 that say 1 1, 1 0, 0 2: votes 1 | 1 1 | 0 0 | 2
    said = iter([[[[1, 1]], [[1, 0]], [[0, 2]]]])

    def function(batch: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.tensor(next(said)), 3).permute(0, 3, 1, 2).float()

    array = np.zeros((1, 1, 4, 1), np.int16)
    result = predict.label(
        ready(array), Given(function, spec(step=1)), MajorityVote((1, 2), (1, 1)), confidence=True
    )
    assert result.labels.ravel().tolist() == [1, 1, 0, 2]
    assert result.confidence is not None
    assert result.confidence.ravel().tolist() == [1, 1, 1, 1]
    assert result.quality == 1
    assert result.quality_kind == "vote share"


@pytest.mark.parametrize("how", HOWS)
def test_an_empty_prediction_has_quality_zero(how: Inferer) -> None:
    array = np.zeros((1, 8, 4, 2), np.int16)
    result = predict.label(ready(array), Given(reads_the_middle(1, 3), spec()), how)
    assert (result.quality, result.confidence) == (0.0, None)


@pytest.mark.parametrize("how", HOWS)
def test_quality_does_not_depend_on_keeping_the_margin_and_progress_counts_slices(how: Inferer) -> None:
    torch.manual_seed(0)
    predictor = NetworkPredictor(nn.Conv2d(3, 3, 3, padding=1), spec("coronal", depth=3))
    scan = ready(classes_of((9, 6, 7)))
    calls: list[tuple[int, int]] = []
    kept = predict.label(scan, predictor, how, confidence=True, progress=lambda *done: calls.append(done))
    assert calls == [(i, 6) for i in range(1, 7)]
    assert predict.label(scan, predictor, how).quality == kept.quality
    assert kept.confidence is not None
    inside = kept.labels > 0
    assert kept.quality == pytest.approx(kept.confidence[inside].mean(dtype=np.float64), abs=1e-3)


def test_dense_equals_the_network_on_the_mirrored_slice() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 1))
    array = np.random.default_rng(2).normal(size=(2, 9, 6, 5)).astype(np.float32)
    predictor = NetworkPredictor(network, spec("sagittal", 3, channels=2, step=4))
    labels = predict.label(ready(array), predictor, WholeSlice(batch=2)).labels
    for index in range(9):
        around = np.clip([index - 1, index, index + 1], 0, 8)
        slab = np.concatenate([array[0, around], array[1, around]])
        padded = np.pad(slab, [(0, 0), (0, 2), (0, 3)], mode="reflect")
        with torch.no_grad():
            expected = network(torch.from_numpy(padded[None]))[0].argmax(0)[:6, :5]
        assert np.array_equal(plane_view(labels, "sagittal")[index], expected.numpy())


def test_the_network_is_in_evaluation_mode_and_no_graph_is_kept() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Dropout(0.9))
    predictor = NetworkPredictor(network, spec())
    assert not network.training
    array = classes_of((8, 8, 2))
    first, second = (predict.label(ready(array), predictor, WholeSlice()).labels for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_gives_float32_logits(channels_last: bool) -> None:
    predictor = NetworkPredictor(
        nn.Conv2d(1, 3, 3, padding=1), spec(), "cpu", "bf16", channels_last=channels_last
    )
    full = NetworkPredictor(predictor._network, spec(), precision="fp32")
    batch = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        low, high = predictor(batch), full(batch)
    assert low.dtype == torch.float32
    assert not torch.equal(low, high)
    assert torch.allclose(low, high, atol=0.05)


def test_precision_keys() -> None:
    cpu = torch.device("cpu")
    assert [autocast_dtype(key, cpu) for key in ("fp32", "bf16")] == [None, torch.bfloat16]
    with pytest.raises(MedsegError) as refused:
        NetworkPredictor(nn.Conv2d(1, 2, 1), spec(), cpu, "fp16")
    assert refused.value.code is Code.KEYWORD_INVALID


def test_prediction_is_in_fp32_unless_told_otherwise() -> None:
    network, batch = nn.Conv2d(1, 3, 3, padding=1), torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(NetworkPredictor(network, spec())(batch), network(batch))


def constant(*probabilities: float, **keywords: Any) -> Given:
    logits = torch.tensor(probabilities).log().reshape(1, -1, 1, 1)
    return Given(lambda batch: logits.expand(len(batch), -1, *batch.shape[2:]).clone(), spec(**keywords))


def test_members_by_mean_and_by_vote() -> None:
    # the paper's example: votes say class 1, the summed probabilities class 0
    three = [constant(*p, classes=2) for p in ((0.9, 0.1), (0.4, 0.6), (0.45, 0.55))]
    batch = torch.zeros(1, 1, 4, 4)
    mean, vote = (Ensemble(three, rule)(batch)[0, :, 0, 0].softmax(0) for rule in ("mean", "vote"))
    assert torch.allclose(mean, torch.tensor([1.75, 1.25]) / 3)
    assert torch.allclose(vote, torch.tensor([1.0, 2.0]) / 3)
    tie = Ensemble(three[:2], "vote")(batch)
    assert (tie.argmax(1) == 0).all()


def test_votes_of_members_that_all_agree_are_still_usable() -> None:
    both = Ensemble([constant(0.1, 0.2, 0.7), constant(0.1, 0.2, 0.7)], "vote")
    result = predict.label(ready(classes_of((4, 4, 2))), both, WholeSlice(), confidence=True)
    assert (result.labels == 2).all()
    assert result.quality == 1


def test_quality_is_named_after_what_it_is_the_margin_of() -> None:
    three = [constant(0.1, 0.2, 0.7)] * 3
    scan = ready(np.zeros((1, 4, 4, 2), np.float32))
    rules: tuple[Any, ...] = ("mean", "vote")
    kinds = {rule: predict.label(scan, Ensemble(three, rule), WholeSlice()).quality_kind for rule in rules}
    assert kinds == {"mean": "probability", "vote": "vote share"}


def test_members_take_the_step_that_suits_all_and_must_agree_otherwise() -> None:
    assert (
        Ensemble([constant(0.5, 0.3, 0.2, step=4), constant(0.5, 0.3, 0.2, step=6)]).spec.size_divisor == 12
    )
    for others in ([constant(0.5, 0.5, classes=2)], [constant(0.5, 0.3, 0.2, plane="coronal")]):
        with pytest.raises(MedsegError) as refused:
            Ensemble([constant(0.5, 0.3, 0.2), *others])
        assert refused.value.code == Code.KEYWORD_INVALID
    with pytest.raises(MedsegError, match="0 members"):
        Ensemble([])


@pytest.mark.parametrize(
    ("predictor", "how", "code"),
    [
        (constant(0.5, 0.3, 0.2, channels=2), WholeSlice(), Code.CHANNEL_MISSING),
        (constant(0.5, 0.5), WholeSlice(), Code.SIZE_IMPOSSIBLE),  # two classes where three are promised
        (
            Given(lambda batch: batch[..., 1:-1, 1:-1].expand(-1, 3, -1, -1), spec()),
            WholeSlice(),
            Code.SIZE_IMPOSSIBLE,
        ),
        (
            constant(0.5, 0.3, 0.2),
            MajorityVote((6, 8), (2, 2)),
            Code.SIZE_IMPOSSIBLE,
        ),  # 6 is no multiple of 4
        (constant(0.5, 0.3, 0.2), MajorityVote((4, 4), (5, 4)), Code.KEYWORD_INVALID),
        (constant(0.5, 0.3, math.nan), WholeSlice(), Code.NAN_OR_INF),
    ],
)
def test_refusals(predictor: Given, how: Inferer, code: Code) -> None:
    with pytest.raises(MedsegError) as refused:
        predict.label(ready(classes_of((8, 8, 2))), predictor, how)
    assert refused.value.code == code
