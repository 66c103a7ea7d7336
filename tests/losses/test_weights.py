"""Class weights by median frequency."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.losses.weights import median_frequency


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
