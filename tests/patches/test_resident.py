"""Patches cut on the device, compared with those that are read one by one: bit for bit on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Array, Grid
from medseg.patches import resident
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resident import ResidentSampler, sampler_on
from medseg.patches.sampler import PatchSampler
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase

CPU = torch.device("cpu")
BENT = Augmentation(("left_right", "anterior_posterior"), 30.0, 0.2, 3.0, 0.2, 0.3, 0.4, 0.1, 4.0)
TURNED = Augmentation(rotate_degrees=20.0, scale=0.2)


def case(shape: tuple[int, int, int], dtype: Any, mean: float, order: str, seed: int) -> PreprocessedCase:
    """Two channels, a label map and weights, as read-only memory maps are."""
    random = np.random.default_rng(seed)
    arrays: list[Array] = [
        np.asarray(random.integers(0, 200, (2, *shape)), dtype, order=order),  # type: ignore[call-overload]
        np.asarray(random.integers(0, 3, shape), np.uint8, order=order),  # type: ignore[call-overload]
        np.asarray(random.random(shape), np.float16, order=order),  # type: ignore[call-overload]
    ]
    for array in arrays:
        array.flags.writeable = False
    image, label, weights = arrays
    # Sides of 1 to 1.5 mm: pixels are not square along some planes
    grid = Grid(shape, np.diag([1.0, 1.5, 1.0, 1.0]))
    volume = NormalizedVolume(image, grid, Normalization((mean, 3.0), (7.0, 31.5)))
    positions = np.argwhere(np.ones(shape, bool))
    rows = np.column_stack([label[tuple(positions.T)], positions]).astype(np.int16)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    record = Record.__new__(Record)  # drawing does not look at it
    return PreprocessedCase(f"c{seed}", "s", volume, label, rows, record, {"weight_map": weights}, {})


CASES = [
    case((23, 17, 9), np.int16, 20.0, "F", 1),
    case((5, 30, 1), np.int16, 90.0, "C", 2),
    case((14, 6, 12), np.uint16, 4.0, "F", 3),
]
FAR = [*CASES, case((9, 9, 9), np.float64, 1e7, "F", 4)]  # scaled in float64: far from zero


def same(
    cases: Sequence[PreprocessedCase], augmentation: Augmentation | None, t: int, rows: slice, **keywords: Any
) -> None:
    """Draw and augment a batch both ways; all arrays must be equal bit for bit."""
    planes = keywords.pop("planes", ("axial",))
    pixels = ((1.0, 1.0), (1.0, 1.5), (1.5, 1.0))
    batches = []
    for on_device in (False, True):
        augmenter = Augmenter(augmentation or Augmentation(), (8, 10), 6, 3, planes, pixels)
        boxes = augmenter.boxes if augmentation else None
        field = augmenter.field if augmentation else None
        options = {"extras": ("weight_map",), "field": field, "boxes": boxes, "placed": True, **keywords}
        sampler = PatchSampler(cases, planes, 3, (8, 10), 6, 5, 0.5, **options)
        source = ResidentSampler(sampler, CPU) if on_device else sampler
        batch = [torch.as_tensor(array) for array in source(t, rows)]
        batches.append([*batch, *augmenter(batch[0], batch[1], t, rows, *batch[2:])])
    for one, other in zip(*batches, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@settings(max_examples=40, deadline=None)
@given(
    far=st.booleans(),
    augmentation=st.sampled_from([None, TURNED, BENT]),
    t=st.integers(0, 1000),
    rows=st.sampled_from([slice(None), slice(1, None, 2), slice(0, None, 3)]),
    planes=st.sampled_from([("axial",), ("sagittal",), tuple(PLANE_AXIS)]),
    outside=st.sampled_from(["mirror", "void"]),
    border=st.sampled_from([0, 2]),
)
def test_equals_the_patches_that_are_read_one_by_one(far: bool, **keywords: Any) -> None:
    same(FAR if far else CASES, **keywords)


def test_a_batch_without_placement_or_extras() -> None:
    sampler = PatchSampler(CASES, "coronal", 1, (4, 4), 5, 0)
    expected, drawn = sampler(7), ResidentSampler(sampler, CPU)(7)
    assert [np.array_equal(*pair) for pair in zip(expected, drawn, strict=True)] == [True, True]


def test_no_pixel_is_read_on_the_host() -> None:
    """On a device without numbers, on which to read a value fails."""
    sampler = PatchSampler(CASES, "axial", 3, (8, 10), 6, 5, extras=("weight_map",), placed=True)
    patches, labels, weights, placement = ResidentSampler(sampler, torch.device("meta"))(0)
    assert [tuple(one.shape) for one in (patches, labels, weights)] == [(6, 6, 8, 10), (6, 8, 10), (6, 8, 10)]
    assert (patches.dtype, labels.dtype, weights.dtype) == (torch.float32, torch.uint8, torch.float32)
    assert (patches.device.type, placement.device.type) == ("meta", "cpu")
    augmenter = Augmenter(TURNED, (8, 10), 6, seed=0)
    moved = augmenter(patches, labels, 0, slice(None), weights)
    assert [tuple(one.shape) for one in moved] == [(6, 6, 8, 10), (6, 8, 10), (6, 8, 10)]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    sampler = ResidentSampler(PatchSampler(CASES, "axial", 1, (4, 4), 5, 0), CPU)
    with pytest.raises(MedsegError) as refused:
        sampler(0, slice(0, None, 2))
    assert refused.value.code == Code.KEYWORD_INVALID


def test_arrays_are_on_cuda_if_they_fit_and_elsewhere_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = PatchSampler(CASES, "axial", 1, (4, 4), 5, 0, extras=("weight_map",))
    voxels = sum(math.prod(one.volume.grid.shape) for one in CASES)
    size = resident.resident_bytes(sampler)
    assert size == voxels * (2 * 4 + 1 + 2)  # int16 and uint16 become int32
    monkeypatch.setattr(resident, "ResidentSampler", lambda _, device: f"on {device}")
    free = {"bytes": 2 * size}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"] - 10, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    cuda = torch.device("cuda:1")
    assert sampler_on(cuda, sampler, "auto") == "on cuda:1"
    free["bytes"] -= 1
    assert sampler_on(cuda, sampler, "auto") is sampler
    assert sampler_on(cuda, sampler, "host") is sampler
    assert sampler_on(cuda, sampler, "device") == "on cuda:1"
    assert sampler_on(CPU, sampler, "auto") is sampler
    assert sampler_on(CPU, sampler, "device") == "on cpu"
    assert sampler_on(CPU, len, "device") is len  # another source of batches


def test_cases_without_labels_are_cut_on_the_device_too() -> None:
    bare = [replace(one, label=None, positions_source=np.empty((0, 4), np.int16)) for one in CASES]
    same(bare, TURNED, 1, slice(None), needs_labels=False)
