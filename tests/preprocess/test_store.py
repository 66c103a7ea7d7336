"""Preprocessed cases: what is written comes back, positions are drawn fairly, a kill leaves no half case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.preprocess import geometry, intensity, store
from medseg.preprocess.geometry import GeometryPlan, Record
from medseg.preprocess.intensity import NormalizedVolume
from medseg.volume import Volume

SHAPE = (6, 7, 8)


def prepared() -> tuple[NormalizedVolume, Array, Record]:
    random = np.random.default_rng(3)
    array = random.integers(0, 300, (2, *SHAPE)).astype(">i2")
    volume = Volume(array, Grid(SHAPE, np.diag([-0.9375, 1.5, 0.1, 1])))
    placed, record = geometry.apply(volume, GeometryPlan(crop=True))
    label = random.choice(np.array([0, 1, 3, 255], np.uint8), SHAPE)
    return (
        NormalizedVolume(placed.array, placed.grid, intensity.measure(placed, "auto", "zscore")),
        label,
        record,
    )


def test_a_case_comes_back_as_it_was_written(tmp_path: Path) -> None:
    volume, label, record = prepared()
    weights = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    case = store.write(tmp_path, "a_01", "a", volume, label, record, 5, {"weights": weights})
    assert case == tmp_path / "a_01"
    found = store.open(case)
    assert (found.name, found.subject) == ("a_01", "a")
    assert np.array_equal(found.volume.array, volume.array)
    assert found.volume.array.dtype == np.dtype("i2")  # native, whatever the file's byte order was
    assert found.volume.normalization == volume.normalization
    assert np.array_equal(found.volume.grid.affine, volume.grid.affine)
    assert found.record.to_json() == record.to_json()
    assert found.label is not None
    assert np.array_equal(found.label, label)
    assert list(found.extras) == ["weights"]
    assert np.array_equal(found.extras["weights"], weights)
    assert found.counts == {index: int((label == index).sum()) for index in (0, 1, 3)}


def test_arrays_are_read_only_maps_with_axial_slices_in_one_piece(tmp_path: Path) -> None:
    volume, label, record = prepared()
    found = store.open(store.write(tmp_path, "a", "a", volume, label, record, 5))
    assert found.label is not None
    for array in (found.volume.array, found.label):
        assert isinstance(array, np.memmap)
        assert array.flags.f_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert found.volume.array[..., 3].flags.f_contiguous


def test_a_case_without_labels(tmp_path: Path) -> None:
    volume, _, record = prepared()
    found = store.open(store.write(tmp_path, "a", "a", volume, None, record, 5))
    assert found.label is None
    assert found.positions.shape == (0, 4)
    assert found.counts == {}


def test_positions_are_drawn_without_replacement_and_never_void(tmp_path: Path) -> None:
    volume, label, record = prepared()
    positions = store.open(store.write(tmp_path, "a", "a", volume, label, record, 5)).positions
    assert positions.dtype == np.int16
    index, x, y, z = positions.T
    assert np.array_equal(label[x, y, z], index)
    assert len(np.unique(positions, axis=0)) == len(positions) == int((label != 255).sum())


def test_a_large_class_gives_ten_thousand_spread_over_the_volume() -> None:
    label = np.zeros((30, 40, 50), np.uint8)
    label[:2, :2, :2] = 1
    counts = store.count(label)
    rows = store.draw_positions(label, counts, np.random.default_rng(1))
    assert np.bincount(rows[:, 0]).tolist() == [10_000, 8]
    background = rows[rows[:, 0] == 0, 1:]
    assert len(np.unique(background, axis=0)) == 10_000
    assert np.allclose(background.mean(axis=0), (14.5, 19.5, 24.5), atol=0.5)


def test_the_draw_depends_on_seed_and_name_alone(tmp_path: Path) -> None:
    volume, _, record = prepared()
    label = np.zeros(SHAPE, np.uint8)
    limit, store_limit = 20, store.POSITIONS_PER_CLASS
    assert limit < store_limit

    def draw(name: str, seed: int) -> Array:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "POSITIONS_PER_CLASS", limit)
            return store.open(store.write(tmp_path, name, "s", volume, label, record, seed)).positions

    first = draw("a", 1)
    assert len(first) == limit
    assert np.array_equal(draw("a", 1), first)
    assert not np.array_equal(draw("b", 1), first)
    assert not np.array_equal(draw("a", 2), first)


def test_writing_twice_gives_the_same_bytes_and_replaces_the_old_case(tmp_path: Path) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5, {"old": label})
    store.write(tmp_path, "a", "a", volume, label, record, 5)
    once = {path.name: path.read_bytes() for path in case.iterdir()}
    store.write(tmp_path, "a", "a", volume, label, record, 5)
    assert {path.name: path.read_bytes() for path in case.iterdir()} == once
    assert sorted(once) == ["image.npy", "label.npy", "positions.npy", "record.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    sums = files.read_json(case / "record.json")["sha256"]
    assert sums == {path.name: files.sha256(path) for path in case.glob("*.npy")}


def test_a_stop_while_writing_leaves_the_old_case_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5)
    before = {path.name: path.read_bytes() for path in case.iterdir()}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "draw_positions", stop)
        with pytest.raises(KeyboardInterrupt):
            store.write(tmp_path, "a", "a", volume, label, record, 6)
        with pytest.raises(KeyboardInterrupt):
            store.write(tmp_path, "b", "b", volume, label, record, 6)
    assert {path.name: path.read_bytes() for path in case.iterdir()} == before
    assert not (tmp_path / "b").exists()
    store.write(tmp_path, "b", "b", volume, label, record, 6)
    assert store.open(tmp_path / "b").name == "b"


def test_a_case_renamed_away_by_a_killed_run_is_written_again(tmp_path: Path) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5)
    case.rename(tmp_path / ".part-old-a")
    store.write(tmp_path, "a", "a", volume, label, record, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_refusals(tmp_path: Path) -> None:
    volume, label, record = prepared()
    with pytest.raises(MedsegError) as missing:
        store.open(tmp_path / "nobody")
    assert missing.value.code == Code.STAGE_MISSING
    with pytest.raises(MedsegError) as taken:
        store.write(tmp_path, "a", "a", volume, label, record, 5, {"image": label})
    assert taken.value.code == Code.KEYWORD_INVALID


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "positions.npy", "weights.npy"])
def test_a_file_that_is_gone_or_cut_is_refused(tmp_path: Path, name: str) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5, {"weights": np.zeros(SHAPE, np.float16)})
    content = (case / name).read_bytes()
    (case / name).write_bytes(content[:-1])
    with pytest.raises(MedsegError) as cut:
        store.open(case)
    assert (cut.value.code, cut.value.finding.where) == (Code.TRUNCATED, str(case / name))
    (case / name).unlink()
    with pytest.raises(MedsegError) as gone:
        store.open(case)
    assert gone.value.code == Code.STAGE_MISSING
    assert "medseg preprocess" in gone.value.finding.how_to_fix


def test_files_are_those_that_a_memory_map_would_write(tmp_path: Path) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5)
    out = np.lib.format.open_memmap(
        tmp_path / "mapped.npy", "w+", np.dtype("i2"), volume.array.shape, fortran_order=True
    )
    out[...] = volume.array
    out.flush()
    assert (case / "image.npy").read_bytes() == (tmp_path / "mapped.npy").read_bytes()


def test_fingerprints_and_the_cases_hash(tmp_path: Path) -> None:
    volume, label, record = prepared()
    case = store.write(tmp_path, "a", "a", volume, label, record, 5)
    known = store.fingerprints(case)
    assert sorted(known) == ["image.npy", "label.npy", "positions.npy", "record.json"]
    assert all(known[path.name]["sha256"] == files.sha256(path) for path in case.iterdir())
    assert store.open(case).sha256 == files.sha256(case / "record.json")
