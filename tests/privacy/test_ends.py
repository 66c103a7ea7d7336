"""However a command ends, no path and no value of its input is on the screen or in the log."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.cli.exits import Terminated
from medseg.errors import ExitCode
from medseg.ingest.hidden import HiddenPaths
from medseg.io.dicom import files as dicom_files
from medseg.io.dicom import frames, series
from tests.helpers import planted_exports
from tests.helpers.dicom_files import write_series
from tests.helpers.leaks import leaks
from tests.privacy.conftest import Command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    """One good series, below a folder whose name tells as much as its own."""
    folder = tmp_path / "ZZHUBER" / "CANARY FOLDER"
    write_series(
        folder / "ZZMEIER", brain.astype("uint16"), planted_exports.AFFINE, **planted_exports.IDENTITY
    )
    return folder


@pytest.fixture(params=["segment", "convert", "check"])
def words(request: pytest.FixtureRequest, export: Path, tmp_path: Path, model: Path) -> list[object]:
    """A command on the export; its output lies beside the input."""
    out = tmp_path / "ZZHUBER" / "out"
    return {
        "segment": ["segment", export, out, "--model", model, "--accept-domain"],
        "convert": ["convert", export, out],
        "check": ["check", export],
    }[request.param]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for logs of commands without an output."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def seen(tmp_path: Path, export: Path, screen: str) -> dict[str, set[str]]:
    hits = leaks(tmp_path / "here", planted_exports.words(export), screen)
    if (out := tmp_path / "ZZHUBER/out").exists():
        hits |= leaks(out, planted_exports.words(export))
    return hits


ERRORS: dict[str, BaseException] = {
    "a library quotes a value": ValueError("Invalid value for VR CS: 'ZZMEIER'\nin CANARY FOLDER"),
    "a key": KeyError("ZZMEIER"),
    "no number of an error": OSError("cannot identify ZZMEIER"),
    "interrupted": KeyboardInterrupt("ZZMEIER"),
    "terminated": Terminated("ZZMEIER"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_shown_by_its_type(
    kind: str,
    words: list[object],
    export: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        try:
            raise RuntimeError("because of ZZMEIER")
        except RuntimeError as cause:
            raise ERRORS[kind] from cause

    monkeypatch.setattr(series, "unique_instances", fail)
    code, screen = command(*words)
    assert seen(tmp_path, export, screen) == {}
    if kind in ("interrupted", "terminated"):
        assert code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED) and "stopped" in screen
    else:
        logs = [*(tmp_path / "here").glob("*.log"), *(tmp_path / "ZZHUBER").rglob("medseg.log")]
        assert code == ExitCode.FAULT and "FAULT medseg:" in screen
        assert "unique_instances(series)" in logs[0].read_text()  # where it happened is told


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOSPC])
def test_an_error_of_the_system_names_the_input_by_its_number(
    number: int,
    words: list[object],
    export: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = str(export / "ZZMEIER/000")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), inside)

    monkeypatch.setattr(series, "unique_instances", fail)
    code, screen = command(*words)
    assert (
        code and {errno.EACCES: "USAGE input 1", errno.ENOSPC: "DISK_FULL OUT"}.get(number, "FAULT") in screen
    )
    assert seen(tmp_path, export, screen) == {}


def test_a_folder_that_cannot_be_listed(
    words: list[object], export: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(*args: Any, onerror: Any = None, **kwargs: Any) -> Any:
        if onerror is not None:
            onerror(PermissionError(errno.EACCES, "Permission denied", str(export / "ZZMEIER")))
        return listed(*args, **kwargs)

    listed = os.walk
    monkeypatch.setattr(os, "walk", walk)
    _, screen = command(*words)
    assert seen(tmp_path, export, screen) == {}


def test_a_file_that_cannot_be_opened(
    words: list[object], export: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = frames.DicomFile.open

    def refuse(file: frames.DicomFile) -> Any:
        if file.path.name == "003":
            raise PermissionError(errno.EACCES, "Permission denied", str(file.path))
        return opened(file)

    monkeypatch.setattr(frames.DicomFile, "open", refuse)
    code, screen = command(*words)
    assert code == ExitCode.NOTHING_USABLE and "SLICES_MISSING" in screen
    assert seen(tmp_path, export, screen) == {}


def test_an_archive_of_too_many_entries(
    export: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    archive = shutil.make_archive(str(export / "ZZARCHIVE"), "zip", export / "ZZMEIER")
    monkeypatch.setattr(dicom_files, "MAX_ENTRIES", 3)
    code, screen = command("convert", archive, tmp_path / "ZZHUBER/out")
    assert code == ExitCode.NOTHING_USABLE
    assert [row["code"] for row in files.read_csv(tmp_path / "ZZHUBER/out/quarantine.csv")] == ["TOO_LARGE"]
    assert seen(tmp_path, export, screen) == {}


def test_a_path_that_is_not_there(export: Path, tmp_path: Path, command: Command, model: Path) -> None:
    absent, out = export / "ZZMEIER/no/such", tmp_path / "ZZHUBER/out"
    for words in (
        ["convert", export, absent, out],
        ["segment", export, absent, out, "--model", model],
        ["segment", absent, out, "--model", model, "--private"],
    ):
        code, screen = command(*words)
        assert code == ExitCode.USAGE and "PATH_MISSING input" in screen
        assert seen(tmp_path, export, screen) == {}


def test_a_folder_that_is_in_use(export: Path, tmp_path: Path, command: Command, model: Path) -> None:
    out = tmp_path / "ZZHUBER/out"
    with files.hold_lock(out / ".lock", "", "", ""):
        for words in (["convert", export, out], ["segment", export, out, "--model", model]):
            code, screen = command(*words)
            assert code == ExitCode.USAGE and screen.startswith("WORK_IN_USE OUT: ")
            assert seen(tmp_path, export, screen) == {}


def test_an_output_inside_of_the_input(export: Path, tmp_path: Path, command: Command) -> None:
    code, screen = command("convert", export, out := export / "ZZMEIER/out")
    assert code == ExitCode.DONE and "Summary: OUT/summary.csv" in screen
    assert leaks(out, planted_exports.words(export), screen) == {}


def test_a_relative_path(
    export: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for here, words in ((export, (".", "out")), (export.parent, (export.name, f"{export.name}/out"))):
        monkeypatch.chdir(here)
        code, screen = command("convert", *words)
        assert code == ExitCode.DONE
        assert leaks(export / "out", planted_exports.words(export), screen) == {}


def test_no_library_warns_or_logs_in_a_process_of_its_own(tmp_path: Path, brain: Any, model: Path) -> None:
    """pytest keeps warnings and logs for itself; here they would stand on the screen."""
    folder = planted_exports.write(tmp_path, brain)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always"}
    for words in (
        ["convert", folder, tmp_path / "out1", "--verbose"],
        ["segment", folder, tmp_path / "out2", "--model", model, "--accept-domain", "--verbose"],
        ["check", folder, "--json"],
    ):
        line = [sys.executable, "-m", "medseg", *map(str, words)]
        ended = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert ended.returncode == ExitCode.SOME_EXCLUDED, ended.stderr
        assert leaks(tmp_path / "here", planted_exports.words(folder), ended.stdout + ended.stderr) == {}


def test_a_disk_that_cannot_be_written_is_a_wrong_path_without_its_name(tmp_path: Path) -> None:
    hidden = HiddenPaths.of([tmp_path / "ZZMEIER"], tmp_path / "ZZHUBER/out")
    error = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "ZZHUBER/out/labels.json"))
    shown = hidden.fault(error, tmp_path / "ZZHUBER/out")
    assert isinstance(shown, OSError) and shown.errno == errno.EROFS and shown.filename == "OUT/labels.json"
