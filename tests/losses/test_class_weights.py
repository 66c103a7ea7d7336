"""Class weights by median frequency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import Code, MedsegError
from medseg.losses.class_weights import median_frequency


def test_median_frequency_by_hand() -> None:
    images = np.array([[[0, 0], [0, 1]], [[0, 0], [2, 2]]])
    counts = np.stack([np.bincount(image.ravel(), minlength=3) for image in images])
    # freq 5/8, 1/4, 2/4
    assert median_frequency(counts).tolist() == [0.8, 2.0, 1.0]


def test_an_absent_class_weighs_nothing() -> None:
    weights = median_frequency(np.array([[3, 1, 0]]))
    assert weights.tolist() == [0.5 / 0.75, 2.0, 0.0]


def test_nothing_labelled_is_refused() -> None:
    with pytest.raises(MedsegError) as refusal:
        median_frequency(np.zeros((2, 3), dtype=np.int64))
    assert refusal.value.code == Code.NOTHING_USABLE


def test_void_pixels_are_pixels_of_their_image_but_of_no_class() -> None:
    # image 1: six of class 0, two void; image 2: one of class 0, three of class 1
    counts = np.array([[6, 0], [1, 3]])
    weights = median_frequency(counts, np.array([8, 4]))
    # freq 7/12, 3/4, median 2/3
    np.testing.assert_allclose(weights, [(2 / 3) / (7 / 12), (2 / 3) / (3 / 4)])
    np.testing.assert_array_equal(median_frequency(counts, counts.sum(axis=1)), median_frequency(counts))


@pytest.mark.data
def test_the_weights_of_camvids_training_images(data: Path) -> None:
    labels = [np.asarray(Image.open(path)) for path in sorted((data / "camvid/trainannot").glob("*.png"))]
    assert len(labels) == 367
    counts = np.stack([np.bincount(label.ravel(), minlength=12)[:11] for label in labels])
    found = median_frequency(counts, np.array([label.size for label in labels]))
    known = [0.2793, 0.2017, 4.7865, 0.149, 1.0, 0.4217, 3.8467, 1.9736, 0.7889, 6.3747, 8.8587]
    np.testing.assert_allclose(found, known, atol=6e-5)
