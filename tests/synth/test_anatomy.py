"""People drawn from an atlas: shares that add up, every class, the atlas's shares on average."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.synth import anatomy
from medseg.synth.anatomy import Strength
from medseg.synth.atlas import Atlas
from tests.synth.toy_atlas import SHAPE, toy_atlas

STILL = Strength((1, 1), 0, 0, ((20.0, 0.0),), (0, 0), (0, 0))
"""No deformation, dilation or atrophy: the folding alone is drawn."""


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return toy_atlas()


def draw(atlas: Atlas, number: int, strength: Strength = anatomy.TRAINING) -> anatomy.Person:
    return anatomy.draw(atlas, np.random.default_rng([0, number]), strength, SHAPE)


@pytest.mark.parametrize("number", range(4))
def test_shares_sum_to_one_in_the_brain_and_to_none_outside(atlas: Atlas, number: int) -> None:
    person = draw(atlas, number)
    total = person.shares.astype(np.float32).sum(axis=0)
    assert person.shares.min() >= 0 and total.max() < 1.003  # of float16
    inside = person.labels > 0
    assert total[inside].min() > 0.49
    assert total[~inside].max() < 0.51
    core = np.unravel_index(person.shares[0].argmax(), total.shape)
    assert total[core] == pytest.approx(1, abs=0.003) and total[0, 0, 0] == 0
    assert all(a <= b for a, b in zip(total.shape, SHAPE, strict=True)), "cut to the brain and a margin"


@pytest.mark.parametrize("strength", [anatomy.TRAINING, anatomy.HARDER])
def test_every_class_is_there_and_is_the_largest_share(atlas: Atlas, strength: Strength) -> None:
    for number in range(3):
        person = draw(atlas, number, strength)
        assert set(np.unique(person.labels)) == set(range(len(anatomy.CLASSES)))
        inside = person.labels > 0
        assert (person.shares.argmax(axis=0)[inside] + 1 == person.labels[inside]).mean() > 0.999


def test_the_generator_decides_everything(atlas: Atlas) -> None:
    first, again, other = draw(atlas, 1), draw(atlas, 1), draw(atlas, 2)
    for name in ("shares", "labels", "deep", "texture"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.labels.shape != other.labels.shape or (first.labels != other.labels).mean() > 0.02


def test_over_many_people_the_shares_are_those_of_the_atlas(atlas: Atlas) -> None:
    people = [draw(atlas, number, STILL).shares.astype(np.float32) for number in range(12)]
    ventricles, _, white, sulci = np.mean([shares.sum(axis=(1, 2, 3)) for shares in people], axis=0)
    inside = atlas.inside > 0.5
    assert ventricles + sulci == pytest.approx((atlas.csf * inside).sum(), rel=0.15)
    assert white == pytest.approx((atlas.wm * inside).sum(), rel=0.15)


def test_fluid_and_white_matter_have_grey_matter_between_them(atlas: Atlas) -> None:
    """Away from the ventricles, whose walls are white matter."""
    person = draw(atlas, 3, STILL)
    sulci, white = person.labels == 4, person.labels == 3
    touching = sum(int((np.roll(sulci, 1, axis) & white).sum()) for axis in range(3))
    assert touching < 0.01 * white.sum()


def test_dilation_and_atrophy_widen_the_fluid(atlas: Atlas) -> None:
    def sizes(dilation: float, atrophy: float) -> tuple[float, float]:
        strength = Strength((1, 1), 0, 0, ((20.0, 0.0),), (dilation, dilation), (atrophy, atrophy))
        labels = draw(atlas, 0, strength).labels
        return float((labels == 1).sum()), float((labels == 4).sum())

    ventricles, sulci = sizes(0, 0)
    assert sizes(2, 0)[0] > 1.5 * ventricles
    assert sizes(-1, 0)[0] < 0.8 * ventricles
    assert sizes(0, 0.8)[1] > 1.1 * sulci
