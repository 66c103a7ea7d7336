"""A checker of JSON values by a JSON Schema, for the keywords that the schema of recipes uses."""

from __future__ import annotations

import re
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
NO_RULES = {"description", "default", "definitions", "$schema", "title", "format"}


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """Say where `value` (as JSON has it) breaks the schema; raise for a keyword that is not known here."""
    out: list[str] = []
    for keyword, rule in schema.items():
        if keyword in NO_RULES:
            continue
        out += [f"{where}: {text}" for text in _broken(keyword, rule, value, schema, root)]
        if keyword == "$ref":
            out += problems(value, root["definitions"][rule.removeprefix("#/definitions/")], root, where)
        if keyword == "properties" and isinstance(value, dict):
            for key in value.keys() & rule.keys():
                out += problems(value[key], rule[key], root, f"{where}.{key}")
        if keyword == "additionalProperties" and isinstance(value, dict) and isinstance(rule, dict):
            for key in value.keys() - schema.get("properties", {}).keys():
                out += problems(value[key], rule, root, f"{where}.{key}")
        if keyword == "items" and isinstance(value, list):
            for i, item in enumerate(value):
                out += problems(item, rule, root, f"{where}.{i}")
    return out


def _broken(keyword: str, rule: Any, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> list[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    is_list, is_dict = isinstance(value, list), isinstance(value, dict)
    match keyword:
        case "type":
            right = isinstance(value, TYPES[rule]) and not (isinstance(value, bool) and rule != "boolean")
        case "enum":
            right = value in rule
        case "const":
            right = value == rule
        case "anyOf":
            right = any(not problems(value, each, root) for each in rule)
        case "required":
            right = not is_dict or set(rule) <= value.keys()
        case "additionalProperties":
            known = schema.get("properties", {}).keys()
            right = rule is not False or not is_dict or value.keys() <= known
        case "minimum":
            right = not number or value >= rule
        case "maximum":
            right = not number or value <= rule
        case "exclusiveMinimum":
            right = not number or value > rule
        case "exclusiveMaximum":
            right = not number or value < rule
        case "minItems":
            right = not is_list or len(value) >= rule
        case "maxItems":
            right = not is_list or len(value) <= rule
        case "pattern":
            right = not isinstance(value, str) or re.search(rule, value) is not None
        case "$ref" | "properties" | "items":
            right = True
        case _:
            raise NotImplementedError(f"the keyword {keyword}")
    return [] if right else [f"{value!r} breaks {keyword} {rule!r}"]
