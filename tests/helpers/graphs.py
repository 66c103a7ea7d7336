"""Small graphs made by hand, and their rows in a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medseg import files
from medseg.model.folder import MODEL_JSON
from medseg.model.graphs import INPUT, OUTPUT

ACCEPTED = {"agreement": 0.995, "dice": 0.9, "dice_change": -0.001, "cases": 2, "calibrated_on": 0}


def conv_graph(channels: int = 3, bias: Sequence[float] = (0.0, 1.0, 0.5)) -> Any:
    """A 1×1 convolution whose weights are zero: logits (B, K, H, W) are the bias, whatever the slabs are."""
    weight = numpy_helper.from_array(np.zeros((len(bias), channels, 1, 1), np.float32), "weight")
    constant = numpy_helper.from_array(np.array(bias, np.float32), "bias")
    graph = helper.make_graph(
        [helper.make_node("Conv", [INPUT, "weight", "bias"], [OUTPUT])],
        "conv",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["b", channels, "h", "w"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["b", len(bias), "h", "w"])],
        [weight, constant],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def skip_graph(channels: int = 3, classes: int = 3) -> Any:
    """Pooling and up-sampling beside a skip, as in a U-Net of one level; slabs (B, C, H, W) of even sides."""
    rng = np.random.default_rng(0)
    weights = {"down": (4, channels, 3, 3), "out": (classes, 8, 1, 1)}
    tensors = [
        numpy_helper.from_array(rng.normal(size=n).astype(np.float32), name) for name, n in weights.items()
    ]
    tensors.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    nodes = [
        helper.make_node("Conv", [INPUT, "down"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["skip"]),
        helper.make_node("MaxPool", ["skip"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["pooled", "", "scales"], ["up"], mode="nearest"),
        helper.make_node("Concat", ["skip", "up"], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "out"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "skip",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["b", channels, "h", "w"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["b", classes, "h", "w"])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def add_graph(
    folder: Path,
    model: Any,
    runtime: str = "onnx",
    precision: str = "fp32",
    *,
    member: str = "fold0",
    **changes: Any,
) -> Path:
    """Write a graph into a model folder and its row into `model.json`, which ``changes`` may change."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    path = folder / f"{member.replace('/', '_')}.{runtime}.{precision}.onnx"
    path.write_bytes(data)
    tree = files.read_json(folder / MODEL_JSON)
    row = {
        "member": member,
        "runtime": runtime,
        "precision": precision,
        "file": path.name,
        "sha256": files.sha256(path),
        "sides": None,
        "accepted": ACCEPTED,
        **changes,
    }
    files.write_json(folder / MODEL_JSON, {**tree, "graphs": [*tree.get("graphs", []), row]})
    return path


def load_graph(path: Path) -> Any:
    """The graph in a file, as onnx reads it."""
    return onnx.load_from_string(path.read_bytes())
