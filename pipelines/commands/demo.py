"""`medseg demo`: synthetic subjects, every stage on them, then scores, report and the UI command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.synth import folder as synth
from pipelines import run as pipeline
from pipelines.workfolder import Work

SUBJECTS = 12


def run(work: Path, settings: Sequence[str], say: Reporter) -> ExitCode:
    """Write `work/subjects`, then run the packaged recipe `demo` on it in `work`."""
    data = work / "subjects"
    with say.progress("making subjects", SUBJECTS) as bar:
        synth.write(data, subjects=SUBJECTS, progress=lambda done, _: bar.to(done))
    say.line(f"{SUBJECTS} synthetic subjects in {data}")
    ended = pipeline.run(pipeline.Request("demo", data, work, tuple(settings)), say)
    say.line(f"runs:   {shlex.join(['medseg', 'ui', str(work)])}")
    say.line(f"use it: {shlex.join(['medseg', 'segment', 'SCANS', 'OUT', '--model', str(Work(work).model)])}")
    return ended
