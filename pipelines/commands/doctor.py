"""`medseg doctor`: is this machine fit for medseg; a line each, ok or not, with what to do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.device import choose, in_words
from medseg.errors import ExitCode, MedsegError
from medseg.infer import loading
from pipelines.commands.info import TRAIN, version

LOW_DISK_GB = 5.0
LOW_MEMORY_GB = 4.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    details: str
    how_to_fix: str = ""


def run(models: Sequence[Path]) -> ExitCode:
    """Print every finding; FAULT if one needs a remedy."""
    findings = list(look(models))
    for f in findings:
        mark = "!!" if f.how_to_fix else "ok"
        sys.stdout.write(
            f"{mark} {f.what}: {f.details}" + (f"; {f.how_to_fix}" if f.how_to_fix else "") + "\n"
        )
    return ExitCode.FAULT if any(f.how_to_fix for f in findings) else ExitCode.DONE


def look(models: Sequence[Path]) -> Iterator[Finding]:
    """Disk, memory, device, extras, model folders."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(
        "disk", f"{free:.0f} GB free here", "" if free > LOW_DISK_GB else "free some, or use --work"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 1e9
    how_to_fix = "" if memory > LOW_MEMORY_GB else "close other programs, or lower train.batch"
    yield Finding("memory", f"{memory:.1f} GB free", how_to_fix)
    yield Finding("device", in_words(choose("auto")))
    absent = [name for name in TRAIN if version(name) is None]
    if absent:
        yield Finding("extra [train]", f"without {', '.join(absent)}", "pip install 'medseg[train]'")
    else:
        yield Finding("extra [train]", f"complete, mlflow {version('mlflow')}")
    for folder in models:
        try:
            model = loading.load(folder)
        except MedsegError as error:
            yield Finding(
                f"model {folder}", f"{error.code} {error.finding.details}", error.finding.how_to_fix
            )
        else:
            yield Finding(f"model {folder}", f"{model.description.network}, hashes hold")
