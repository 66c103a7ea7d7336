"""The command `medseg check`: read everything in a folder, change nothing, print what is usable."""

from __future__ import annotations

from pathlib import Path

from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.ingest import checks, layouts, palettes, quarantine
from medseg.ingest.tree import tree_of
from medseg.io import scans


def run(folder: Path, recipe_name: str | None, say: Reporter) -> ExitCode:
    """Print a result for every case that a recipe finds in `folder`, or for every file without one."""
    if not folder.is_dir():
        raise MedsegError(Code.PATH_MISSING, folder, "no such folder", "name a folder of scans")
    if recipe_name is None:
        verdicts = _undescribed(folder, say)
    else:
        recipe = load.load(recipe_name, data=folder)
        data = recipe.data
        contents = layouts.find(
            folder, data.layout, data.channels, data.label, None, data.table, data.masks, subject=data.subject
        )
        verdicts = _every_case(contents, recipe, say)
        for line in quarantine.leftover_lines(contents, folder):
            say.line(f"  {line}")
    usable = sum(all(f.is_note for f in findings) for findings in verdicts)
    excluded = len(verdicts) - usable
    what = "files" if recipe_name is None else "inputs"
    say.line(f"{len(verdicts)} {what}: {usable} usable, {excluded} would be excluded")
    if not usable:
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if excluded else ExitCode.DONE


def _undescribed(folder: Path, say: Reporter) -> list[list[Finding]]:
    """Check every file by itself, without a recipe, and say what `medseg init` makes of the folder."""
    tree = tree_of(folder)
    if tree.unit == "px":
        contents = layouts.find(folder)
        labelled = sum(bool(case.label_paths) for case in contents.cases)
        if labelled:
            say.line(
                f"  looks like layout {contents.layout}: {len(contents.cases)} cases, {labelled} with masks"
            )
    say.line("  files are read one by one, not as cases; `medseg init` writes a recipe, --recipe uses it")
    verdicts = []
    for name in tree.files:
        _, findings = checks.read_image({"image": folder / name})
        verdicts.append(findings)
        _say(say, name, verdicts[-1])
    for name in tree.unread:
        path = folder / name
        details = f"the format {path.suffix.lower() or 'of a file without suffix'} is not read"
        how_to_fix = scans.unread_format(path) or "convert it"
        verdicts.append([Finding(Code.FORMAT_NOT_READ, str(path), details, how_to_fix)])
        _say(say, name, verdicts[-1])
    for line in quarantine.others_lines(tree.others, tree.unit):
        say.line(f"  {line}")
    return verdicts


def _every_case(contents: layouts.FolderContents, recipe: Recipe, say: Reporter) -> list[list[Finding]]:
    verdicts: list[list[Finding]] = [[stray] for stray in contents.strays]
    for stray in contents.strays:
        _say(say, Path(stray.where).name, [stray])
    classes, scaling = recipe.data.class_list(), recipe.preprocess
    faults = palettes.faults_by_case(contents.cases, classes)
    for files in contents.cases:
        _, findings = checks.read_case(files, classes, intensity=scaling.intensity, n4=scaling.n4)
        findings += [faults[files.name]] if files.name in faults else []
        verdicts.append(findings)
        _say(say, files.name, findings)
    return verdicts


def _say(say: Reporter, name: str, findings: list[Finding]) -> None:
    wrong = [f for f in findings if not f.is_note]
    if wrong:
        for f in wrong:
            say.line(f"  excluded  {name}: {f.code}: {f.details}; {f.how_to_fix}")
    else:
        notes = " ".join(sorted({str(f.code) for f in findings}))
        say.line(f"  usable     {name} {notes}".rstrip())
