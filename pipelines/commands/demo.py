"""`medseg demo`: synthetic subjects, every stage on them, then scores, report and the UI command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.synth import folder as synth
from pipelines import run as pipeline

SUBJECTS = 12


def run(work: Path, settings: Sequence[str], say: Reporter) -> ExitCode:
    """Write `work/subjects`, then run the packaged recipe `demo` on it in `work`."""
    data = work / "subjects"
    with say.progress("making subjects", SUBJECTS) as bar:
        synth.write(data, subjects=SUBJECTS, progress=lambda done, _: bar.to(done))
    say.line(f"{SUBJECTS} synthetic subjects in {data}")
    return pipeline.run(pipeline.Request("demo", data, work, tuple(settings)), say)
