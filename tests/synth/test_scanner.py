"""Scans of drawn people: deterministic, scaled, stripped, of any contrast."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.synth import anatomy, scanner
from tests.synth.toy_atlas import SHAPE, toy_atlas


@pytest.fixture(scope="module")
def person() -> anatomy.Person:
    return anatomy.draw(toy_atlas(), np.random.default_rng(0), shape=SHAPE)


def scan(person: anatomy.Person, number: int) -> scanner.Scan:
    return scanner.scan(person, np.random.default_rng([1, number]))


@pytest.mark.parametrize("number", range(8))
def test_scans_are_scaled_over_what_stripping_left(person: anatomy.Person, number: int) -> None:
    made = scan(person, number)
    image = made.image.astype(np.float32)
    assert made.image.shape == made.labels.shape and np.isfinite(image).all()
    foreground = image > image.min()
    assert foreground.mean() < 0.8
    assert image[foreground].mean() == pytest.approx(0, abs=0.01)
    assert image[foreground].std() == pytest.approx(1, abs=0.01)
    assert not made.labels[~foreground].any()


def test_the_generator_decides_everything(person: anatomy.Person) -> None:
    first, again, other = scan(person, 1), scan(person, 1), scan(person, 2)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.image.shape != other.image.shape or (first.image != other.image).mean() > 0.2


def test_two_of_three_contrasts_are_those_of_a_t1() -> None:
    drawn = [scanner.draw_contrast(np.random.default_rng(number)) for number in range(600)]
    t1 = [c for c in drawn if c.csf < c.gm < c.wm]
    assert 0.6 < len(t1) / len(drawn) < 0.8
    orders = {tuple(np.argsort([c.csf, c.gm, c.wm])) for c in drawn}
    assert len(orders) == 6
    assert min(min(abs(c.csf - c.gm), abs(c.gm - c.wm)) for c in drawn) > 0.09


@pytest.mark.parametrize(("edge", "blur"), [(0.7, 1.0), (1.0, 1.0), (2.3, 0.9), (6.0, 1.2)])
def test_resolutions_keep_constants_and_come_back(edge: float, blur: float) -> None:
    down, up = scanner._averaging(40, edge, blur)
    np.testing.assert_allclose(down.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(up.sum(axis=1), 1, rtol=1e-5)
    ramp = np.arange(40, dtype=np.float32)
    inner = slice(8, -8)
    np.testing.assert_allclose((up @ (down @ ramp))[inner], ramp[inner], atol=0.3)
    if edge == blur == 1.0:
        np.testing.assert_allclose(up @ down, np.eye(40), atol=1e-5)
