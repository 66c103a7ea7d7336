"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import safetensors.torch
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

import medseg
from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.infer.crf import Crf
from medseg.infer.predict import Dense, Gaussian, How, Tiles, Voting
from medseg.infer.predictor import Members, NetworkPredictor, Precision, Predictor, Spec
from medseg.networks import footprint
from medseg.networks.contract import Network
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground
from medseg.volume import ClassList, Plane

FORMAT = 1

THRESHOLD = 0.5
"""Of a mask for which none is given."""

Count = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]


class _ClassRow(BaseModel):
    """What a row of `classes` must hold."""

    model_config = ConfigDict(extra="forbid")

    value: int
    name: str
    colour: tuple[int, int, int]
    foreground: bool = False
    overlapping: bool = False


class _Domain(BaseModel):
    """What is known of a training's scans: how many, and their voxel edges along the axes of their arrays."""

    model_config = ConfigDict(extra="allow")

    cases: int | None = None
    spacing_min_mm: Triple | None = None
    spacing_max_mm: Triple | None = None


class Description(BaseModel):
    """All that is needed to use the members; `model.json` is this and their hashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    network: str
    keywords: dict[str, Any]
    channels: tuple[str, ...]
    plane: Plane
    depth: Count
    classes: tuple[dict[str, Any], ...]
    foreground: Foreground
    spacing_mm: tuple[float, float, float] | None
    crop: bool
    crop_margin: int
    n4: bool
    intensity: Literal["zscore", "none"]
    mode: Literal["dense", "vote", "tiles", "gaussian"]
    window: tuple[Count, Count]
    stride: tuple[Count, Count] | None
    tile: int | tuple[int, int] | None = None
    memory_mb: int = Tiles.memory_mb
    batch: Count | None
    crf: Crf | None = None
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    combine: Literal["mean", "vote"]
    domain: dict[str, Any]
    trained: dict[str, Any]

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
        _Domain.model_validate(domain)
        return domain

    @model_validator(mode="after")
    def _thresholds_are_of_masks(self) -> Self:
        if unknown := self.thresholds.keys() - set(self.class_list().masks):
            raise ValueError(f"thresholds of {', '.join(sorted(unknown))}, which are no overlapping masks")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value or key != "thresholds"}

    def class_list(self) -> ClassList:
        """Value → name, colour."""
        return ClassList.from_json(self.classes)

    def mask_thresholds(self) -> tuple[float, ...]:
        """The probability above which a pixel lies in each of overlapping masks; none of other classes."""
        return tuple(self.thresholds.get(name, THRESHOLD) for name in self.class_list().masks)

    def geometry(self) -> GeometryPlan:
        """What is done to a scan's geometry before the network sees it."""
        return GeometryPlan(self.spacing_mm, self.crop, self.crop_margin, self.foreground)

    def how(self, mode: str | None = None) -> How:
        """The stitching rule of this model, or of the `mode` asked for."""
        match mode or self.mode:
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
    """One file of weights: a fold's, or a plane's."""

    name: str
    file: str
    sha256: str


class ModelFile(BaseModel):
    """What is used of `model.json`."""

    parameters: int
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    description: Description


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
    tree = _tree(folder)
    held = _checked(tree, folder / "model.json")
    chosen = [m for m in held.members if members is None or m.name in members]
    if not chosen:
        raise _not_a_model(folder, f"no member among {members}")
    about = held.description
    predictors = [_load_member(folder, member, about, device, precision) for member in chosen]
    predictor = predictors[0] if len(predictors) == 1 else Members(predictors, about.combine)
    key = files.sha256_of_value([tree["description"], [member.model_dump() for member in chosen]])
    return Model(about, predictor, key, held.parameters)


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
        return ModelFile.model_validate(tree)
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])) for e in error.errors()}
        raise _not_a_model(
            where, f"keys missing, unknown or of a wrong type: {', '.join(sorted(wrong))}"
        ) from None


def load_network(folder: Path, member: str) -> tuple[Description, Network]:
    """One member's network with its weights, on the CPU, in evaluation mode; for looking inside it.

    Raises as :func:`load` does.
    """
    held = read(folder)
    row = next((m for m in held.members if m.name == member), None)
    if row is None:
        raise _not_a_model(folder, f"no member {member}")
    return held.description, _filled(folder, row, held.description).eval()


def _load_member(
    folder: Path, member: Member, description: Description, device: str, precision: Precision
) -> NetworkPredictor:
    network = _filled(folder, member, description)
    return NetworkPredictor(network, spec(description, network), device, precision, channels_last=True)


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
    """What the network takes and gives as a predictor."""
    return Spec(
        plane=description.plane,
        depth=description.depth,
        channels=len(description.channels),
        classes=len(description.classes),
        background=description.class_list().background,
        thresholds=description.mask_thresholds(),
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


def merged_domain(domains: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The domain of a model of several members: a scan is inside if it is inside that of any member.

    Voxel edges reach from the least to the largest of all members; `cases` is the most that one was trained
    on, as members share cases. A bound that a member does not know is left out.
    """
    held = [_Domain.model_validate(domain) for domain in domains]
    least = [domain.spacing_min_mm for domain in held]
    most = [domain.spacing_max_mm for domain in held]
    merged: dict[str, Any] = {"cases": max((d.cases for d in held if d.cases is not None), default=None)}
    if None not in least and None not in most:
        merged["spacing_min_mm"] = [min(edges) for edges in zip(*least, strict=True)]
        merged["spacing_max_mm"] = [max(edges) for edges in zip(*most, strict=True)]
    return {key: value for key, value in merged.items() if value is not None}


def card(description: Description, parameters: int, members: int) -> str:
    """`card.md`: what the model is, what it was trained on, what it expects, in words."""
    names = ", ".join(description.class_list().foreground_names)
    keywords = f" ({_words(description.keywords)})" if description.keywords else ""
    masks = zip(description.class_list().masks, description.mask_thresholds(), strict=True)
    least = ", ".join(f"{name} above {_words(threshold)}" for name, threshold in masks)
    overlap = f"; masks may overlap, by probability: {least}" if least else ""
    plural = "" if members == 1 else "s"
    trained = "\n".join(f"- {member}: {_words(told)}" for member, told in description.trained.items())
    domain = "\n".join(f"- {line}" for line in _domain_lines(description.domain))
    return f"""# {description.name}

Labels {names} in {" + ".join(description.channels)} scans, slice by slice ({description.plane},
{description.depth} slices a slab).

- network: {description.network}{keywords}, {parameters:,} parameters, {members} member{plural}
- prediction: {description.mode}{" and a dense CRF" if description.crf else ""}{overlap}
- use: `medseg segment SCANS OUT --model THIS_FOLDER`

## Trained
{trained}

## Domain
What the training scans were like; scans unlike them come back with a note and need review.

{domain}

Not a medical device: every label map needs a qualified reader's review.
"""


def _words(value: Any) -> str:
    """A value as a reader writes it: `epochs 20, best validation Dice 0.9123`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(held)}" for key, held in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " × ".join(map(_words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)


def _domain_lines(domain: Mapping[str, Any]) -> list[str]:
    """How many scans there were, and from which to which voxel size."""
    known = _Domain.model_validate(domain)
    lines = [] if known.cases is None else [f"{known.cases} training cases"]
    least, most = (_words(known.spacing_min_mm), _words(known.spacing_max_mm))
    if known.spacing_min_mm is not None and known.spacing_max_mm is not None:
        lines.append(f"voxels of {least} mm" if least == most else f"voxels from {least} to {most} mm")
    return lines or ["not recorded"]
