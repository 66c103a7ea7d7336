"""A recipe: what is done to which data, as one frozen tree. Defaults stand here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medseg import losses, networks
from medseg.config import masks
from medseg.errors import Code, MedsegError
from medseg.infer.crf import Crf
from medseg.volume import ClassList, Plane

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Pair = tuple[Count, Count]
Precision = Literal["fp32", "bf16", "fp16", "auto"]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Clash:
    """Values that are right each by itself but not together: the `keys` they stand at, the first to blame."""

    keys: tuple[str, ...]
    found: str
    remedy: str


class ClashError(ValueError):
    """Everything in a recipe that clashes."""

    def __init__(self, clashes: tuple[Clash, ...]) -> None:
        super().__init__("; ".join(f"{c.keys[0]}: {c.found}; {c.remedy}" for c in clashes))
        self.clashes = clashes


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value or key not in masks.KEYS}


class ClassSpec(_Part):
    """One class: its name and, if wanted, its colour (RGB, 0-255)."""

    name: str
    colour: tuple[int, int, int] | None = None


class Fold(_Part):
    """Case names of one fold; an entry is a name, a glob, or a range `first..last` in sorted order."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class RandomSplit(_Part):
    """Folds made by subject from a seed: shares of subjects for validation and test."""

    folds: Count = 1
    val: Share = 0.2
    test: Share = 0.2
    seed: int = 0


class Data(_Part):
    """Where the scans lie, which files are channels and labels, what values mean, who has which role.

    Without a `background` the first class is scored and drawn like the others. Values in `void` are ignored.

    What is segmented may overlap: `regions` names masks by the values of the label map that make them up
    (`whole: [1, 2]`), or `masks` by the pattern of a file each, 1 inside and 0 outside, instead of `label`
    and `classes`.
    """

    path: Path | None = None
    layout: Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns"] = "auto"
    channels: dict[str, str] = Field(default_factory=dict)
    label: str | None = None
    masks: dict[str, str] = Field(default_factory=dict)
    classes: dict[int, ClassSpec] = Field(default_factory=dict, validate_default=True)
    regions: dict[str, Annotated[tuple[int, ...], Field(min_length=1)]] = Field(default_factory=dict)
    background: bool = True
    void: tuple[int, ...] = ()
    splits: RandomSplit | tuple[Fold, ...] = RandomSplit()

    @field_validator("classes", mode="before")
    @classmethod
    def _names_alone_will_do(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: {"name": v} if isinstance(v, str) else v for k, v in value.items()}
        return value

    @field_validator("classes")
    @classmethod
    def _there_are_some(cls, value: dict[int, ClassSpec], info: ValidationInfo) -> dict[int, ClassSpec]:
        if not value and not info.data.get("masks"):
            raise refusal(Code.RECIPE_INVALID, "missing", "add the key")
        return value

    @field_validator("void", mode="before")
    @classmethod
    def _one_value_will_do(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, int) else value

    @field_validator("splits", mode="before")
    @classmethod
    def _one_fold_will_do(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"train", "val", "test"} & value.keys() and not _is_random(value):
            return (value,)
        return value

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        self.class_list()
        return self

    def class_list(self) -> ClassList:
        """The class list: value → name, colour; or the masks that may overlap."""
        if self.masks or self.regions:
            regions = dict.fromkeys(self.masks, ()) or self.regions
            return ClassList.of_masks(regions, self.void, self.classes)
        names = {v: c.name for v, c in self.classes.items()}
        colours = {v: c.colour for v, c in self.classes.items() if c.colour is not None}
        return ClassList.from_names(names, colours, self.void, background=self.background)

    def n_folds(self) -> int:
        """How many folds the splits make."""
        return self.splits.folds if isinstance(self.splits, RandomSplit) else len(self.splits)


def _is_random(value: dict[str, Any]) -> bool:
    return all(isinstance(v, int | float) for v in value.values())


class Preprocess(_Part):
    """From the scan's own grid and grey values to what networks see.

    `foreground` is `auto`, `all`, or `above: x` (also written as the number alone): grey values above x.
    """

    foreground: Literal["auto", "all"] | float = "auto"
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    n4: bool = False
    crop: bool = True
    crop_margin: Annotated[int, Field(ge=0)] = 8
    intensity: Literal["zscore", "none"] = "zscore"

    @field_validator("foreground", mode="before")
    @classmethod
    def _above(cls, value: Any) -> Any:
        return value["above"] if isinstance(value, dict) and value.keys() == {"above"} else value


class Sampling(_Part):
    """Which 2.5D windows a training batch is made of."""

    plane: Plane = "axial"
    depth: Count = 3
    window: Pair = (40, 40)
    class_share: Share = 0.8

    @field_validator("depth")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a slab has an odd number of slices, the middle one is predicted")
        return value


class Network(_Part):
    """A row of `medseg info --full`, or `monai.networks.nets:<Name>`, and its keywords."""

    name: str = "usegnet"
    keywords: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            networks.check_name(value)
        except MedsegError as error:
            raise refusal(error.code, error.finding.found, error.finding.remedy) from None
        return value


class WeightMap(_Part):
    """U-Net's weight between two close cells: at most `w0`, fading over `sigma_px` pixels of a slice."""

    w0: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    sigma_px: Positive = 5.0


class Loss(_Part):
    """The loss, its class weights (none, by median frequency of the training set, or given), its keywords.

    With a weight map, a pixel's weight is its class's plus the map's.
    """

    name: str = "ce_dice"
    class_weights: Literal["none", "median_frequency"] | tuple[float, ...] = "none"
    weight_map: WeightMap | None = None
    keywords: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in losses.LOSSES:
            known = ", ".join(sorted(losses.LOSSES))
            raise refusal(Code.KEYWORD_INVALID, f"there is no loss {value!r}", f"use one of {known}")
        return value

    @model_validator(mode="after")
    def _map_has_its_place(self) -> Self:
        if self.weight_map is not None and self.name not in losses.TAKE_WEIGHT_MAPS:
            takers = ", ".join(losses.TAKE_WEIGHT_MAPS)
            raise ValueError(f"loss.weight_map: {self.name} takes none; use one of {takers}")
        return self


class Augment(_Part):
    """Random changes of training windows; zero or empty is off."""

    flip: tuple[Literal["h", "w"], ...] = ()
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift_px: Annotated[float, Field(ge=0)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    brightness: Annotated[float, Field(ge=0)] = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0
    elastic_px: Annotated[float, Field(ge=0)] = 0.0


class Phase(_Part):
    """For `epochs` epochs only parameters whose names match `layers` (globs) train, at `lr`."""

    layers: tuple[str, ...]
    lr: Positive
    epochs: Count


class Train(_Part):
    """The loop: how long, how fast, in which precision, what counts as best."""

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 10
    steps_per_epoch: Count = 100
    batch: Count = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Share = 0.9
    schedule: Literal["constant", "poly", "cosine"] = "poly"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    phases: tuple[Phase, ...] = ()
    clip: Positive | None = None
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False
    device: str = "auto"
    processes: Count = 1
    threads: Annotated[int, Field(ge=0)] = 0
    validate_every: Count = 1
    validate_cases: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=0)] = 0
    augment: Augment = Augment()

    @field_validator("device")
    @classmethod
    def _device_has_a_name(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("use auto, cpu, cuda, cuda:1 (or another number) or mps")
        return value


class Predict(_Part):
    """How label maps are made: whole slices, a covering grid of windows that vote or are blended by Gaussian
    weights, or overlap-tiles (for networks of valid convolutions).

    `window` is `sampling.window` unless given. Without `stride`, voting windows are at most 10 px apart,
    blended ones overlap by half, tiles by as little as can be. A `tile` is what the network takes in; without
    it a batch of tiles takes at most `memory_mb`. `crf` refines each slice's probabilities: weights, widths
    and steps of a dense CRF, or null. Of masks that may overlap, `thresholds` has the probability above which
    a pixel lies in one, by name; 0.5 where none is given.
    """

    mode: Literal["dense", "vote", "tiles", "gaussian"] = "dense"
    window: Pair | None = None
    stride: Pair | None = None
    tile: Count | Pair | None = None
    memory_mb: Count = 1024
    batch: Count | None = None
    crf: Crf | None = None
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    members: Literal["mean", "vote"] = "mean"
    roles: tuple[Literal["train", "val", "test", "unlabelled"], ...] = ("test", "unlabelled")
    margin_map: bool = False


class Evaluate(_Part):
    """Tolerance of the surface Dice (mm, or px for images)."""

    nsd_tolerance: Annotated[float, Field(ge=0)] = 1.0


class Report(_Part):
    """Classes, by name, whose Grad-CAM pictures the report shows for every case."""

    explain: tuple[str, ...] = ()


class Tracking(_Part):
    """MLflow: a server's URI, or nothing for a store in the work folder."""

    enabled: bool = True
    uri: str | None = None
    overlays: bool = True


class Recipe(_Part):
    """The whole recipe; every stage reads its own part."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: str = ""
    data: Data
    preprocess: Preprocess = Preprocess()
    sampling: Sampling = Sampling()
    network: Network = Network()
    loss: Loss = Loss()
    train: Train = Train()
    predict: Predict = Predict()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        if clashes := tuple(self._clashes()):
            raise ClashError(clashes)
        return self

    def _clashes(self) -> Iterator[Clash]:
        weights, classes = self.loss.class_weights, len(self.data.class_list())
        if isinstance(weights, tuple) and len(weights) != classes:
            found = f"{len(weights)} values for {classes} classes"
            yield Clash(
                ("loss.class_weights", "data.classes"), found, "give one a class, background first, or a mask"
            )
        yield from (Clash(*told) for told in masks.clashes(self))
        train, planned = self.train, sum(p.epochs for p in self.train.phases)
        if train.phases and planned != train.epochs:
            found = f"they last {planned} epochs, train.epochs says {train.epochs}"
            yield Clash(("train.phases", "train.epochs"), found, "make both equal")
        window, stride = self.predict.window or self.sampling.window, self.predict.stride
        in_windows = self.predict.mode in ("vote", "gaussian")
        if in_windows and stride and any(s > w for s, w in zip(stride, window, strict=True)):
            keys = ("predict.stride", "predict.window", "predict.mode", "sampling.window")
            yield Clash(keys, f"{list(stride)} leaves gaps between windows of {list(window)}", "lower it")
        if train.precision == "fp16" and train.device == "cpu":
            yield Clash(("train.precision", "train.device"), "fp16 on a cpu", "use fp32 or bf16")
        if self.predict.crf is not None and self.predict.mode == "vote":
            found = "a CRF refines probabilities, not votes"
            yield Clash(("predict.crf", "predict.mode"), found, "set predict.mode to dense")
        names = self.data.class_list().names
        if unknown := [name for name in self.report.explain if name not in names]:
            known = f"name some of {', '.join(names)}"
            yield Clash(("report.explain", "data.classes"), f"no class {', '.join(unknown)}", known)


def refusal(code: Code, found: str, remedy: str) -> PydanticCustomError:
    """What a validator raises to refuse a value with a code of its own."""
    context = {"code": code, "found": found, "remedy": remedy}
    return PydanticCustomError("refused", "{code} {found}; {remedy}", context)
