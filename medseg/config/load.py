"""Recipes as files: find one, apply `--set`, resolve its paths, and report all of its problems at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from medseg import files
from medseg.classes import ClassList
from medseg.config import class_file, renamed, yaml_text
from medseg.config.base import Clash, ClashError
from medseg.config.class_file import packaged as packaged
from medseg.config.data import Data
from medseg.config.recipe import Recipe
from medseg.errors import Code, Finding, MedsegError, choice
from medseg.model import packaged as packaged_models

SCHEMA = "recipe.schema.json"
"""The JSON Schema of recipes, beside the packaged ones; editors complete keys by it."""

Keys = tuple[str | int, ...]
"""The path to a part of a recipe's tree."""

_PATHS = (("data", "path"), ("network", "weights", "file"), ("network", "init_from"))
"""Keys that hold a path."""


class RecipeError(MedsegError):
    """All problems of one recipe; each is printed on a line of its own."""

    def __init__(self, where: Path, problems: Sequence[Finding]) -> None:
        super().__init__(
            Code.RECIPE_INVALID, where, f"{len(problems)} problem(s)", "correct the keys named above"
        )
        self.problems = tuple(problems)


def locate(recipe: str) -> Path:
    """Return a recipe's path; a bare name without folder or suffix is looked up among the packaged ones.

    Raises PATH_MISSING.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    packaged_path = packaged() / f"{recipe}.yaml"
    if path.suffix == "" and path.parent == Path() and packaged_path.is_file():
        return packaged_path
    if (path / "recipe.yaml").is_file():
        how_to_fix = f"give its recipe and its name: {path / 'recipe.yaml'} --work {path}"
        raise MedsegError(Code.PATH_MISSING, recipe, "it is a work folder and no recipe", how_to_fix)
    beside = sorted(str(path.parent / file.name) for file in path.parent.glob("*.yaml"))
    how_to_fix = choice(recipe, (*class_file.packaged_recipes(), *beside), "give a YAML file or one of:")
    raise MedsegError(Code.PATH_MISSING, recipe, "no such recipe", how_to_fix)


def load(recipe: str, settings: Sequence[str] = (), data: Path | None = None) -> Recipe:
    """Read a recipe, with `settings` (`a.b=c`) and the data folder of the command line applied.

    Paths in the file are relative to the file, paths of the command line to the current folder. Raises
    RecipeError with every problem, PATH_MISSING if there is no such file.
    """
    path = locate(recipe)
    tree = _read_yaml(path)
    _make_absolute(tree, path.absolute().parent)
    problems = [p for text in settings if (p := _apply_setting(tree, text))]
    if data is not None and isinstance(tree.get("data"), dict):
        tree["data"]["path"] = str(data)
    _make_absolute(tree, Path.cwd())
    return validate(tree, path, problems)


def validate(tree: Any, path: Path, problems: Sequence[Finding] = ()) -> Recipe:
    """Build a recipe from a parsed tree; messages name `path`. Raises RecipeError with every problem."""
    if isinstance(tree, dict):
        tree, class_problems = class_file.resolved(tree, path)
        problems = [*problems, *class_problems]
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        errors = [dict(e) for e in error.errors(include_url=False)]
        findings = [*_one_per_key([_problem(path, e) for e in errors if not _clashes(e)])]
        if any(p.where.endswith(": data.class_file") for p in problems):  # it would have given the classes
            findings = [p for p in findings if not p.where.endswith(": data.classes")]
        clashes = [c for e in errors for c in _clashes(e)] + _clashes_beside(tree, errors)
        findings += [
            Finding(Code.RECIPE_INVALID, f"{path}: {c.keys[0]}", c.details, c.how_to_fix) for c in clashes
        ]
        raise RecipeError(path, [*problems, *findings]) from None
    if problems:
        raise RecipeError(path, problems)
    return recipe


def class_list(name: str) -> ClassList:
    """Return the classes of a class file, given by the name of a packaged one or by its path.

    Raises PATH_MISSING, RECIPE_INVALID, RecipeError with every problem.
    """
    try:
        return Data.model_validate(class_file.read(name)).class_list()
    except ValidationError as error:
        problems = [_problem(Path(name), dict(e)) for e in error.errors(include_url=False)]
        raise RecipeError(Path(name), [*_one_per_key(problems)]) from None


def differing(one: Recipe, other: Recipe) -> list[str]:
    """Return the keys, as `section.key`, whose values differ."""
    others = _by_key(other)
    return [key for key, value in _by_key(one).items() if others[key] != value]


def _by_key(recipe: Recipe) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part, section in recipe.model_dump(mode="json").items():
        values |= (
            {f"{part}.{k}": v for k, v in section.items()} if isinstance(section, dict) else {part: section}
        )
    return values


def schema_line(schema: Path | None = None) -> str:
    """Return the first line of a recipe: the comment by which editors find the JSON Schema.

    Without `schema` the line names the installed file. Editors read a path up to the first space or #, so a
    path that has one is written as a URI.
    """
    path = (schema or packaged() / SCHEMA).absolute()
    awkward = any(character.isspace() or character == "#" for character in str(path))
    return f"# yaml-language-server: $schema={path.as_uri() if awkward else path}\n"


def save(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe as YAML; its first line names the installed JSON Schema."""
    tree = recipe.model_dump(mode="json")
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
    files.write_text(path, schema_line() + text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml_text.read(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise MedsegError(Code.RECIPE_INVALID, path, f"not YAML: {line}", "correct the file") from None
    if not isinstance(tree, dict):
        raise MedsegError(Code.RECIPE_INVALID, path, "no keys", "see configs/demo.yaml for an example")
    return tree


def _apply_setting(tree: dict[str, Any], text: str) -> Finding | None:
    """Set one `a.b=c` in the tree (c is YAML); return a finding if the text or its key makes no sense."""
    where = f"--set {text}"
    key, equals, value = text.partition("=")
    key = key.strip()
    steps = renamed.IN_SETTINGS.get(key, key).split(".")
    if not equals or not all(steps):
        return Finding(Code.RECIPE_INVALID, where, "not of the form a.b=c", "e.g. --set train.epochs=5")
    node = tree
    for step in steps[:-1]:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            return Finding(Code.RECIPE_INVALID, where, f"{step} is not a section", "name a key of a section")
    try:
        node[steps[-1]] = yaml_text.parse(value)
    except yaml.YAMLError:
        return Finding(Code.RECIPE_INVALID, where, f"{value!r} is not YAML", "quote the value")
    return None


def _make_absolute(tree: dict[str, Any], folder: Path) -> None:
    """Make the recipe's paths, and that of its class file, absolute; they are relative to `folder`."""
    for *sections, key in _PATHS:
        section: Any = tree
        for step in sections:
            section = section.get(step) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = _absolute(section[key], folder, ships=key == "init_from")
    data = tree.get("data")
    name = data.get("class_file") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(name, str) and class_file.is_path(name):
        data["class_file"] = os.path.normpath(folder / name)


def _absolute(value: str, folder: Path, *, ships: bool) -> str:
    """The absolute form of a path in `folder`; with `ships` also of a packaged model, by its name."""
    path = Path(os.path.normpath(folder / value))
    model = packaged_models.find(value) if ships and not path.exists() else None
    return str(model or path)


def _problem(path: Path, error: dict[str, Any]) -> Finding:
    """Turn one pydantic error into a finding: the key, the value given, how to fix it."""
    location = [str(step) for step in error["loc"] if not _is_union_branch(str(step))]
    key, value = ".".join(location), error["input"]
    where = f"{path}: {key or 'recipe'}"
    if error["type"] == "extra_forbidden" and key in renamed.KEYS:
        return Finding(Code.RECIPE_INVALID, where, "renamed", f"use {renamed.KEYS[key]}")
    if error["type"] == "extra_forbidden":
        return Finding(Code.RECIPE_INVALID, where, "unknown key", _nearest_key(location))
    if error["type"] == "missing":
        return Finding(Code.RECIPE_INVALID, where, "missing", "add the key")
    if error["type"] == "refused":
        return Finding(Code(error["ctx"]["code"]), where, error["ctx"]["details"], error["ctx"]["how_to_fix"])
    if isinstance(value, str) and value in renamed.VALUES.get(key, {}):
        return Finding(Code.RECIPE_INVALID, where, f"{value} is renamed", f"use {renamed.VALUES[key][value]}")
    message = str(error["msg"]).removeprefix("Value error, ")
    is_plain = isinstance(value, str | int | float | bool | list | tuple | dict | type(None))
    text = repr(value)[:120] if is_plain else "this part"
    return Finding(Code.RECIPE_INVALID, where, text, message[:1].lower() + message[1:])


def _one_per_key(problems: Sequence[Finding]) -> Iterator[Finding]:
    """Merge the problems of each key: pydantic reports every type that the value might have been."""
    fixes: dict[tuple[Code, str, str], list[str]] = {}
    for p in problems:
        fixes.setdefault((p.code, p.where, p.details), []).append(p.how_to_fix)
    for (code, where, details), alternatives in fixes.items():
        yield Finding(code, where, details, ", or ".join(dict.fromkeys(alternatives)))


def _clashes(error: dict[str, Any]) -> tuple[Clash, ...]:
    cause = error.get("ctx", {}).get("error")
    return cause.clashes if isinstance(cause, ClashError) else ()


def _clashes_beside(tree: Any, errors: Sequence[dict[str, Any]]) -> list[Clash]:
    """Return the clashes among the valid values; they are found by leaving out the invalid ones."""
    removed = {keys for error in errors for keys in _keys_at_fault(tree, error)}
    try:
        Recipe.model_validate(_without(tree, removed))
    except ValidationError as error:
        clashes = [c for e in error.errors(include_url=False) for c in _clashes(dict(e))]
        return [c for c in clashes if not any(_overlap(key, gone) for key in c.keys for gone in removed)]
    return []


def _keys_at_fault(tree: Any, error: dict[str, Any]) -> set[Keys]:
    """Return the parts of the tree that an error is about: of a clash its keys, not their whole section."""
    if error["loc"] and (clashes := _clashes(error)):
        return {tuple(key.split(".")) for c in clashes for key in c.keys}
    node, keys = tree, []
    for step in error["loc"]:
        if not (isinstance(node, dict) and step in node):
            break
        keys.append(step)
        node = node[step]
    return {tuple(keys)}


def _without(tree: Any, removed: Collection[Keys], above: Keys = ()) -> Any:
    """Copy the tree without some keys."""
    if not isinstance(tree, dict):
        return tree
    kept = {key: (*above, key) for key in tree if (*above, key) not in removed}
    return {key: _without(tree[key], removed, keys) for key, keys in kept.items()}


def _overlap(key: str, gone: Keys) -> bool:
    """Return whether one key is the other or lies inside it."""
    steps = tuple(key.split("."))
    length = min(len(steps), len(gone))
    return steps[:length] == gone[:length]


def _is_union_branch(step: str) -> bool:
    """Return whether a step of an error's location is a branch of a union that pydantic tried, not a key."""
    return "[" in step or step in {"RandomSplit", "float", "int", "Fold"}


def _nearest_key(location: Sequence[str]) -> str:
    """Return a remedy for an unknown key: one spelt alike, one of its name elsewhere, or all keys here."""
    fields = _fields_at(location[:-1])
    if not fields:
        return "remove it"
    alike = choice(location[-1], fields, "known keys here:")
    if alike.startswith("did"):
        return alike
    if elsewhere := [key for key in keys_of(Recipe) if key.rpartition(".")[2] == location[-1]]:
        return f"did you mean {' or '.join(elsewhere[:3])}?"
    return alike


def _fields_at(location: Sequence[str]) -> list[str]:
    """Return the keys of the section at a location, whose steps may also be indices or names of a mapping."""
    sections: list[type[BaseModel]] = [Recipe]
    for step in location:
        annotations = [s.model_fields[step].annotation for s in sections if step in s.model_fields]
        if annotations:
            sections = [part for annotation in annotations for part in sections_in(annotation)]
    return list(dict.fromkeys(field for section in sections for field in section.model_fields))


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a key's type names: itself, or those of a union, list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections_in(argument)]


def keys_of(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of a section and of those below it."""
    for name, field in section.model_fields.items():
        key = f"{above}.{name}".lstrip(".")
        yield key
        for part in sections_in(field.annotation):
            yield from keys_of(part, key)
