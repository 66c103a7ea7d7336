"""The odds of classes are raised where a model misses more than it adds, and left alone where it is right."""

from __future__ import annotations

import numpy as np

from pipelines.commands.brain_tissue_balance import Answer, best_factors


def answer(rows: list[tuple[tuple[int, int, int], int]]) -> Answer:
    """Voxels as (probabilities of three classes, true class)."""
    probabilities, labels = zip(*rows, strict=True)
    return Answer(np.array(probabilities, np.uint8).T, np.array(labels, np.uint8))


def test_a_class_that_loses_close_votes_gets_better_odds() -> None:
    thin = answer([((0, 100, 155), 1), ((0, 90, 165), 1), ((0, 200, 55), 1), ((0, 20, 235), 2)])
    factors = best_factors([thin])
    assert factors.tolist() == [1, 2, 1], "the smallest of the factors that are right everywhere"
    assert thin.dice(np.ones(3, np.float32)) == np.mean([2 / 4, 2 / 4])
    assert thin.dice(factors) == 1


def test_a_model_that_is_right_stays_as_it_is() -> None:
    right = answer([((255, 0, 0), 0), ((0, 255, 0), 1), ((0, 0, 255), 2)])
    assert best_factors([right, right]).tolist() == [1, 1, 1]
