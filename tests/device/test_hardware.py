"""`medseg info` without torch: what it says of this machine is what torch says, and it imports no torch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg import device, hardware

_X86 = "processor\t: {n}\nphysical id\t: 0\ncore id\t: {core}\nflags\t\t: fpu {flags}\n\n"


class Driver:
    """CUDA's driver with one GPU, or with what the keywords change."""

    def __init__(self, *, init: int = 0, count: int = 1, version: int = 12080, major: int = 9) -> None:
        self.init, self.count, self.version, self.major = init, count, version, major

    def cuInit(self, _: int) -> int:  # noqa: N802 - CUDA's names
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.version
        return 0

    def cuDeviceGet(self, *_: Any) -> int:  # noqa: N802
        return 0

    def cuDeviceGetName(self, name: Any, *_: Any) -> int:  # noqa: N802
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceGetAttribute(self, value: Any, *_: Any) -> int:  # noqa: N802
        value._obj.value = self.major
        return 0


def test_it_says_of_this_machine_what_torch_says() -> None:
    here = hardware.without_torch()
    if here is None:
        pytest.skip("only torch knows this machine")
    chosen = device.choose("auto")
    assert here.device == device.in_words(chosen)
    assert here.precision == device.resolve_precision("auto", chosen)


def test_threads_are_those_that_torch_takes() -> None:
    code = "import torch; from medseg.hardware import *; print(torch.get_num_threads(), default_threads())"
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    for environment in (bare, {**bare, "OMP_NUM_THREADS": "3"}):
        said = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        by_torch, threads = said.stdout.split()
        assert threads == by_torch


@pytest.mark.parametrize("words", [["info"], ["info", "--json"], ["--help"], ["segment", "--help"]])
def test_words_about_the_installation_import_no_torch(words: list[str]) -> None:
    if hardware.without_torch() is None:
        pytest.skip("only torch knows this machine")
    code = (
        f"import sys; sys.argv[1:] = {words}\nfrom medseg.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'mlflow', 'monai'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver(), ("NVIDIA H200", 9)),
        (Driver(major=7), ("NVIDIA H200", 7)),
        (Driver(count=0), ()),
        (Driver(init=100), ()),
        (Driver(version=11080), None),
    ],
)
def test_a_gpu_by_its_driver(driver: Driver, expected: object) -> None:
    assert hardware.first_gpu((12, 8), load=lambda _: driver) == expected


def test_no_driver_is_no_gpu() -> None:
    def load(_: str) -> ctypes.CDLL:
        raise OSError("libcuda.so.1: cannot open shared object file")

    assert hardware.first_gpu((12, 8), load=load) == ()


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("avx512bw avx512vl avx512dq avx512_bf16", True),
        ("avx512bw avx512vl avx512dq amx_bf16", True),
        ("avx512bw avx512vl avx512dq", False),
        ("avx2 avx512_bf16", False),
    ],
)
def test_bf16_by_the_flags_of_the_processor(
    flags: str, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(_X86.format(n=0, core=0, flags=flags))
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert hardware.computes_bf16() is native


def test_two_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(_X86.format(n=n, core=n % 2, flags="") for n in range(4))
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert hardware.default_threads() == 2
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "none")
    assert hardware.default_threads() == 4
