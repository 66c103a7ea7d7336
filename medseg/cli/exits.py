"""Ends of commands: exit codes, one line instead of a traceback, the command that resumes."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import typer

from medseg.errors import Code, ExitCode, Finding, HiddenError, MedsegError
from medseg.extras import needs_extra as needs_extra
from medseg.files import final
from medseg.redaction import redact_text
from medseg.resources import is_disk_full, is_out_of_memory

_WRONG_PATH = {
    errno.EEXIST: "it is a file where a folder is wanted; name a folder",
    errno.ENOTDIR: "name a path whose folders are folders",
    errno.EISDIR: "name a file, not a folder",
    errno.EACCES: "change its permissions or name another path",
    errno.EPERM: "change its permissions or name another path",
    errno.EROFS: "name a path on a disk that can be written",
}
"""Errors of the system that another path mends, with what to do."""

_MEMORY_KEYS = "train.batch (training) or predict.batch (prediction)"

_WITH_INPUTS = (["segment"], ["convert"], ["check"])
"""Commands whose words may hold the name of an export."""

log_file: list[Path] = []
"""Where the running command logs (at most one entry); tracebacks go there."""

_until_end: list[ExitStack] = []
"""What the running command closes at its end (at most one entry)."""

_terminated: list[int] = []
"""The exit code once SIGTERM or SIGHUP has arrived (at most one): what a library makes of it is no fault."""


class Terminated(BaseException):
    """SIGTERM arrived, or SIGHUP, as the terminal was closed."""

    exit_code = ExitCode.TERMINATED


def keep_until_end(resource: AbstractContextManager[object]) -> None:
    """Enter what is closed when the running command ends; nothing where no command runs."""
    for stack in _until_end:
        stack.enter_context(resource)


def end_well(app: typer.Typer) -> int:
    """Run the app; every end is an exit code and at most a few lines on stderr."""
    with ExitStack() as stack:
        _until_end[:] = [stack]
        try:
            return _ended(app)
        finally:
            _until_end.clear()


def _ended(app: typer.Typer) -> int:
    signal.signal(signal.SIGTERM, _on_sigterm)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, _on_sigterm)
    _terminated.clear()
    try:
        result = app(standalone_mode=False)
        if result == ExitCode.INTERRUPTED:  # what typer makes of KeyboardInterrupt
            return _interrupted(ExitCode.INTERRUPTED)
        return int(result) if isinstance(result, int) else 0
    except typer.Exit as end:
        return end.exit_code
    except MedsegError as error:
        _refuse(getattr(error, "problems", (error.finding,)))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.FAULT
    except Exception as error:
        return _interrupted(_terminated[0]) if _terminated else _error(error)
    except BaseException as stop:  # Terminated, or a training that was stopped by a signal
        if not hasattr(stop, "exit_code"):
            raise
        return _interrupted(stop.exit_code)


def _error(error: Exception) -> int:
    """End with what the system or a library raised: a limit of the machine, a wrong path, a fault of ours."""
    path = getattr(error, "filename2", None) or getattr(error, "filename", None)
    where = final(Path(os.fsdecode(path))) if isinstance(path, str | bytes) else None
    if is_disk_full(error, where or (log_file[0] if log_file else Path.cwd() / "medseg")):
        place = where or (log_file[0].parent if log_file and not isinstance(error, HiddenError) else "disk")
        how_to_fix = "free some and run the same command again"
        _refuse([Finding(Code.DISK_FULL, str(place), "no space is left", how_to_fix)])
        return ExitCode.FAULT
    if isinstance(error, OSError) and error.errno in _WRONG_PATH and where is not None:
        _refuse([Finding(Code.USAGE, str(where), str(error.strerror), _WRONG_PATH[error.errno])])
        return ExitCode.USAGE
    if is_out_of_memory(error):
        first = (str(error) or type(error).__name__).splitlines()[0]
        how_to_fix = f"close other programs, or lower {_MEMORY_KEYS}"
        _refuse([Finding(Code.OUT_OF_MEMORY, "medseg", first, how_to_fix)])
        return ExitCode.FAULT
    show = getattr(error, "show", None)  # a wrong option or argument, as click and typer raise it
    if callable(show):
        show()
        details = getattr(error, "format_message", error.__str__)()
        _as_json(_problem(Code.USAGE, details, "see the help page: -h"))
        return ExitCode.USAGE
    return _fault(error)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    _terminated[:] = [Terminated.exit_code]
    raise Terminated


def _interrupted(code: int) -> int:
    words = sys.argv[1:]
    if words[:1] in _WITH_INPUTS:  # the names of inputs may name patients
        _say("stopped; what is done is kept. Go on with the same command")
        return code
    for n, word in enumerate(words):  # it would begin anew what has just been done
        if word.startswith("--from"):
            del words[n : n + (1 if "=" in word else 2)]
            break
    _say(f"stopped; what is done is kept. Go on with: {shlex.join(['medseg', *words])}")
    return code


def _fault(error: Exception) -> int:
    log = log_file[0] if log_file else Path(f"medseg-fault-{os.getpid()}.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(redact_text("".join(traceback.format_exception(error))))
        place = f"traceback in {log.name if isinstance(error, HiddenError) else log}"
    except OSError:
        frames = traceback.extract_tb(error.__traceback__)
        last = (
            f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else "an unknown line"
        )
        place = f"no log could be written; raised at {last}"
    first = str(error).splitlines()[0] if str(error) else ""
    kind = "" if isinstance(error, HiddenError) else f"{type(error).__name__}: "
    _say(f"FAULT medseg: {kind}{first}; {place}; please report it")
    _as_json(_problem("FAULT", f"{kind}{first}; {place}", "please report it"))
    return ExitCode.FAULT


def _refuse(findings: Sequence[Finding]) -> None:
    """A line on stderr for each finding; with `--json` or `--json-lines` the same as JSON on stdout."""
    for finding in findings:
        _say(str(finding))
    _as_json(*({**asdict(f), "code": str(f.code)} for f in findings))


def _as_json(*problems: Mapping[str, object]) -> None:
    """With `--json` the reasons of an end as JSON on stdout, with `--json-lines` as a line for each."""
    if problems and "--json" in sys.argv[1:]:
        _print(json.dumps({"problems": problems}, indent=2))
    elif "--json-lines" in sys.argv[1:]:
        for problem in problems:
            _print(json.dumps({"event": "problem", **problem}))


def _problem(code: str, details: str, how_to_fix: str) -> Mapping[str, object]:
    """The reason of an end that has no finding, in a finding's form."""
    return {"code": str(code), "where": "medseg", "details": details, "how_to_fix": how_to_fix}


def _print(text: str) -> None:
    sys.stdout.write(redact_text(text) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(redact_text(text) + "\n")
