"""Predictors that are exported graphs, run by ONNX Runtime or OpenVINO on the CPU."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg import device
from medseg.errors import Code, MedsegError, first_line
from medseg.grid import Array, Plane
from medseg.infer.predictor import Spec
from medseg.infer.signal_stack import kept_signal_stack
from medseg.model import graphs
from medseg.model.graphs import INPUT, OUTPUT, GraphFile, GraphRuntime, Precision

EXTRAS: dict[GraphRuntime, str] = {"onnx": "export", "openvino": "openvino"}
"""Extra of the installation that brings each runtime."""

_OPENVINO_TYPES: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Type of what is not int8 in a graph; OpenVINO would take bf16 by itself where the processor has it."""


_ERRORS: tuple[type[Exception], ...] = (RuntimeError, UnicodeDecodeError)
"""What runtimes raise; the second where their message holds bytes of a damaged graph."""


class GraphPredictor(ABC):
    """A graph as a predictor on the CPU: slabs (B, C·D, H, W) → logits (B, K, H', W'), float32."""

    _errors = _ERRORS

    def __init__(self, spec: Spec, sides: tuple[int, int] | None, where: Path) -> None:
        self.spec = spec
        self._sides, self._where = sides, where

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H', W') float32.

        Raises SIZE_IMPOSSIBLE for other sides than the graph's, NOT_A_MODEL if the runtime refuses.
        """
        if self._sides not in (None, tuple(batch.shape[2:])):
            details = f"slabs of {tuple(batch.shape[2:])} px for a graph of {self._sides} px alone"
            how_to_fix = "use --runtime torch, or the mode that the graph was exported for"
            raise MedsegError(Code.SIZE_IMPOSSIBLE, self._where, details, how_to_fix)
        try:
            return torch.from_numpy(self._run(batch.contiguous().numpy()))
        except self._errors as error:
            raise _refused(self._where, error) from error

    def along(self, plane: Plane) -> GraphPredictor:
        """The same graph for slabs along another plane."""
        other = copy.copy(self)
        other.spec = replace(self.spec, plane=plane)
        return other

    @abstractmethod
    def _run(self, slabs: Array) -> Array:
        """Slabs → logits, an array of its own."""


class OnnxPredictor(GraphPredictor):
    """A graph run by ONNX Runtime."""

    def __init__(
        self, data: bytes, spec: Spec, sides: tuple[int, int] | None, where: Path, threads: int
    ) -> None:
        super().__init__(spec, sides, where)
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as native

        kinds = [kind for kind in vars(native).values() if isinstance(kind, type)]
        self._errors = (*_ERRORS, *(kind for kind in kinds if issubclass(kind, Exception)))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what it finds is raised, too
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others work here, too
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )  # it would print what it falls back to
        except self._errors as error:
            raise _refused(where, error) from error

    def _run(self, slabs: Array) -> Array:
        (logits,) = self._session.run([OUTPUT], {INPUT: slabs})
        return logits  # type: ignore[no-any-return]


class OpenVinoPredictor(GraphPredictor):
    """A graph run by OpenVINO's CPU plugin."""

    def __init__(
        self,
        data: bytes,
        spec: Spec,
        sides: tuple[int, int] | None,
        where: Path,
        threads: int,
        precision: Precision,
    ) -> None:
        super().__init__(spec, sides, where)
        import openvino

        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            with kept_signal_stack():
                self._compiled = core.compile_model(core.read_model(data), "CPU", properties)
        except _ERRORS as error:
            raise _refused(where, error) from error

    def _run(self, slabs: Array) -> Array:
        return self._compiled(slabs)[0].copy()  # type: ignore[no-any-return]  # its buffer is used again


def open_graph(folder: Path, graph: GraphFile, spec: Spec, threads: int | None = None) -> GraphPredictor:
    """Load a graph of a model folder after all checks; `threads` are torch's by default.

    Raises as :func:`medseg.model.graphs.read_bytes` does; the runtime's extra must be installed.
    """
    data, where = graphs.read_bytes(folder, graph), folder / graph.file
    threads = device.threads(threads or 0)
    if graph.runtime == "onnx":
        return OnnxPredictor(data, spec, graph.sides, where, threads)
    return OpenVinoPredictor(data, spec, graph.sides, where, threads, graph.precision)


def _refused(where: Path, error: Exception) -> Exception:
    """A refusal in place of a runtime's error; of a full memory the error that says so."""
    if "alloc" in str(error):
        return MemoryError(first_line(error))
    how_to_fix = "use --runtime torch, or export the graph again"
    return MedsegError(Code.NOT_A_MODEL, where, f"the runtime refuses it: {first_line(error)}", how_to_fix)
