from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import networks
from medseg.classes import ClassList
from medseg.config.fitted.training import Candidate
from medseg.console import Reporter
from medseg.model import folder as model_folder
from pipelines.commands import init_fit
from tests.helpers.model_folders import describe


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model folder with random weights; keywords change its description."""

    def make(folder: str = "model", members: int = 1, **changes: Any) -> Path:
        about = describe(**changes)
        channels = len(about.channels) * about.depth
        states = {
            f"fold{k}": networks.build(
                "usegnet", channels, len(about.classes), seed=k, **about.keywords
            ).state_dict()
            for k in range(members)
        }
        model_folder.export(tmp_path / folder, states, about)
        return tmp_path / folder

    return make


@pytest.fixture
def say() -> Reporter:
    return Reporter(stream=io.StringIO())


@pytest.fixture
def brain() -> Any:
    """A (20, 24, 8) int16 array: a noisy box in air."""
    array = np.zeros((20, 24, 8), np.int16)
    array[4:16, 5:19, 1:7] = np.random.default_rng(0).integers(50, 200, (12, 14, 6))
    return array


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give `medseg init` a speed without trial steps; a test of its own measures one."""

    def seconds(_channels: int, _classes: ClassList, candidate: Candidate, **_: Any) -> float:
        return 2e-6 * candidate.pixels * (candidate.width / 16) ** 1.5

    monkeypatch.setattr(init_fit, "seconds_of_step", seconds)
