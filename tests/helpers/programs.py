"""Programs of others that judge DICOM files, beside Python or on the path; tests are skipped without them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(name: str, package: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program and give its outputs; the test is skipped where it is not installed."""
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    program = shutil.which(name, path=folders)
    if program is None:
        pytest.skip(f"{name} of {package} is not installed")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def dcmqi(name: str, *arguments: object) -> None:
    """Run a program of dcmqi, which must succeed."""
    ended = run(name, "dcmqi", *arguments)
    assert ended.returncode == 0, ended.stderr


def dicom_errors(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a DICOM file."""
    ended = run("dciodvfy", "dicom3tools", path)
    return [line for line in (ended.stderr + ended.stdout).splitlines() if line.startswith("Error")]
