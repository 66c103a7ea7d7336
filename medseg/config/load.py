"""YAML → recipe: finds it, applies `--set`, resolves paths, reports every problem at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from medseg import files
from medseg.classes import ClassList
from medseg.config import class_file
from medseg.config.class_file import packaged as packaged
from medseg.config.data import Data
from medseg.config.recipe import Recipe
from medseg.config.section import Clash, ClashError
from medseg.errors import Code, Finding, MedsegError

Keys = tuple[str | int, ...]
"""The way to a part of a recipe's tree."""

_PATHS = (("data", "path"), ("network", "weights", "file"), ("network", "init_from"))
"""Keys that hold a path."""


class RecipeError(MedsegError):
    """All that is wrong with one recipe: a line each."""

    def __init__(self, where: Path, problems: Sequence[Finding]) -> None:
        super().__init__(
            Code.RECIPE_INVALID, where, f"{len(problems)} problem(s)", "correct the keys named above"
        )
        self.problems = tuple(problems)


def locate(recipe: str) -> Path:
    """A recipe's path; a bare name without folder or suffix is looked up among the packaged ones."""
    path = Path(recipe)
    if path.is_file():
        return path
    ours = packaged() / f"{recipe}.yaml"
    if path.suffix == "" and path.parent == Path() and ours.is_file():
        return ours
    known = ", ".join(sorted(p.stem for p in packaged().glob("*.yaml")))
    raise MedsegError(Code.PATH_MISSING, recipe, "no such recipe", f"give a YAML file or one of: {known}")


def load(recipe: str, settings: Sequence[str] = (), data: Path | None = None) -> Recipe:
    """Read a recipe, with `settings` (`a.b=c`) and the data folder of the command line applied.

    A path in the file is relative to it, one of the command line to where one stands. Raises RecipeError
    with every problem, PATH_MISSING when there is no such file.
    """
    path = locate(recipe)
    tree = _read_yaml(path)
    _at(tree, path.absolute().parent)
    problems = [p for text in settings if (p := _apply_setting(tree, text))]
    if data is not None and isinstance(tree.get("data"), dict):
        tree["data"]["path"] = str(data)
    _at(tree, Path.cwd())
    return validate(tree, path, problems)


def validate(tree: Any, path: Path, problems: Sequence[Finding] = ()) -> Recipe:
    """A recipe from a parsed tree; `path` stands in the messages."""
    if isinstance(tree, dict):
        tree, wrong_list = class_file.resolved(tree, path)
        problems = [*problems, *wrong_list]
    try:
        made = Recipe.model_validate(tree)
    except ValidationError as error:
        wrong = [dict(e) for e in error.errors(include_url=False)]
        found = [*_one_a_key([_problem(path, e) for e in wrong if not _clashes(e)])]
        if any(p.where.endswith(": data.class_file") for p in problems):  # it would have brought them
            found = [p for p in found if not p.where.endswith(": data.classes")]
        clashes = [c for e in wrong for c in _clashes(e)] + _clashes_beside(tree, wrong)
        found += [
            Finding(Code.RECIPE_INVALID, f"{path}: {c.keys[0]}", c.details, c.how_to_fix) for c in clashes
        ]
        raise RecipeError(path, [*problems, *found]) from None
    if problems:
        raise RecipeError(path, problems)
    return made


def class_list(name: str) -> ClassList:
    """The classes of a class file, by the name of a packaged one or by its path.

    Raises PATH_MISSING, RECIPE_INVALID, RecipeError with every problem.
    """
    held = class_file.read(name)
    try:
        return Data.model_validate(held).class_list()
    except ValidationError as error:
        wrong = [_problem(Path(name), dict(e)) for e in error.errors(include_url=False)]
        raise RecipeError(Path(name), [*_one_a_key(wrong)]) from None


def differing(one: Recipe, other: Recipe) -> list[str]:
    """Keys, as `section.key`, whose values differ."""
    held = _by_key(other)
    return [key for key, value in _by_key(one).items() if held[key] != value]


def _by_key(recipe: Recipe) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part, section in recipe.model_dump(mode="json").items():
        values |= (
            {f"{part}.{k}": v for k, v in section.items()} if isinstance(section, dict) else {part: section}
        )
    return values


def save(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe as YAML."""
    tree = recipe.model_dump(mode="json")
    files.write_text(path, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise MedsegError(Code.RECIPE_INVALID, path, f"not YAML: {line}", "correct the file") from None
    if not isinstance(tree, dict):
        raise MedsegError(Code.RECIPE_INVALID, path, "no keys", "see configs/demo.yaml for an example")
    return tree


def _apply_setting(tree: dict[str, Any], text: str) -> Finding | None:
    """Set one `a.b=c` in the tree (c is YAML); a finding when the text or the way to it makes no sense."""
    where = f"--set {text}"
    keys, equals, value = text.partition("=")
    steps = keys.strip().split(".")
    if not equals or not all(steps):
        return Finding(Code.RECIPE_INVALID, where, "not of the form a.b=c", "e.g. --set train.epochs=5")
    node = tree
    for step in steps[:-1]:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            return Finding(Code.RECIPE_INVALID, where, f"{step} is not a section", "name a key of a section")
    try:
        node[steps[-1]] = yaml.safe_load(value)
    except yaml.YAMLError:
        return Finding(Code.RECIPE_INVALID, where, f"{value!r} is not YAML", "quote the value")
    return None


def _at(tree: dict[str, Any], place: Path) -> None:
    """Make relative paths of the recipe, a class file's among them, absolute, seen from `place`."""
    for *sections, key in _PATHS:
        section: Any = tree
        for step in sections:
            section = section.get(step) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = os.path.normpath(place / section[key])
    data = tree.get("data")
    named = data.get("class_file") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(named, str) and class_file.is_path(named):
        data["class_file"] = os.path.normpath(place / named)


def _problem(path: Path, error: dict[str, Any]) -> Finding:
    """One pydantic error as a finding: key path, the value given, what to do."""
    location = [str(step) for step in error["loc"] if not _is_union_branch(str(step))]
    where = f"{path}: {'.'.join(location) or 'recipe'}"
    if error["type"] == "extra_forbidden":
        return Finding(Code.RECIPE_INVALID, where, "unknown key", _nearest(location))
    if error["type"] == "missing":
        return Finding(Code.RECIPE_INVALID, where, "missing", "add the key")
    if error["type"] == "refused":
        return Finding(Code(error["ctx"]["code"]), where, error["ctx"]["details"], error["ctx"]["how_to_fix"])
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error["input"]
    plain = isinstance(given, str | int | float | bool | list | tuple | dict | type(None))
    value = repr(given) if plain else "this part"
    return Finding(Code.RECIPE_INVALID, where, value[:120], message[:1].lower() + message[1:])


def _one_a_key(problems: Sequence[Finding]) -> Iterator[Finding]:
    """Problems with those of one key made one: pydantic tells of each kind that the value might have been."""
    remedies: dict[tuple[Code, str, str], list[str]] = {}
    for p in problems:
        remedies.setdefault((p.code, p.where, p.details), []).append(p.how_to_fix)
    for (code, where, found), told in remedies.items():
        yield Finding(code, where, found, ", or ".join(dict.fromkeys(told)))


def _clashes(error: dict[str, Any]) -> tuple[Clash, ...]:
    cause = error.get("ctx", {}).get("error")
    return cause.clashes if isinstance(cause, ClashError) else ()


def _clashes_beside(tree: Any, wrong: Sequence[dict[str, Any]]) -> list[Clash]:
    """What clashes among the values that are right by themselves, seen by leaving out those that are not."""
    removed = {keys for error in wrong for keys in _at_fault(tree, error)}
    rest = _without(tree, removed)
    try:
        Recipe.model_validate(rest)
    except ValidationError as error:
        found = [c for e in error.errors(include_url=False) for c in _clashes(dict(e))]
        return [c for c in found if not any(_overlap(key, gone) for key in c.keys for gone in removed)]
    return []


def _at_fault(tree: Any, error: dict[str, Any]) -> set[Keys]:
    """The parts of the tree that an error is about: of clashes within one section their keys alone."""
    if error["loc"] and (clashes := _clashes(error)):
        return {tuple(key.split(".")) for c in clashes for key in c.keys}
    return {_deepest(tree, error["loc"])}


def _deepest(tree: Any, location: Sequence[str | int]) -> Keys:
    """The part of a location that the tree holds."""
    node, held = tree, []
    for step in location:
        if not (isinstance(node, dict) and step in node):
            break
        held.append(step)
        node = node[step]
    return tuple(held)


def _without(tree: Any, removed: Collection[Keys], above: Keys = ()) -> Any:
    """A copy of the tree without some keys."""
    if not isinstance(tree, dict):
        return tree
    kept = {key: (*above, key) for key in tree if (*above, key) not in removed}
    return {key: _without(tree[key], removed, here) for key, here in kept.items()}


def _overlap(key: str, gone: Keys) -> bool:
    """Whether one key is the other or lies inside it."""
    steps = tuple(key.split("."))
    length = min(len(steps), len(gone))
    return steps[:length] == gone[:length]


def _is_union_branch(step: str) -> bool:
    """Pydantic adds the tried branch of a union to an error's location; it is no key of the file."""
    return "[" in step or step in {"RandomSplit", "float", "int", "Fold"}


def _nearest(location: Sequence[str]) -> str:
    section: type[BaseModel] = Recipe
    for step in location[:-1]:
        field = section.model_fields.get(step)
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return "remove it"
        section = kind
    close = difflib.get_close_matches(location[-1], section.model_fields, n=1)
    known = ", ".join(section.model_fields)
    return f"did you mean {close[0]}?" if close else f"known keys here: {known}"
