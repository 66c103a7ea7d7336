"""YAML that anyone may have written: parsed within limits, with no tag that makes an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from medseg.limits import MAX_NESTING, MAX_NODES, MAX_YAML_BYTES

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; it gives up at a node that lies too deep, merges too much, or repeats a key."""

    depth = 0
    merged = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise yaml.YAMLError(f"more than {MAX_NESTING} lists or sections inside one another")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def compose_mapping_node(self, anchor: Any) -> Any:
        node, keys = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in keys:
                    place = f"line {key.start_mark.line + 1}"
                    raise yaml.YAMLError(f"the key {key.value[:60]!r} stands twice in one section, {place}")
                keys.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Merge what ``<<`` names; parts that merge parts that merge parts grow without end."""
        for key, value in node.value:
            if key.tag == _MERGE:
                parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for part in parts:
                    if isinstance(part, yaml.MappingNode):
                        self.flatten_mapping(part)
                        self.merged += len(part.value)
                    if self.merged > MAX_NODES:
                        raise yaml.YAMLError(f"<< merges more than {MAX_NODES} values")
        super().flatten_mapping(node)


def read(path: Path) -> Any:
    """Parse a YAML file in UTF-8. Raises OSError, UnicodeDecodeError and what :func:`parse` raises."""
    with path.open("rb") as file:
        content = file.read(MAX_YAML_BYTES + 1)
    return parse(content.decode("utf-8"))


def parse(text: str) -> Any:
    """Give the content of a YAML text. Raises yaml.YAMLError for damage and for what exceeds the limits.

    An anchor that repeats a part, itself repeated by another, makes billions of values of a few lines; the
    values are counted, each repetition anew, and a part that holds itself is refused.
    """
    if len(text) > MAX_YAML_BYTES:
        raise yaml.YAMLError(f"more than {MAX_YAML_BYTES // 2**20} MiB")
    try:
        tree = yaml.load(text, _Loader)
    except (ValueError, OverflowError, RecursionError, AttributeError, TypeError, KeyError) as error:
        # PyYAML's own constructors raise these for impossible dates, numbers and keys
        raise yaml.YAMLError(f"an impossible value ({type(error).__name__})") from None
    _count(tree)
    return tree


def _count(tree: Any) -> None:
    layer, nodes = [tree], 1
    for _ in range(MAX_NESTING + 1):
        layer = [child for node in layer for child in _children(node)]
        nodes += len(layer)
        if nodes > MAX_NODES:
            break
        if not layer:
            return
    raise yaml.YAMLError(f"anchors that repeat parts to more than {MAX_NODES} values, or a part of itself")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
