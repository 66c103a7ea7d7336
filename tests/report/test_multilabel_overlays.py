"""Overlays of masks that overlap: the larger is seen around and through the smaller."""

from __future__ import annotations

import numpy as np

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Grid
from medseg.report import colors, image_overlay, volume_overlay
from medseg.volume import Volume

CLASSES = ClassList.of_masks({"whole": (), "core": ()})
WHOLE, CORE = (np.array(c.colour) / 255 for c in CLASSES.classes)


def nested() -> np.ndarray:
    """(9, 9): the whole in 1 to 7, the core in 3 to 5; a corner is void."""
    labels = np.zeros((9, 9), np.uint8)
    labels[1:8, 1:8] = 1
    labels[3:6, 3:6] = 3
    labels[0, 0] = VOID
    return labels


def test_every_mask_has_its_outline_and_a_faint_fill() -> None:
    made = colors.labelled(np.zeros((9, 9, 3)), nested(), CLASSES)
    assert np.allclose(made[1, 4], WHOLE)
    assert np.allclose(made[3, 4], CORE)
    assert np.allclose(made[2, 4], colors.FAINT * WHOLE)
    assert np.allclose(made[4, 4], colors.FAINT * CORE + (1 - colors.FAINT) * colors.FAINT * WHOLE)
    assert np.allclose(made[0, 0], colors.OPACITY * np.array(VOID_COLOUR) / 255)
    assert (made[0, 4] == 0).all()


def test_the_order_of_the_list_does_not_hide_the_smaller() -> None:
    swapped = ClassList.of_masks({"core": (), "whole": ()})
    labels = np.where(nested() == 1, 2, nested())
    colour = np.array(swapped.classes[0].colour) / 255
    assert np.allclose(colors.labelled(np.zeros((9, 9, 3)), labels, swapped)[3, 4], colour)


def test_scans_and_images_are_drawn() -> None:
    labels = nested()[..., None]
    rng = np.random.default_rng(0)
    image = Volume(rng.uniform(50, 99, (1, 9, 9, 1)), Grid((9, 9, 1), np.eye(4)))
    right = volume_overlay.overlay(image, CLASSES, truth=labels, prediction=labels)
    wrong = volume_overlay.overlay(image, CLASSES, truth=labels, prediction=np.where(labels == 3, 1, labels))
    assert right.startswith(b"\x89PNG")
    assert right != wrong
    photo = Volume(rng.integers(0, 255, (3, 9, 9, 1)).astype(np.uint8), Grid((9, 9, 1), np.eye(4), "px"))
    assert volume_overlay.overlay(photo, CLASSES, truth=labels, prediction=labels).startswith(b"\xff\xd8")
    named = image_overlay._legend({"truth": labels[..., 0], "prediction": labels[..., 0]}, CLASSES)
    assert list(named) == ["whole", "core", "void (ignored label)", *colors.ERRORS]
