"""`medseg doctor` and `medseg info`: what they look at, and what they say of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from medseg.errors import ExitCode
from pipelines.commands import doctor, info


def test_a_machine_that_is_fit_ends_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=100e9))
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 8.0)
    assert doctor.run(()) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    assert [line.split(":")[0][3:] for line in lines] == [
        *("disk", "memory", "device", "precision", "extra [train]")
    ]


def test_a_full_disk_little_memory_and_what_is_no_model_have_remedies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 1.0)
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "monai" else "1")
    assert doctor.run((tmp_path,)) == ExitCode.FAULT
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!!")]
    assert len(failed) == 4
    assert all("; " in line for line in failed)
    assert "without monai; pip install 'medseg[train]'" in failed[2]
    assert "NOT_A_MODEL" in failed[3]


def test_memory_is_left_out_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert "memory" not in [check.name for check in doctor.checks(())]


def test_info_is_json_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    info.run(full=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["precision"] in ("fp32", "bf16", "fp16")
    assert {row["name"]: row["receptive_field"] for row in told["networks"]}["unet"] == [188, 204]
    info.run(full=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "  unet" in lines
    assert any(line.startswith("  demo") for line in lines)


def test_packaged_recipes_fix_no_bf16_and_the_demos_weights_are_the_same_everywhere() -> None:
    recipes = {path.stem: path.read_text(encoding="utf-8") for path in info.packaged().glob("*.yaml")}
    assert len(recipes) > 20
    assert [name for name, text in recipes.items() if "precision: bf16" in text] == []
    assert "precision: fp32" in recipes["demo"]
