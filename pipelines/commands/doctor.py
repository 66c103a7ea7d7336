"""`medseg doctor`: checks of this machine and installation, each with what to do if it fails."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.device import choose, in_words, resolve_precision
from medseg.errors import ExitCode, MedsegError
from medseg.infer import loading
from pipelines.commands.info import TRAIN, version

LOW_DISK_GB = 5.0
LOW_MEMORY_GB = 4.0


@dataclass(frozen=True)
class Check:
    """One thing looked at; `how_to_fix` is empty if it is well."""

    name: str
    details: str
    how_to_fix: str = ""


def run(models: Sequence[Path]) -> ExitCode:
    """Print every check; FAULT if one failed."""
    failed = False
    for check in checks(models):
        mark, remedy = ("!!", f"; {check.how_to_fix}") if check.how_to_fix else ("ok", "")
        sys.stdout.write(f"{mark} {check.name}: {check.details}{remedy}\n")
        failed = failed or bool(check.how_to_fix)
    return ExitCode.FAULT if failed else ExitCode.DONE


def checks(models: Sequence[Path]) -> Iterator[Check]:
    """Look at disk, memory, device, precision, extras and model folders."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    how_to_fix = "" if free > LOW_DISK_GB else "free some space, or work on another disk with --work"
    yield Check("disk", f"{free:.0f} GB free here", how_to_fix)
    memory = _free_memory_gb()
    if memory is not None:
        how_to_fix = "" if memory > LOW_MEMORY_GB else "close other programs, or lower train.batch"
        yield Check("memory", f"{memory:.1f} GB free", how_to_fix)
    device = choose("auto")
    yield Check("device", in_words(device))
    yield Check("precision", f"auto is {resolve_precision('auto', device)} in training")
    absent = [name for name in TRAIN if version(name) is None]
    if absent:
        yield Check("extra [train]", f"without {', '.join(absent)}", "pip install 'medseg[train]'")
    else:
        yield Check("extra [train]", f"complete, mlflow {version('mlflow')}")
    for folder in models:
        try:
            model = loading.load(folder)
        except MedsegError as error:
            details, how_to_fix = f"{error.code} {error.finding.details}", error.finding.how_to_fix
            yield Check(f"model {folder}", details, how_to_fix)
        else:
            yield Check(f"model {folder}", f"{model.description.network}, its files have the right sha256")


def _free_memory_gb() -> float | None:
    """Memory that is free, in GB; None where the system does not say, as macOS does not."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):
        return None
