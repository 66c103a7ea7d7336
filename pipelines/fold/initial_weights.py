"""The weights that a training starts from when they are not drawn: published ones, or a model folder's.

Only the first step needs them: afterwards the checkpoint and the model folder hold all weights, and
`origin.json` in the training's folder says what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.config import sections
from medseg.config.pretrained import Weights
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.model import folder as model_folder
from medseg.model.description import Member
from medseg.networks.contract import Network
from medseg.networks.weights.download import download, place, require_sha256
from medseg.networks.weights.init_from import start
from medseg.networks.weights.initial_tensors import InitialTensors
from medseg.networks.weights.pretrained import fill, fitted, read_weights
from medseg.train.state import LAST
from pipelines.fold.network import network_without_weights
from pipelines.workfolder import DONE, Work, member_name

NOTE = "origin.json"

KEYS = "initial_weights.json"
"""In a training's folder: every key of the weights that it started from, and the tensor that it became."""


@dataclass(frozen=True)
class InitSource:
    """The first weights of a training: a name for people, and their sha256."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}, sha256 {self.sha256[:12]}"


@dataclass(frozen=True)
class Taken:
    """Tensors that a network got from the file or model folder of this name."""

    source: str
    tensors: InitialTensors

    def __str__(self) -> str:
        return f"starts from {self.source}: {self.tensors}"

    def write(self, folder: Path) -> None:
        """List all keys in the training's ``folder``."""
        files.write_json(folder / KEYS, {"source": self.source, **self.tensors.record()})


def init_source(part: sections.Network, name: str, folder: Path) -> InitSource | None:
    """Find the source of the first weights of a fold's member of this name; None if they are drawn.

    If what the recipe names is gone, or is the model that this very training was exported to, it is what was
    noted in the training's ``folder``. Raises PATH_MISSING where nothing was.
    """
    note = _read_note(folder)
    noted = None
    if note is not None and note["place"] == _stated_place(part):
        noted = InitSource(note["origin"], note["sha256"])
        if part.init_from is not None and _own_model(folder) == model_folder.locate(part.init_from).resolve():
            return noted
    try:
        return _find_source(part, name)
    except MedsegError as error:
        if error.code is not Code.PATH_MISSING or noted is None:
            raise
        return noted


def settings(part: sections.Network, name: str, folder: Path) -> dict[str, Any]:
    """Give the network's settings that decide a member's weights: files by content, wherever they lie."""
    values: dict[str, Any] = {"name": part.name, "keywords": part.keywords}
    source = init_source(part, name, folder)
    if source is not None:
        key = "init_from" if part.weights is None else "weights"
        values |= {key: f"sha256 {source.sha256}", "reinit_layers": list(part.reinit_layers)}
    return values


def record_init(part: sections.Network, name: str, folder: Path) -> None:
    """Note in a training's folder what it starts from, for when that is gone."""
    source = init_source(part, name, folder)
    if source is not None:
        note = {
            "origin": source.name,
            "sha256": source.sha256,
            "place": _stated_place(part),
            "network": settings(part, name, folder),
        }
        files.write_json(folder / NOTE, note)


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

    A file that a URL names is looked at if it was downloaded before. Raises PATH_MISSING, SHA256_DIFFERS,
    WEIGHTS_DO_NOT_FIT, KEYWORD_INVALID, or as :func:`medseg.model.folder.load` does.
    """
    part = named.network
    if not names or (part.weights is None and part.init_from is None):
        return
    network = network_without_weights(named, len(named.data.channel_names()))
    if part.weights is not None:
        path = _path(part.weights, work)
        if part.weights.url is None or path.is_file():
            fitted(network, read_weights(_checked(part.weights, path)), path)
    if part.init_from is not None:
        for name in names:
            start(network, _load_member(part.init_from, name), part.reinit_layers)


def fetch(part: sections.Network, work: Work, say: Reporter) -> None:
    """Download the weights that the recipe names by URL, unless they lie in the work folder."""
    weights = part.weights
    if weights is not None and weights.url is not None and weights.sha256 is not None:
        if not place(weights.url, work.weights).is_file():
            say.line(f"  downloading {weights.url}")
        download(weights.url, weights.sha256, work.weights)


def load_initial(network: Network, part: sections.Network, work: Work, name: str) -> Taken | None:
    """Put the first weights into the network, in place, and say what it got; None if they stay as drawn."""
    if part.weights is not None:
        path = _path(part.weights, work)
        return Taken(path.name, fill(network, read_weights(_checked(part.weights, path)), path))
    if part.init_from is not None:
        tensors = start(network, _load_member(part.init_from, name), part.reinit_layers)
        network.load_state_dict(tensors.tensors, strict=False)
        return Taken(str(part.init_from), tensors)
    return None


def _is_past(part: sections.Network, name: str, folder: Path) -> bool:
    """True if the training in a folder began as this network does, and has a checkpoint or an end."""
    note = _read_note(folder)
    if note is None or not any((folder / name).is_file() for name in (LAST, DONE)):
        return False
    return bool(note["network"] == settings(part, name, folder))


def _read_note(folder: Path) -> dict[str, Any] | None:
    path = folder / NOTE
    return dict(files.read_json(path)) if path.is_file() else None


def _own_model(folder: Path) -> Path:
    """The model folder that the training in `W/train/0`, or `W/train/0/axial`, is exported to."""
    of_fold = folder if folder.name.isdigit() else folder.parent
    return (of_fold.parent.parent / "model").resolve()


def _stated_place(part: sections.Network) -> str:
    """The path or URL by which the recipe names the first weights."""
    weights = part.weights
    return str(part.init_from if weights is None else weights.file or weights.url)


def _find_source(part: sections.Network, name: str) -> InitSource | None:
    if part.init_from is not None:
        model, member = _member(part.init_from, name)
        return InitSource(f"{model} ({member.name})", member.sha256)
    weights = part.weights
    if weights is None:
        return None
    path = weights.file if weights.url is None else place(weights.url, Path())
    if path is None:
        raise ValueError("weights are a file or a url")
    if weights.sha256 is None and not path.is_file():
        raise MedsegError(Code.PATH_MISSING, path, "there is no such file", "correct network.weights.file")
    return InitSource(path.name, weights.sha256 or files.sha256(path))


def _path(weights: Weights, work: Work) -> Path:
    """The place of the file, or the one that it will have once it is downloaded."""
    if weights.file is not None:
        return weights.file
    return place(weights.url or "", work.weights)


def _checked(weights: Weights, path: Path) -> Path:
    if weights.sha256 is not None and path.is_file():
        require_sha256(path, weights.sha256, path)
    return path


def _load_member(folder: Path, name: str) -> Network:
    _, member = _member(folder, name)
    return model_folder.load_network(model_folder.locate(folder), member.name)[1]


def _member(folder: Path, name: str) -> tuple[str, Member]:
    """The model's name, and its only member or, of several, the fold's own, which saw none of its tests.

    ``name`` is the future name of the member that starts; a plane's starts from that of its plane or, where
    there is none, from its fold's for all planes.
    """
    folder = model_folder.locate(folder)
    if not (folder / "model.json").is_file():
        how_to_fix = "train that model first, or name another by --set network.init_from=MODEL_DIR"
        raise MedsegError(
            Code.PATH_MISSING, f"network.init_from {folder}", "there is no model.json", how_to_fix
        )
    model = model_folder.read_any(folder)
    members = {member.name: member for member in model.members}
    candidates = (name, name.partition("_")[0]) if len(members) > 1 else tuple(members)
    for candidate in candidates:
        if candidate in members:
            return model.description.name, members[candidate]
    details = f"its members are {', '.join(members)}, none is {name}"
    how_to_fix = "start from a model with one member, or with one for each fold"
    raise MedsegError(Code.NOT_A_MODEL, folder, details, how_to_fix)
