"""YAML that anyone may have written: parsed within limits, with no tag that makes an object."""

from __future__ import annotations

from typing import Any

import yaml

from medseg.limits import MAX_NESTING, MAX_NODES, MAX_YAML_BYTES


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which gives up at a node that lies too deep."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise yaml.YAMLError(f"more than {MAX_NESTING} lists or sections inside one another")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


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
