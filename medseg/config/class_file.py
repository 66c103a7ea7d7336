"""Class files: class lists that a recipe names instead of writing them, as in `data.class_file: cityscapes`.

A class file holds the keys of the section `data` that describe a data set rather than an experiment: its
classes, how its label files write them, and where its files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.config import yaml_text
from medseg.errors import Code, Finding, MedsegError, choice

KEYS = frozenset(
    {"classes", "background", "void", "void_colours", "label_form", "merge", "codes"}
    | {"layout", "channels", "label"}
)


def packaged() -> Path:
    """Return the folder of packaged recipes: inside the installed package, or `configs/` of a checkout."""
    installed = Path(__file__).parents[1] / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def packaged_recipes() -> list[str]:
    """Return the names of the recipes that ship with medseg."""
    return sorted(path.stem for path in packaged().glob("*.yaml"))


def packaged_names() -> list[str]:
    """Return the names of the class files that ship with medseg."""
    return sorted(path.stem for path in (packaged() / "classes").glob("*.yaml"))


def is_path(name: str) -> bool:
    """Return whether a class file is named by a path, not as a packaged one."""
    return Path(name).suffix != "" or Path(name).parent != Path()


def resolved(tree: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Return a recipe's parsed tree with the keys of its class file filled in, and the problems of that file.

    The recipe's own keys take precedence. Without `data.class_file` the tree is returned as it is.
    """
    section = tree.get("data")
    if not isinstance(section, Mapping) or section.get("class_file") is None:
        return dict(tree), []
    where = f"{path}: data.class_file"
    own = {key: value for key, value in section.items() if key != "class_file"}
    if "classes" in own:
        details = f"{section['class_file']} beside data.classes"
        return {**tree, "data": own}, [Finding(Code.RECIPE_INVALID, where, details, "leave one of both out")]
    try:
        content = read(str(section["class_file"]))
    except MedsegError as error:
        f = error.finding
        return {**tree, "data": own}, [Finding(f.code, where, f"{f.where}: {f.details}", f.how_to_fix)]
    return {**tree, "data": {**content, **own}}, []


def read(name: str) -> dict[str, Any]:
    """Return the content of a class file, given by the name of a packaged one or by its path.

    Raises PATH_MISSING, RECIPE_INVALID.
    """
    path = Path(name) if is_path(name) else packaged() / "classes" / f"{name}.yaml"
    try:
        content = yaml_text.read(path)
    except OSError as error:
        how_to_fix = choice(name, packaged_names(), "give a YAML file or one of:")
        raise MedsegError(Code.PATH_MISSING, name, "no such class list", how_to_fix) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise MedsegError(Code.RECIPE_INVALID, name, f"not YAML: {line}", "correct the file") from None
    if not isinstance(content, dict) or "classes" not in content:
        how_to_fix = "name a packaged class list or a YAML file with the key classes"
        raise MedsegError(Code.RECIPE_INVALID, name, "no classes", how_to_fix)
    if unknown := sorted(map(str, content.keys() - KEYS)):
        how_to_fix = choice(unknown[0], sorted(KEYS), "known keys here:")
        raise MedsegError(Code.RECIPE_INVALID, name, f"unknown key {', '.join(unknown)}", how_to_fix)
    return content
