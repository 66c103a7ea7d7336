"""Gzip files written in blocks: read by others, the same bytes each time."""

from __future__ import annotations

import gzip
import io
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medseg.io.gzip_blocks import GzipWriter


def _written(pieces: list[bytes], *, small: bool) -> bytes:
    file = io.BytesIO()
    with GzipWriter(file, small=small) as stream:
        for piece in pieces:
            stream.write(piece)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 50, 5_000_000, dtype=np.uint8).tobytes()


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5_000_000])
def test_python_and_gzip_read_it(tmp_path: Path, size: int, small: bool) -> None:
    content = NOISE[:size]
    path = tmp_path / "a.gz"
    path.write_bytes(_written([content[n : n + 300_000] for n in range(0, size, 300_000)], small=small))
    assert gzip.decompress(path.read_bytes()) == content
    ended = subprocess.run(["gzip", "-dc", path], capture_output=True, check=True)
    assert ended.stdout == content


@pytest.mark.parametrize("small", [True, False])
def test_the_same_bytes_each_time_without_name_and_time(small: bool) -> None:
    pieces = [NOISE[n : n + 100_000] for n in range(0, len(NOISE), 100_000)]
    first, second = (_written(pieces, small=small) for _ in range(2))
    assert first == second
    assert first[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_label_maps_stay_small() -> None:
    x, y, z = np.mgrid[:128, :128, :64]
    labels = ((x - 60) ** 2 + (y - 64) ** 2 + (z - 30) ** 2 < 600).astype(np.uint8).tobytes(order="F")
    plain = len(gzip.compress(labels, 6))
    assert len(_written([labels], small=True)) < 1.3 * plain
    assert len(_written([labels], small=False)) > 1.5 * plain
