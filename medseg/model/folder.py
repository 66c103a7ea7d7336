"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError

import medseg
from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.grid import Plane
from medseg.model.card import card
from medseg.model.description import Description, Member, ModelFile
from medseg.networks.contract import Network

FORMAT = 1


def export(
    folder: Path,
    members: Mapping[str, Mapping[str, torch.Tensor]],
    description: Description,
    planes: Mapping[str, Plane] | None = None,
) -> None:
    """Write a model folder: `members` maps a member's name (`fold0`) to its state dict.

    `planes` names the plane of each member that is for one of several alone.
    """
    rows = []
    for name, state in members.items():
        path = folder / f"{name}.safetensors"
        with files.written_aside(path) as part:
            safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, part)
        alone = {"plane": planes[name]} if planes and name in planes else {}
        rows.append({"name": name, "file": path.name, "sha256": files.sha256(path), **alone})
    for stale in set(folder.glob("*.safetensors")) - {folder / str(r["file"]) for r in rows}:
        stale.unlink()
    count = sum(p.numel() for p in build_network(description).parameters())
    tree = {
        "format": FORMAT,
        "medseg": medseg.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "parameters": count,
        "members": rows,
        "description": description.model_dump(mode="json"),
    }
    files.write_text(folder / "card.md", card(description, count, len(rows)))
    files.write_json(folder / "model.json", tree)


def read(folder: Path) -> ModelFile:
    """Read `model.json` alone, without the weights; raises NOT_A_MODEL."""
    return _checked(read_json(folder), folder / "model.json")


def read_json(folder: Path) -> dict[str, Any]:
    """`model.json` as it stands in the file; raises NOT_A_MODEL."""
    path = folder / "model.json"
    if not path.is_file():
        raise _not_a_model(folder, "no model.json")
    try:
        tree = files.read_json(path)
    except ValueError as error:
        raise _not_a_model(path, f"not readable: {error!r}") from None
    found = tree.get("format") if isinstance(tree, dict) else None
    if found != FORMAT:
        raise _not_a_model(path, f"format {found}, this medseg reads {FORMAT}")
    return dict(tree)


def _checked(tree: Mapping[str, Any], where: Path) -> ModelFile:
    try:
        held = ModelFile.model_validate(tree)
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])) for e in error.errors()}
        raise _not_a_model(
            where, f"keys missing, unknown or of a wrong type: {', '.join(sorted(wrong))}"
        ) from None
    planes = held.description.planes
    if stray := [m for m in held.members if m.plane not in (None, *planes)]:
        found = f"{stray[0].name} is for the {stray[0].plane} plane, the model for {', '.join(planes)}"
        raise _not_a_model(where, found)
    return held


def load_network(folder: Path, member: str) -> tuple[Description, Network]:
    """One member's network with its weights, on the CPU, in evaluation mode; for looking inside it.

    The description is as if there were one plane: the member's, or the first of those that it is for. Raises
    as :func:`load` does.
    """
    held = read(folder)
    row = next((m for m in held.members if m.name == member), None)
    if row is None:
        raise _not_a_model(folder, f"no member {member}")
    about = held.description.model_copy(update={"plane": row.plane or held.description.planes[0]})
    return about, load_member(folder, row, about).eval()


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
    """One member's network with its weights, on the CPU; raises MODEL_TAMPERED, WEIGHTS_DO_NOT_FIT."""
    path = folder / Path(member.file).name
    if not path.is_file() or files.sha256(path) != member.sha256:
        raise MedsegError(
            Code.MODEL_TAMPERED, path, "missing, or its sha256 differs from model.json", "export it again"
        )
    network = build_network(description)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        text = " ".join(str(error).split())[:300]
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, text, "export the model again") from None
    return network


def build_network(description: Description) -> Network:
    """The network that a model folder describes, with drawn weights."""
    networks.check_keywords(description.network, description.keywords)
    return networks.build(
        description.network,
        in_channels=len(description.channels) * description.depth,
        classes=len(description.classes),
        multilabel=description.class_list().multilabel,
        **description.keywords,
    )


def _not_a_model(where: Path, details: str) -> MedsegError:
    return MedsegError(
        Code.NOT_A_MODEL, where, details, "give a folder made by medseg train or medseg export"
    )
