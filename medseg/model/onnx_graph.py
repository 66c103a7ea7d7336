"""A network as an ONNX graph, written only if ONNX Runtime gives what the network gives."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.model.graphs import INPUT as INPUT
from medseg.model.graphs import OUTPUT as OUTPUT
from medseg.networks.contract import Network
from medseg.networks.tools.inference_form import fold_batch_norm, unpool_by_masks

TOLERANCE = 1e-4
"""Largest difference between both, as a share of the largest logit."""

TIED_SHARE, TIED_TOLERANCE = 0.01, 0.1
"""Share of the logits that may differ by more, and by how much at most; see :func:`agree`."""

DRAWS = 20
"""Inputs of each size of which one must give the same logits.

Where two values of a pooling window are equal up to rounding, each side may take another one, and un-pooling
puts it elsewhere: deep in a network that moves a tenth of all logits. A wrong graph differs for every input.
"""


def write(path: Path, network: Network, window: tuple[int, int]) -> bool:
    """Write ``network``, put in evaluation mode, to ``path``; give True if its sides H and W are free.

    The batch is always free. Sides are free, within what the network takes, where its form can be captured
    so; otherwise they are those of ``window`` (px). Normalisation is folded, and un-pooling is done by masks.
    Needs the extra ``[export]``.

    :raises MedsegError: ``NOT_EXPORTABLE`` if it cannot be captured, or its graph gives other logits.
    """
    network.eval()
    for free in (True, False):
        graph, problem = _attempt(network, window, free=free)
        if not problem:
            files.write_bytes(path, graph)
            return free
    how_to_fix = "leave --onnx out: the model folder itself needs no graph"
    raise MedsegError(Code.NOT_EXPORTABLE, type(network).__name__, problem, how_to_fix)


def _attempt(network: Network, window: tuple[int, int], *, free: bool) -> tuple[bytes, str]:
    """Give the serialised graph, and what is wrong with it, empty if nothing."""
    try:
        graph = _captured(network, window, free=free)
    except torch.onnx.OnnxExporterError as error:
        return b"", str(error.__cause__ or error).strip().splitlines()[0]
    return graph, _difference(graph, network, window, free=free)


def _captured(network: Network, window: tuple[int, int], *, free: bool) -> bytes:
    form = unpool_by_masks(fold_batch_norm(network))
    example = torch.zeros(2, network.in_channels, *(_traced(window, network) if free else window))
    sides = {2: _side("h", network), 3: _side("w", network)} if free else {}
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            form,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch, **sides},),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    for node in program.model.graph:
        node.metadata_props.clear()  # lines and paths of the code on this machine
    graph: bytes = program.model_proto.SerializeToString()
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter, which prints about packages that it does without and errors that it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    nowhere = StringIO()
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)


def _traced(window: tuple[int, int], network: Network) -> tuple[int, int]:
    """Two different sides whose deepest features are wider than a pixel: torch takes a 1 for a constant."""
    height = network.size_from(max(window[0], 2 * network.size_divisor + network.border))
    return height, network.size_from(max(window[1], height + 1))


def _side(name: str, network: Network) -> Any:
    """Side lengths that the network takes: size_divisor · n + size_remainder, from the smallest on."""
    fewest = (network.size_from(1) - network.size_remainder) // network.size_divisor
    n = torch.export.Dim(name, min=fewest)
    return network.size_divisor * n + network.size_remainder if network.size_divisor > 1 else n


def _difference(graph: bytes, network: Network, window: tuple[int, int], *, free: bool) -> str:
    """Say how the graph's logits differ from the network's; empty if they agree.

    Compared are two sizes: with free sides half the window, where few values are pooled, and a size that is
    no multiple of it; otherwise the window, alone and in a batch.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it finds is raised, too
    small = network.size_from(window[0] // 2), network.size_from(window[1] // 2)
    larger = network.size_from(small[0] + 1), network.size_from(small[1] + 1)
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for batch, size in ((2, small if free else window), (1, larger if free else window)):
            generator = torch.Generator().manual_seed(batch)
            for _ in range(DRAWS):
                slabs = torch.randn(batch, network.in_channels, *size, generator=generator)
                with torch.no_grad():
                    expected = network(slabs).numpy()
                (given,) = session.run([OUTPUT], {INPUT: slabs.numpy()})
                if given.shape != expected.shape:
                    return f"its graph gives {given.shape} for {tuple(slabs.shape)}"
                if agree(given, expected):
                    break
            else:
                return f"its graph's logits differ by {_apart(given, expected).max():.1e} of the largest"
    except (refusals.Fail, refusals.InvalidArgument, refusals.RuntimeException, refusals.NotImplemented) as e:
        return str(e).splitlines()[0]
    return ""


def agree(given: Array, expected: Array) -> bool:
    """True if both are the same logits (B, K, H, W) up to rounding.

    Convolutions round differently here and there, in the seventh digit. Where two values of a pooling window
    are equal up to that, the larger is another one, un-pooling puts it a pixel aside, and logits around it
    change by more: so a small share of them may, by an amount that a wrong graph does not keep to.
    """
    apart = _apart(given, expected)
    if not np.isfinite(apart).all():
        return False
    tied = apart > TOLERANCE
    return bool(tied.mean() <= TIED_SHARE and apart.max() <= TIED_TOLERANCE)


def _apart(given: Array, expected: Array) -> Array:
    """The difference of each logit, as a share of the largest."""
    return np.asarray(np.abs(given - expected) / (np.abs(expected).max() or 1.0))
