"""Numbers of objects from a folder of masks, and from a file with a value for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.ingest import instances
from medseg.io import images
from tests.helpers.images import save

NUCLEI = ClassList.from_names({0: "background", 255: "nucleus"})
CELLS = ClassList.from_names({0: "background", 1: "cell"})


def grid(height: int = 4, width: int = 6) -> Grid:
    return Grid((height, width, 1), np.eye(4), "px")


def masks(folder: Path, *columns: slice) -> Path:
    for n, column in enumerate(columns):
        mask = np.zeros((4, 6), np.uint8)
        mask[:, column] = 255
        save(folder / f"{n}.png", mask)
    return folder


def test_masks_of_a_folder_are_numbered_and_the_first_keeps_shared_pixels(tmp_path: Path) -> None:
    masks(tmp_path, slice(0, 2), slice(0, 0), slice(1, 4), slice(5, 6))
    found = instances.read(tmp_path, NUCLEI, grid())
    assert found.array.dtype == np.uint16 and found.array.shape == (1, 4, 6, 1)
    assert found.array[0, 2, :, 0].tolist() == [1, 1, 2, 2, 0, 3]


def test_values_of_a_file_are_numbered_without_gaps(tmp_path: Path) -> None:
    values = np.zeros((4, 6), np.uint16)
    values[0, :3], values[1, 2] = (7, 9000, 40), 40
    tifffile.imwrite(tmp_path / "man_seg000.tif", values)
    found = instances.read(tmp_path / "man_seg000.tif", CELLS, grid()).array[0, ..., 0]
    assert found[0].tolist() == [1, 3, 2, 0, 0, 0] and found[1, 2] == 2


@pytest.mark.parametrize("count", [3, 70_000])
def test_maps_of_results_are_read_as_they_were_written(tmp_path: Path, count: int) -> None:
    from medseg.io import png
    from medseg.volume import Volume

    numbers = np.minimum(np.arange(4 * 6), count).reshape(1, 4, 6, 1).astype(np.uint32)
    numbers[0, 3, 5, 0] = count
    png.write_numbers(Volume(numbers, grid()), tmp_path / "c_instances.tif")
    assert (instances.read_map(tmp_path / "c_instances.tif", grid()).array == numbers).all()
    assert (images.read_values(tmp_path / "c_instances.tif").array == numbers).all()


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    def code(path: Path, classes: ClassList, on: Grid | None = None) -> Code:
        with pytest.raises(MedsegError) as refused:
            instances.read(path, classes, on or grid())
        return refused.value.code

    (tmp_path / "empty").mkdir()
    assert code(tmp_path / "empty", NUCLEI) is Code.FILE_MISSING
    folder = masks(tmp_path / "sizes", slice(0, 1))
    save(folder / "z.png", np.zeros((5, 6), np.uint8))
    assert code(folder, NUCLEI) is Code.GRID_MISMATCH
    one = masks(tmp_path / "one", slice(0, 1))
    assert code(one, NUCLEI, grid(4, 7)) is Code.GRID_MISMATCH
    tifffile.imwrite(tmp_path / "half.tif", np.full((4, 6), 1.5, np.float32))
    assert code(tmp_path / "half.tif", CELLS) is Code.LABEL_NOT_INTEGER
    tifffile.imwrite(tmp_path / "many.tif", np.arange(300 * 300, dtype=np.uint32).reshape(300, 300))
    assert code(tmp_path / "many.tif", CELLS, grid(300, 300)) is Code.TOO_LARGE
