"""Exported graphs of a model folder: their rows in `model.json`, and their bytes, checked before any use.

A graph is an ONNX file, which ONNX Runtime and OpenVINO both read. It may come from anyone: it is read once,
within a limit, and what a runtime gets are those very bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from medseg import names
from medseg.errors import Code, MedsegError, first_line
from medseg.limits import MAX_GRAPH_BYTES

Runtime = Literal["torch", "onnx", "openvino"]
GraphRuntime = Literal["onnx", "openvino"]
Precision = Literal["fp32", "bf16", "int8"]

RUNTIMES: tuple[Runtime, ...] = ("torch", "onnx", "openvino")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")

LEAST_AGREEMENT: dict[Precision, float] = {"fp32": 0.9999, "bf16": 0.99, "int8": 0.98}
"""Share of the foreground, the network's or the graph's, that must get the same label from both."""

MOST_DICE_LOST = 0.002
"""The mean Dice of the validation cases may drop by this much at most."""

INPUT, OUTPUT = "slabs", "logits"
"""Names in a graph: (B, C·D, H, W) float32, scaled as the model folder says -> (B, K, H', W') float32."""

_FOREIGN_CODE = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators with graphs of their own; no network here has them, and they may run without end."""


class Acceptance(BaseModel):
    """The comparison with the network by which a graph was accepted, on validation cases.

    `agreement` is the share of the foreground with the same label; `dice` is the mean over cases and
    foreground classes with the graph, `dice_change` against the network. `calibrated_on` counts the training
    cases that set the ranges of int8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    agreement: float
    dice: float
    dice_change: float
    cases: int
    calibrated_on: int = 0


class GraphFile(BaseModel):
    """A file with the graph of one member, for one runtime and precision.

    `sides` are the only height and width (px) that it takes; None where it takes what the network does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: str
    runtime: GraphRuntime
    precision: Precision
    file: str
    sha256: str
    sides: tuple[int, int] | None = None

    @field_validator("member", "file")
    @classmethod
    def _stays_in_the_folder(cls, value: str) -> str:
        return names.check_name(value, "model.json, graphs")


class Graph(GraphFile):
    """A graph that was accepted: a row of `model.json`."""

    accepted: Acceptance


def choices(graphs: Sequence[Graph], members: Sequence[str]) -> list[tuple[GraphRuntime, Precision]]:
    """Runtimes and precisions for which all of the members have a graph, in the order of `model.json`."""
    kinds = dict.fromkeys((graph.runtime, graph.precision) for graph in graphs)
    return [kind for kind in kinds if all(_of(graphs, name, *kind) is not None for name in members)]


def find(
    graphs: Sequence[Graph], folder: Path, member: str, runtime: GraphRuntime, precision: Precision
) -> Graph:
    """The graph of a member for a runtime and precision; raises USAGE, naming the graphs that there are."""
    graph = _of(graphs, member, runtime, precision)
    if graph is None:
        there = [f"{other.runtime} {other.precision}" for other in graphs if other.member == member]
        details = (
            f"{folder} has for {member} {', '.join(there) or 'no graph at all'}, no {runtime} {precision}"
        )
        how_to_fix = (
            f"write one where it was trained: medseg export WORK MODEL_FOLDER --runtime {runtime} "
            f"--precision {precision}; or leave --runtime out"
        )
        raise MedsegError(Code.USAGE, f"--runtime {runtime}", details, how_to_fix)
    return graph


def _of(graphs: Sequence[Graph], member: str, runtime: GraphRuntime, precision: Precision) -> Graph | None:
    kind = (member, runtime, precision)
    return next((g for g in graphs if (g.member, g.runtime, g.precision) == kind), None)


def read_bytes(folder: Path, graph: GraphFile) -> bytes:
    """Read a graph's file, checked: its size, its sha256, and that nothing in it leads outside of it.

    Raises TOO_LARGE, MODEL_TAMPERED for a file that is missing or another than the one of `model.json`, and
    NOT_A_MODEL for what a medseg graph does not hold: data in other files, operators of custom libraries or
    with graphs inside. Needs the package onnx.
    """
    path = folder / graph.file
    how_to_fix = "copy the model folder again, or export it again"
    if not path.is_file():
        raise MedsegError(Code.MODEL_TAMPERED, path, "missing", how_to_fix)
    if path.stat().st_size > MAX_GRAPH_BYTES:
        details = f"{path.stat().st_size} bytes, more than {MAX_GRAPH_BYTES}"
        raise MedsegError(Code.TOO_LARGE, path, details, "export a smaller network")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != graph.sha256:
        raise MedsegError(Code.MODEL_TAMPERED, path, "its sha256 differs from model.json", how_to_fix)
    if problem := next(_problems(data), None):
        how_to_fix = "use a graph that medseg export wrote"
        raise MedsegError(Code.NOT_A_MODEL, path, f"its graph {problem}", how_to_fix)
    return data


def _problems(data: bytes) -> Iterator[str]:
    """Yield words for all that a graph of medseg does not have."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        yield f"cannot be read: {first_line(error)}"
        return
    if [v.name for v in model.graph.input] != [INPUT] or [v.name for v in model.graph.output] != [OUTPUT]:
        yield f"does not lead from {INPUT} to {OUTPUT}"
    if foreign := {entry.domain for entry in model.opset_import} - {"", "ai.onnx"}:
        yield f"uses operators of {', '.join(sorted(foreign))}"
    if model.functions or model.training_info:
        yield "brings functions of its own"
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield "keeps data in other files"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"uses an operator of {node.domain!r}"
        if node.op_type in _FOREIGN_CODE or any(a.HasField("g") or a.graphs for a in node.attribute):
            yield f"has a graph inside ({node.op_type})"


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph, sparse ones and those of attributes among them."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
