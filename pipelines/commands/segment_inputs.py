"""The cases that `medseg segment` is given: files by their channels, and volumes of DICOM exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.console import Reporter
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import NOUNS
from medseg.infer import results
from medseg.infer.batch import Task
from medseg.ingest import label_names, privacy
from medseg.ingest.hidden import without_names
from medseg.ingest.privacy import Pseudonyms
from medseg.ingest.tree import files_under, refused_under
from medseg.io import scans
from medseg.io.dicom.rules import SeriesRules
from medseg.model.description import Description
from medseg.names import check_name, joined
from pipelines.commands import dicom_inputs, segment_patterns, segment_series
from pipelines.commands.segment_patterns import Matched
from pipelines.commands.segment_series import SeriesCase

if TYPE_CHECKING:
    from medseg.config.data import Data

_LONGEST_FILE_NAME = 225
"""Bytes; a name may have 255, and a temporary one has a prefix."""


@dataclass(frozen=True)
class Input:
    """One case to segment, and the reason why it cannot be used where its name is taken or impossible."""

    task: Task
    reason: Finding | None = None


@dataclass(frozen=True)
class Inputs:
    """The cases that the command was given, all their files, and the files that were left out.

    `unit` tells scans (mm) from images (px); `words` say by which patterns cases were found.
    """

    cases: tuple[Input, ...]
    files: tuple[Path, ...]
    left_out: tuple[Path, ...]
    unit: scans.Unit = "mm"
    words: tuple[str, ...] = ()

    def alone(self, name: str, out: Path) -> Inputs:
        """The only case under another name, with its result in `out`; raises USAGE for none or several."""
        noun, file = NOUNS[self.unit], f"{name}{results.ENDINGS[self.unit]}"
        if len(self.cases) != 1:
            details = f"one file for {len(self.cases)} {noun}s"
            raise MedsegError(Code.USAGE, file, details, f"name one {noun}, or a folder for OUT")
        (case,) = self.cases
        info = {**case.task.case_info, "case": name}
        label = results.label_map(out, name, self.unit)
        task = replace(case.task, case=name, label=label, case_info=info)
        return replace(self, cases=(replace(case, task=task),))

    def of_shard(self, holds: Callable[[str], bool]) -> Inputs:
        """The cases whose names a shard holds, and the files that belong to no case of another one."""
        cases = tuple(case for case in self.cases if holds(case.task.case))
        others = [case for case in self.cases if not holds(case.task.case)]
        elsewhere = {source for case in others for source in case.task.channels.values()}
        kept = {source for case in cases for source in case.task.channels.values()}
        return replace(
            self, cases=cases, files=tuple(f for f in self.files if f in kept or f not in elsewhere)
        )


@dataclass(frozen=True)
class _Source:
    """A file among the inputs, and the folders between it and the input folder that it was found in."""

    path: Path
    folders: tuple[str, ...] = ()


def find_inputs(
    paths: Sequence[Path],
    description: Description,
    out: Path,
    *,
    include_labels: bool = False,
    names: Pseudonyms | None = None,
    settled: Callable[[Path], bool] = lambda _: True,
    patterns: Sequence[str] = (),
    recipe: Data | None = None,
) -> Inputs:
    """Find the cases among files and folders, and the files of those folders that are left out.

    A file that was named is always a case. In folders, images are left out for a model of scans, scans for
    one of images, and files named like label maps unless asked for; `out` is not entered. A model of scans
    with several channels takes `<case>_<channel>` files of one folder.

    A case's name comes from its own path alone: the folders below the input and the file's name without
    suffix and channel, joined by underscores (`IN/a/b/T1.nii.gz` is `a_b_T1`; see
    :func:`medseg.names.joined`). A file that was named has no folders. Where two cases have one name, neither
    is used: DUPLICATE_CASE, unless they are the same file. With `names` each case has a pseudonym made from
    that name. Files of folders that are not `settled` are passed over.

    Folders that are organised like the one of the training are read by the model's patterns, all folders by
    `patterns` (`NAME=PATTERN`) or by `recipe` where there are any, and a table names its cases itself.

    A folder that cannot be listed is a case that cannot be used: FILE_UNREADABLE.

    Raises PATH_MISSING, and USAGE where results would lie among the scans or replace other files.
    """
    unit, noun = description.unit, NOUNS[description.unit]
    sources: list[_Source] = []
    left_out: list[Path] = []
    matched: list[Matched] = []
    refused: list[Input] = []
    asked = segment_patterns.asked_for(description, patterns, recipe)
    for path in paths:
        if path.suffix.lower() == ".csv" and path.is_file():
            matched.append(segment_patterns.in_table(path, description))
        elif path.is_dir():
            closed = refused_under(path, out)
            refused += [_of_folder(path, finding, out, unit) for finding in closed]
            without = (out, *(Path(finding.where) for finding in closed))
            if match := segment_patterns.in_folder(path, asked, description, without):
                matched.append(match.without(settled))
                continue
            if path.resolve() == out.resolve():
                raise _among_scans(out, f"label maps would lie among the {noun}s of {path}")
            for name in files_under(path, without):
                file = path / name
                if not settled(file):
                    continue
                usable = scans.detect_kind(file) == unit
                if usable and (include_labels or not label_names.is_label(scans.stem(file))):
                    sources.append(_Source(file, Path(name).parent.parts))
                else:
                    left_out.append(file)
        elif scans.detect_kind(path) is None and dicom_inputs.is_export(path):
            left_out.append(path)
        elif path.exists() or path.is_symlink():
            sources.append(_Source(path))
        else:
            raise MedsegError(Code.PATH_MISSING, path, "no such file or folder", "check the path")
    by_path: dict[Path, _Source] = {}
    for source in sources:
        by_path.setdefault(source.path.absolute(), source)
    masks = description.class_list().masks
    cases = _by_case([*by_path.values()], description, out)
    cases += [case for match in matched for case in _of_matched(match, description, out)]
    cases += refused
    if names is not None:
        cases = [_pseudonymous(case, names, out, unit) for case in cases]
    _check_overwriting(cases, out, noun, masks)
    left_out += [path for match in matched for path in match.left_out]
    used = dict.fromkeys(source.path for source in by_path.values())
    used |= dict.fromkeys(path for match in matched for path in match.files())
    used |= dict.fromkeys(case.task.file for case in refused)
    words = tuple(match.words for match in matched)
    return Inputs(
        _without_equal_names(cases, masks), tuple(used), tuple(dict.fromkeys(left_out)), unit, words
    )


def _of_matched(match: Matched, description: Description, out: Path) -> Iterator[Input]:
    """The cases that patterns or a table name, and those that they cannot make, with the reason."""
    masks = description.class_list().masks
    for case in match.cases:
        yield _named([case.name], case.channels, out, description.unit, masks)
    for stray in match.strays:
        channels = {str(number): path for number, path in enumerate(stray.files)}
        yield Input(Task(stray.case, channels, results.label_map(out, "unnamed", description.unit)), stray)


def _of_folder(root: Path, finding: Finding, out: Path, unit: scans.Unit) -> Input:
    """A folder below ``root`` that cannot be listed, or lies too deep, as a case with the reason."""
    folder = Path(finding.where)
    name = ascii(joined(folder.relative_to(root).parts))[1:-1]
    return Input(Task(name, {"": folder}, results.label_map(out, "unnamed", unit)), finding)


def _pseudonymous(case: Input, names: Pseudonyms, out: Path, unit: scans.Unit) -> Input:
    """The case under a name that tells nothing of its folders and files."""
    task, files = case.task, [path for path in case.task.channels.values() if isinstance(path, Path)]
    name = names.of_case(task.case, NOUNS[unit])
    info = {"case": name, "file": name}
    reason = None if case.reason is None else without_names(case.reason, name, files)
    return Input(Task(name, task.channels, results.label_map(out, name, unit), info, private=True), reason)


def _index_rows(inputs: Inputs) -> list[dict[str, object]]:
    """Rows of the index for cases that are files under pseudonyms."""
    return [
        privacy.file_row(case.task.case, path)
        for case in inputs.cases
        for path in case.task.channels.values()
        if isinstance(path, Path)
    ]


def with_series(
    inputs: Inputs,
    by_channel: Mapping[str, SeriesRules],
    out: Path,
    names: Pseudonyms,
    *,
    index: bool,
    say: Reporter,
) -> Inputs:
    """Add the volumes of DICOM exports among the files that were left out, under pseudonyms.

    The rules of each channel choose among them. Files that are part of no volume are cases with the reason.
    No file is named outside the index.
    """
    if index:
        privacy.write_index(out, _index_rows(inputs))
    if inputs.unit != "mm" or not any(dicom_inputs.is_export(path) for path in inputs.left_out):
        return inputs
    series = dicom_inputs.find_series(inputs.left_out, out, names, index=index, say=say)
    cases = [
        Input(_series_task(chosen, out), chosen.reason)
        for chosen in segment_series.choose(series.volumes, by_channel)
    ]
    cases += [
        Input(Task(case, {"": Path(case)}, results.label_map(out, case, "mm")), replace(finding, where=case))
        for case, finding in series.refused
    ]
    known = {(case.task.case, repr(_identities(case.task))): case for case in cases}
    refused = tuple(Path(case) for case, _ in series.refused)
    cases_once = (*inputs.cases, *known.values())
    return replace(inputs, cases=cases_once, files=(*inputs.files, *refused), left_out=series.others)


def _series_task(chosen: SeriesCase, out: Path) -> Task:
    case_info = {"case": chosen.case, "file": chosen.case, "series": chosen.decision}
    return Task(
        chosen.case, chosen.channels, results.label_map(out, chosen.case, "mm"), case_info, private=True
    )


def _by_case(sources: Sequence[_Source], description: Description, out: Path) -> list[Input]:
    """Put each case's channels together; a second file for a channel begins a case of the same name.

    An image holds all channels by itself. A scan's channel is the longest of the model's channels that its
    name ends with after an underscore, in capital or small letters; without any it is the first channel. A
    file in a folder may also be named by its channel alone: the case is then named by its folders.
    """
    channels, unit = description.channels, description.unit
    by_length = sorted(channels, key=len, reverse=True)
    cases: dict[tuple[Path, str], list[dict[str, Path]]] = {}
    folders: dict[tuple[Path, str], tuple[str, ...]] = {}
    for source in sources:
        stem = scans.stem(source.path)
        if len(channels) == 1 or unit == "px":
            stem_of_case, new = stem, dict.fromkeys(channels, source.path)
        else:
            end = f"_{stem.lower()}" if source.folders else stem.lower()
            channel = next((c for c in by_length if end.endswith(f"_{c.lower()}")), None)
            stem_of_case = stem if channel is None else stem[: -len(channel) - 1]
            if channel is not None and len(channel) == len(stem):
                stem_of_case = ""
            new = {channel or channels[0]: source.path}
        key = (source.path.parent, stem_of_case)
        folders[key] = source.folders
        same_name = cases.setdefault(key, [{}])
        if same_name[-1].keys() & new.keys():
            same_name.append({})
        same_name[-1].update(new)
    masks = description.class_list().masks
    return [
        _named([part for part in (*folders[key], key[1]) if part], files_by_channel, out, unit, masks)
        for key, same_name in cases.items()
        for files_by_channel in same_name
    ]


def _named(
    parts: Sequence[str], channels: dict[str, Path], out: Path, unit: str, masks: Sequence[str]
) -> Input:
    """A case by the parts of its name; with the reason where a file cannot have that name."""
    file, name = next(iter(channels.values())), joined(parts)
    try:
        name = check_name(name, file)
        task = Task(name, channels, results.label_map(out, name, unit), {"case": name, "file": str(file)})
        longest = max(len(os.fsencode(path.name)) for path in results.files_of(task.label, masks))
        if longest > _LONGEST_FILE_NAME:
            details = f"its label map's name would have {longest} bytes"
            raise MedsegError(Code.NAME_INVALID, file, details, "give the folder nearer to it as IN")
    except MedsegError as error:
        nameless = out / f"unnamed{results.ENDINGS[unit]}"
        return Input(Task(ascii(name)[1:-1][:60], channels, nameless), error.finding)
    return Input(task)


def _check_overwriting(cases: Sequence[Input], out: Path, noun: str, masks: Sequence[str]) -> None:
    """Refuse an OUT where a label map would replace a scan, or files that no `segment` wrote."""
    written_before = (out / "labels.json").is_file()
    for case in cases:
        if case.reason is not None:
            continue
        paths = [path for path in case.task.channels.values() if isinstance(path, Path)]
        scans_there = [path for path in paths if path.exists()]
        for label in results.label_files(case.task.label, masks):
            if label.exists() and any(label.samefile(path) for path in scans_there):
                raise _among_scans(label, f"the label map would overwrite its {noun}")
            if label.exists() and not written_before:
                raise _among_scans(label, "the label map would overwrite a file that is no result of segment")


def _among_scans(where: Path, details: str) -> MedsegError:
    return MedsegError(Code.USAGE, where, details, "name another folder for OUT")


def _without_equal_names(cases: Sequence[Input], masks: Sequence[str]) -> tuple[Input, ...]:
    """Exclude all cases of which two would write one file; of the same files given twice keep the first."""
    writers: dict[Path, list[Input]] = {}
    kept: list[Input] = []
    for case in cases:
        paths = [] if case.reason is not None else results.files_of(case.task.label, masks)
        others = {id(other): other for path in paths for other in writers.get(path, [])}
        if any(_same_files(case.task, other.task) for other in others.values()):
            continue
        kept.append(case)
        for path in paths:
            writers.setdefault(path, []).append(case)
    clashes: dict[int, list[Path]] = {}
    for same in writers.values():
        for case in same if len(same) > 1 else ():
            clashes.setdefault(id(case), []).extend(c.task.file for c in same)
    return tuple(
        replace(case, reason=_duplicate(case.task, clashes[id(case)])) if id(case) in clashes else case
        for case in kept
    )


def _same_files(a: Task, b: Task) -> bool:
    return _identities(a) == _identities(b)


def _identities(task: Task) -> dict[str, object]:
    """By channel, the file, or the slices of a DICOM series, by which the same input is known again."""
    return {
        name: source.resolve() if isinstance(source, Path) else source.instances
        for name, source in task.channels.items()
    }


def _duplicate(task: Task, paths: Sequence[Path]) -> Finding:
    both = " and ".join(map(str, dict.fromkeys(paths))) if not task.private else "several inputs"
    how_to_fix = "rename one, or segment them into different folders"
    return Finding(
        Code.DUPLICATE_CASE, str(task.file), f"{both} would both be the case {task.case}", how_to_fix
    )
