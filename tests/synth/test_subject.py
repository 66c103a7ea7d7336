"""Synthetic subjects: the same seed gives the same brain, and every brain looks like one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.synth import fields, subject
from medseg.synth.tissues import Tissues


def test_labels_by_hand() -> None:
    #                air  rim  csf  mix  gm   wm   tie
    csf = np.array([0.0, 0.1, 0.8, 0.4, 0.2, 0.0, 0.0])
    gm = np.array([0.1, 0.5, 0.1, 0.3, 0.6, 0.3, 0.5])
    wm = np.array([0.1, 0.0, 0.1, 0.3, 0.2, 0.7, 0.5])
    parts = subject.shares(csf, gm, wm)
    np.testing.assert_allclose(sum(parts), [0, 1, 1, 1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(parts[1][1], 5 / 6, rtol=1e-6)
    np.testing.assert_array_equal(subject.label_map(*parts), [0, 2, 1, 1, 2, 3, 2])


def test_types_grid_and_values(anatomy: Tissues) -> None:
    image, labels = subject.make(anatomy, 0, 1)
    assert image.array.shape == labels.array.shape == (1, *anatomy.shape)
    assert (image.array.dtype, labels.array.dtype) == (np.int16, np.uint8)
    assert image.grid is labels.grid
    np.testing.assert_array_equal(image.grid.affine, anatomy.affine)
    assert set(np.unique(labels.array)) == set(subject.CLASSES)
    assert image.array.min() >= 0


def test_seed_and_number_decide_everything(anatomy: Tissues) -> None:
    first, again = subject.make(anatomy, 5, 2), subject.make(anatomy, 5, 2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    for other in (subject.make(anatomy, 5, 3), subject.make(anatomy, 6, 2)):
        assert (first[1].array != other[1].array).mean() > 0.02


@pytest.mark.parametrize("number", range(1, 7))
def test_every_subject_looks_like_a_t1(anatomy: Tissues, number: int) -> None:
    image, labels = (v.array[0] for v in subject.make(anatomy, 0, number))
    air, csf, gm, wm = (float(image[labels == k].mean()) for k in range(4))
    assert air < 0.08 * wm
    assert air < 0.5 * csf
    assert csf < 0.85 * gm  # thin sulci are partly grey matter at 4 mm
    assert gm < 0.9 * wm
    ml = [(labels == k).sum() * 4**3 / 1000 for k in (1, 2, 3)]
    assert 40 < ml[0] < 250
    assert 800 < ml[1] < 1600
    assert 400 < ml[2] < 900


@pytest.mark.parametrize("number", range(1, 7))
def test_no_deformation_folds(anatomy: Tissues, number: int) -> None:
    where = subject.draw_positions(anatomy, np.random.default_rng([0, number]))
    volume = fields.jacobian(where)
    assert volume.min() >= fields.LEAST_JACOBIAN
    assert volume.max() < 3


def test_the_brain_does_not_leave_the_grid(anatomy: Tissues) -> None:
    touched = 0
    for number in range(1, 7):
        labels = subject.make(anatomy, 0, number)[1].array[0]
        touched += sum(int(labels.take([0, -1], axis=axis).any()) for axis in range(3))
    assert touched == 0


def test_contrast_stays_within_a_t1_s_order() -> None:
    rng = np.random.default_rng(0)
    for contrast in (subject.draw_contrast(rng) for _ in range(200)):
        assert 0.15 < contrast.csf < contrast.grey - 0.3 < 0.5
        assert contrast.noise < 0.1 * (1 - contrast.csf)


def test_rim_holds_rayleigh_noise_and_all_beyond_is_zero(anatomy: Tissues) -> None:
    # Rician noise without signal: mean σ√(π/2), mean square 2σ².
    image, labels = (v.array[0] for v in subject.make(anatomy, 0, 1))
    brain = labels > 0
    kept = ndimage.binary_dilation(brain, iterations=subject.STRIP_VOXELS)
    rim = image[kept & ~brain].astype(float)
    sigma = np.sqrt((rim**2).mean() / 2)
    assert rim.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.02)
    assert not image[~kept].any()
