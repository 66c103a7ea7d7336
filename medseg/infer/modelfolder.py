"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

import medseg
from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.infer.crf import Crf
from medseg.infer.predict import Dense, Voting
from medseg.infer.predictor import Members, NetworkPredictor, Precision, Predictor, Spec
from medseg.networks.contract import Network
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground
from medseg.volume import ClassList, Plane

FORMAT = 1


class Description(BaseModel):
    """All that is needed to use the members; `model.json` is this and their hashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    network: str
    keywords: dict[str, Any]
    channels: tuple[str, ...]
    plane: Plane
    depth: int
    classes: tuple[dict[str, Any], ...]
    foreground: Foreground
    spacing_mm: tuple[float, float, float] | None
    crop: bool
    crop_margin: int
    n4: bool
    intensity: Literal["zscore", "none"]
    mode: Literal["dense", "vote"]
    window: tuple[int, int]
    stride: tuple[int, int]
    batch: int | None
    crf: Crf | None = None
    combine: Literal["mean", "vote"]
    domain: dict[str, Any]
    trained: dict[str, Any]

    def class_list(self) -> ClassList:
        """Value → name, colour."""
        return ClassList.from_json(self.classes)

    def geometry(self) -> GeometryPlan:
        """What is done to a scan's geometry before the network sees it."""
        return GeometryPlan(self.spacing_mm, self.crop, self.crop_margin, self.foreground)

    def how(self, mode: str | None = None) -> Dense | Voting:
        """The stitching rule of this model, or of the `mode` asked for."""
        if (mode or self.mode) == "vote":
            return Voting(self.window, self.stride, self.batch or 64)
        return Dense(self.batch or 4, self.crf)


@dataclass(frozen=True)
class Model:
    """A loaded model folder: its description, its predictor (one or several members), its own hash."""

    description: Description
    predictor: Predictor
    sha256: str
    parameters: int


def export(folder: Path, members: Mapping[str, Mapping[str, torch.Tensor]], description: Description) -> None:
    """Write a model folder: `members` maps a member's name (`fold0`) to its state dict."""
    rows = []
    for name, state in members.items():
        path = folder / f"{name}.safetensors"
        with files.written_aside(path) as part:
            safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, part)
        rows.append({"name": name, "file": path.name, "sha256": files.sha256(path)})
    for stale in set(folder.glob("*.safetensors")) - {folder / str(r["file"]) for r in rows}:
        stale.unlink()
    count = sum(p.numel() for p in _network(description).parameters())
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
    tree = _read(folder)
    description = _description(tree["description"], folder / "model.json")
    rows = [r for r in tree["members"] if members is None or r["name"] in members]
    if not rows:
        raise _not_a_model(folder, f"no member among {members}")
    predictors = [_member(folder, row, description, device, precision) for row in rows]
    predictor = predictors[0] if len(predictors) == 1 else Members(predictors, description.combine)
    key = files.sha256_of_value([tree["description"], rows])
    return Model(description, predictor, key, int(tree["parameters"]))


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    if not path.is_file():
        raise _not_a_model(folder, "no model.json")
    try:
        tree: dict[str, Any] = files.read_json(path)
        found = tree["format"]
        tree["members"], tree["description"], tree["parameters"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise _not_a_model(path, f"not readable: {error!r}") from None
    if found != FORMAT:
        raise _not_a_model(path, f"format {found}, this medseg reads {FORMAT}")
    return tree


def _description(value: Any, where: Path) -> Description:
    try:
        return Description.model_validate(value)
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])) for e in error.errors()}
        raise _not_a_model(
            where, f"keys missing, unknown or of a wrong type: {', '.join(sorted(wrong))}"
        ) from None


def load_network(folder: Path, member: str) -> tuple[Description, Network]:
    """One member's network with its weights, on the CPU, in evaluation mode; for looking inside it.

    Raises as :func:`load` does.
    """
    tree = _read(folder)
    description = _description(tree["description"], folder / "model.json")
    row = next((r for r in tree["members"] if r["name"] == member), None)
    if row is None:
        raise _not_a_model(folder, f"no member {member}")
    network = _filled(folder, row, description)
    return description, network.eval()


def _member(
    folder: Path, row: Mapping[str, str], description: Description, device: str, precision: Precision
) -> NetworkPredictor:
    network = _filled(folder, row, description)
    return NetworkPredictor(network, spec(description, network), device, precision, channels_last=True)


def _filled(folder: Path, row: Mapping[str, str], description: Description) -> Network:
    path = folder / Path(row["file"]).name
    if not path.is_file() or files.sha256(path) != row["sha256"]:
        raise MedsegError(
            Code.MODEL_TAMPERED, path, "missing, or its sha256 differs from model.json", "export it again"
        )
    network = _network(description)
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        text = " ".join(str(error).split())[:300]
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, text, "export the model again") from None
    return network


def _network(description: Description) -> Network:
    return networks.build(
        description.network,
        in_channels=len(description.channels) * description.depth,
        classes=len(description.classes),
        **description.keywords,
    )


def spec(description: Description, network: Network) -> Spec:
    """What the network takes and gives as a predictor."""
    return Spec(
        plane=description.plane,
        depth=description.depth,
        channels=len(description.channels),
        classes=len(description.classes),
        step=int(network.step),
        context=int(network.context),
    )


def _not_a_model(where: Path, found: str) -> MedsegError:
    return MedsegError(Code.NOT_A_MODEL, where, found, "give a folder made by medseg train or medseg export")


def card(description: Description, parameters: int, members: int) -> str:
    """`card.md`: what the model is, what it was trained on, what it expects, in words."""
    names = ", ".join(c["name"] for c in description.classes[1:])
    trained = "\n".join(f"- {k}: {v}" for k, v in description.trained.items())
    domain = "\n".join(f"- {k}: {v}" for k, v in description.domain.items())
    return f"""# {description.name}

Labels {names} in {" + ".join(description.channels)} scans, slice by slice ({description.plane},
{description.depth} slices a slab).

- network: {description.network} {description.keywords or ""}, {parameters:,} parameters, {members} member(s)
- prediction: {description.mode}{" and a dense CRF" if description.crf else ""}
- use: `medseg segment SCANS OUT --model THIS_FOLDER`

## Trained
{trained}

## Domain
What the training scans were like; scans unlike them come back with a note and need review.

{domain}

Not a medical device: every label map needs a qualified reader's review.
"""
