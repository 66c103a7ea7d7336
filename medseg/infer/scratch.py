"""Arrays of classes × volume on disk, not in memory."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.resources import reserve


def on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.memmap[Any, Any]:
    """An array in Fortran order, all 0, mapped from a temporary file without a name.

    The file is gone with the array, however the process ends. It lies where Python's ``tempfile`` puts it
    (TMPDIR), and has its whole size from the start, so that a full disk is DISK_FULL here and not a crash
    later.
    """
    with tempfile.NamedTemporaryFile() as file:
        reserve(Path(file.name), np.dtype(dtype).itemsize * math.prod(shape))
        return np.memmap(file, dtype, "r+", shape=shape, order="F")
