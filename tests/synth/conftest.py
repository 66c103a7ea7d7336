"""One coarse anatomy for all tests of this room."""

from __future__ import annotations

import pytest

from medseg.synth import tissues


@pytest.fixture(scope="session")
def anatomy() -> tissues.Tissues:
    return tissues.load(4.0)
