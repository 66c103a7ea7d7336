"""The training that is in a fold's folder, compared with the one asked for.

A training with other settings or data is never gone on with and never deleted: it is refused, or moved aside
when the user asks for that.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError, some
from medseg.ingest.splits import SplitRow
from medseg.train import state
from medseg.train.state import BEST, HISTORY, LAST
from pipelines import case_tables
from pipelines.fold.fold import FoldTraining
from pipelines.fold.settings import CASES, OF_CASES, by_key
from pipelines.workfolder import DONE, Work

RECORD = "training.json"
"""In a training's folder: the hash of everything that decides its weights, and all of that in plain."""

_DEFAULT = object()
"""Stands for a key that is not there: a recipe leaves out some while they have their default."""
_LONGEST = 40
_MOST_NAMED = 6


def record(training: FoldTraining) -> None:
    """Write the settings of a training into its folder, unless they stand there."""
    content = {
        "key": training.key,
        "settings": training.settings,
        "preprocess": by_key({"preprocess": training.recipe.preprocess.used()}),
    }
    path = training.folder / RECORD
    if not path.is_file() or files.read_json(path) != content:
        files.write_json(path, content)


def is_done(training: FoldTraining) -> bool:
    """Report true if this very training has ended."""
    path = training.folder / DONE
    return path.is_file() and bool(files.read_json(path)["key"] == training.key)


def require_same_recipe(trainings: Sequence[FoldTraining]) -> None:
    """Raise SETTINGS_CHANGED if keys of the recipe are not those of the training that stands in a folder.

    Needs neither cases nor prepared arrays, so that it is known before anything runs.
    """
    for training in trainings:
        if (earlier := _earlier(training)) and (settings := earlier.settings) is not None:
            now = training.recipe_settings | by_key({"preprocess": training.recipe.preprocess.used()})
            old = {k: v for k, v in settings.items() if k not in (*CASES, *OF_CASES)}
            if changed := earlier.of_another_kind or differences(old, now):
                raise _refusal(training, earlier, changed)


def require_same_cases(trainings: Sequence[FoldTraining]) -> None:
    """Raise SETTINGS_CHANGED if ingest gave a fold other cases than those that it was trained with."""
    for training in trainings:
        if (earlier := _earlier(training)) and earlier.settings:
            rows = [r for r in case_tables.roles(training.work.ingest) if r.fold == training.fold]
            validate_cases = training.recipe.train.validate_cases or None
            names = {
                "training cases": [r.case for r in rows if r.role == "train"],
                "validation cases": [r.case for r in rows if r.role == "val"][:validate_cases],
            }
            old = {name: dict.fromkeys(earlier.settings[name], "") for name in CASES}
            if changed := differences(old, {k: dict.fromkeys(v, "") for k, v in names.items()}):
                raise _refusal(training, earlier, changed)


def require_unseen(work: Work, rows: Sequence[SplitRow]) -> None:
    """Raise SETTINGS_CHANGED if a test case is among those that its fold was trained or validated with.

    It can be after the splits were changed and only some stages run again.
    """
    for path in sorted(work.root.glob(f"train/**/{RECORD}")):
        fold, settings = path.relative_to(work.root).parts[1], files.read_json(path)["settings"]
        tested = {row.case for row in rows if row.role == "test" and str(row.fold) == fold}
        for name in CASES:
            if seen := sorted(tested & settings.get(name, {}).keys()):
                details = f"test cases that were {name} of this network: {some(seen)}"
                how_to_fix = "put the splits back and run medseg ingest, or train again with the new ones"
                raise MedsegError(Code.SETTINGS_CHANGED, path.parent, details, how_to_fix)


def require_same(training: FoldTraining) -> None:
    """Raise SETTINGS_CHANGED if another training than this stands in its folder."""
    if earlier := other(training):
        changed = earlier.of_another_kind or ["its settings are not known"]
        if earlier.settings:
            old = {k: v for k, v in earlier.settings.items() if not k.startswith("preprocess.")}
            changed = differences(old, training.settings)
        raise _refusal(training, earlier, changed)


@dataclass(frozen=True)
class Earlier:
    """A training that stands where another is asked for."""

    folder: Path
    key: str | None
    settings: Mapping[str, Any] | None
    """Everything that decided its weights, by key; None where that is not known."""
    of_another_kind: Sequence[str] = ()
    """The change, if it was of a network a plane and the other of one for all, or the reverse."""


def other(training: FoldTraining) -> Earlier | None:
    """The training that stands in the folder of this one and is not this one; None if there is none."""
    earlier = _earlier(training)
    return None if earlier is None or earlier.key == training.key else earlier


def move_aside(training: FoldTraining, earlier: Earlier) -> Path:
    """Move the folder of an earlier training to `W/train_old`, and give its new place."""
    whole = earlier.folder != training.folder
    return training.work.move_training_aside(training.fold, None if whole else training.plane)


def _earlier(training: FoldTraining) -> Earlier | None:
    folder, whole = training.folder, training.work.train(training.fold)
    if _has_weights(folder):
        return _read(folder)
    if training.plane is not None and _has_weights(whole):
        return Earlier(whole, None, {}, ("sampling.plane_networks shared → separate",))
    if training.plane is None:
        for planes in ("axial", "coronal", "sagittal"):
            if _has_weights(whole / planes):
                return Earlier(whole / planes, None, {}, ("sampling.plane_networks separate → shared",))
    return None


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (LAST, BEST, HISTORY, DONE))


def _read(folder: Path) -> Earlier:
    path = folder / RECORD
    if path.is_file():
        content = files.read_json(path)
        return Earlier(folder, content["key"], {**content["settings"], **content["preprocess"]})
    key = state.read_any(folder / LAST).settings.get("training") if (folder / LAST).is_file() else None
    return Earlier(folder, key, None)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words what differs: `train.epochs 8 → 12`, `training cases: s5 added`."""
    return list(_differences(old, new))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, _DEFAULT), new.get(key, _DEFAULT)
        if before == after and (key not in CASES or list(before) == list(after)):
            continue
        if key in CASES:
            yield f"{key}: {_changed_cases(before, after)}"
        else:
            yield f"{key} {_in_words(before)} → {_in_words(after)}"


def _changed_cases(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    changes = {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": [name for name in after if name in before and before[name] != after[name]],
    }
    if not any(changes.values()):
        return "in another order"
    return ", ".join(f"{some(names, _MOST_NAMED)} {change}" for change, names in changes.items() if names)


def _in_words(value: Any) -> str:
    if value is _DEFAULT or value is None:
        return "default" if value is _DEFAULT else "none"
    if isinstance(value, list) and value and all(isinstance(row, dict) and "name" in row for row in value):
        value = [row["name"] for row in value]
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _refusal(training: FoldTraining, earlier: Earlier, changed: Sequence[str]) -> MedsegError:
    work = training.work
    finished = (earlier.folder / DONE).is_file()
    kind = "a finished training" if finished else "an unfinished training"
    details = f"{kind} with other settings is kept here: {'; '.join(changed)}"
    elsewhere = f"--work {shlex.quote(str(_free_name(work.root)))}"
    ways = [
        f"train in another work folder with {elsewhere}",
        "train here with --overwrite, which moves the earlier training aside",
    ]
    if finished and (work.model / "model.json").is_file():
        start = shlex.quote(f"network.init_from={work.model}")
        ways.append(f"go on from its weights with {elsewhere} --set {start}")
    ways.append(f"put the settings back to {'use' if finished else 'resume'} it")
    return MedsegError(Code.SETTINGS_CHANGED, earlier.folder, details, ", or ".join(ways))


def _free_name(folder: Path) -> Path:
    number = 2
    while (name := folder.with_name(f"{folder.name}_{number}")).exists():
        number += 1
    return name
