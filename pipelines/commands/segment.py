"""`medseg segment`: scans and a model folder in; label maps, a summary and a quarantine list out.

Every input ends as done, done with note, skipped (its result is there already) or excluded with a code.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg
from medseg import files
from medseg.console import Reporter
from medseg.device import choose
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.grid import NOUNS
from medseg.infer import loading, results
from medseg.infer.loading import Model
from medseg.infer.segment import segment_file, write_label_names
from medseg.ingest import label_names, quarantine
from medseg.ingest.tree import files_under
from medseg.io import affine_checks, scans
from medseg.resources import coded_out_of_memory

LESS_MEMORY = "free some memory, take --device cpu, or lower batch or memory_mb in model.json"


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    model: Path
    mode: str | None = None
    confidence: bool = False
    device: str = "auto"
    include_labels: bool = False


@dataclass(frozen=True)
class Input:
    """One case to segment; `channels` are its files by the model's channel names."""

    case: str
    file: Path
    channels: Mapping[str, Path]


@dataclass(frozen=True)
class Inputs:
    """What the command was given: cases, all their files, and the files that were left out.

    `unit` tells scans (mm) from images (px).
    """

    cases: tuple[Input, ...]
    files: tuple[Path, ...]
    left_out: tuple[Path, ...]
    unit: scans.Unit = "mm"

    @property
    def named_like_labels(self) -> int:
        """How many of the files left out are scans (or images) by their suffix, label maps by their name."""
        return sum(
            scans.detect_kind(path) == self.unit and label_names.is_label(scans.stem(path))
            for path in self.left_out
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    status: str
    told: Mapping[str, Any]
    finding: Finding | None = None


def run(inputs: Sequence[Path], out: Path, settings: Settings, say: Reporter) -> ExitCode:
    """Segment every scan among `inputs` (files or folders) into `out`."""
    model = loading.load(settings.model, choose(settings.device))
    about = model.description
    found = find_inputs(inputs, about.channels, out, settings, about.unit, about.class_list().masks)
    cases = found.cases
    if not cases:
        where, what = ", ".join(map(str, inputs)), NOUNS[about.unit]
        raise MedsegError(
            Code.NOTHING_USABLE, where, f"no {what} among the inputs", f"name {what}s or their folder"
        )
    write_label_names(out, about.class_list())
    outcomes: dict[str, Outcome] = {}
    with say.progress("segmenting", len(cases)) as bar:
        for n, case in enumerate(cases, 1):
            outcomes[case.case] = _one(case, model, out, settings)
            _say(say, case, outcomes[case.case])
            bar.to(n, case.case)
    return _conclude(found, outcomes, out, settings, model, say)


def find_inputs(
    inputs: Sequence[Path],
    channels: Sequence[str],
    out: Path,
    settings: Settings,
    unit: scans.Unit = "mm",
    masks: Sequence[str] = (),
) -> Inputs:
    """Cases among files and folders, and the files of those folders that were left out.

    A file that was named is always a case. In folders, pictures are left out of a model of scans, scans of
    one of pictures, and files named like label maps unless asked for; what lies in `out` is not looked at.
    A model of scans with several channels takes `<case>_<channel>` files of one folder. Raises PATH_MISSING,
    and USAGE where results would lie among the scans.
    """
    found: list[Path] = []
    left_out: list[Path] = []
    for path in inputs:
        if path.is_dir():
            if path.resolve() == out.resolve():
                raise _among_scans(out, f"label maps would lie among the {NOUNS[unit]}s of {path}")
            for file in (path / name for name in files_under(path, out)):
                wanted = scans.detect_kind(file) == unit and (
                    settings.include_labels or not label_names.is_label(scans.stem(file))
                )
                (found if wanted else left_out).append(file)
        elif path.exists() or path.is_symlink():
            found.append(path)
        else:
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    taken = tuple(dict.fromkeys(found))
    grouped = _unique_names(_by_case(taken, channels, unit))
    cases = tuple(Input(name, next(iter(c.values())), c) for name, c in grouped)
    _check_overwriting(cases, out, unit, masks)
    return Inputs(cases, taken, tuple(dict.fromkeys(left_out)), unit)


def _check_overwriting(cases: Sequence[Input], out: Path, unit: str, masks: Sequence[str]) -> None:
    for case in cases:
        there = [path for path in case.channels.values() if path.exists()]
        for label in results.label_files(results.label_map(out, case.case, unit), masks):
            if label.exists() and any(label.samefile(path) for path in there):
                raise _among_scans(label, f"the label map would overwrite its {NOUNS[unit]}")


def _among_scans(where: Path, details: str) -> MedsegError:
    return MedsegError(Code.USAGE, where, details, "name another folder for OUT")


def _by_case(
    found: Sequence[Path], channels: Sequence[str], unit: scans.Unit
) -> list[tuple[str, dict[str, Path]]]:
    """(name, files by channel) of each case; a second file for a channel begins a case of the same name.

    A picture holds all channels by itself.
    """
    if len(channels) == 1 or unit == "px":
        return [(scans.stem(path), dict.fromkeys(channels, path)) for path in found]
    cases: dict[tuple[Path, str], list[dict[str, Path]]] = defaultdict(lambda: [{}])
    for path in found:
        stem = scans.stem(path)
        ending = next((c for c in channels if stem.lower().endswith(f"_{c.lower()}")), None)
        name = stem if ending is None else stem[: -len(ending) - 1]
        channel = ending or channels[0]
        if channel in cases[(path.parent, name)][-1]:
            cases[(path.parent, name)].append({})
        cases[(path.parent, name)][-1][channel] = path
    return [(name, held) for (_, name), same in cases.items() for held in same]


def _unique_names(cases: Sequence[tuple[str, dict[str, Path]]]) -> list[tuple[str, dict[str, Path]]]:
    """Equal names from different folders get the folder in front; what is still equal gets a number."""
    often = Counter(name for name, _ in cases)
    unique: dict[str, dict[str, Path]] = {}
    for name, channels in cases:
        parent = next(iter(channels.values())).absolute().parent.name
        wanted = f"{parent}_{name}" if often[name] > 1 else name
        free = (wanted, *(f"{wanted}_{n}" for n in range(2, len(cases) + 2)))
        unique[next(each for each in free if each not in unique)] = channels
    return list(unique.items())


def _one(case: Input, model: Model, out: Path, settings: Settings) -> Outcome:
    masks = model.description.class_list().masks
    label = results.label_map(out, case.case, model.description.unit)
    try:
        key = _key(case, model, settings)
        if (
            told := results.cached_metadata(label, key, confidence=settings.confidence, masks=masks)
        ) is not None:
            return Outcome("skipped", told)
        with coded_out_of_memory(case.file, LESS_MEMORY):
            made = segment_file(
                case.channels, model, label, mode=settings.mode, confidence=settings.confidence
            )
    except MedsegError as error:
        results.remove(label, masks)
        return Outcome("excluded", {}, error.finding)
    told = {"case": case.case, "file": str(case.file), **made.to_json()}
    results.write_metadata(label, told, key, masks)
    return Outcome("done with note" if made.notes else "done", told)


def _key(case: Input, model: Model, settings: Settings) -> str:
    content = {}
    for name, path in case.channels.items():
        try:
            content[name] = files.sha256(path)
        except OSError as error:
            raise affine_checks.refusal_to_open(path, error) from error
    return files.sha256_of_value([content, model.sha256, settings.mode, settings.confidence])


def _say(say: Reporter, case: Input, outcome: Outcome) -> None:
    if outcome.finding is not None:
        say.line(f"  {quarantine.line(quarantine.row(case.case, outcome.finding, case.file))}")
    else:
        codes = " ".join(n["code"] for n in outcome.told["notes"])
        seconds = sum(outcome.told["seconds"].values())
        say.line(f"  {outcome.status}: {case.case} ({seconds:.1f} s) {codes}".rstrip())


def _conclude(
    found: Inputs,
    outcomes: Mapping[str, Outcome],
    out: Path,
    settings: Settings,
    model: Model,
    say: Reporter,
) -> ExitCode:
    _must_add_up(found, outcomes, out)
    cases, classes = found.cases, model.description.class_list()
    ended = [(case, outcomes[case.case]) for case in cases]
    size_unit = results.SIZE_UNITS[model.description.unit]
    rows = [
        results.table_row(c.case, c.file, o.status, {"size_unit": size_unit, **o.told}, o.finding, classes)
        for c, o in ended
    ]
    excluded = [quarantine.row(c.case, o.finding, c.file) for c, o in ended if o.finding is not None]
    counts = Counter(o.status for o in outcomes.values())
    files.write_csv(out / "summary.csv", results.table_columns(classes, size_unit), rows)
    quarantine.write(out / "quarantine.csv", excluded)
    told = {
        "medseg": medseg.__version__,
        "model": str(settings.model),
        "model_sha256": model.sha256,
        "mode": settings.mode or model.description.mode,
        "inputs": len(cases),
        "counts": dict(sorted(counts.items())),
        "left_out": [str(p) for p in found.left_out],
    }
    files.write_json(out / "run.json", told)
    if found.left_out:
        say.line(_left_out_line(found, out))
    words = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    say.result(f"{len(cases)} inputs: {words}. Summary: {out / 'summary.csv'}")
    if len(excluded) == len(cases):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE


def _must_add_up(found: Inputs, outcomes: Mapping[str, Outcome], out: Path) -> None:
    """Each file that was found belongs to a case, and each case has its outcome."""
    used = {path for case in found.cases for path in case.channels.values()}
    ended = [case.case for case in found.cases if case.case in outcomes]
    if used != set(found.files) or len(ended) != len(outcomes) or len(ended) != len(found.cases):
        told = (
            f"{len(found.files)} files, {len(used)} of them in {len(found.cases)} cases, {len(ended)} ended"
        )
        raise MedsegError(Code.DOES_NOT_ADD_UP, out, told, "please report this with medseg.log")


def _left_out_line(found: Inputs, out: Path) -> str:
    count, labels = len(found.left_out), found.named_like_labels
    taken = f" ({labels} named like label maps: --include-labels takes them)" if labels else ""
    return f"{count} file{'' if count == 1 else 's'} left out{taken}, see {out / 'run.json'}"
