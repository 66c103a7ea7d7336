"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import medseg
from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.infer.card import card
from medseg.infer.crf import Crf
from medseg.infer.domain import Domain
from medseg.infer.planes import Planes, together
from medseg.infer.predict import Dense, Gaussian, How, Tiles, Voting
from medseg.infer.predictor import Members, NetworkPredictor, Precision, Predictor, Spec
from medseg.infer.views import Fusion, Views
from medseg.networks import footprint
from medseg.networks.contract import Network
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground, Intensity
from medseg.volume import ClassList, Plane, planes_of

FORMAT = 1

THRESHOLD = 0.5
"""Of a mask for which none is given."""

Count = Annotated[int, Field(ge=1)]


class _ClassRow(BaseModel):
    """What a row of `classes` must hold."""

    model_config = ConfigDict(extra="forbid")

    value: int
    name: str
    colour: tuple[int, int, int]
    foreground: bool = False
    overlapping: bool = False


class Description(BaseModel):
    """All that is needed to use the members; `model.json` is this and their hashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    network: str
    keywords: dict[str, Any]
    channels: tuple[str, ...]
    unit: Literal["mm", "px"] = "mm"
    plane: Plane | tuple[Plane, ...]
    depth: Count
    classes: tuple[dict[str, Any], ...]
    foreground: Foreground
    spacing_mm: tuple[float, float, float] | None
    spacing_px: tuple[float, float] | None = None
    crop: bool
    crop_margin: int
    n4: bool
    intensity: Intensity
    mode: Literal["dense", "vote", "tiles", "gaussian"]
    window: tuple[Count, Count]
    stride: tuple[Count, Count] | None
    tile: int | tuple[int, int] | None = None
    memory_mb: int = Tiles.memory_mb
    batch: Count | None
    crf: Crf | None = None
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    scale_fusion: Fusion = "mean"
    flip: bool = False
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    combine: Literal["mean", "vote"]
    domain: dict[str, Any]
    trained: dict[str, Any]

    @field_validator("plane")
    @classmethod
    def _are_different(cls, plane: Plane | tuple[Plane, ...]) -> Plane | tuple[Plane, ...]:
        planes_of(plane)
        return plane

    @field_validator("classes")
    @classmethod
    def _are_a_class_list(cls, rows: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for row in rows:
            _ClassRow.model_validate(row)
        ClassList.from_json(rows)
        return rows

    @field_validator("domain")
    @classmethod
    def _is_a_domain(cls, domain: dict[str, Any]) -> dict[str, Any]:
        Domain.model_validate(domain)
        return domain

    @model_validator(mode="after")
    def _thresholds_are_of_masks(self) -> Self:
        if unknown := self.thresholds.keys() - set(self.class_list().masks):
            raise ValueError(f"thresholds of {', '.join(sorted(unknown))}, which are no overlapping masks")
        return self

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes along which a volume is predicted."""
        return planes_of(self.plane)

    def class_list(self) -> ClassList:
        """Value → name, colour."""
        return ClassList.from_json(self.classes)

    def mask_thresholds(self) -> dict[str, float]:
        """The probability above which a pixel lies in each of overlapping masks; none of other classes."""
        return {name: self.thresholds.get(name, THRESHOLD) for name in self.class_list().masks}

    def geometry(self) -> GeometryPlan:
        """What is done to a scan's geometry before the network sees it."""
        return GeometryPlan(self.spacing_mm, self.crop, self.crop_margin, self.foreground, self.spacing_px)

    @property
    def several_views(self) -> bool:
        """Whether networks see each slice more than once: at several scales, or mirrored."""
        return self.scales != (1.0,) or self.flip

    def how(self, mode: str | None = None) -> How:
        """The stitching rule of this model, or of the `mode` asked for.

        Raises KEYWORD_INVALID for a mode that does not go with several views.
        """
        wanted = mode or self.mode
        if self.several_views and wanted in ("vote", "tiles"):
            found = f"mode {wanted} of a model that predicts at several scales or flips"
            raise MedsegError(Code.KEYWORD_INVALID, "mode", found, "use dense or gaussian")
        match wanted:
            case "vote":
                stride = self.stride or (min(10, self.window[0]), min(10, self.window[1]))
                return Voting(self.window, stride, self.batch or Voting.batch)
            case "gaussian":
                return Gaussian(self.window, self.stride, self.batch or Gaussian.batch, self.crf)
            case "tiles":
                return Tiles(self.tile, self.memory_mb, self.batch or Tiles.batch, self.stride, self.crf)
            case _:
                return Dense(self.batch or Dense.batch, self.crf)


class Member(BaseModel):
    """One file of weights: a fold's, or of a fold that of its ``plane``; without one, for all planes."""

    name: str
    file: str
    sha256: str
    plane: Plane | None = None


class ModelFile(BaseModel):
    """What is used of `model.json`."""

    parameters: int
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    description: Description


@dataclass(frozen=True)
class Model:
    """A loaded model folder: its description, its predictor (members and planes together), its own hash."""

    description: Description
    predictor: Predictor | Planes
    sha256: str
    parameters: int


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
    tree = _tree(folder)
    held = _checked(tree, folder / "model.json")
    chosen = [m for m in held.members if members is None or m.name in members]
    if not chosen:
        raise _not_a_model(folder, f"no member among {members}")
    about = held.description
    if lacking := [p for p in about.planes if not any(m.plane in (None, p) for m in chosen)]:
        raise _not_a_model(folder, f"no member for the {lacking[0]} plane among {[m.name for m in chosen]}")
    filled = [(member.plane, _filled(folder, member, about)) for member in chosen]
    seen = spec(about, filled[0][1])

    def along(plane: Plane) -> Predictor:
        some = [
            _predictor(network, replace(seen, plane=plane), about, device, precision)
            for alone, network in filled
            if alone in (None, plane)
        ]
        return some[0] if len(some) == 1 else Members(some, about.combine)

    predictor = together([along(plane) for plane in about.planes], about.combine)
    rows = [member.model_dump(exclude_none=True) for member in chosen]
    return Model(about, predictor, files.sha256_of_value([tree["description"], rows]), held.parameters)


def read(folder: Path) -> ModelFile:
    """Read `model.json` alone, without the weights; raises NOT_A_MODEL."""
    return _checked(_tree(folder), folder / "model.json")


def _tree(folder: Path) -> dict[str, Any]:
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
    return about, _filled(folder, row, about).eval()


def _predictor(
    network: Network, seen: Spec, description: Description, device: str, precision: Precision
) -> Predictor:
    predictor = NetworkPredictor(network, seen, device, precision, channels_last=True)
    if not description.several_views:
        return predictor
    return Views(predictor, description.scales, description.scale_fusion, description.flip)


def _filled(folder: Path, member: Member, description: Description) -> Network:
    path = folder / Path(member.file).name
    if not path.is_file() or files.sha256(path) != member.sha256:
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
        overlapping=description.class_list().overlapping,
        **description.keywords,
    )


def spec(description: Description, network: Network) -> Spec:
    """What the network takes and gives as a predictor, along the first plane if there are several."""
    return Spec(
        plane=description.planes[0],
        depth=description.depth,
        channels=len(description.channels),
        classes=len(description.classes),
        background=description.class_list().background,
        thresholds=tuple(description.mask_thresholds().values()),
        step=int(network.step),
        context=int(network.context),
        residue=int(network.residue),
        smallest=int(network.smallest),
        bytes_per_pixel=bytes_per_pixel(description) if network.context else 0.0,
    )


def bytes_per_pixel(description: Description) -> float:
    """Memory that the network's forward pass needs at most, for each pixel of its input."""
    with torch.device("meta"):
        return footprint.bytes_per_pixel(_network(description))


def _not_a_model(where: Path, found: str) -> MedsegError:
    return MedsegError(Code.NOT_A_MODEL, where, found, "give a folder made by medseg train or medseg export")
