"""YAML → recipe: finds it, applies `--set`, resolves paths, reports every problem at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from medseg import files, networks
from medseg.config.recipe import Recipe
from medseg.errors import Code, Finding, MedsegError


class RecipeError(MedsegError):
    """All that is wrong with one recipe: a line each."""

    def __init__(self, where: Path, problems: Sequence[Finding]) -> None:
        super().__init__(
            Code.RECIPE_INVALID, where, f"{len(problems)} problem(s)", "correct the keys named above"
        )
        self.problems = tuple(problems)


def packaged() -> Path:
    """The folder of packaged recipes: inside the wheel, or the checkout's `configs/`."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


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

    Paths in the file are relative to it; `data` is relative to where one stands.
    Raises RecipeError with every problem, PATH_MISSING when there is no such file.
    """
    path = locate(recipe)
    tree = _read_yaml(path)
    problems = [p for text in settings if (p := _apply_setting(tree, text))]
    section = tree.get("data")
    if isinstance(section, dict):
        if data is not None:
            section["path"] = str(data.absolute())
        elif isinstance(section.get("path"), str):
            section["path"] = str(Path(os.path.normpath(path.absolute().parent / section["path"])))
    return validate(tree, path, problems)


def validate(tree: Any, path: Path, problems: Sequence[Finding] = ()) -> Recipe:
    """A recipe from a parsed tree; `path` stands in the messages."""
    found = list(problems)
    made = None
    try:
        made = Recipe.model_validate(tree)
    except ValidationError as error:
        found += [_problem(path, dict(e)) for e in error.errors(include_url=False)]
    if made is not None:
        try:
            networks.check_name(made.network.name)
        except MedsegError as error:
            what = error.finding
            found.append(Finding(what.code, f"{path}: network.name", what.found, what.remedy))
    if found or made is None:
        raise RecipeError(path, found)
    return made


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


def _problem(path: Path, error: dict[str, Any]) -> Finding:
    """One pydantic error as a finding: key path, the value given, what to do."""
    location = [str(step) for step in error["loc"] if not _is_union_branch(str(step))]
    where = f"{path}: {'.'.join(location) or 'recipe'}"
    if error["type"] == "extra_forbidden":
        return Finding(Code.RECIPE_INVALID, where, "unknown key", _nearest(location))
    if error["type"] == "missing":
        return Finding(Code.RECIPE_INVALID, where, "missing", "add the key")
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error["input"]
    value = (
        repr(given)
        if isinstance(given, str | int | float | bool | list | tuple | type(None))
        else "this part"
    )
    return Finding(Code.RECIPE_INVALID, where, value[:120], message[:1].lower() + message[1:])


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
