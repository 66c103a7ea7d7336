"""Graphs in int8: weights per output channel, features by ranges that training slices set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg.grid import Array
from medseg.model.graphs import INPUT
from medseg.model.onnx_graph import quiet

_OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Concat", "MaxPool", "AveragePool", "Relu")
"""What computes in int8. Un-pooling by masks compares values and stays in float32."""


def to_int8(graph: bytes, slabs: Iterable[npt.NDArray[np.float32]]) -> bytes:
    """Quantise a graph; ``slabs`` (B, C·D, H, W) are inputs of training cases, all of one size.

    Weights are symmetric int8 for each output channel, features uint8 between the least and the largest value
    that the slabs give. Needs the extra ``[export]``.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.load_from_string(graph),
            path,
            _Reader(slabs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


class _Reader:
    """Slabs in the form in which ONNX Runtime's calibration asks for them."""

    def __init__(self, slabs: Iterable[Array]) -> None:
        self._slabs = iter(slabs)

    def get_next(self) -> dict[str, Array] | None:
        """The next inputs by name; None at the end."""
        slab = next(self._slabs, None)
        return None if slab is None else {INPUT: slab}
