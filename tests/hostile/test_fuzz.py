"""The fuzz run of benchmarks/fuzz.py in its shortened form: every outcome of a mutated input has a code."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest

from medseg.errors import Code
from tests.helpers.fuzz import driver, seeds, targets, worker

SEED = 1
COUNT = 40


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory and time need POSIX")
@pytest.mark.parametrize("target", seeds.TARGETS)
def test_every_outcome_has_a_code(target: str) -> None:
    result = driver.run(target, SEED, COUNT)
    assert result.faults == []
    assert result.inputs == COUNT
    assert set(result.codes) <= {*map(str, Code), targets.READ, targets.LEFT_OUT}
    assert len(result.codes) > 1


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    def content(seed: int, index: int) -> dict[str, bytes]:
        worker.build("nifti", seed, index, tmp_path / "in")
        return {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}

    assert content(1, 5) == content(1, 5)
    assert content(1, 5) != content(2, 5)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise IndexError('x')", "IndexError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import time; time.sleep(60)", "hang"),
        ("bytearray(2**40)", "MemoryError"),
    ],
)
def test_faults_are_seen(body: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that breaks ends as a fault of the right kind, and the run goes on after it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tests.helpers.fuzz.targets':\n"
        "            import importlib.util\n"
        f"            return importlib.util.spec_from_file_location(name, r'{tmp_path / 'broken.py'}')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    (tmp_path / "broken.py").write_text(
        "calls = 0\n"
        "def outcome(target, folder, hit):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls == 2:\n"
        f"        {body}\n"
        "    return {'read'}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MEDSEG_FUZZ_LIMIT_S", "2")
    result = driver.run("nifti", 1, 3)
    assert result.inputs == 3
    assert expected in json.dumps(result.faults)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
