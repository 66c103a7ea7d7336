"""Lines of `medseg segment` about the ends of cases, for users and for other programs."""

from __future__ import annotations

from pathlib import Path

from medseg.console import Reporter
from medseg.infer.batch import Outcome, Task
from medseg.ingest import label_names, quarantine
from medseg.ingest.tree import count_by_suffix
from medseg.io import scans
from pipelines.commands.segment_inputs import Inputs


def say_outcome(say: Reporter, task: Task, outcome: Outcome) -> None:
    """Print the end of a case for the user."""
    if outcome.finding is not None:
        say.line(f"  {quarantine.line(quarantine.row(task.case, outcome.finding, task.file))}")
    else:
        codes = " ".join(dict.fromkeys(n["code"] for n in outcome.metadata["notes"]))
        if outcome.status in ("done without SEG", "SEG failed"):
            codes += f" {outcome.metadata['seg']}"
        seconds = sum(outcome.metadata["seconds"].values())
        say.line(f"  {outcome.status}: {task.case} ({seconds:.1f} s) {codes.strip()}".rstrip())


def print_event(say: Reporter, case: str, outcome: Outcome) -> None:
    """Print the end of a case for other programs."""
    notes = [str(note["code"]) for note in outcome.metadata.get("notes", ())]
    codes = notes if outcome.finding is None else [str(outcome.finding.code)]
    quality = outcome.metadata.get("quality")
    say.event("case", case=case, status=outcome.status, codes=codes, quality=quality)


def left_out_line(inputs: Inputs, out: Path) -> str:
    """The number of files that are no case, and of those left out by names like label maps.

    Where patterns found the cases, no name left a file out, and `--include-labels` takes none.
    """
    count = len(inputs.left_out)
    labels = sum(
        scans.detect_kind(path) == inputs.unit and label_names.is_label(scans.stem(path))
        for path in inputs.left_out
    )
    by_name = labels and not inputs.words
    remark = f" ({labels} named like label maps: --include-labels takes them)" if by_name else ""
    return f"{count} file{'' if count == 1 else 's'} left out{remark}, see {out / 'run.json'}"


def unread_lines(inputs: Inputs) -> list[str]:
    """Count the files left out whose formats are not read, and say what to do; no file is named."""
    counts: dict[str, list[str]] = {}
    for path in inputs.left_out:
        if how_to_fix := scans.unread_format(path):
            counts.setdefault(how_to_fix.partition(", for example")[0], []).append(path.name)
    return [f"  not read: {count_by_suffix(names)} ({how_to_fix})" for how_to_fix, names in counts.items()]
