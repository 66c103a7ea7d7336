"""Completion of recipes, keys, values and networks in the shell; imports nothing that takes time."""

from __future__ import annotations

import json
from typing import Any

_MOST_SECTIONS = 4
"""Sections inside one another that keys are completed through."""


def recipes(incomplete: str) -> list[tuple[str, str]]:
    """Names of packaged recipes with their descriptions; paths are completed by the shell itself."""
    from medseg.config.class_file import packaged

    paths = sorted(packaged().glob("*.yaml"))
    return [(path.stem, _description(path)) for path in paths if path.stem.startswith(incomplete)]


def classes(incomplete: str) -> list[str]:
    """Names of packaged class lists."""
    from medseg.config.class_file import packaged_names

    return [name for name in packaged_names() if name.startswith(incomplete)]


def names(incomplete: str) -> list[tuple[str, str]]:
    """Everything that `medseg show` takes: recipes, keys and networks."""
    networks = [(name, "network") for name in _networks() if name.startswith(incomplete)]
    keys = [(key, "key of a recipe") for key in _keys(_schema()) if key.startswith(incomplete)]
    return [*recipes(incomplete), *networks, *keys]


def settings(incomplete: str) -> list[str]:
    """Keys for `--set`, and after `=` their values where there are few: networks, words, true and false."""
    schema = _schema()
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in _keys(schema) if name.startswith(incomplete)]
    values = _networks() if key == "network.name" else _values(_node(schema, key), schema)
    return [text for value in values if (text := f"{key}={value}").startswith(incomplete)]


def stages(incomplete: str) -> list[str]:
    """Names of the stages."""
    known = ("ingest", "preprocess", "train", "predict", "evaluate", "report")
    return [name for name in known if name.startswith(incomplete)]


def _networks() -> list[str]:
    from medseg.networks import NETWORKS

    return sorted(NETWORKS)


def _description(path: Any) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((x.removeprefix("description: ") for x in lines if x.startswith("description: ")), "")


def _schema() -> dict[str, Any]:
    """The JSON Schema of recipes, which is read sooner than the models are imported that it is made from."""
    from medseg.config.class_file import packaged

    tree: dict[str, Any] = json.loads((packaged() / "recipe.schema.json").read_text(encoding="utf-8"))
    return tree


def _keys(schema: dict[str, Any]) -> list[str]:
    keys: list[str] = []
    below = [("", schema)]
    for _ in range(_MOST_SECTIONS):
        below = [
            (f"{above}.{name}".lstrip("."), part)
            for above, section in below
            for name, node in section.get("properties", {}).items()
            for part in _sections(node, schema)
        ]
        keys += [key for key, part in below if not part.get("properties")]
    return sorted(dict.fromkeys(keys))


def _sections(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a key's type: what its references and alternatives name."""
    if "$ref" in node:
        part: dict[str, Any] = schema["definitions"][node["$ref"].rpartition("/")[2]]
        return [part]
    alternatives = [*node.get("anyOf", ()), *node.get("allOf", ())]
    return [part for one in alternatives for part in _sections(one, schema)] or [node]


def _node(schema: dict[str, Any], key: str) -> list[dict[str, Any]]:
    nodes = [schema]
    for step in key.split("."):
        nodes = [
            part
            for node in nodes
            if step in node.get("properties", {})
            for part in _sections(node["properties"][step], schema)
        ]
    return nodes


def _values(nodes: list[dict[str, Any]], schema: dict[str, Any]) -> list[str]:
    values: list[str] = []
    for node in nodes:
        values += map(str, node.get("enum", ()))
        values += [str(node["const"])] if "const" in node else []
        values += ["true", "false"] if node.get("type") == "boolean" else []
        values += _values([part for one in node.get("anyOf", ()) for part in _sections(one, schema)], schema)
    return values
