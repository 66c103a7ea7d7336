from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import networks
from medseg.cli import exits
from medseg.cli.app import app
from medseg.model import folder as model_folder
from tests.helpers import planted_exports
from tests.helpers.model_folders import describe

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def brain() -> Any:
    """A (20, 24, 8) int16 array: a noisy box in air."""
    array = np.zeros((20, 24, 8), np.int16)
    array[4:16, 5:19, 1:7] = np.random.default_rng(0).integers(50, 200, (12, 14, 6))
    return array


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with random weights."""
    about = describe()
    network = networks.build("usegnet", 3, 3, seed=0, **about.keywords)
    model_folder.export(tmp_path / "model", {"fold0": network.state_dict()}, about)
    return tmp_path / "model"


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    return planted_exports.write(tmp_path, brain)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run `medseg` with words; give its exit code and all that stood on the screen."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["medseg", *map(str, words)])
        exits.log_file.clear()
        code = exits.end_well(app)
        return code, "".join(capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)
