"""Overlapping masks: bits of one byte there and back, their class list, names that files can have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medseg.classes import MOST_MASKS, VOID, ClassList
from medseg.errors import Code, MedsegError
from medseg.mask_bits import pack_masks, to_maps, unpack_masks

NESTED = ClassList.of_masks({"whole": [1, 2], "anterior": [1]}, (9,), (0, 1, 2))


@given(
    st.integers(1, MOST_MASKS).flatmap(
        lambda n: arrays.arrays(np.uint8, (n, 3, 2, 2), elements=st.sampled_from([0, 1, VOID]))
    )
)
def test_masks_come_back_and_void_is_void_in_all(masks: np.ndarray) -> None:
    packed = pack_masks(masks)
    assert packed.dtype == np.uint8
    expected = np.where((masks == VOID).any(axis=0), VOID, masks)
    assert np.array_equal(unpack_masks(packed, len(masks)), expected)
    assert np.array_equal(pack_masks(unpack_masks(packed, len(masks))), packed)
    bits = sum(int(masks[i, 0, 0, 0]) << i for i in range(len(masks)))
    assert packed[0, 0, 0] == (VOID if (masks[:, 0, 0, 0] == VOID).any() else bits)


def test_all_seven_masks_together_are_not_void() -> None:
    assert pack_masks(np.ones((MOST_MASKS, 1, 1, 1), np.uint8))[0, 0, 0] == 127
    with pytest.raises(ValueError, match="no mask"):
        pack_masks([])


def test_regions_are_sets_of_values() -> None:
    assert NESTED.to_indices(np.array([0, 1, 2, 9]), "a").tolist() == [0, 0b11, 0b01, VOID]
    assert NESTED.masks == NESTED.foreground_names == ("whole", "anterior")
    assert list(NESTED.foreground) == [0, 1]
    assert to_maps(np.array([[[0, 3, 1]]], np.uint8), NESTED).tolist() == [[[[0, 1, 1]]], [[[0, 1, 0]]]]
    with pytest.raises(MedsegError, match="value 5") as refused:
        NESTED.to_indices(np.array([1, 5]), "a")
    assert refused.value.code == Code.LABEL_VALUE_UNKNOWN


def test_where_a_class_or_a_mask_is() -> None:
    packed = np.array([0, 1, 3, VOID], np.uint8)
    assert NESTED.holds(packed, 0).tolist() == [False, True, True, False]
    assert NESTED.holds(packed, 1).tolist() == [False, False, True, False]
    plain = ClassList.from_names({0: "background", 7: "csf"})
    assert plain.holds(packed, 1).tolist() == [False, True, False, False]
    assert plain.masks == ()
    assert to_maps(np.array([[[0, 1]]], np.uint8), plain).tolist() == [[[[0, 7]]]]


def test_json_there_and_back() -> None:
    back = ClassList.from_json(NESTED.to_json())
    assert (back.names, back.multilabel, back.background) == (NESTED.names, True, False)
    assert [row["value"] for row in NESTED.to_json()] == [1, 1]  # each in its own file


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "0 masks: keep at least 1 and at most 7"),
        (list("abcdefgh"), "8 masks: keep at least 1 and at most 7"),
        (["../up"], "part of a file's name"),
        (["a b"], "part of a file's name"),
        (["confidence"], "'confidence': rename it"),
        (["probabilities"], "'probabilities': rename it"),
        (["core", "in_core"], "'in_core': rename it"),
        (["Core", "core"], "end as those of another"),
    ],
)
def test_names_that_would_be_no_files_or_another_mask_s_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ClassList.of_masks(dict.fromkeys(names, ()))


def test_a_void_value_is_none_that_a_mask_s_file_holds() -> None:
    with pytest.raises(ValueError, match="void value 1 is also a class"):
        ClassList.of_masks({"a": ()}, (1,))
