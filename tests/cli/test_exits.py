"""How commands end: exit codes, one line on stderr, never a traceback, the command that resumes."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer

from medseg.cli import exits
from medseg.config.load import RecipeError
from medseg.errors import MEANING, NOTES, Code, ExitCode, Finding, MedsegError
from medseg.train.stop import Stopped


def ends(
    what: Callable[[], object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """A command that does `what`: its exit code and what stands on stderr."""
    monkeypatch.setattr(sys, "argv", ["medseg", "run", "x y"])
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(lambda: what())
    before = signal.getsignal(signal.SIGTERM)
    try:
        monkeypatch.setattr(sys, "argv", ["medseg"])
        code = exits.end_well(app)
    finally:
        signal.signal(signal.SIGTERM, before)
    return code, capsys.readouterr().err


def raiser(error: BaseException) -> Callable[[], object]:
    def do() -> object:
        raise error

    return do


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Code.USAGE, ExitCode.USAGE),
        (Code.NOTHING_USABLE, ExitCode.NOTHING_USABLE),
        (Code.DISK_FULL, ExitCode.FAULT),
        (Code.MODEL_TAMPERED, ExitCode.USAGE),
    ],
)
def test_a_refusal_is_one_line(
    code: Code, expected: ExitCode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = MedsegError(code, "here", "this was found", "do that")
    ended, said = ends(raiser(error), capsys, monkeypatch)
    assert (ended, said) == (expected, f"{code} here: this was found; do that\n")


def test_every_problem_of_a_recipe_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [Finding(Code.RECIPE_INVALID, f"key{n}", "wrong", "mend it") for n in range(3)]
    ended, said = ends(raiser(RecipeError(Path("r.yaml"), problems)), capsys, monkeypatch)
    assert ended == ExitCode.USAGE
    assert said.count("\n") == 3


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_in_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "w" / "medseg.log"])
    ended, said = ends(raiser(KeyError("oops")), capsys, monkeypatch)
    assert ended == ExitCode.FAULT
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "w" / "medseg.log").read_text()


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (MedsegError(Code.PATH_MISSING, "there", "no such folder", "name another"), ["PATH_MISSING"]),
        (
            RecipeError(
                Path("r"), [Finding(Code.RECIPE_INVALID, f"k{n}", "wrong", "mend it") for n in range(2)]
            ),
            ["RECIPE_INVALID", "RECIPE_INVALID"],
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.nii.gz"), ["DISK_FULL"]),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "w"), ["USAGE"]),
        (MemoryError("no more"), ["OUT_OF_MEMORY"]),
        (typer.BadParameter("no such option"), ["USAGE"]),
        (KeyError("oops"), ["FAULT"]),
    ],
    ids=["refusal", "recipe", "disk", "path", "memory", "option", "fault"],
)
def test_with_json_every_refusal_is_json_on_stdout_and_a_line_on_stderr(
    error: Exception,
    codes: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "medseg.log"])
    monkeypatch.setattr(sys, "argv", ["medseg", "check", "x", "--json"])

    def app(*, standalone_mode: bool) -> None:
        raise error

    before = signal.getsignal(signal.SIGTERM)
    try:
        exits.end_well(app)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGTERM, before)
    printed = capsys.readouterr()
    problems = json.loads(printed.out)["problems"]
    assert [problem["code"] for problem in problems] == codes and printed.err
    assert all(problem.keys() == {"code", "where", "details", "how_to_fix"} for problem in problems)


def test_with_json_lines_a_refusal_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["medseg", "segment", "x", "--json-lines"])
    for error in (MedsegError(Code.USAGE, "x", "wrong", "mend it"), typer.BadParameter("no such option")):

        def app(*, standalone_mode: bool, error: Exception = error) -> None:
            raise error

        before = signal.getsignal(signal.SIGTERM)
        try:
            exits.end_well(app)  # type: ignore[arg-type]
        finally:
            signal.signal(signal.SIGTERM, before)
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line).items() >= {"event": "problem", "code": "USAGE"}.items()


def test_a_path_of_an_unfinished_file_is_that_of_its_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = PermissionError(13, "Permission denied", "out/.part-5bce98-31370-0-labels.json")
    ended, said = ends(raiser(error), capsys, monkeypatch)
    assert ended == ExitCode.USAGE and said.startswith("USAGE out/labels.json: Permission denied")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("ignored", [True, False])
def test_a_closed_terminal_ends_a_command_unless_nohup_started_it(
    ignored: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    def closed() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.2)

    try:
        ended, said = ends(closed, capsys, monkeypatch)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended == (ExitCode.DONE if ignored else ExitCode.TERMINATED)
    assert said.startswith("stopped; what is done is kept") != ignored


def test_what_a_library_makes_of_sigterm_is_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "medseg.log"])

    def swallowed() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except BaseException:
            raise RecursionError("an import that was stopped half-way") from None

    ended, said = ends(swallowed, capsys, monkeypatch)
    assert ended == ExitCode.TERMINATED and said.startswith("stopped; what is done is kept")
    assert ends(raiser(RecursionError("deep")), capsys, monkeypatch)[0] == ExitCode.FAULT


def test_a_full_disk_has_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ends(raiser(OSError(28, "No space left on device", "out.nii.gz")), capsys, monkeypatch)
    assert ended == ExitCode.FAULT
    assert said.startswith("DISK_FULL out.nii.gz")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "out.nii.gz"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        ValueError("(sqlite3.OperationalError) database or disk is full"),
    ],
    ids=["quota", "safetensors", "sqlite"],
)
def test_a_full_disk_has_its_code_whoever_says_it(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ends(raiser(error), capsys, monkeypatch)
    assert (ended, said.count("\n")) == (ExitCode.FAULT, 1)
    assert said.startswith("DISK_FULL")


def test_a_full_disk_is_named_by_the_work_folder_where_the_error_names_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "medseg.log"])
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert ends(raiser(error), capsys, monkeypatch)[1].startswith(f"DISK_FULL {tmp_path}: no space")


def test_torchs_writer_on_a_full_disk_is_no_full_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "medseg.log"])
    usage = shutil.disk_usage(tmp_path)
    error = RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0")
    assert ends(raiser(error), capsys, monkeypatch)[1].startswith("FAULT")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    assert ends(raiser(error), capsys, monkeypatch)[1].startswith("DISK_FULL")


def test_a_fault_that_cannot_be_logged_names_file_and_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(exits, "log_file", [tmp_path / "file" / "medseg.log"])
    ended, said = ends(raiser(KeyError("oops")), capsys, monkeypatch)
    assert ended == ExitCode.FAULT
    assert "FrameSummary" not in said
    assert re.search(r"raised at \S+test_exits\.py:\d+ in ", said), said


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["run", "x", "--from", "train", "--fold", "0"], "medseg run x --fold 0"),
        (["run", "x", "--from=train"], "medseg run x"),
        (["run", "x", "--set", "data.path=from"], "medseg run x --set data.path=from"),
    ],
)
def test_the_command_that_goes_on_does_not_begin_anew(
    words: list[str], kept: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["medseg", *words])
    exits._interrupted(130)
    assert capsys.readouterr().err.rstrip().endswith(f"Go on with: {kept}")


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EROFS])
def test_a_path_of_the_wrong_kind_is_a_matter_of_usage(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ends(raiser(OSError(number, os.strerror(number), "the/path")), capsys, monkeypatch)
    assert ended == ExitCode.USAGE
    assert said.startswith("USAGE the/path: ")
    assert said.count("\n") == 1


def test_a_file_where_a_folder_is_wanted_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "work").write_text("")
    ended, said = ends(lambda: (tmp_path / "work").mkdir(exist_ok=True), capsys, monkeypatch)
    assert (ended, str(tmp_path / "work") in said) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["python", "cuda", "torch on a cpu"],
)
def test_out_of_memory_names_the_keys_to_lower(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ends(raiser(error), capsys, monkeypatch)
    assert ended == ExitCode.FAULT
    assert said.startswith("OUT_OF_MEMORY")
    assert "train.batch" in said
    assert "predict.batch" in said


def test_another_runtime_error_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exits, "log_file", [tmp_path / "medseg.log"])
    _, said = ends(raiser(RuntimeError("shapes differ")), capsys, monkeypatch)
    assert said.startswith("FAULT")


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), 130), (exits.Terminated(), 143), (Stopped(7, signal.SIGTERM), 143)],
    ids=["ctrl-c", "sigterm", "training stopped"],
)
def test_an_interrupt_names_the_command_that_goes_on(
    error: BaseException, expected: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ends(raiser(error), capsys, monkeypatch)
    assert ended == expected
    assert "Go on with: medseg" in said


def test_a_result_of_a_command_is_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends(lambda: ExitCode.SOME_EXCLUDED, capsys, monkeypatch) == (3, "")
    assert ends(lambda: None, capsys, monkeypatch) == (0, "")


@pytest.mark.parametrize(("extra", "package"), [("train", "mlflow"), ("export", "onnxscript")])
def test_a_missing_extra_is_named(extra: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(MedsegError) as caught:
        exits.needs_extra(extra)
    assert caught.value.code == Code.EXTRA_MISSING
    assert package in caught.value.finding.details
    assert f"medseg[{extra}]" in caught.value.finding.how_to_fix


def test_every_code_has_its_meaning() -> None:
    assert set(MEANING) == set(Code)
    assert set(Code) > NOTES


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medseg", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['medseg', '--help']\n"
        "from medseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'monai', 'numpy', 'nibabel', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "segment" in done.stdout


def test_a_wrong_option_ends_with_usage() -> None:
    done = command("segment", "--no-such-option")
    assert done.returncode == ExitCode.USAGE
    assert "Traceback" not in done.stderr


def test_a_model_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = command("segment", str(tmp_path), str(tmp_path / "out"), "--model", str(tmp_path))
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith("NOT_A_MODEL")
    assert done.stderr.count("\n") == 1


def test_version_and_info_answer() -> None:
    assert command("--version").stdout.startswith("medseg ")
    assert "demo" in command("info").stdout


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_ends_a_waiting_command_with_143(tmp_path: Path) -> None:
    script = (
        "import sys, time, typer\n"
        "from medseg.cli import exits\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def wait():\n    print('ready', flush=True); time.sleep(60)\n"
        "sys.argv = ['medseg']\n"
        "sys.exit(exits.end_well(app))"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == ExitCode.TERMINATED
    assert b"stopped" in said
