"""Pictures become one-slice volumes in px; damaged ones a code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import Code, MedsegError
from medseg.io import images, scans
from medseg.volume import Array

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


def save(path: Path, array: Array) -> Path:
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_colours_are_channels_rows_come_first(tmp_path: Path, suffix: str) -> None:
    volume = scans.read(save(tmp_path / f"a{suffix}", RGB), channels_last=True)
    assert volume.array.shape == (3, 4, 5, 1) and volume.array.dtype == np.uint8
    assert volume.grid.shape == (4, 5, 1) and volume.grid.unit == "px"
    assert volume.array[:, 1, 2, 0].tolist() == RGB[1, 2].tolist()


def test_a_truncated_picture_has_its_code(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MedsegError) as caught:
        images.read(path)
    assert caught.value.code is Code.TRUNCATED
