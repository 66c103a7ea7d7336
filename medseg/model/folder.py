"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy  # noqa: F401 - before torch, which loses Ctrl-C while it imports numpy itself
import safetensors.torch
import torch
from pydantic import ValidationError

import medseg
from medseg import files, names, networks
from medseg.errors import Code, MedsegError, first_line
from medseg.grid import Plane
from medseg.limits import MAX_WEIGHTS_BYTES
from medseg.model import packaged
from medseg.model.card import card
from medseg.model.description import Description, Member, ModelFile
from medseg.networks.contract import Network

FORMAT = 1
MODEL_JSON = "model.json"
CARD = "card.md"


def export(
    folder: Path,
    members: Mapping[str, Mapping[str, torch.Tensor]],
    description: Description,
    planes: Mapping[str, Plane] | None = None,
) -> None:
    """Write a model folder: `members` maps a member's name (`fold0`) to its state dict.

    Heads that the described network does not have (auxiliary ones) stay behind. `planes` names the plane of
    each member that is for one of several alone. All files appear together; weights and graphs of a model
    that lay there before are removed. Raises NAME_INVALID, DISK_FULL.
    """
    network = build_network(description)
    count, wanted = sum(p.numel() for p in network.parameters()), network.state_dict().keys()
    rows = []
    with files.written_together(folder, MODEL_JSON, without=weights_and_graphs(folder)) as part:
        for name, state in members.items():
            path = part / f"{names.check_name(name, folder)}.safetensors"
            with files.written_aside(path) as unfinished:
                kept = {k: v.contiguous() for k, v in state.items() if k in wanted}
                safetensors.torch.save_file(kept, unfinished)
            plane = {"plane": planes[name]} if planes and name in planes else {}
            rows.append({"name": name, "file": path.name, "sha256": files.sha256(path), **plane})
        tree = {
            "format": FORMAT,
            "medseg": medseg.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "parameters": count,
            "members": rows,
            "description": description.model_dump(mode="json"),
        }
        files.write_text(part / CARD, card(description, count, len(rows)))
        files.write_json(part / MODEL_JSON, tree)


def weights_and_graphs(folder: Path) -> list[Path]:
    """The files of a model folder that belong to its members: `*.safetensors` and `*.onnx`."""
    return [*folder.glob("*.safetensors"), *folder.glob("*.onnx")]


def locate(folder: Path) -> Path:
    """Return a model folder: the one named, `model/` of a work folder, or the packaged model of a name."""
    if not folder.exists() and (shipped := packaged.find(str(folder))) is not None:
        return shipped
    inside = folder / "model"
    return inside if not (folder / MODEL_JSON).is_file() and (inside / MODEL_JSON).is_file() else folder


def read(folder: Path) -> ModelFile:
    """Read `model.json` of a model that segments, without the weights.

    Raises SEGMENTS_NOTHING for an auto-encoder, and as :func:`read_any` does.
    """
    model = read_any(folder)
    if model.description.network == networks.AUTOENCODER:
        details = "the model is an auto-encoder, which segments nothing"
        how_to_fix = "train a unet with network.init_from: THIS_FOLDER, and take its model"
        raise MedsegError(Code.SEGMENTS_NOTHING, folder, details, how_to_fix)
    return model


def read_any(folder: Path) -> ModelFile:
    """Read `model.json` of any model, also one that only starts others; raises NOT_A_MODEL, NAME_INVALID."""
    path = folder / MODEL_JSON
    try:
        model = ModelFile.model_validate(read_json(folder))
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])) for e in error.errors()}
        details = f"keys missing, unknown, or of a wrong type or number: {', '.join(sorted(wrong))}"
        raise _not_a_model(path, details) from None
    planes = model.description.planes
    if stray := [m for m in model.members if m.plane not in (None, *planes)]:
        details = f"{stray[0].name} is for the {stray[0].plane} plane, the model for {', '.join(planes)}"
        raise _not_a_model(path, details)
    return model


def read_json(folder: Path) -> dict[str, Any]:
    """`model.json` as it stands in the file; raises NOT_A_MODEL."""
    path = folder / MODEL_JSON
    if not path.is_file():
        raise _not_a_model(folder, "no model.json" if folder.is_dir() else files.why_no_folder(folder))
    try:
        tree = files.read_json(path)
    except ValueError as error:
        raise _not_a_model(path, f"not readable: {error!r}") from None
    version = tree.get("format") if isinstance(tree, dict) else None
    if version != FORMAT:
        raise _not_a_model(path, f"format {version}, this medseg reads {FORMAT}")
    return dict(tree)


def load_network(folder: Path, member: str) -> tuple[Description, Network]:
    """Load one member's network, of any model, with its weights, on the CPU, in evaluation mode.

    The description is as if there were one plane: the member's, or the first of those that it is for. Raises
    as :func:`read_any` and :func:`load_member` do.
    """
    model = read_any(folder)
    row = next((m for m in model.members if m.name == member), None)
    if row is None:
        raise _not_a_model(folder, f"no member {member}")
    description = model.description.model_copy(update={"plane": row.plane or model.description.planes[0]})
    return description, load_member(folder, row, description).eval()


def choose_members(model: ModelFile, folder: Path, names: Sequence[str] | None) -> list[Member]:
    """The members of these names, or all; raises NOT_A_MODEL unless each plane of the model has one."""
    chosen = [m for m in model.members if names is None or m.name in names]
    if not chosen:
        raise _not_a_model(folder, f"no member among {names}")
    planes = model.description.planes
    if lacking := [p for p in planes if not any(m.plane in (None, p) for m in chosen)]:
        raise _not_a_model(folder, f"no member for the {lacking[0]} plane among {[m.name for m in chosen]}")
    return chosen


def load_member(folder: Path, member: Member, description: Description) -> Network:
    """Load one member's network with its weights, on the CPU.

    Raises TOO_LARGE, MODEL_TAMPERED for a file that is missing, damaged or another than the one of
    `model.json`, and WEIGHTS_DO_NOT_FIT.
    """
    path = (folder.parent if member.shared else folder) / member.file
    if path.is_file() and path.stat().st_size > MAX_WEIGHTS_BYTES:
        details = f"{path.stat().st_size} bytes, more than {MAX_WEIGHTS_BYTES}"
        raise MedsegError(Code.TOO_LARGE, path, details, "export a smaller network")
    if not path.is_file() or files.sha256(path) != member.sha256:
        raise _tampered(path, "missing, or its sha256 differs from model.json")
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _tampered(path, f"no readable weights: {error}") from None
    _check_parameters(path, description, sum(values.numel() for values in state.values()))
    network = build_network(description)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:300]
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, text, "export the model again") from None
    return network


def _check_parameters(path: Path, description: Description, values: int) -> None:
    """Refuse a network of more parameters than its file has ``values``, before memory is taken for it."""
    network = build_without_weights(description, path.parent)
    count = sum(p.numel() for p in network.parameters())
    if count > values:
        details = f"{values} values in the file for a network of {count} parameters"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, details, "export the model again")


def build_without_weights(description: Description, where: Path) -> Network:
    """Build the network that a model folder describes on the meta device, which takes no memory for it.

    Raises NOT_A_MODEL, naming the folder ``where``, and what :func:`medseg.networks.build` raises.
    """
    try:
        with torch.device("meta"):
            return build_network(description)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise _not_a_model(where, f"its network cannot be built: {first_line(error)}") from None


def build_network(description: Description) -> Network:
    """Build the network that a model folder describes, with drawn weights."""
    networks.check_keywords(description.network, description.keywords)
    return networks.build(
        description.network,
        in_channels=len(description.channels) * description.depth,
        classes=description.network_classes,
        multilabel=description.class_list().multilabel,
        **description.keywords,
    )


def _tampered(path: Path, details: str) -> MedsegError:
    return MedsegError(Code.MODEL_TAMPERED, path, details, "copy the model folder again, or export it again")


def _not_a_model(where: Path, details: str) -> MedsegError:
    return MedsegError(
        Code.NOT_A_MODEL, where, details, "give a folder made by medseg train or medseg export"
    )
