"""Graphs of a model folder: chosen by member, runtime and precision; refused before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from medseg.errors import Code, MedsegError
from medseg.model import folder as model_folder
from medseg.model import graphs
from medseg.model.graphs import Graph
from tests.helpers.graphs import ACCEPTED, add_graph, conv_graph
from tests.helpers.model_folders import describe


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder of two members, without graphs."""
    network = model_folder.build_network(describe())
    states = {name: network.state_dict() for name in ("fold0", "fold1")}
    model_folder.export(tmp_path / "model", states, describe())
    return tmp_path / "model"


def refused(folder: Path, model: Any, code: Code = Code.NOT_A_MODEL, **changes: Any) -> str:
    """The message with which a graph in the folder is refused."""
    add_graph(folder, model, **changes)
    row = model_folder.read(folder).graphs[-1]
    with pytest.raises(MedsegError) as error:
        graphs.read_bytes(folder, row)
    assert error.value.code is code
    return str(error.value)


def test_a_graph_is_read_as_it_was_written(model: Path) -> None:
    path = add_graph(model, conv_graph())
    (row,) = model_folder.read(model).graphs
    assert graphs.read_bytes(model, row) == path.read_bytes()


def test_a_changed_or_missing_graph_is_refused(model: Path) -> None:
    path = add_graph(model, conv_graph())
    (row,) = model_folder.read(model).graphs
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(MedsegError, match="sha256 differs"):
        graphs.read_bytes(model, row)
    path.unlink()
    with pytest.raises(MedsegError, match="missing"):
        graphs.read_bytes(model, row)


def test_a_graph_that_is_too_large_is_refused_before_it_is_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MAX_GRAPH_BYTES", 10)
    assert "more than 10" in refused(model, conv_graph(), Code.TOO_LARGE)


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xff", b"not a graph"], ids=["empty", "bits", "text"])
def test_bytes_that_are_no_graph_are_refused(model: Path, data: bytes) -> None:
    assert "its graph" in refused(model, data)


def test_data_in_other_files_are_refused(model: Path) -> None:
    graph = conv_graph()
    weight = graph.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    assert "data in other files" in refused(model, graph)


def test_data_in_other_files_are_refused_in_constants_of_nodes_too(model: Path) -> None:
    graph = conv_graph()
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    graph.graph.node.append(helper.make_node("Constant", [], ["t"], value=tensor))
    assert "data in other files" in refused(model, graph)


def test_operators_of_custom_libraries_are_refused(model: Path) -> None:
    graph = conv_graph()
    graph.graph.node.append(helper.make_node("Run", ["slabs"], ["x"], domain="evil.ops"))
    assert "evil.ops" in refused(model, graph)
    imported = conv_graph()
    imported.opset_import.append(helper.make_opsetid("evil.ops", 1))
    assert "evil.ops" in refused(model, imported)


def test_graphs_inside_graphs_and_functions_are_refused(model: Path) -> None:
    body = conv_graph().graph
    graph = conv_graph()
    graph.graph.node.append(helper.make_node("If", ["c"], ["x"], then_branch=body, else_branch=body))
    assert "a graph inside (If)" in refused(model, graph)
    with_function = conv_graph()
    function = helper.make_function("", "f", ["a"], ["b"], [], [helper.make_opsetid("", 20)])
    with_function.functions.append(function)
    assert "functions" in refused(model, with_function)


@pytest.mark.parametrize(
    "changes", [{"file": "../x.onnx"}, {"member": "a/b"}, {"runtime": "tensorrt"}, {"x": 1}]
)
def test_rows_that_lead_elsewhere_or_are_unknown_are_refused(model: Path, changes: dict[str, Any]) -> None:
    add_graph(model, conv_graph(), **{"member": "fold0", **changes})
    with pytest.raises(MedsegError) as error:
        model_folder.read(model)
    assert error.value.code in (Code.NOT_A_MODEL, Code.NAME_INVALID)


def row(member: str, runtime: str, precision: str) -> Graph:
    return Graph(
        member=member, runtime=runtime, precision=precision, file="f.onnx", sha256="", accepted=ACCEPTED
    )  # type: ignore[arg-type]


def test_a_choice_is_what_every_member_has() -> None:
    rows = [row("a", "onnx", "fp32"), row("a", "openvino", "int8"), row("b", "openvino", "int8")]
    assert graphs.choices(rows, ["a", "b"]) == [("openvino", "int8")]
    assert graphs.choices(rows, ["a"]) == [("onnx", "fp32"), ("openvino", "int8")]
    assert graphs.choices([], ["a"]) == []


def test_a_graph_that_is_not_there_is_refused_with_those_that_are(model: Path) -> None:
    rows = [row("a", "onnx", "fp32"), row("a", "openvino", "int8")]
    assert graphs.find(rows, model, "a", "openvino", "int8") is rows[1]
    with pytest.raises(MedsegError, match="has for a onnx fp32, openvino int8, no openvino fp32") as error:
        graphs.find(rows, model, "a", "openvino", "fp32")
    assert error.value.code is Code.USAGE
    with pytest.raises(MedsegError, match="no graph at all"):
        graphs.find([], model, "a", "onnx", "int8")


def test_graphs_of_a_model_go_with_it(model: Path) -> None:
    add_graph(model, conv_graph())
    network = model_folder.build_network(describe())
    model_folder.export(model, {"fold0": network.state_dict()}, describe())
    assert list(model.glob("*.onnx")) == [] and model_folder.read(model).graphs == ()


def test_int8_stays_near_what_it_was_made_from() -> None:
    import onnxruntime

    from medseg.model.quantise import to_int8

    random = np.random.default_rng(0)
    graph = conv_graph()
    weight = random.normal(size=(3, 3, 1, 1)).astype(np.float32)
    graph.graph.initializer[0].raw_data = weight.tobytes()
    slabs = [random.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    changed = to_int8(graph.SerializeToString(), slabs)
    assert next(graphs._problems(changed), None) is None
    runs = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"slabs": slabs[0]})[
            0
        ]
        for data in (graph.SerializeToString(), changed)
    ]
    assert 0 < np.abs(runs[0] - runs[1]).max() < 0.15
