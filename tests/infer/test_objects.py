"""Objects of a label map: components as a flood fill has them, a watershed, and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import extras
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer.objects import split
from medseg.model.description import InstanceSettings
from tests.oracles import weightmap as oracle

WATERSHED = InstanceSettings(method="watershed", min_distance_px=4)


def _discs(*centres: tuple[int, int], radius: float = 7) -> Array:
    rows, columns = np.mgrid[:24, :44]
    mask = np.zeros((24, 44, 1), bool)
    for row, column in centres:
        mask[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from([0.3, 0.6]))
def test_components_are_those_of_a_flood_fill(seed: int, shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    numbers = split(mask[..., None], InstanceSettings())[..., 0]
    assert numbers.dtype == np.uint16
    found = {frozenset(map(tuple, np.argwhere(numbers == n).tolist())) for n in range(1, numbers.max() + 1)}
    assert found == {frozenset(cell) for cell in oracle.cells(mask)}
    few = split(mask[..., None], InstanceSettings(min_size_px=3))[..., 0]
    kept = {frozenset(map(tuple, np.argwhere(few == n).tolist())) for n in range(1, few.max() + 1)}
    assert kept == {cell for cell in found if len(cell) >= 3}


def test_a_watershed_cuts_where_discs_meet_and_components_do_not() -> None:
    mask = _discs((12, 12), (12, 24))
    assert split(mask, InstanceSettings()).max() == 1
    numbers = split(mask, WATERSHED)[..., 0]
    assert numbers.max() == 2
    assert ((numbers > 0) == mask[..., 0]).all()
    assert {int(numbers[12, 12]), int(numbers[12, 24])} == {1, 2}
    assert abs(int((numbers == 1).sum()) - int((numbers == 2).sum())) <= 14
    assert (np.flatnonzero(np.diff(numbers[12].astype(int)) != 0) == 18).sum() <= 1


def test_a_watershed_keeps_every_component() -> None:
    mask = _discs((8, 8), (8, 20))
    mask[20, 30:33] = mask[0, 43] = True  # flat pieces without a peak
    numbers = split(mask, WATERSHED)
    assert ((numbers > 0) == mask).all()
    assert len(set(numbers[mask].tolist())) == 4
    assert not split(np.zeros((4, 5, 1), bool), WATERSHED).any()


def test_many_objects_need_more_bits() -> None:
    mask = np.zeros((530, 530, 1), bool)
    mask[::2, ::2] = True
    assert split(mask, InstanceSettings()).dtype == np.uint32


def test_a_watershed_without_scikit_image_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedsegError) as refused:
        split(_discs((8, 8)), WATERSHED)
    assert refused.value.code is Code.EXTRA_MISSING
