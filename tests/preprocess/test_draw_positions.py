"""Voxels that patches are drawn around: those of the ranks drawn, against a list of all voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.grid import Array
from medseg.preprocess import store


def _listed(label: Array, most: int, generator: np.random.Generator) -> list[list[int]]:
    """Rows [class, x, y, z]: all voxels of each class in order of z, x, y, of which ranks are chosen."""
    masks = [(1, mask) for mask in label] if label.ndim == 4 else [(v, label) for v in range(255)]
    rows = []
    for index, (value, mask) in enumerate(masks):
        z, x, y = np.nonzero(mask.transpose(2, 0, 1) == value)
        voxels = np.stack([np.full(len(x), index), x, y, z], axis=1)
        if len(voxels):
            ranks = generator.choice(len(voxels), min(len(voxels), most), replace=False, shuffle=False)
            rows += voxels[np.sort(ranks)].tolist()
    return rows


@settings(deadline=None)
@given(
    label=hnp.arrays(
        np.uint8,
        st.one_of(*[hnp.array_shapes(min_dims=n, max_dims=n, max_side=7) for n in (3, 4)]),
        elements=st.sampled_from([0, 1, 2, 255]),
    ),
    order=st.sampled_from("CF"),
    most=st.integers(1, 20),
    slab=st.integers(1, 100),
)
def test_positions_are_those_of_a_list_of_all_voxels(label: Array, order: str, most: int, slab: int) -> None:
    if label.ndim == 4:
        label = np.where(label == 2, 1, label)  # masks hold 0, 1 and void
    label = np.asarray(label, order=order)  # type: ignore[call-overload]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "POSITIONS_PER_CLASS", most)
        patch.setattr(store, "_SLAB_VOXELS", slab)
        counts = store.count(label)
        drawn = store.draw_positions(label, counts, np.random.default_rng(4))
    assert drawn.tolist() == _listed(label, most, np.random.default_rng(4))
    assert drawn.dtype == np.int16 and drawn.shape[1] == 4
