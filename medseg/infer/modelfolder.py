"""A model folder: `model.json`, members (safetensors), `card.md`. Nothing in it can run code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import medseg
from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.infer import domain
from medseg.infer.crf import Crf
from medseg.infer.domain import Domain
from medseg.infer.predict import Dense, Gaussian, How, Tiles, Voting
from medseg.infer.predictor import Members, NetworkPredictor, Precision, Predictor, Spec
from medseg.infer.views import Fusion, Views
from medseg.networks import footprint
from medseg.networks.contract import Network
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground, Intensity
from medseg.volume import ClassList, Plane

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
    plane: Plane
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
) -> Predictor:
    network = _filled(folder, member, description)
    held = spec(description, network)
    predictor = NetworkPredictor(network, held, device, precision, channels_last=True)
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
    """What the network takes and gives as a predictor."""
    return Spec(
        plane=description.plane,
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


def card(description: Description, parameters: int, members: int) -> str:
    """`card.md`: what the model is, what it was trained on, what it expects, in words."""
    names = ", ".join(description.class_list().foreground_names)
    keywords = f" ({domain.words(description.keywords)})" if description.keywords else ""
    plural = "" if members == 1 else "s"
    trained = "\n".join(f"- {member}: {domain.words(told)}" for member, told in description.trained.items())
    like = "\n".join(f"- {line}" for line in domain.lines(description.domain))
    what = _WORDS[description.unit]
    return f"""# {description.name}

Labels {names} in {_input_words(description)}.

- network: {description.network}{keywords}, {parameters:,} parameters, {members} member{plural}
- prediction: {_prediction(description)}
- use: `medseg segment {what.upper()} OUT --model THIS_FOLDER`

## Trained
{trained}

## Domain
What the training {what} were like{_UNLIKE[description.unit]}.

{like}

Not a medical device: every label map needs a qualified reader's review.
"""


_WORDS = {"mm": "scans", "px": "images"}
_UNLIKE = {"mm": "; scans unlike them come back with a note and need review", "px": ""}


def _input_words(description: Description) -> str:
    channels = " + ".join(description.channels)
    if description.unit == "px":
        return f"images ({channels})"
    return f"{channels} scans, slice by slice ({description.plane},\n{description.depth} slices a slab)"


def _prediction(description: Description) -> str:
    views = ""
    if description.several_views:
        flipped = ", also mirrored" if description.flip else ""
        scales = ", ".join(f"{scale:g}" for scale in description.scales)
        views = f" at scales {scales}{flipped}, fused by {description.scale_fusion}"
    least = ", ".join(f"{name} above {share:g}" for name, share in description.mask_thresholds().items())
    masks = f"; masks that may overlap, by probability: {least}" if least else ""
    return f"{description.mode}{views}{' and a dense CRF' if description.crf else ''}{masks}"
