from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.grid import Array, Grid
from medseg.io import nifti
from medseg.volume import Volume

Touch = Callable[..., Path]


@pytest.fixture
def classes() -> ClassList:
    return ClassList.from_names({0: "background", 1: "grey", 4: "white"}, void_values=(255,))


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Make empty files below tmp_path: layouts look at names only."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write an array (X, Y, Z) as NIfTI on a 1 mm grid, or on the one of ``affine``."""

    def make(array: Array, name: str = "scan.nii.gz", affine: Array | None = None) -> Path:
        grid = Grid(array.shape, np.eye(4) if affine is None else affine)
        nifti.write(Volume(array[None], grid), tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def ramp() -> Array:
    return np.arange(60, dtype=np.int16).reshape(3, 4, 5)
