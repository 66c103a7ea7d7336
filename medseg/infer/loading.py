"""Loading of model folders: all networks of a folder as one predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medseg import files
from medseg.device import Precision
from medseg.grid import Plane
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble, combine_planes
from medseg.infer.predictor import NetworkPredictor, Predictor, Spec
from medseg.infer.tta import TestTimeAugmentation
from medseg.model import folder as model_folder
from medseg.model.description import Description, Member
from medseg.networks.contract import Network
from medseg.networks.tools import footprint
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


def load(
    folder: Path,
    device: str = "cpu",
    *,
    members: Sequence[str] | None = None,
    precision: Precision = "fp32",
) -> Model:
    """Load a model folder, checking every member's sha256; `members` picks some by name (default all).

    Raises NOT_A_MODEL, MODEL_TAMPERED, NETWORK_UNKNOWN (a name outside the table is never imported),
    KEYWORD_INVALID or WEIGHTS_DO_NOT_FIT.
    """
    model_file = model_folder.read(folder)
    description = model_file.description
    chosen = model_folder.choose_members(model_file, folder, members)
    networks = [(m.plane, model_folder.load_member(folder, m, description)) for m in chosen]
    common = spec(description, networks[0][1])

    def along(plane: Plane) -> Predictor:
        members_of_plane = [
            _predictor(network, replace(common, plane=plane), description, device, precision)
            for member_plane, network in networks
            if member_plane in (None, plane)
        ]
        if len(members_of_plane) == 1:
            return members_of_plane[0]
        return Ensemble(members_of_plane, description.ensemble)

    predictor = combine_planes([along(plane) for plane in description.planes], description.ensemble)
    return Model(description, predictor, _sha256(folder, chosen), model_file.parameters)


def identity(folder: Path) -> str:
    """The hash of a model folder, as :func:`load` gives it for all members, by its `model.json` alone."""
    return _sha256(folder, model_folder.choose_members(model_folder.read(folder), folder, None))


def _sha256(folder: Path, members: Sequence[Member]) -> str:
    rows = [member.model_dump(exclude_none=True) for member in members]
    return files.sha256_of_value([model_folder.read_json(folder)["description"], rows])


def _predictor(
    network: Network, spec: Spec, description: Description, device: str, precision: Precision
) -> Predictor:
    """Wrap a network, with test-time augmentation where the model has any along this plane."""
    predictor = NetworkPredictor(network, spec, device, precision, channels_last=True)
    sideways: Flip = "horizontal" if description.unit == "px" else "left_right"
    axis = flip_axis(sideways, spec.plane) if description.flip else None
    if description.scales == (1.0,) and axis is None:
        return predictor
    return TestTimeAugmentation(predictor, description.scales, description.scale_fusion, axis)


def spec(description: Description, network: Network) -> Spec:
    """The network's input and output as a predictor, along the first plane if there are several."""
    return Spec(
        plane=description.planes[0],
        depth=description.depth,
        channels=len(description.channels),
        classes=len(description.classes),
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
