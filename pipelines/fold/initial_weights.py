"""What a training starts from when not from drawn weights: published ones of the body, or a model folder.

Only the first step needs them: afterwards the checkpoint and the model folder hold all weights, and
`origin.json` in the training's folder says what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg import files, networks
from medseg.config import recipe
from medseg.config.pretrained import Weights
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.model import folder as model_folder
from medseg.model.description import Member
from medseg.networks.contract import Network
from medseg.networks.weights.download import download, place, require_sha256
from medseg.networks.weights.init_from import start
from medseg.networks.weights.pretrained import fill, fitted, read_weights
from medseg.train.fit import LAST
from pipelines.workfolder import DONE, Work, member_name

NOTE = "origin.json"


@dataclass(frozen=True)
class InitSource:
    """A name for people, and the sha256 of the weights."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}, sha256 {self.sha256[:12]}"


def origin(part: recipe.Network, name: str, folder: Path) -> InitSource | None:
    """Where the first weights of a fold's member of this name come from; None if they are drawn.

    If what the recipe names is gone, what was noted of it in the training's ``folder``. Raises PATH_MISSING
    where nothing was.
    """
    try:
        return _found(part, name)
    except MedsegError as error:
        noted = _noted(folder)
        if error.code is not Code.PATH_MISSING or noted is None or noted["place"] != _place(part):
            raise
        return InitSource(noted["origin"], noted["network"]["from"])


def settings(part: recipe.Network, name: str, folder: Path) -> dict[str, Any]:
    """What of the network's part decides a member's weights: content, wherever its files lie."""
    told: dict[str, Any] = {"name": part.name, "keywords": part.keywords}
    init_source = origin(part, name, folder)
    if init_source is not None:
        told |= {"from": init_source.sha256, "fresh": list(part.reinit_layers)}
    return told


def note(part: recipe.Network, name: str, folder: Path) -> None:
    """Write into a training's folder what it starts from, for when that is gone."""
    init_source = origin(part, name, folder)
    if init_source is not None:
        told = {
            "origin": init_source.name,
            "place": _place(part),
            "network": settings(part, name, folder),
        }
        files.write_json(folder / NOTE, told)


def check(named: Recipe, work: Work, folds: tuple[int, ...], *, anew: bool = False) -> None:
    """Refuse weights that are absent, changed or do not fit, before anything runs.

    Only trainings whose first step is still to come need them: all of them if training begins ``anew``.
    Raises as :func:`require` does.
    """
    planes = named.sampling.planes if named.sampling.plane_networks == "separate" else (None,)
    require(
        named,
        work,
        [
            member_name(fold, plane)
            for fold in folds
            for plane in planes
            if anew or not _is_past(named.network, member_name(fold, plane), work.train(fold, plane))
        ],
    )


def require(named: Recipe, work: Work, names: Sequence[str]) -> None:
    """Refuse weights from which the members of these names cannot start.

    What a URL names is looked at if it was downloaded before. Raises PATH_MISSING, SHA256_DIFFERS,
    WEIGHTS_DO_NOT_FIT, KEYWORD_INVALID, or as :func:`medseg.model.folder.load` does.
    """
    part, classes = named.network, named.data.class_list()
    channels = len(named.data.channel_names()) * named.sampling.depth
    if not names:
        return
    with torch.device("meta"):
        network = networks.build(
            part.name, channels, len(classes), multilabel=classes.multilabel, **part.keywords
        )
    if part.weights is not None:
        path = _path(part.weights, work)
        if part.weights.url is None or path.is_file():
            fitted(network, read_weights(_checked(part.weights, path)))
    if part.init_from is not None:
        for name in names:
            start(network, _trained(part.init_from, name), part.reinit_layers)


def fetch(part: recipe.Network, work: Work, say: Reporter) -> None:
    """Download what the recipe names by URL, unless it lies in the work folder."""
    weights = part.weights
    if weights is not None and weights.url is not None and weights.sha256 is not None:
        if not place(weights.url, work.weights).is_file():
            say.line(f"  downloading {weights.url}")
        download(weights.url, weights.sha256, work.weights)


def begin(network: Network, part: recipe.Network, work: Work, name: str) -> str | None:
    """Put the first weights into the network, in place, and say what it got; None if they stay as drawn."""
    if part.weights is not None:
        path = _path(part.weights, work)
        fresh = fill(network, read_weights(_checked(part.weights, path)))
        count = len(network.state_dict())
        return f"starts from {path.name}: {count - len(fresh)} tensors taken, {len(fresh)} fresh"
    if part.init_from is not None:
        init_source = start(network, _trained(part.init_from, name), part.reinit_layers)
        network.load_state_dict(init_source.tensors, strict=False)
        return f"starts from {part.init_from}: {init_source}"
    return None


def _is_past(part: recipe.Network, name: str, folder: Path) -> bool:
    """Whether the training in a folder began as this network does, and has a checkpoint or an end."""
    noted = _noted(folder)
    if noted is None or not any((folder / made).is_file() for made in (LAST, DONE)):
        return False
    same: bool = noted["network"] == settings(part, name, folder)
    return same


def _noted(folder: Path) -> dict[str, Any] | None:
    """What :func:`note` wrote."""
    path = folder / NOTE
    return dict(files.read_json(path)) if path.is_file() else None


def _place(part: recipe.Network) -> str:
    """What the recipe names as the place of the first weights."""
    weights = part.weights
    return str(part.init_from if weights is None else weights.file or weights.url)


def _found(part: recipe.Network, name: str) -> InitSource | None:
    if part.weights is not None:
        return _origin_of_weights(part.weights)
    if part.init_from is not None:
        model, member = _member(part.init_from, name)
        return InitSource(f"{model} ({member.name})", member.sha256)
    return None


def _origin_of_weights(weights: Weights) -> InitSource:
    named = weights.file if weights.url is None else place(weights.url, Path())
    if named is None:
        raise ValueError("weights are a file or a url")
    if weights.sha256 is None and not named.is_file():
        raise MedsegError(Code.PATH_MISSING, named, "there is no such file", "correct network.weights.file")
    return InitSource(named.name, weights.sha256 or files.sha256(named))


def _path(weights: Weights, work: Work) -> Path:
    """Where the file lies, or will lie once it is downloaded."""
    if weights.file is not None:
        return weights.file
    return place(weights.url or "", work.weights)


def _checked(weights: Weights, path: Path) -> Path:
    if weights.sha256 is not None and path.is_file():
        require_sha256(path, weights.sha256, path)
    return path


def _trained(folder: Path, name: str) -> Network:
    _, member = _member(folder, name)
    return model_folder.load_network(folder, member.name)[1]


def _member(folder: Path, name: str) -> tuple[str, Member]:
    """The model's name, and its only member or, of several, the fold's own, which saw none of its tests.

    ``name`` is what the member that starts will be called; a plane's starts from that of its plane or, where
    there is none, from its fold's for all planes.
    """
    if not (folder / "model.json").is_file():
        how_to_fix = "train that model first, or name another by --set network.init_from=MODEL_FOLDER"
        raise MedsegError(
            Code.PATH_MISSING, f"network.init_from {folder}", "there is no model.json", how_to_fix
        )
    held = model_folder.read(folder)
    members = {member.name: member for member in held.members}
    wanted = (name, name.partition("_")[0]) if len(members) > 1 else tuple(members)
    for chosen in wanted:
        if chosen in members:
            return held.description.name, members[chosen]
    found = f"its members are {', '.join(members)}, none is {name}"
    how_to_fix = "start from a model with one member, or with one for each fold"
    raise MedsegError(Code.NOT_A_MODEL, folder, found, how_to_fix)
