"""How a command ends: exit codes, one line instead of a traceback, the command that resumes."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import click
import typer

from medseg.errors import Code, ExitCode, MedsegError

_EXTRA_PACKAGES = {
    "train": ("mlflow", "monai", "lightning_fabric", "matplotlib", "jinja2", "psutil", "nilearn"),
}

log_file: list[Path] = []
"""Where the running command logs (at most one entry); tracebacks go there."""


class Terminated(BaseException):
    """SIGTERM arrived."""


def needs_extra(extra: str) -> None:
    """EXTRA_MISSING if a package of the extra is not installed."""
    missing = [name for name in _EXTRA_PACKAGES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MedsegError(
            Code.EXTRA_MISSING,
            "medseg",
            f"this command needs {', '.join(missing)}",
            f"pip install 'medseg[{extra}]'",
        )


def end_well(app: typer.Typer) -> int:
    """Run the app; every end is an exit code and at most a few lines on stderr."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        result = app(standalone_mode=False)
        return int(result) if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except MedsegError as error:
        for problem in getattr(error, "problems", (error.finding,)):
            _say(str(problem))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        return _interrupted(getattr(stop, "exit_code", ExitCode.INTERRUPTED))
    except Terminated:
        return _interrupted(ExitCode.TERMINATED)
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.FAULT
    except OSError as error:
        return _os_error(error)
    except Exception as error:
        return _fault(error)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _interrupted(code: int) -> int:
    command = shlex.join(["medseg", *sys.argv[1:]])
    _say(f"stopped; what is done is kept. Go on with: {command}")
    return code


def _os_error(error: OSError) -> int:
    if error.errno == 28:
        _say(f"{Code.DISK_FULL} {error.filename or 'disk'}: no space left; free some and run again")
        return ExitCode.FAULT
    return _fault(error)


def _fault(error: Exception) -> int:
    text = "".join(traceback.format_exception(error))
    where = log_file[0] if log_file else Path(f"medseg-fault-{os.getpid()}.log")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with where.open("a", encoding="utf-8") as file:
            file.write(text)
        told = f"traceback in {where}"
    except OSError:
        told = f"no log could be written; raised at {traceback.extract_tb(error.__traceback__)[-1]}"
    first = str(error).splitlines()[0] if str(error) else ""
    _say(f"FAULT medseg: {type(error).__name__}: {first}; {told}; please report it")
    return ExitCode.FAULT


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
