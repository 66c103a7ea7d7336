"""The dense CRF against a brute-force mean field with the same kernel and normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from medseg.grid import Array, Grid, Plane
from medseg.infer import crf, predict
from medseg.infer.crf import Bilateral, Greys, Smooth, mean_field, refine
from medseg.infer.inferers import GaussianWindow, WholeSlice
from medseg.infer.predictor import Spec
from medseg.model.description import CRFSettings
from medseg.patches.slabs import plane_view
from medseg.patches.windows import mirrored
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from tests.oracles import crf as oracle


def picture(seed: int, shape: tuple[int, int], channels: int, noise: float) -> tuple[Array, Array]:
    """Flat patches of six pixels with noise (C, H, W), and probabilities of three classes (3, H, W)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 3, (shape[0] // 6 + 1, shape[1] // 6 + 1))
    label = blocks.repeat(6, axis=0).repeat(6, axis=1)[: shape[0], : shape[1]]
    colour = rng.uniform(20, 235, (channels, 3))[:, label]
    guide = np.clip(colour + rng.normal(0, noise, colour.shape), 0, 255)
    scores = rng.normal(0, 1, (3, *shape)) + 1.5 * (np.arange(3)[:, None, None] == label)
    odds = np.exp(scores)
    return guide, (odds / odds.sum(0)).astype(np.float32)


def brute_force(probabilities: Array, guide: Array, how: CRFSettings) -> Array:
    bilateral, smooth = oracle.kernels(guide, how.sigma_alpha, how.sigma_beta, how.sigma_gamma)
    kernel = how.w1 * oracle.normalised(bilateral) + how.w2 * oracle.normalised(smooth)
    flat = probabilities.reshape(len(probabilities), -1).T.astype(np.float64)
    return oracle.mean_field(flat, kernel, how.iterations).T.reshape(probabilities.shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0, 20.0, 1e3])
def test_on_32_by_32_it_is_within_002_of_brute_force_and_99_percent_of_labels_agree(
    channels: int, noise: float
) -> None:
    guide, probabilities = picture(3, (32, 32), channels, noise)
    exact, found = (
        brute_force(probabilities, guide, CRFSettings()),
        refine(probabilities, guide, CRFSettings()),
    )
    assert np.abs(found - exact).max() <= 0.02
    assert (found.argmax(0) == exact.argmax(0)).mean() >= 0.99
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from([1, 3]),
    noise=st.sampled_from([0.0, 1.0, 4.0, 12.0]),
    w1=st.floats(3, 6),
    sigma_alpha=st.floats(30, 100),
    sigma_beta=st.floats(3, 6),
)
def test_within_002_of_brute_force_over_sizes_and_the_papers_range_of_parameters(
    seed: int, shape: tuple[int, int], channels: int, noise: float, **how: float
) -> None:
    guide, probabilities = picture(seed, shape, channels, noise)
    asked = CRFSettings(**how)
    found = refine(probabilities, guide, asked)
    assert np.abs(found - brute_force(probabilities, guide, asked)).max() <= 0.02


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 2, 3]),
    sigma_alpha=st.sampled_from([0.5, 1.5, 5.0, 70.0]),
    sigma_beta=st.sampled_from([1.0, 4.0, 40.0]),
)
def test_the_bilateral_filter_is_near_the_sum_over_all_pixels_and_symmetric(
    seed: int, channels: int, sigma_alpha: float, sigma_beta: float
) -> None:
    guide, probabilities = picture(seed, (9, 14), channels, 5.0)
    made = Bilateral(guide, sigma_alpha, sigma_beta)
    kernel, _ = oracle.kernels(guide, sigma_alpha, sigma_beta, 1.0)
    a, b = probabilities[0], probabilities[1]
    off = made(a).ravel() - kernel @ a.ravel()
    assert np.abs(off / kernel.sum(1)).max() < 0.01
    assert np.vdot(b, made(a)) == pytest.approx(np.vdot(made(b), a), rel=1e-4)
    unit = np.zeros((9, 14), np.float32)
    unit[4, 7] = 1
    assert made(unit)[4, 7] == pytest.approx(made.own[4, 7], rel=1e-4)


def test_coarser_grids_of_large_colour_images_stay_near(monkeypatch: pytest.MonkeyPatch) -> None:
    guide, probabilities = picture(0, (24, 24), 3, 5.0)
    kernel, _ = oracle.kernels(guide, 30.0, 4.0, 1.0)
    exact = kernel @ probabilities[0].ravel()
    shares = []
    for limit in ("_MOST_NODES", "_MOST_PAIRS", "_MOST_PRODUCTS"):
        with monkeypatch.context() as patch:
            patch.setattr(crf, limit, 0)
            coarse = Bilateral(guide, 30.0, 4.0)
        shares.append(coarse._share.nnz // probabilities[0].size)
        ratio = coarse(probabilities[0]).ravel() / exact / coarse.own.ravel()
        assert np.abs(ratio - 1).max() < 0.5 and np.abs(ratio - 1).mean() < 0.12
    assert shares == [32, 32, 32]


def test_the_smoothness_filter_is_the_sum_over_all_pixels() -> None:
    q = picture(0, (7, 12), 1, 1.0)[1][0]
    _, kernel = oracle.kernels(np.zeros((1, 7, 12)), 1.0, 1.0, 3.0)
    np.testing.assert_allclose(Smooth((7, 12), 3.0)(q).ravel(), kernel @ q.ravel(), rtol=1e-5)


TWO_PIXELS = np.array([[0.6, 0.9], [0.4, 0.1]], np.float32).reshape(2, 1, 2)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(1, [(0.769496, 0.230504), (0.916615, 0.083385)]), (2, [(0.775337, 0.224663), (0.939130, 0.060870)])],
)
def test_two_pixels_un_normalised(iterations: int, expected: list[tuple[float, float]]) -> None:
    found = mean_field(TWO_PIXELS, [lambda q: q[:, ::-1]], iterations)  # each pixel hears the other, K = 1
    np.testing.assert_allclose(found.reshape(2, 2).T, expected, atol=1e-6)
    flat = TWO_PIXELS.reshape(2, 2).T.astype(np.float64)
    np.testing.assert_allclose(oracle.mean_field(flat, np.ones((2, 2)), iterations), expected, atol=1e-6)


def test_no_kernel_leaves_the_probabilities() -> None:
    guide, probabilities = picture(0, (5, 6), 1, 3.0)
    np.testing.assert_allclose(
        refine(probabilities, guide, CRFSettings(w1=0, w2=0)), probabilities, atol=1e-6
    )


@pytest.mark.parametrize(("apart", "between", "weight"), [(3, 4, 4.243488), (3, 0, 5.815920), (0, 0, 7.0)])
def test_the_weight_of_a_pair_of_pixels(apart: int, between: float, weight: float) -> None:
    guide = np.full((1, 1, 4), 100.0)
    guide[0, 0, apart] += between
    how = CRFSettings()
    bilateral = Bilateral(guide, how.sigma_alpha, how.sigma_beta)
    smooth = Smooth((1, 4), how.sigma_gamma)
    unit = np.zeros((1, 4), np.float32)
    unit[0, 0] = 1
    found = how.w1 * bilateral(unit) + how.w2 * smooth(unit)
    assert found[0, apart] == pytest.approx(weight, rel=2e-3)


def test_a_lone_wrong_pixel_is_mended_and_an_edge_in_the_image_is_kept() -> None:
    guide = np.full((1, 16, 16), 40.0)
    guide[:, :, 8:] = 200.0
    probabilities = np.full((2, 16, 16), 0.4, np.float32)
    probabilities[0, :, :8] = probabilities[1, :, 8:] = 0.6
    probabilities[:, 5, 3] = [0.3, 0.7]
    labels = refine(probabilities, guide, CRFSettings()).argmax(0)
    np.testing.assert_array_equal(labels, np.arange(16) >= np.full((16, 1), 8))


@pytest.mark.parametrize("wrong", [{"w3": 1}, {"sigma_alpha": 0}, {"w1": -1}, {"iterations": 0}])
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CRFSettings(**wrong)


def test_greys_run_from_the_lowest_value_to_the_995th_percentile() -> None:
    values = np.arange(1000, dtype=np.int16).reshape(1, 10, 10, 10)
    ready = NormalizedVolume(values, Grid((10, 10, 10), np.eye(4)), Normalization((0.0,), (1.0,)))
    found = crf.greys(ready)
    assert found.low == 0
    assert found.high == pytest.approx(np.percentile(values, 99.5), abs=1)
    guide = Greys(0.0, 510.0).guide(np.array([[-5, 0, 255, 510, 999]]))
    np.testing.assert_allclose(guide, [[[0, 0, 127.5, 255, 255]]])
    flat = NormalizedVolume(
        np.full((1, 2, 2, 2), 7), Grid((2, 2, 2), np.eye(4)), Normalization((0.0,), (1.0,))
    )
    assert math.isfinite(crf.greys(flat).guide(flat.array[0, 0]).sum())


class Noisy:
    """A predictor of three classes: the grey value's third, with one voxel in nine taken for another."""

    def __init__(self, plane: Plane) -> None:
        self.spec = Spec(plane, 1, 1, 3, 4)

    def __call__(self, batch: Tensor) -> Tensor:
        numbers = torch.arange(3).reshape(1, -1, 1, 1)
        logits = -((batch - numbers) ** 2)
        logits[..., ::3, ::3] = logits[..., ::3, ::3].flip(1)
        return logits


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_dense_prediction_refines_every_slice_guided_by_its_own_grey_values(plane: Plane) -> None:
    truth = np.zeros((16, 14, 12), np.int16)
    truth[4:] = 1
    truth[:, 7:] = 2
    ready = NormalizedVolume(truth[None], Grid((16, 14, 12), np.eye(4)), Normalization((0.0,), (1.0,)))
    plain = predict.label(ready, Noisy(plane), WholeSlice(batch=3))
    refined = predict.label(ready, Noisy(plane), WholeSlice(3, CRFSettings()), confidence=True)
    shown, made = plane_view(truth, plane), plane_view(refined.labels, plane)
    for guide, labels in zip(shown, made, strict=True):
        logits = Noisy(plane)(torch.from_numpy(mirrored(guide[None, None].astype(np.float32), (16, 16))))
        probabilities = logits.softmax(1)[0, :, : guide.shape[0], : guide.shape[1]].numpy()
        expected = refine(probabilities, crf.greys(ready).guide(guide), CRFSettings())
        np.testing.assert_array_equal(labels, expected.argmax(0))
    assert (refined.labels == truth).mean() > 0.97 > (plain.labels == truth).mean()
    assert refined.quality_kind == "probability"
    assert plain.quality < refined.quality <= 1
    assert refined.confidence is not None and refined.confidence.max() <= 1
    blended = predict.label(ready, Noisy(plane), GaussianWindow((16, 16), crf=CRFSettings()))
    np.testing.assert_array_equal(blended.labels, refined.labels)
