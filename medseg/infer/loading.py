"""Loading of model folders: all networks of a folder as one predictor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from medseg import files, networks
from medseg.device import Precision
from medseg.errors import Code, MedsegError
from medseg.extras import needs_extra
from medseg.grid import Plane
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble, combine_planes
from medseg.infer.predictor import JoinedClasses, NetworkPredictor, Predictor, Spec
from medseg.infer.runtimes import EXTRAS, open_graph
from medseg.infer.tta import TestTimeAugmentation
from medseg.model import folder as model_folder
from medseg.model import graphs
from medseg.model.description import Description, Member, ModelFile
from medseg.model.graphs import GraphRuntime, Runtime
from medseg.networks.contract import Network
from medseg.networks.tools import footprint, receptive_field
from medseg.networks.tools.inference_form import fold_batch_norm, unpool_by_layout
from medseg.networks.tools.receptive_field import Reach
from medseg.patches.slabs import Flip, flip_axis


@dataclass(frozen=True)
class Model:
    """A loaded model folder, as `medseg.load_model` gives it.

    `description` is the content of `model.json`: channels, classes, preprocessing, mode. `predictor` holds
    the networks of all members and planes; `sha256` identifies them; `parameters` is their number in one.
    """

    description: Description
    predictor: Predictor | MultiPlaneEnsemble
    sha256: str
    parameters: int
    any_size: bool = True
    """False for graphs that take slabs of one size alone."""

    @cached_property
    def reach(self) -> Reach | None:
        """The distance at which a pixel may change logits; None if unknown, or if no part can be computed."""
        description = self.description
        if not self.any_size or description.several_views or description.network not in networks.NETWORKS:
            return None
        with torch.device("meta"):
            network = model_folder.build_network(description)
        return receptive_field.reach(
            network
        )  # outside: torch would import its compiler, which takes a second


@dataclass(frozen=True)
class Numerics:
    """A runtime and the precision in which it computes logits. `threads` are torch's by default."""

    runtime: Runtime = "torch"
    precision: Precision | graphs.Precision = "fp32"
    threads: int | None = None

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


def load(
    folder: Path,
    device: str = "cpu",
    *,
    members: Sequence[str] | None = None,
    numerics: Numerics | None = None,
) -> Model:
    """Load a model folder, checking every member's sha256; `members` picks some by name (default all).

    `numerics` chooses an exported graph instead of torch's network, or a precision below fp32.

    Raises NOT_A_MODEL, MODEL_TAMPERED, NETWORK_UNKNOWN (a name outside the table is never imported),
    KEYWORD_INVALID or WEIGHTS_DO_NOT_FIT; USAGE where there is no such graph or it cannot run on the device,
    and EXTRA_MISSING.
    """
    numerics = numerics or Numerics()
    require(folder, device, numerics, members)
    model_file = model_folder.read(folder)
    description = model_file.description
    chosen = model_folder.choose_members(model_file, folder, members)
    if numerics.runtime == "torch":
        predictors = _of_networks(folder, description, chosen, device, numerics)
        any_size = True
    else:
        rows = _graphs(folder, model_file, chosen, numerics)
        predictors = _of_graphs(folder, model_file, rows, numerics)
        any_size = all(row.sides is None for row in rows)

    def along(plane: Plane) -> Predictor:
        members_of_plane = [
            _with_views(make(plane), description)
            for member, make in zip(chosen, predictors, strict=True)
            if member.plane in (None, plane)
        ]
        several = len(members_of_plane) > 1
        one = Ensemble(members_of_plane, description.ensemble) if several else members_of_plane[0]
        return JoinedClasses(one, description.outputs) if description.outputs else one

    predictor = combine_planes([along(plane) for plane in description.planes], description.ensemble)
    return Model(description, predictor, _sha256(folder, chosen), model_file.parameters, any_size)


def require(folder: Path, device: str, numerics: Numerics, members: Sequence[str] | None = None) -> None:
    """Raise unless a model folder has what computes so, and it can run on the device here.

    Raises USAGE, naming what there is, EXTRA_MISSING, and what reading `model.json` raises.
    """
    if numerics.runtime == "torch":
        if numerics.precision == "int8":
            details, how_to_fix = "torch has no int8 here", "use --runtime onnx or openvino, or auto"
            raise MedsegError(Code.USAGE, "--precision int8", details, how_to_fix)
        return
    if device != "cpu":
        details = f"exported graphs run on the cpu, and the device is {device}"
        how_to_fix = "use --device cpu, or --runtime torch"
        raise MedsegError(Code.USAGE, f"--runtime {numerics.runtime}", details, how_to_fix)
    if (numerics.runtime, numerics.precision) == ("onnx", "bf16"):
        details = "ONNX Runtime computes no bf16 on a CPU"
        raise MedsegError(Code.USAGE, "--precision bf16", details, "use --runtime openvino or torch")
    model_file = model_folder.read(folder)
    _graphs(folder, model_file, model_folder.choose_members(model_file, folder, members), numerics)
    needs_extra(EXTRAS[numerics.runtime])


_Make = Callable[[Plane], Predictor]
"""Gives a member's predictor along a plane."""


def _of_networks(
    folder: Path, description: Description, members: Sequence[Member], device: str, numerics: Numerics
) -> list[_Make]:
    precision = cast("Precision", numerics.precision)
    networks_of_members = (model_folder.load_member(folder, member, description) for member in members)
    forms = [unpool_by_layout(fold_batch_norm(network)) for network in networks_of_members]
    common = spec(description, forms[0])

    def maker(network: Network) -> _Make:
        return lambda plane: NetworkPredictor(
            network, replace(common, plane=plane), device, precision, channels_last=True
        )

    return [maker(network) for network in forms]


def _graphs(
    folder: Path, model_file: ModelFile, members: Sequence[Member], numerics: Numerics
) -> list[graphs.Graph]:
    """The graph of each member; raises USAGE where there is none."""
    runtime, precision = cast("GraphRuntime", numerics.runtime), cast("graphs.Precision", numerics.precision)
    return [graphs.find(model_file.graphs, folder, member.name, runtime, precision) for member in members]


def _of_graphs(
    folder: Path, model_file: ModelFile, rows: Sequence[graphs.Graph], numerics: Numerics
) -> list[_Make]:
    description = model_file.description
    common = spec(description, model_folder.build_without_weights(description, folder))

    def maker(graph: graphs.Graph) -> _Make:
        opened = open_graph(folder, graph, common, numerics.threads)
        return lambda plane: opened.along(plane)

    return [maker(graph) for graph in rows]


def identity(folder: Path) -> str:
    """The hash of a model folder, as :func:`load` gives it for all members, by its `model.json` alone."""
    return _sha256(folder, model_folder.choose_members(model_folder.read(folder), folder, None))


def _sha256(folder: Path, members: Sequence[Member]) -> str:
    rows = [member.model_dump(exclude_defaults=True) for member in members]
    return files.sha256_of_value([model_folder.read_json(folder)["description"], rows])


def _with_views(predictor: Predictor, description: Description) -> Predictor:
    """Give a predictor test-time augmentation where the model has any along its plane."""
    sideways: Flip = "horizontal" if description.unit == "px" else "left_right"
    axis = flip_axis(sideways, predictor.spec.plane) if description.flip else None
    if description.scales == (1.0,) and axis is None:
        return predictor
    return TestTimeAugmentation(predictor, description.scales, description.scale_fusion, axis)


def spec(description: Description, network: Network) -> Spec:
    """The network's input and output as a predictor, along the first plane if there are several."""
    return Spec(
        plane=description.planes[0],
        depth=description.depth,
        channels=len(description.channels),
        classes=description.network_classes,
        background=description.class_list().background,
        thresholds=tuple(description.mask_thresholds().values()),
        size_divisor=int(network.size_divisor),
        border=int(network.border),
        size_remainder=int(network.size_remainder),
        min_size=int(network.min_size),
        bytes_per_pixel=bytes_per_pixel(description) if network.border else 0.0,
    )


def bytes_per_pixel(description: Description) -> float:
    """Bytes that the network's forward pass needs at most, for each pixel of its input."""
    with torch.device("meta"):
        return footprint.bytes_per_pixel(model_folder.build_network(description))
