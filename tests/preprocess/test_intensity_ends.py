"""Grey values cut off at two ends: a window in HU, and percentiles of the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medseg.errors import Code
from medseg.grid import Array, Grid
from medseg.ingest import checks
from medseg.patches.resident import ResidentSampler
from medseg.patches.sampler import PatchSampler
from medseg.preprocess import store
from medseg.preprocess.intensity import Normalization, NormalizedVolume, measure
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.volume import Percentiles, Volume, Window

LIVER = Window(window=(-200, 250))


def volume(array: Array, unit: Any = "mm") -> Volume:
    return Volume(array[None], Grid(array.shape, np.eye(4), unit))


def ct(seed: int = 0, shape: tuple[int, int, int] = (9, 8, 5)) -> Array:
    return np.random.default_rng(seed).integers(-1024, 1500, shape).astype(np.int16)


def test_a_window_by_hand() -> None:
    values = np.array([-1024, -200, 25, 137, 250, 3071], np.int16).reshape(-1, 1, 1)
    found, _ = prepare(volume(values), PreparePlan(intensity=LIVER))
    scaled = found.normalise(found.array)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.ravel(), [-1, -1, 0, 112 / 225, 1, 1], rtol=1e-6)


def test_channels_have_their_own_percentiles_and_a_constant_one_is_zero() -> None:
    ramp = np.arange(101, dtype=np.float32).reshape(101, 1, 1)
    grid = Grid(ramp.shape, np.eye(4))
    both = Volume(np.stack([ramp, 3 * ramp, np.full_like(ramp, 7)]), grid)
    found = measure(both, "all", Percentiles(percentiles=(10, 90)))
    assert found.low == pytest.approx((10, 30, 7), abs=5e-3) and found.high == pytest.approx(
        (90, 270, 7), abs=5e-3
    )
    scaled = NormalizedVolume(both.array, grid, found).normalise(both.array)
    assert scaled[0, [0, 50, 100], 0, 0] == pytest.approx([-1, 0, 1], abs=1e-3)
    assert not scaled[2].any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["int16", "uint8", "float32", "int32"]),
    st.tuples(st.floats(0, 49), st.floats(50, 100)),
    st.sampled_from(["all", 40.0]),
)
def test_percentiles_are_those_of_the_sorted_values(seed: int, dtype: str, ends: Any, rule: Any) -> None:
    rng = np.random.default_rng(seed)
    array = (rng.normal(100, 60, (6, 5, 4)).clip(0, 255) * (200 if dtype == "int32" else 1)).astype(dtype)
    chosen = np.sort(array[array > (-np.inf if rule == "all" else rule)].astype(np.float64))
    found = measure(volume(array), rule, Percentiles(percentiles=ends))
    expected = [chosen[int(np.rint(q / 100 * (len(chosen) - 1)))] for q in ends]
    width = 0 if array.dtype.kind in "iu" else np.ptp(chosen) / 65_535
    np.testing.assert_allclose([found.low[0], found.high[0]], expected, atol=width, rtol=0)


def test_a_case_keeps_its_ends_on_disk_and_patches_on_a_device_are_the_same(tmp_path: Path) -> None:
    cases = []
    for name, method in (("w", LIVER), ("p", Percentiles(percentiles=(5, 95))), ("z", "zscore")):
        prepared, record = prepare(volume(ct(len(cases))), PreparePlan(intensity=method))  # type: ignore[arg-type]
        label = (prepared.array[0] > 0).astype(np.uint8)
        cases.append(store.open(store.write(tmp_path, name, name, prepared, label, record, 0)))
        assert cases[-1].volume.normalization == prepared.normalization
    sampler = PatchSampler(cases, "axial", 3, (4, 4), 8, 1)
    resident = ResidentSampler(sampler, torch.device("cpu"))
    for t in range(3):
        (patches, labels), (same, same_labels) = sampler(t), resident(t)
        assert torch.equal(same, torch.from_numpy(patches)) and (same_labels.numpy() == labels).all()
        assert np.abs(patches).max() <= 4


def test_records_of_before_have_no_ends() -> None:
    assert Normalization((1.0,), (2.0,)) == Normalization(mean=(1.0,), std=(2.0,), low=(), high=())
    with pytest.raises(ValueError, match="channels"):
        NormalizedVolume(
            np.zeros((1, 2, 2, 2)),
            Grid((2, 2, 2), np.eye(4)),
            Normalization((0.0,), (1.0,), (0.0, 1.0), (1.0, 2.0)),
        )


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (-1024, -300)])
def test_a_scan_in_other_units_lies_outside_the_window(tmp_path: Path, low: int, high: int) -> None:
    array = np.random.default_rng(0).integers(low, high, (5, 5, 5)).astype(np.int16)
    nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "ct.nii.gz")
    window = Window(window=(-250, -100)) if low == 0 else LIVER
    image, findings = checks.read_image({"ct": tmp_path / "ct.nii.gz"}, intensity=window)
    assert image is None
    assert [found.code for found in findings if not found.is_note] == [Code.OUTSIDE_WINDOW]
    assert checks.read_image({"ct": tmp_path / "ct.nii.gz"})[0] is not None


def test_n4_stands_beside_percentiles() -> None:
    array = np.random.default_rng(0).integers(50, 200, (12, 12, 12)).astype(np.int16)
    found, _ = prepare(volume(array), PreparePlan(n4=True, intensity=Percentiles(percentiles=(1, 99))))
    scaled = found.normalise(found.array)
    assert found.array.dtype == np.float32
    assert (scaled.min(), scaled.max()) == pytest.approx((-1, 1), abs=1e-5)


@pytest.mark.parametrize("ends", [(1, 1), (5, 2), (0, float("nan")), (float("-inf"), 1)])
def test_ends_that_do_not_rise_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        Window(window=ends)
    with pytest.raises(ValidationError):
        Percentiles(percentiles=ends)
    with pytest.raises(ValidationError):
        Percentiles(percentiles=(-1, 101))
