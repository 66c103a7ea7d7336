"""`medseg show`: a recipe with all its keys, one key or keyword with its meaning, or a network."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medseg import networks
from medseg.config import class_file, load, reference
from medseg.config.load import keys_of, sections_in
from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError, choice
from pipelines.commands import show_keyword

_LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} of them",
}
"""Limits of a value, as pydantic names them, in words."""

_FEW = 6
"""Names that a type lists itself."""

Shown = dict[str, Any]


def run(name: str, settings: Sequence[str], data: Path | None, *, as_json: bool) -> None:
    """Print the recipe, key, section or network of this name. Raises USAGE where there is none."""
    if _is_recipe(name):
        recipe = load.load(name, settings, data)
        tree = recipe.model_dump(mode="json")
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
        sys.stdout.write(json.dumps(tree, indent=1) + "\n" if as_json else load.schema_line() + text)
        return
    if settings or data is not None:
        how_to_fix = choice(name, class_file.packaged_recipes(), "name a YAML file or one of:")
        raise MedsegError(Code.PATH_MISSING, name, "--set and --data need a recipe", how_to_fix)
    if name in networks.NETWORKS:
        described: Any = networks.describe(name)
        lines = _lines_of_network(described)
    elif name.startswith(show_keyword.SECTION):
        keyword = name.removeprefix(show_keyword.SECTION)
        kinds = {one.network: _kind(one.hint) for one in show_keyword.taking(keyword)}
        described = show_keyword.described(keyword, kinds)
        lines = _lines_of_keys(described)
    else:
        described = [_described(key, section, field) for key, section, field in _fields(_keys(name))]
        lines = _lines_of_keys(described)
    sys.stdout.write((json.dumps(described, indent=1) if as_json else "\n".join(lines)) + "\n")


def _is_recipe(name: str) -> bool:
    path = Path(name)
    return name in class_file.packaged_recipes() or path.suffix in (".yaml", ".yml") or path.is_file()


def _keys(name: str) -> list[str]:
    """The key of this name, and of a section its keys; or all keys that have it as their last part.

    Raises USAGE with what is spelt alike, among recipes and networks, too.
    """
    every = list(dict.fromkeys(keys_of(Recipe)))
    if name in every:
        return [name, *(key for key in every if key.rpartition(".")[0] == name)]
    if ends := [key for key in every if key.endswith(f".{name}")]:
        return ends
    words = [*class_file.packaged_recipes(), *networks.NETWORKS, *every]
    last = {key.rpartition(".")[2]: key for key in reversed(every)}
    how_to_fix = choice(name, [*words, *last], "")
    if not how_to_fix.startswith("did"):
        how_to_fix = "`medseg recipes` lists recipes, docs/recipe.md keys, `medseg info` networks"
    raise MedsegError(Code.USAGE, name, "no recipe, key or network of this name", how_to_fix)


def _fields(keys: Sequence[str]) -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    for key in keys:
        sections: list[type[BaseModel]] = [Recipe]
        *above, last = key.split(".")
        for step in above:
            parts = [sections_in(s.model_fields[step].annotation) for s in sections if step in s.model_fields]
            sections = [part for some in parts for part in some]
        section = next(section for section in sections if last in section.model_fields)
        yield key, section, section.model_fields[last]


def _described(key: str, section: type[BaseModel], field: FieldInfo) -> Shown:
    meaning, typical = reference.description(field)
    parts = sections_in(field.annotation)
    if parts and not meaning:
        meaning = " ".join(inspect.cleandoc(parts[0].__doc__ or "").split())
    default = reference.default_in_words(field, is_section=False).strip("`")
    if isinstance(field.get_default(call_default_factory=True), BaseModel):
        default = "the defaults of its keys"
    return {
        "key": key,
        "meaning": meaning.replace("`", ""),
        "type": "section" if parts else reference.type_in_words(field.annotation).replace("`", ""),
        "allowed": _allowed(key, field),
        "default": default or "nothing",
        "typical": typical.replace("`", ""),
        "section": section.__name__,
    }


def _allowed(key: str, field: FieldInfo) -> list[str]:
    """The values that a key takes, where they are few, and its limits."""
    if key == "network.name":
        return [*networks.NETWORKS, f"{networks.MONAI_PREFIX}<Name>"]
    return [*_literals(field.annotation), *_limits(field.metadata), *_limits_inside(field.annotation)]


def _kind(hint: Any) -> show_keyword.Kind:
    """A keyword's type in words and what it allows; a long list of names stands there alone."""
    names = _literals(hint)
    text = reference.type_in_words(hint).replace("`", "")
    listed = " or ".join(names)
    allowed = dict.fromkeys([*names, *_limits_inside(hint)])
    return text.replace(listed, "one of those allowed") if len(names) > _FEW else text, tuple(allowed)


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, bool):
        return ["true", "false"]
    return [text for argument in get_args(annotation) for text in _literals(argument)]


def _limits_inside(annotation: Any) -> list[str]:
    own = _limits(getattr(annotation, "__metadata__", ()))
    inside = [text for argument in get_args(annotation) for text in _limits_inside(argument)]
    return list(dict.fromkeys([*own, *inside]))


def _limits(metadata: Sequence[Any]) -> list[str]:
    """Limits among pydantic's notes on a type; a `Field` inside one holds notes of its own."""
    texts = []
    for note in metadata:
        texts += [words.format(getattr(note, name)) for name, words in _LIMITS.items() if hasattr(note, name)]
        texts += _limits(getattr(note, "metadata", ()))
    return list(dict.fromkeys(texts))


def _lines_of_keys(described: Sequence[Shown]) -> Iterator[str]:
    for number, row in enumerate(described):
        if number:
            yield ""
        yield row["key"]
        yield f"  {row['meaning']}"
        yield f"  type:    {row['type']}"
        if row["allowed"] and row["type"] != " or ".join(row["allowed"]):
            yield f"  allowed: {', '.join(row['allowed'])}"
        yield f"  default: {row['default']}"
        if row["typical"]:
            yield f"  typical: {row['typical']}"


def _lines_of_network(described: Shown) -> Iterator[str]:
    field = described["receptive_field"]
    yield f"{described['name']}: {described['paper']}"
    shape = f"{described['channels']} channels, {described['classes']} classes"
    yield f"  parameters:      {described['parameters']:,} ({shape})"
    yield f"  receptive field: {'the whole image' if field is None else ' × '.join(map(str, field)) + ' px'}"
    for key, value in described["keywords"].items():
        yield f"  network.keywords.{key}: {value!r}"
