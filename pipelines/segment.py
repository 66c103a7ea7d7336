"""`medseg segment`: scans and a model folder in; label maps, a summary and a quarantine list out.

Every input ends as done, done with note, skipped (its result is there already) or set aside with a code.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.infer import modelfolder
from medseg.infer.modelfolder import Model
from medseg.infer.segment import segment_file, write_label_names
from medseg.io import scans
from pipelines.device import choose
from pipelines.reporter import Reporter

LABEL_ENDINGS = ("_seg", "_label", "_labels", "_mask", "_margin")
QUARANTINE_COLUMNS = ("case", "file", "code", "found", "remedy")


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    model: Path
    mode: str | None = None
    margin: bool = False
    device: str = "auto"
    include_labels: bool = False


@dataclass(frozen=True)
class Input:
    """One case to segment; `channels` are its files by the model's channel names."""

    case: str
    file: Path
    channels: Mapping[str, Path]


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    status: str
    told: Mapping[str, Any]
    finding: Finding | None = None


def run(inputs: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Segment every scan among `inputs` (files or folders) into `out`."""
    model = modelfolder.load(settings.model, choose(settings.device))
    cases, left_out = find_inputs(inputs, model.description.channels, settings)
    if not cases:
        where = ", ".join(map(str, inputs))
        raise MedsegError(
            Code.NOTHING_USABLE, where, "no scan among the inputs", "name scans or their folder"
        )
    write_label_names(out, model.description.class_list())
    outcomes: dict[str, Outcome] = {}
    with say.progress("segmenting", len(cases)) as bar:
        for n, case in enumerate(cases, 1):
            outcomes[case.case] = _one(case, model, out, settings)
            _say(say, case, outcomes[case.case])
            bar.to(n, case.case)
    return _conclude(cases, outcomes, left_out, out, settings, model, say)


def find_inputs(
    inputs: Sequence[Path], channels: Sequence[str], settings: Settings
) -> tuple[list[Input], list[Path]]:
    """Cases among files and folders, and the files of those folders that were left out.

    A file that was named is always a case. In folders, files named like label maps are left out unless
    asked for. A model with several channels takes `<case>_<channel>` files of one folder.
    """
    found: list[Path] = []
    left_out: list[Path] = []
    for path in inputs:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                wanted = scans.is_scan(file) and not files.is_part(file) and not file.name.startswith(".")
                named_label = scans.stem(file).lower().endswith(LABEL_ENDINGS)
                (found if wanted and (settings.include_labels or not named_label) else left_out).append(file)
        elif path.exists():
            found.append(path)
        else:
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    grouped = _by_case(list(dict.fromkeys(found)), channels)
    return [Input(name, next(iter(c.values())), c) for name, c in _unique_names(grouped)], left_out


def _by_case(found: Sequence[Path], channels: Sequence[str]) -> list[tuple[str, dict[str, Path]]]:
    if len(channels) == 1:
        return [(scans.stem(path), {channels[0]: path}) for path in found]
    cases: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for path in found:
        stem = scans.stem(path)
        ending = next((c for c in channels if stem.lower().endswith(f"_{c.lower()}")), None)
        if ending is None:
            cases[(path.parent, stem)] = {channels[0]: path}
        else:
            cases[(path.parent, stem[: -len(ending) - 1])][ending] = path
    return [(name, c) for (_, name), c in cases.items()]


def _unique_names(cases: Sequence[tuple[str, dict[str, Path]]]) -> list[tuple[str, dict[str, Path]]]:
    """Equal names from different folders get the folder in front; what is still equal gets a number."""
    often = Counter(name for name, _ in cases)
    named = []
    for name, channels in cases:
        parent = next(iter(channels.values())).absolute().parent.name
        named.append((f"{parent}_{name}" if often[name] > 1 else name, channels))
    seen: Counter[str] = Counter()
    unique = []
    for name, channels in named:
        seen[name] += 1
        unique.append((name if seen[name] == 1 else f"{name}_{seen[name]}", channels))
    return unique


def _one(case: Input, model: Model, out: Path, settings: Settings) -> Outcome:
    label, about = out / f"{case.case}.nii.gz", out / f"{case.case}.json"
    try:
        key = _key(case, model, settings)
        if (told := _told_before(label, about, key)) is not None:
            return Outcome("skipped", told)
        made = segment_file(case.channels, model, label, mode=settings.mode, margin=settings.margin)
    except MedsegError as error:
        about.unlink(missing_ok=True)
        label.unlink(missing_ok=True)
        return Outcome("set aside", {}, error.finding)
    told = {"case": case.case, "file": str(case.file), **made.to_json(), "made_from": key}
    files.write_json(about, {**told, "sha256": files.sha256(label)})
    return Outcome("done with note" if made.notes else "done", told)


def _key(case: Input, model: Model, settings: Settings) -> str:
    try:
        content = {name: files.sha256(path) for name, path in case.channels.items()}
    except PermissionError:
        raise MedsegError(
            Code.FILE_UNREADABLE, case.file, "permission denied", "make the file readable"
        ) from None
    return files.sha256_of_value([content, model.sha256, settings.mode, settings.margin])


def _told_before(label: Path, about: Path, key: str) -> dict[str, Any] | None:
    """What was told of a result that is there, whole, from the same input, model and settings."""
    if not (label.is_file() and about.is_file()):
        return None
    told: dict[str, Any] = files.read_json(about)
    whole = told["made_from"] == key and told["sha256"] == files.sha256(label)
    return told if whole else None


def _say(say: Reporter, case: Input, outcome: Outcome) -> None:
    if outcome.finding is not None:
        f = outcome.finding
        say.line(f"  set aside: {f.code} {case.file}: {f.found}; {f.remedy}")
    else:
        codes = " ".join(n["code"] for n in outcome.told["notes"])
        seconds = sum(outcome.told["seconds"].values())
        say.line(f"  {outcome.status}: {case.case} ({seconds:.1f} s) {codes}".rstrip())


def _conclude(
    cases: Sequence[Input],
    outcomes: Mapping[str, Outcome],
    left_out: Sequence[Path],
    out: Path,
    settings: Settings,
    model: Model,
    say: Reporter,
) -> ExitCode:
    rows = [_summary_row(case, outcomes[case.case], model) for case in cases]
    aside = [_quarantine_row(case, f) for case in cases if (f := outcomes[case.case].finding)]
    counts = Counter(o.status for o in outcomes.values())
    if sum(counts.values()) != len(cases):
        raise MedsegError(
            Code.DOES_NOT_ADD_UP, out, f"{len(cases)} inputs, {dict(counts)}", "please report this"
        )
    files.write_csv(out / "summary.csv", list(rows[0]), rows)
    files.write_csv(out / "quarantine.csv", QUARANTINE_COLUMNS, aside)
    told = {
        "medseg": medseg.__version__,
        "model": str(settings.model),
        "model_sha256": model.sha256,
        "mode": settings.mode or model.description.mode,
        "inputs": len(cases),
        "counts": dict(sorted(counts.items())),
        "left_out": [str(p) for p in left_out],
    }
    files.write_json(out / "run.json", told)
    words = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    say.line(f"{len(cases)} inputs: {words}. Summary: {out / 'summary.csv'}")
    if len(aside) == len(cases):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_SET_ASIDE if aside else ExitCode.DONE


def _summary_row(case: Input, outcome: Outcome, model: Model) -> dict[str, Any]:
    told, finding = outcome.told, outcome.finding
    names = [c["name"] for c in model.description.classes[1:]]
    unit = told.get("size_unit", "ml")
    notes = told.get("notes", [])
    return {
        "case": case.case,
        "file": str(case.file),
        "status": outcome.status,
        "code": str(finding.code) if finding else " ".join(n["code"] for n in notes),
        "note": finding.found if finding else "; ".join(n["found"] for n in notes),
        **{f"{name}_{unit}": told.get("sizes", {}).get(name) for name in names},
        "quality": told.get("quality"),
        "needs_review": told.get("needs_review"),
        "seconds": round(sum(told["seconds"].values()), 2) if told else None,
    }


def _quarantine_row(case: Input, finding: Finding) -> dict[str, Any]:
    return {
        "case": case.case,
        "file": str(case.file),
        "code": str(finding.code),
        "found": finding.found,
        "remedy": finding.remedy,
    }
