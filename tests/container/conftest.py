"""The image under test, and the two ways it is run: locked up as a hospital would, and to look into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from medseg import networks
from medseg.model import folder as model_folder
from tests.helpers.model_folders import describe

UID = 12345
LOCKED = (
    *(
        "--network=none",
        "--read-only",
        f"--user={UID}:{UID}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ),
    *("--ipc=none", "--memory=2g", "--pids-limit=64"),
)
PODMAN_ONLY = ("--read-only-tmpfs=false", "--passwd=false")
"""Podman alone mounts /tmp and adds the user to /etc/passwd; without these it is as strict as docker."""


@dataclass(frozen=True)
class Done:
    """A container that ended."""

    code: int
    said: str


@dataclass(frozen=True)
class Image:
    """An image and the engine that runs it."""

    engine: str
    name: str

    def command(self, *arguments: str, mounts: Mapping[str, str | Path] | None = None) -> list[str]:
        """The command line of a locked container; `mounts` maps paths inside (`/in:ro`) to paths here."""
        volumes = [f"--volume={path}:{inside}" for inside, path in (mounts or {}).items()]
        only = PODMAN_ONLY if self.engine.endswith("podman") else ()
        return [self.engine, "run", "--rm", *LOCKED, *only, *volumes, *arguments]

    def run(
        self, *words: str, mounts: Mapping[str, str | Path] | None = None, flags: tuple[str, ...] = ()
    ) -> Done:
        """Run medseg with `words`."""
        return _run(self.command(*flags, self.name, *words, mounts=mounts))

    def inside(self, *words: str, mounts: Mapping[str, str | Path] | None = None) -> str:
        """Run another program of the image; what it prints."""
        done = _run(self.command(f"--entrypoint={words[0]}", self.name, *words[1:], mounts=mounts))
        assert done.code == 0, done.said
        return done.said


def _run(command: list[str]) -> Done:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def image() -> Image:
    named = os.environ.get("MEDSEG_IMAGE")
    if not named:
        pytest.skip("MEDSEG_IMAGE is not set: `make container-test` builds one")
    return Image(os.environ.get("MEDSEG_ENGINE", "podman"), named)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A results folder that any user may write into."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with random weights."""
    return write_model(tmp_path / "model")


def write_model(folder: Path, **changes: object) -> Path:
    described = describe(**changes)
    network = networks.build("usegnet", described.depth, len(described.classes), seed=0, **described.keywords)
    model_folder.export(folder, {"fold0": network.state_dict()}, described)
    return folder
