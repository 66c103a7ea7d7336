"""Settings of the command line's process: made once, before torch, and never against the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medseg import device, process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container whose files of cgroups lie in a folder, without a limit at first."""
    pairs = ((tmp_path / "cpu.max", None), (tmp_path / "quota", tmp_path / "period"))
    monkeypatch.setattr(process, "_QUOTAS", pairs)
    return tmp_path


def test_the_quota_is_read_from_both_versions_of_cgroups(quota: Path) -> None:
    assert process.cpu_quota() is None
    (quota / "quota").write_text("150000\n")
    (quota / "period").write_text("100000\n")
    assert process.cpu_quota() == 1.5
    (quota / "cpu.max").write_text("250000 100000\n")
    assert process.cpu_quota() == 2.5


@pytest.mark.parametrize("text", ["max 100000", "", "0 100000", "x y", "100000 0"])
def test_a_quota_that_is_none_counts_as_none(quota: Path, text: str) -> None:
    (quota / "cpu.max").write_text(text)
    (quota / "quota").write_text("-1")
    (quota / "period").write_text("100000")
    assert process.cpu_quota() is None


@pytest.mark.parametrize(("share", "threads"), [("50000", 1), ("150000", 1), ("300000", 3), ("990000", 4)])
def test_threads_never_exceed_the_quota(
    quota: Path, share: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quota / "cpu.max").write_text(f"{share} 100000")
    monkeypatch.setattr(process, "cpus_allowed", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert process.most_threads() == device.threads() == threads
    assert device.threads(8) == min(8, max(1, int(share) // 100000))


def test_without_a_quota_threads_are_those_asked_for(quota: Path) -> None:
    assert device.threads(7) == 7
    assert device.threads() == torch.get_num_threads()


def prepared(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, str]:
    """The variables after `prepare` in such an environment."""
    monkeypatch.setattr(process, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(os, "environ", dict(environment))
    process.prepare()
    return dict(os.environ)


def test_openmp_waits_shortly_unless_the_user_says_how(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch) == {"GOMP_SPINCOUNT": process.SPIN_COUNT}
    for own in ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}):
        assert prepared(monkeypatch, **own) == own


def test_openmp_gets_as_many_threads_as_the_quota_allows(
    quota: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "cpus_allowed", lambda: 4)
    (quota / "cpu.max").write_text("200000 100000")
    assert prepared(monkeypatch)["OMP_NUM_THREADS"] == "2"
    assert prepared(monkeypatch, OMP_NUM_THREADS="3")["OMP_NUM_THREADS"] == "3"
    (quota / "cpu.max").write_text("900000 100000")
    assert "OMP_NUM_THREADS" not in prepared(monkeypatch)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_an_allocator_that_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: pytest.fail("mallopt was looked up"))
    process.keep_freed_memory()


@pytest.mark.parametrize("answer", ["musl 1.2", None, AttributeError(), ValueError()])
def test_another_c_library_is_left_alone(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(_: str) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: pytest.fail("mallopt was looked up"))
    process.keep_freed_memory()


def test_importing_the_library_changes_nothing_and_the_command_line_comes_before_torch() -> None:
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "import medseg, medseg.process, medseg.cli\n"
        "assert dict(os.environ) == before and not medseg.process.keeps_freed_memory\n"
        "assert 'torch' not in sys.modules\n"
        "sys.argv = ['medseg', '--version']\n"
        "try:\n    medseg.cli.main()\nexcept SystemExit:\n    pass\n"
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
    )
    own = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    ended = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, cwd=ROOT)
    assert ended.stdout.splitlines()[-1] == f"{process.SPIN_COUNT} False", ended.stderr


def test_logits_are_byte_equal_with_kept_memory() -> None:
    """In a process of its own: the allocator's settings last."""
    code = (
        "import hashlib, sys, torch\nfrom torch import nn\nfrom medseg import process\n"
        "if len(sys.argv) > 1:\n    process.keep_freed_memory()\n    assert process.keeps_freed_memory\n"
        "torch.manual_seed(0); torch.set_num_threads(1)\n"
        "net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()\n"
        "with torch.inference_mode():\n"
        "    outs = [net(torch.randn(4, 1, 96, 96)).numpy().tobytes() for _ in range(4)]\n"
        "print(hashlib.sha256(b''.join(outs)).hexdigest())\n"
    )
    if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        pytest.skip("another C library")
    own = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    said = [
        subprocess.run([sys.executable, "-c", code, *more], env=own, capture_output=True, text=True, cwd=ROOT)
        for more in ([], ["keep"])
    ]
    assert said[0].stdout and said[0].stdout == said[1].stdout, said[1].stderr


def test_the_processor_is_described(quota: Path) -> None:
    assert "no quota" in device.processor()
    (quota / "cpu.max").write_text("150000 100000")
    assert "a quota of 1.5" in device.processor()


def test_a_processor_that_torch_does_not_know_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert "no AVX2" in device.processor() and not device.has_native_bf16("cpu")
