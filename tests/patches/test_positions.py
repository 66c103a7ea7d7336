"""Voxel positions of large sets: mapped, opened only where patches are drawn by class, never copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.grid import Array, Grid
from medseg.patches import sampler
from medseg.patches.sampler import PatchSampler
from medseg.preprocess import geometry, store
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.volume import Volume


def written(folder: Path, name: str, label: Array) -> store.PreprocessedCase:
    image = np.zeros((1, *label.shape), np.uint8)
    grid = Grid(label.shape, np.eye(4))
    _, record = geometry.apply(Volume(image, grid), GeometryPlan())
    volume = NormalizedVolume(image, grid, Normalization((0.0,), (1.0,)))
    return store.open(store.write(folder, name, name, volume, label, record, 5))


def three_classes(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 3, (9, 8, 5)).astype(np.uint8)


def test_without_drawing_by_class_positions_are_never_opened(tmp_path: Path) -> None:
    case = written(tmp_path, "a", three_classes())
    path = tmp_path / "a" / "positions.npy"
    path.write_bytes(bytes(path.stat().st_size))  # of the right size, and no array
    reopened = store.open(tmp_path / "a")
    assert len(PatchSampler([case, reopened], "axial", 1, (4, 4), 8, seed=0)(0)[0]) == 8
    with pytest.raises(ValueError, match="pickle"):
        PatchSampler([reopened], "axial", 1, (4, 4), 8, seed=0, foreground_oversampling=1.0)(0)


def test_positions_are_mapped_and_classes_are_views_of_the_file(tmp_path: Path) -> None:
    case = written(tmp_path, "a", three_classes())
    positions = case.positions
    assert isinstance(positions, np.memmap)
    classes = sampler._by_class(positions, 1)
    assert len(classes) == 2
    for index, voxels in enumerate(classes, start=1):
        assert voxels.base is positions
        assert np.array_equal(voxels, positions[positions[:, 0] == index, 1:])


def test_a_class_is_found_by_reading_few_rows() -> None:
    class Counting:
        """Positions that count how many rows are looked at."""

        def __init__(self) -> None:
            self.read = 0

        def __len__(self) -> int:
            return 30_000

        def __getitem__(self, key: tuple[int | slice, int | slice]) -> object:
            row = key[0]
            if isinstance(row, slice):
                return row
            self.read += 1
            return row // 10_000

    positions = Counting()
    assert sampler._by_class(positions, 1) == [slice(10_000, 20_000), slice(20_000, 30_000)]  # type: ignore[arg-type]
    assert positions.read < 60


def test_only_so_many_cases_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_CASES_OPEN", 2)
    cases = [written(tmp_path, name, three_classes(n)) for n, name in enumerate("abcd")]
    drawer = PatchSampler(cases, "axial", 1, (4, 4), 40, seed=0, foreground_oversampling=1.0)
    patches, labels = drawer(0)
    few = drawer._voxels.cache_info()  # type: ignore[attr-defined]
    assert (few.maxsize, few.currsize) == (2, 2)
    monkeypatch.setattr(sampler, "_CASES_OPEN", 256)
    again = PatchSampler(cases, "axial", 1, (4, 4), 40, seed=0, foreground_oversampling=1.0)(0)
    assert np.array_equal(again[0], patches)
    assert np.array_equal(again[1], labels)


def test_voxels_beyond_the_range_of_int16_are_drawn_where_they_lie(tmp_path: Path) -> None:
    label = np.zeros((40_000, 2, 1), np.uint8)
    label[39_000, 1, 0] = 1
    case = written(tmp_path, "long", label)
    assert case.positions.dtype == np.int32
    assert case.positions.min() == 0
    assert case.positions[-1].tolist() == [1, 39_000, 1, 0]
    drawer = PatchSampler([case], "axial", 1, (3, 2), 20, seed=0, foreground_oversampling=1.0)
    assert (drawer(0)[1].sum(axis=(1, 2)) == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("length", "dtype"), [(32_768, np.int16), (32_769, np.int32)])
def test_positions_are_as_small_as_the_longest_axis_allows(axis: int, length: int, dtype: type) -> None:
    shape = [1, 1, 1]
    shape[axis] = length
    label = np.zeros(shape, np.uint8)
    label.ravel()[-1] = 1
    for labels in (label, label[None]):  # also of masks
        counts = store.count(labels)
        rows = store.draw_positions(labels, counts, np.random.default_rng(0))
        assert rows.dtype == dtype
        assert rows[-1, 1 + axis] == length - 1
        assert rows.min() >= 0


def test_cases_written_with_int16_positions_are_still_read(tmp_path: Path) -> None:
    case = written(tmp_path, "a", three_classes())
    assert np.load(tmp_path / "a" / "positions.npy").dtype == np.int16
    assert len(case.positions) == 9 * 8 * 5


_MANY = """
import resource, sys
import subprocess
import sys
from pathlib import Path
from medseg.preprocess import store
from medseg.resources import allow_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
allow_open_files(3 * 60)
cases = [store.open(Path(sys.argv[1])) for _ in range(60)]
assert sum(int(case.label.sum()) for case in cases) == 60 * int(cases[0].label.sum())
allow_open_files(10**9)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""


def test_more_cases_are_mapped_than_the_system_allows_files_at_first(tmp_path: Path) -> None:
    written(tmp_path, "a", three_classes())
    command = [sys.executable, "-c", _MANY, str(tmp_path / "a")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
