"""`medseg doctor` and `medseg info`: what they look at, and what they say of it."""

from __future__ import annotations

import datetime
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medseg.errors import ExitCode
from pipelines.commands import doctor, info, machine


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which all is well, whatever the one that runs the tests is like."""
    monkeypatch.setattr(machine, "free_gb", lambda _: 100.0)
    monkeypatch.setattr(machine, "free_memory_gb", lambda: 8.0)
    monkeypatch.setattr(machine, "memory_limit_gb", lambda: None)
    monkeypatch.setattr(machine, "uid", lambda: 1000)
    monkeypatch.setattr(machine, "why_not_writable", lambda _: None)
    monkeypatch.setattr(machine, "nvidia_gpu", lambda: None)
    monkeypatch.setattr(doctor, "choose", lambda _: "cpu")
    monkeypatch.setattr(machine, "now", lambda: datetime.datetime(2026, 5, 4, 10, 0, tzinfo=datetime.UTC))
    monkeypatch.setattr(doctor, "version", lambda name: "3.17.2" if name == "mlflow" else "1.0")
    return monkeypatch


def checked(*models: Path, out: Path | None = None) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks(models, out or Path.cwd())}


def test_a_machine_that_is_fit_ends_well(fit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(()) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["", "medseg can run here."]
    assert [line[:2] for line in lines[:-2]] == ["ok"] * (len(lines) - 2)
    assert list(checked()) == [
        *("system", "user", "results", "disk", "temporary files", "memory", "shared memory", "device"),
        *(
            "precision",
            "processor",
            "process",
            "clock",
            "extra [train]",
            "extra [dicom]",
            "extra [export]",
            "extra [openvino]",
        ),
        *("extra [strip]", "extra [cluster]", "MLflow"),
    ]


def test_each_thing_that_will_fail_is_said_with_what_to_do(
    fit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.setattr(machine, "free_gb", lambda path: 100.0 if path == machine.SHM else 0.5)
    fit.setattr(machine, "free_memory_gb", lambda: 0.5)
    fit.setattr(machine, "memory_limit_gb", lambda: 2.0)
    fit.setattr(machine, "why_not_writable", lambda _: "Read-only file system")
    fit.setattr(machine, "now", lambda: datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
    fit.setattr(doctor, "version", lambda name: "2.9.1" if name == "mlflow" else "1.0")
    assert doctor.run((tmp_path,), tmp_path / "out") == ExitCode.FAULT
    text = capsys.readouterr().out
    failed = [
        name for name, check in checked(tmp_path, out=tmp_path / "out").items() if check.level == "fail"
    ]
    assert failed == ["results", "disk", "memory", "clock", "MLflow", f"model {tmp_path.name}"]
    for words in ("Read-only file system", "--memory", "1970-01-01", "limit of 2.0 GB", "NOT_A_MODEL"):
        assert words in text
    assert text.count("-> ") == 7  # one for temporary files, without which most runs go on
    assert "6 of 20 checks failed" in text


def test_a_temporary_folder_that_is_full_or_not_there_is_a_note(fit: Any, tmp_path: Path) -> None:
    fit.setattr(machine, "temporary_folder", lambda: None)
    assert checked()["temporary files"].level == "note"
    fit.setattr(machine, "temporary_folder", lambda: tmp_path)
    assert checked()["temporary files"].level == "ok"
    fit.setattr(machine, "free_gb", lambda path: 0.1 if path == tmp_path else 100.0)
    assert "TMPDIR" in checked()["temporary files"].how_to_fix


def test_a_limit_of_the_process_is_no_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = {resource.RLIMIT_AS: 2 * 10**9, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], resource.RLIM_INFINITY))
    assert machine._process_limit_gb() == 2.0
    limits[resource.RLIMIT_AS] = resource.RLIM_INFINITY
    assert machine._process_limit_gb() is None


def test_what_is_missing_or_slower_is_a_note(fit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fit.setattr(machine, "uid", lambda: 0)
    fit.setattr(machine, "in_container", lambda: True)
    fit.setattr(machine, "nvidia_gpu", lambda: "NVIDIA T4, driver 550.1")
    fit.setattr(machine, "free_memory_gb", lambda: None)
    fit.setattr(machine, "free_gb", lambda path: 100.0 if path == machine.SHM else 2.0)
    fit.setattr(
        doctor,
        "version",
        lambda name: "3.17.2" if name == "mlflow" else None if name in ("highdicom", "monai") else "1.0",
    )
    assert doctor.run(()) == ExitCode.DONE
    text = capsys.readouterr().out
    notes = [name for name, check in checked().items() if check.level == "note"]
    assert notes == ["user", "disk", "memory", "device", "extra [train]", "extra [dicom]"]
    for words in (
        "--user $(id -u)",
        "NVIDIA T4",
        "--gpus all",
        "pip install 'medseg[dicom]'",
        "in part, without highdicom",
    ):
        assert words in text
    assert text.endswith("medseg can run here; 6 notes tell what is missing or slower.\n")


def test_extras_that_are_not_installed_are_no_failure_and_no_note(
    fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    extras = {package for _, packages in doctor._EXTRAS.values() for package in packages} - {"jinja2"}
    fit.setattr(doctor, "version", lambda name: None if name in extras else "1.0")
    assert doctor.run(()) == ExitCode.DONE
    levels = {name: check.level for name, check in checked().items() if name.startswith("extra")}
    assert levels == {f"extra [{name}]": "info" for name in doctor._EXTRAS}
    text = capsys.readouterr().out
    assert "segment does not need it" in text
    lines = text.splitlines()
    assert lines[-1] == "medseg can run here."
    place = next(n for n, line in enumerate(lines) if "extra [train]" in line)
    assert lines[place].split() == ["--", "extra", "[train]", "not", "installed"]
    assert lines[place + 1].strip() == (
        "-> for training, reports and the MLflow tracking of runs: pip install 'medseg[train]'"
    )


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = {
        extra: {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        for extra, requirements in project["optional-dependencies"].items()
        if extra not in ("dev", "docs", "bench")
    }
    assert {extra: set(packages) for extra, (_, packages) in doctor._EXTRAS.items()} == wanted


@pytest.mark.parametrize(
    ("free", "level"), [(8.0, "ok"), (4.0, "ok"), (3.9, "note"), (1.0, "note"), (0.9, "fail")]
)
def test_memory_that_suffices_for_segmenting_alone_is_a_note(fit: Any, free: float, level: str) -> None:
    fit.setattr(machine, "free_memory_gb", lambda: free)
    assert checked()["memory"].level == level


def test_json_holds_every_check(fit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fit.setattr(machine, "free_gb", lambda _: 0.5)
    assert doctor.run((), as_json=True) == ExitCode.FAULT
    tree = json.loads(capsys.readouterr().out)
    assert tree["ok"] is False
    assert [check["name"] for check in tree["checks"]] == list(checked())
    assert {tuple(check) for check in tree["checks"]} == {("name", "level", "details", "how_to_fix")}


def test_a_whole_model_folder_is_well_and_a_changed_one_is_not(
    fit: Any, make_model: Callable[..., Path]
) -> None:
    folder = make_model()
    assert checked(folder)[f"model {folder.name}"].level == "ok"
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    check = checked(folder)[f"model {folder.name}"]
    assert (check.level, check.details.split()[0]) == ("fail", "MODEL_TAMPERED")


def test_windows_and_macos_lack_what_linux_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("getuid", "geteuid", "sysconf", "statvfs", "getloadavg"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(machine, "_CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
    monkeypatch.setattr(machine, "_CONTAINER_MARKS", ())
    monkeypatch.setattr(machine, "SHM", tmp_path / "absent")
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=50e9))
    assert doctor.run((), tmp_path) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "this system numbers no users" in text
    assert "does not say how much is free" in text
    assert "shared memory" not in text


def test_a_containers_limit_of_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, current = tmp_path / "memory.max", tmp_path / "memory.current"
    current.write_text("500000000\n")
    monkeypatch.setattr(machine, "_CGROUPS", ((limit, current),))
    monkeypatch.setattr(machine, "_system_free_gb", lambda: 64.0)
    for text, free, most in (("2000000000\n", 1.5, 2.0), ("max\n", 64.0, None), ("400000000\n", 0.0, 0.4)):
        limit.write_text(text)
        assert machine.free_memory_gb() == free
        assert machine.memory_limit_gb() == most


def test_a_folder_that_cannot_be_written_is_known_before_a_run(tmp_path: Path) -> None:
    assert machine.why_not_writable(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert machine.why_not_writable(tmp_path / "file") is not None
    assert checked(out=tmp_path / "file")["results"].level == "fail"


def test_a_driver_that_hangs_or_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setattr(machine.shutil, "which", lambda _: str(program))
    for script, expected in (
        ("echo 'NVIDIA T4, 550.54'", "NVIDIA T4, driver 550.54"),
        ("exit 9", None),
        ("true", None),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert machine.nvidia_gpu() == expected


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
