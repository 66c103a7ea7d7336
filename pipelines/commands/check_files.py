"""`medseg check` without a recipe: every file by itself, then the cases that `medseg init` would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.classes import BACKGROUND, ClassList
from medseg.config import class_file
from medseg.config.data import Data
from medseg.console import Reporter
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Grid
from medseg.ingest import checks, layouts, leftovers, mask_files
from medseg.ingest.layouts import Guess
from medseg.ingest.looks import Look, Looks
from medseg.ingest.patterns import CLASS, CaseFiles, FolderContents, Patterns
from medseg.ingest.survey import Entry, Survey, class_sizes
from medseg.ingest.tree import Tree, nfc, tree_of, without_suffix
from medseg.io import scans
from pipelines.commands import check_cases, init_reading
from pipelines.commands.check_cases import LABEL
from pipelines.commands.check_results import CaseSlices, Checked, Recorder, Result
from pipelines.commands.init_classes import packaged_set, with_names
from pipelines.commands.init_reading import Given


@dataclass(frozen=True)
class _ByName:
    """Cases and classes that the names of a folder's files tell before any is read."""

    contents: FolderContents | None = None
    guess: Guess | None = None
    classes: ClassList | None = None

    @property
    def is_labelled(self) -> bool:
        """True if the names of images pair them with masks: then no content is asked."""
        cases = self.contents.cases if self.contents and self.contents.unit == "px" else []
        return any(case.label_paths for case in cases)


def undescribed(folder: Path, say: Reporter, *, with_slices: bool) -> Checked:
    """Read every file once; pair images and label maps by their names and by what was seen in them."""
    refused: list[Finding] = []
    tree = tree_of(folder, refused=refused)
    names = _by_name(folder, tree)
    seen = Recorder(with_slices)
    say.line("  files are read one by one, not as cases; `medseg init` writes a recipe, --recipe uses it")
    results = _read_all(folder, tree, names, seen, say)
    contents, guess, labels = _paired(folder, tree, names, seen)
    for name in labels:
        if is_empty(seen, folder / name):
            findings = [f for f in results[name].findings if f.code != Code.CONSTANT]
            findings.append(checks.empty_label(folder / name))
            results[name] = replace(results[name], findings=findings, grid=seen.facts[folder / name][0].grid)
    rows = [result.said(say) for result in results.values()]
    rows += [_not_read(folder, name) for name in tree.unread]
    rows += [Result(Path(f.where).relative_to(folder).as_posix(), [f]).said(say) for f in refused]
    for line in leftovers.unread_lines(tree.unread, folder):
        say.line(f"  excluded  {Code.FORMAT_NOT_READ}: {line}")
    classes = _classes(folder, guess, contents, names, seen, labels)
    entries, kept = _entries(folder, tree, contents, classes, seen, labels)
    survey = Survey(
        tuple(entries),
        n_cases=len(contents.cases) + sum(bool(stray.missing) for stray in contents.strays),
        unit=tree.unit,
        classes=classes.foreground_names if classes else (),
        coverage=check_cases.coverage(contents.cases, contents.strays),
        subjects={entry.subject: entry.subject for entry in entries},
        unpaired=tuple(
            f"{Path(stray.where).name}: {stray.details}" for stray in contents.strays if not stray.missing
        ),
    )
    lines = [_layout_line(contents), *leftovers.others_lines(tree.others, tree.unit)]
    return Checked(rows, survey, classes, kept, lines, noun="files")


def is_empty(seen: Recorder, path: Path) -> bool:
    """True for a file that was read and is 0 everywhere."""
    return any(facts.low == facts.high == 0 for facts in seen.facts.get(path, ()))


def _layout_line(contents: FolderContents) -> str:
    labelled = sum(bool(case.label_paths) for case in contents.cases)
    if not labelled:
        return "no label map was paired with an image"
    what = "masks" if contents.unit == "px" else "label maps"
    return f"looks like layout {contents.layout}: {len(contents.cases)} cases, {labelled} with {what}"


# Before reading


def _by_name(folder: Path, tree: Tree) -> _ByName:
    """The cases of a folder's lists and names; with them the class list, where it is a known image set."""
    try:
        guess = layouts.guess(folder)
        if tree.unit == "px" and (known := packaged_set(folder, guess)) is not None:
            content = class_file.read(known.class_file or "")
            return _ByName(init_reading.find(folder, known), known, Data.model_validate(content).class_list())
        return _ByName(layouts.find(folder), guess)
    except MedsegError:  # the files are checked one by one all the same
        return _ByName()


# Reading


def _read_all(folder: Path, tree: Tree, names: _ByName, seen: Recorder, say: Reporter) -> dict[str, Result]:
    """Relative path → the result, in the order of the paths."""
    cases = names.contents.cases if names.contents else []
    masks = {p for c in cases for label in c.label_paths for p in mask_files.files_of(label)}
    channels: dict[Path, dict[str, scans.Readable]] = {}
    for case in cases:
        for channel, path in case.channels.items():
            channels.setdefault(path, {})[channel] = path
    observe = seen.image if names.is_labelled else seen.unknown
    results = {}
    with say.progress("reading", len(tree.files)) as bar:
        for n, name in enumerate(tree.files, 1):
            path = folder / name
            if names.is_labelled and path in masks:
                grid, findings = _read_mask(path, names.classes, seen)
            else:
                volume, findings = checks.read_image(channels.get(path, {"image": path}), observe=observe)
                grid = volume.grid if volume else None
            results[name] = Result(name, findings, grid)
            bar.to(n)
    return results


def _read_mask(path: Path, classes: ClassList | None, seen: Recorder) -> tuple[Grid | None, list[Finding]]:
    """Read a label file of an image: by the class list of a known set, otherwise its values as they are."""
    if classes is not None:
        volume, findings = checks.read_label(path, classes, None, observe=seen.label)
        return volume.grid if volume else None, findings
    try:
        volume = mask_files.read_values(path)
    except MedsegError as error:
        return None, [error.finding]
    seen.label(path, volume)
    return volume.grid, list(volume.notes)


def _not_read(folder: Path, name: str) -> Result:
    path = folder / name
    details = f"the format {path.suffix.lower() or 'of a file without suffix'} is not read"
    how_to_fix = scans.unread_format(path) or "convert it"
    return Result(name, [Finding(Code.FORMAT_NOT_READ, str(path), details, how_to_fix)])


# After reading


def _paired(
    folder: Path, tree: Tree, names: _ByName, seen: Recorder
) -> tuple[FolderContents, Guess | None, list[str]]:
    """The cases, as `medseg init` sees them, and the relative paths of all label maps."""
    if names.is_labelled and names.contents and names.guess:
        files = {
            p for c in names.contents.cases for label in c.label_paths for p in mask_files.files_of(label)
        }
        return names.contents, names.guess, [name for name in tree.files if folder / name in files]
    known = {name: seen.looks.get(folder / name, Look("unread")) for name in tree.files}
    known |= {nfc(name): look for name, look in known.items()}
    contents, guess = _without_cases(tree), None
    try:
        guess = init_reading.read(folder, Given({}), known)
        if guess.n_labelled:
            contents = init_reading.find(folder, guess)
    except MedsegError:  # no reading of the folder as cases: its files stand by themselves
        guess = None
    paired = {path for case in contents.cases for path in case.label_paths}
    images = {path for case in contents.cases for path in case.channels.values()}
    kinds = Looks(folder, known).kinds(tree.files)
    is_label = {
        name: folder / name in paired or (folder / name not in images and kinds[name] in ("label", "empty"))
        for name in tree.files
    }
    return contents, guess, [name for name, label in is_label.items() if label]


def _without_cases(tree: Tree) -> FolderContents:
    return FolderContents([], [], "auto", Patterns({}), [], unit=tree.unit)


def _classes(
    folder: Path,
    guess: Guess | None,
    contents: FolderContents,
    names: _ByName,
    seen: Recorder,
    labels: Sequence[str],
) -> ClassList | None:
    """The class list of a known set, of dataset.json, or of the values that were seen, named where known."""
    if names.classes is not None and names.is_labelled:
        return names.classes
    if guess is not None and guess.classes and CLASS in (guess.label or ""):
        return replace(ClassList.from_names(guess.classes), own_files=True)
    if guess is not None and guess.masks:
        return ClassList.of_masks(dict.fromkeys(guess.masks, ()))
    paths = [folder / name for name in labels]
    if contents.unit == "px" and check_cases.has_grey_edges(paths, seen):
        check_cases.cut_at_half(paths, seen)
    values = {value for path in paths for facts in seen.facts.get(path, ()) for value in facts.counts or {}}
    if guess is not None and guess.classes and guess.n_labelled:
        void = {value: f"value {value}" for value in values - set(guess.classes) - set(guess.void)}
        return check_cases.list_of({**guess.classes, **void}, guess.void)
    if guess is None or guess.label is None or not guess.n_labelled or not values:
        return check_cases.list_of_values(values) if values else None
    two = contents.unit == "px" and len(values | {0}) == 2
    unnamed = {v: BACKGROUND if v == 0 else "foreground" if two else f"label_{v}" for v in values}
    named = with_names(folder, replace(guess, classes=unnamed)).classes or unnamed
    return check_cases.list_of(named)


def _entries(
    folder: Path,
    tree: Tree,
    contents: FolderContents,
    classes: ClassList | None,
    seen: Recorder,
    labels: Sequence[str],
) -> tuple[list[Entry], list[CaseSlices]]:
    """Entries of all cases, then of the files that are in none; slices of the same."""

    def shown(_: CaseFiles, path: Path) -> str:
        return path.relative_to(folder).as_posix()

    for case in contents.cases:
        if case.label is not None and case.label.is_dir():
            check_cases.unite(case.label, seen)
    entries = [entry for case in contents.cases for entry in check_cases.entries(case, seen, classes, shown)]
    kept = [drawn for case in contents.cases if (drawn := check_cases.case_slices(case, seen))]
    used = {path for case in contents.cases for path in case.paths()}
    other = "other " if contents.cases else ""
    noun = "scans" if tree.unit == "mm" else "images"
    for name in tree.files:
        path = folder / name
        if path in used or path.parent in used:
            continue
        stem, is_label = without_suffix(name), name in set(labels)
        group = f"{other}{LABEL}s" if is_label else f"{other}{noun}"
        for facts in seen.facts.get(path, ()):
            sizes = class_sizes(facts, classes) if is_label and classes else {}
            entries.append(
                Entry(name, name, stem, group, facts, is_label=is_label, sizes=sizes, sort=other and name)
            )
        if path in seen.slices and not is_label:
            kept.append(CaseSlices(name, seen.slices[path]))
    return entries, kept
