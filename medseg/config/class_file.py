"""Class lists that a recipe names instead of writing them: `data.class_file: cityscapes`.

A class file is a part of a recipe's `data` section that belongs to a data set, not to an experiment: classes,
how its label files write them, and where its files lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import Code, Finding, MedsegError

KEYS = frozenset(
    {"classes", "background", "void", "void_colours", "label_form", "merge", "layout", "channels", "label"}
)
_REMEDY = "name a packaged class list or a YAML file that holds classes"


def packaged() -> Path:
    """The folder of packaged recipes: inside the wheel, or the checkout's `configs/`."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def packaged_names() -> list[str]:
    """The class lists that ship with medseg."""
    return sorted(path.stem for path in (packaged() / "classes").glob("*.yaml"))


def is_path(name: str) -> bool:
    """Whether the name of a class file is a path, not that of a packaged one."""
    return Path(name).suffix != "" or Path(name).parent != Path()


def resolved(tree: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """A recipe's parsed tree with what its class file holds, and what is wrong with that.

    The recipe's own keys hold before the file's. Without `data.class_file` the tree is returned as it is.
    """
    section = tree.get("data")
    if not isinstance(section, Mapping) or section.get("class_file") is None:
        return dict(tree), []
    where = f"{path}: data.class_file"
    own = {key: value for key, value in section.items() if key != "class_file"}
    if "classes" in own:
        found = f"{section['class_file']} beside data.classes"
        return {**tree, "data": own}, [Finding(Code.RECIPE_INVALID, where, found, "leave one of both out")]
    try:
        held = read(str(section["class_file"]))
    except MedsegError as error:
        f = error.finding
        return {**tree, "data": own}, [Finding(f.code, where, f"{f.where}: {f.details}", f.how_to_fix)]
    return {**tree, "data": {**held, **own}}, []


def read(name: str) -> dict[str, Any]:
    """The content of a class file, by the name of a packaged one or by its path.

    Raises PATH_MISSING, RECIPE_INVALID.
    """
    path = Path(name) if is_path(name) else packaged() / "classes" / f"{name}.yaml"
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        how_to_fix = f"give a YAML file or one of: {', '.join(packaged_names())}"
        raise MedsegError(Code.PATH_MISSING, name, "no such class list", how_to_fix) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise MedsegError(Code.RECIPE_INVALID, name, f"not YAML: {line}", "correct the file") from None
    if not isinstance(held, dict) or "classes" not in held:
        raise MedsegError(Code.RECIPE_INVALID, name, "no classes", _REMEDY)
    if unknown := sorted(map(str, held.keys() - KEYS)):
        how_to_fix = f"a class file holds {', '.join(sorted(KEYS))}"
        raise MedsegError(Code.RECIPE_INVALID, name, f"unknown key {', '.join(unknown)}", how_to_fix)
    return held
