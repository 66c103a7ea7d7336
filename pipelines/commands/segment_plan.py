"""`medseg segment --dry-run`: what would be segmented, skipped and excluded; nothing is written."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.infer import batch, results
from medseg.infer.batch import Outcome
from medseg.ingest import privacy, quarantine
from medseg.ingest.label_templates import counted_as
from medseg.model import folder as model_folder
from pipelines.commands import segment, segment_budget, segment_file, segment_steps
from pipelines.commands.segment import Settings
from pipelines.commands.segment_inputs import Input
from pipelines.commands.segment_steps import Asked


def run(paths: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Print for each case what a run would do first; scans are neither decoded nor checked.

    Ends as the run would, should all that is to be done go well.
    """
    segment.require_possible(settings)
    with tempfile.TemporaryDirectory(prefix="medseg-dry-run-") as temporary:
        if (out / privacy.FOLDER / "key").is_file():
            privacy.write_private(
                Path(temporary) / privacy.FOLDER / "key", (out / privacy.FOLDER / "key").read_bytes()
            )
        settings = replace(settings, index=False)
        if segment_file.is_file(out):
            settings, out = replace(settings, name=results.case_of(out)), out.parent
        with segment.names_of(paths, out, settings, say, Path(temporary)) as (names, paths, out):
            inputs = segment.find_cases(paths, out, settings, names, say)
            asked = segment.asked_of(settings, out, say)
            asked, _ = segment_budget.plan(settings.budget, settings.execution, asked, inputs.cases, say)
            planned = [_status(case, asked) for case in inputs.cases]
            for case, (status, outcome) in zip(inputs.cases, planned, strict=True):
                if outcome is not None and outcome.finding is not None:
                    row = quarantine.row(case.task.case, outcome.finding, case.task.file)
                    say.line(f"  {quarantine.line(row)}")
                else:
                    say.line(f"  {status}: {case.task.case}")
                say.event("case", case=case.task.case, status=status)
    counts = Counter(status for status, _ in planned)
    say.event("end", inputs=len(planned), counts=dict(counts))
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    inputs_words, left_out = counted_as(len(planned), "input"), counted_as(len(inputs.left_out), "file")
    say.result(f"{inputs_words}: {words}; {left_out} left out. Nothing was written.")
    if counts["excluded"] == len(planned):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if counts["excluded"] else ExitCode.DONE


def _status(case: Input, asked: Asked) -> tuple[str, Outcome | None]:
    """`to segment`, `skipped` or `excluded`, with the outcome where it is known."""
    if case.reason is not None:
        masks = model_folder.read(asked.model).description.class_list().masks
        return "excluded", batch.excluded(case.task, masks, case.reason)
    outcome = segment_steps.known_outcome(case.task, asked)
    return ("to segment", None) if outcome is None else (outcome.status, outcome)
