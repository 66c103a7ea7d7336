"""Stages of a network and the ways between them, from its captured graph."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn

from medseg.networks.contract import Network

Way = Literal["next", "skip", "pool", "positions", "unpool", "up"]
"""A way from stage to stage: straight on, concatenated, pooled, by the positions of a pooling, put back to
the positions of the maxima, or enlarged."""


@dataclass(frozen=True)
class Stage:
    """A row of convolutions at one size.

    ``convolutions`` are their (kernel side, output channels), ``size`` is (H, W) in px of the last one's
    output. ``level`` counts halvings of the input, ``depth`` is the longest way from the input, in stages.
    """

    name: str
    convolutions: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    level: int
    depth: int


@dataclass(frozen=True)
class Flow:
    """Stages in the order in which they run, and the ways between them as (from, to, way), by name."""

    stages: tuple[Stage, ...]
    ways: tuple[tuple[str, str, Way], ...]


def flow(network: Network, size: int) -> Flow:
    """Capture ``network``, put in evaluation mode, for ``size`` × ``size`` px; it may lie on ``meta``.

    A stage is a child with convolutions, or an entry of a list or dict of children.
    """
    device = next(network.parameters()).device
    example = torch.zeros(2, network.in_channels, size, size, device=device)
    graph = torch.export.export(network.eval(), (example,)).graph
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    places = {node: _place(node, network) for node in nodes}
    convolving = {places[node] for node in nodes if _name(node) == "conv2d"} - {""}
    sources: dict[fx.Node, set[tuple[str, Way]]] = {}
    ways: dict[tuple[str, str, Way], None] = {}
    for node in nodes:
        place = places[node]
        arriving = {
            source
            for given in node.all_input_nodes
            for source in _passed(node, given, sources.get(given, set()))
        }
        if place in convolving:
            ways |= {(stage, place, way): None for stage, way in sorted(arriving) if stage != place}
            sources[node] = {(place, "next")}
        else:
            sources[node] = arriving
    stages: dict[str, Stage] = {}
    for place in dict.fromkeys(p for p in places.values() if p in convolving):
        own = [node for node in nodes if places[node] == place]
        before = [stages[a].depth + 1 for a, b, _ in ways if b == place]
        stages[place] = _stage(place, own, size, max(before, default=0))
    return Flow(tuple(stages.values()), tuple(ways))


def _stage(name: str, nodes: list[fx.Node], size: int, depth: int) -> Stage:
    convolved = [node for node in nodes if _name(node) == "conv2d"]
    weights = [node.args[1] for node in convolved]
    shapes = [tuple(w.meta["val"].shape) for w in weights if isinstance(w, fx.Node)]
    height, width = nodes[-1].meta["val"].shape[-2:]
    level = round(size / height).bit_length() - 1
    return Stage(name, tuple((s[-1], s[0]) for s in shapes), (int(height), int(width)), level, depth)


def _place(node: fx.Node, network: nn.Module) -> str:
    """Name the child that a node belongs to, or its entry of a list or dict; empty for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = [str(p) for p, _ in stack.values()][-1] if stack else ""
    first, _, rest = path.partition(".")
    if not first:
        return ""
    inside = isinstance(network.get_submodule(first), nn.ModuleList | nn.ModuleDict)
    return f"{first}.{rest.partition('.')[0]}" if inside else first


def _passed(node: fx.Node, given: fx.Node, arriving: set[tuple[str, Way]]) -> set[tuple[str, Way]]:
    """Pass on the stages that arrive from ``given``, by the way that ``node`` adds."""
    name = _name(node)
    way: Way | None = None
    if name.startswith("max_pool2d"):
        way = "pool"
    elif name in ("conv_transpose2d", "upsample_bilinear2d", "upsample_nearest2d"):
        way = "up"
    elif name == "scatter":
        is_index = len(node.args) > 2 and node.args[2] is given
        way = "positions" if is_index else "unpool"
    elif name == "cat":
        return {(stage, "skip" if before == "next" else before) for stage, before in arriving}
    return arriving if way is None else {(stage, way) for stage, _ in arriving}


def _name(node: fx.Node) -> str:
    """Name the operator without its overload."""
    target: Any = node.target
    if target is operator.getitem:
        return "getitem"
    return (
        str(getattr(target, "_schema", target).name).rpartition("::")[2] if hasattr(target, "_schema") else ""
    )
