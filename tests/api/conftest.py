from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medseg
from medseg import networks
from medseg.model import folder as model_folder
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model folder with random weights; keywords change its description."""

    def make(**changes: Any) -> Path:
        about = describe(**changes)
        channels = len(about.channels) * about.depth
        network = networks.build("usegnet", channels, len(about.classes), seed=0, **about.keywords)
        model_folder.export(tmp_path / "model", {"fold0": network.state_dict()}, about)
        return tmp_path / "model"

    return make


@pytest.fixture
def model(make_model: MakeModel) -> medseg.Model:
    return medseg.load_model(make_model(), device="cpu")


@pytest.fixture
def brain() -> Any:
    """A (20, 24, 8) int16 array: a noisy box in air."""
    array = np.zeros((20, 24, 8), np.int16)
    array[4:16, 5:19, 1:7] = np.random.default_rng(0).integers(50, 200, (12, 14, 6))
    return array


@pytest.fixture
def scan(tmp_path: Path, brain: Any) -> Path:
    return save(tmp_path / "in/scan.nii.gz", brain)
