"""PreprocessedCase masks: stored as bits, counted and drawn from mask by mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.classes import VOID
from medseg.grid import Grid
from medseg.mask_bits import pack_masks
from medseg.patches.sampler import PatchSampler
from medseg.preprocess import geometry, store
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.volume import Volume

GRID = Grid((8, 9, 4), np.eye(4))


def prepared(folder: Path) -> tuple[np.ndarray, store.PreprocessedCase]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *GRID.shape)).astype(np.float32)
    masks = np.zeros((3, *GRID.shape), np.uint8)
    masks[0, 1:7, 1:7, 1:3] = 1
    masks[1, 2:4, 2:4, 1:3] = 1  # the third is empty
    masks[:, 0, 0, 0] = VOID
    _, record = geometry.apply(Volume(image, GRID), GeometryPlan())
    ready = NormalizedVolume(image, GRID, Normalization((0.0,), (1.0,)))
    return masks, store.open(store.write(folder, "a", "a", ready, masks, record, 5))


def test_a_voxel_in_two_masks_counts_for_both(tmp_path: Path) -> None:
    masks, case = prepared(tmp_path)
    assert case.label is not None
    assert np.array_equal(case.label, pack_masks(masks))
    assert case.counts == {0: 72, 1: 8}
    for mask, count in case.counts.items():
        xyz = case.positions[case.positions[:, 0] == mask, 1:]
        assert len(np.unique(xyz, axis=0)) == count
        assert (masks[(mask, *xyz.T)] == 1).all()


def test_patches_are_drawn_around_each_mask_as_often(tmp_path: Path) -> None:
    _, case = prepared(tmp_path)
    drawer = PatchSampler(
        [case], "axial", 1, (1, 1), batch=200, seed=0, foreground_oversampling=1.0, background=False
    )
    _, labels = drawer(0)
    # half of the patches are around the second mask, of which each voxel lies in the first, too
    assert set(np.unique(labels)) == {1, 3}
    assert 80 < int((labels == 3).sum()) - 200 * 0.5 * 8 / 72 < 120
