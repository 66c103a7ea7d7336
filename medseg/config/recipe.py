"""A recipe: what is done to which data, as one frozen tree. Defaults stand here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg.infer.crf import Crf
from medseg.volume import ClassList, Plane

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Pair = tuple[Count, Count]
Precision = Literal["fp32", "bf16", "fp16", "auto"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """Where the scans lie, which files are channels and labels, what values mean, who has which role."""

    path: Path | None = None
    layout: Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns"] = "auto"
    channels: dict[str, str] = Field(default_factory=dict)
    label: str | None = None
    classes: dict[int, ClassSpec]
    void: int | None = None
    splits: RandomSplit | tuple[Fold, ...] = RandomSplit()

    @field_validator("classes", mode="before")
    @classmethod
    def _names_alone_will_do(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: {"name": v} if isinstance(v, str) else v for k, v in value.items()}
        return value

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
        """The class list: value → name, colour."""
        names = {v: c.name for v, c in self.classes.items()}
        colours = {v: c.colour for v, c in self.classes.items() if c.colour is not None}
        return ClassList.from_names(names, colours, self.void)


def _is_random(value: dict[str, Any]) -> bool:
    return all(isinstance(v, int | float) for v in value.values())


class Preprocess(_Part):
    """From the scan's own grid and grey values to what networks see."""

    foreground: Literal["auto", "all"] | float = "auto"
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    n4: bool = False
    crop: bool = True
    crop_margin: Annotated[int, Field(ge=0)] = 8
    intensity: Literal["zscore", "none"] = "zscore"


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


class Loss(_Part):
    """The loss, its class weights (none, by median frequency of the training set, or given), its keywords."""

    name: str = "ce_dice"
    class_weights: Literal["none", "median_frequency"] | tuple[float, ...] = "none"
    keywords: dict[str, Any] = Field(default_factory=dict)


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


class Predict(_Part):
    """How label maps are made: whole slices, or votes of a covering grid of windows.

    `crf` refines the probabilities of whole slices: weights, widths and steps of a dense CRF, or null.
    """

    mode: Literal["dense", "vote"] = "dense"
    window: Pair | None = None
    stride: Pair = (10, 10)
    batch: Count | None = None
    crf: Crf | None = None
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
        weights, classes = self.loss.class_weights, len(self.data.classes)
        if isinstance(weights, tuple) and len(weights) != classes:
            raise ValueError(f"loss.class_weights has {len(weights)} values for {classes} classes")
        planned = sum(p.epochs for p in self.train.phases)
        if self.train.phases and planned != self.train.epochs:
            raise ValueError(f"train.phases last {planned} epochs, train.epochs says {self.train.epochs}")
        window = self.predict.window or self.sampling.window
        if self.predict.mode == "vote" and any(
            s > w for s, w in zip(self.predict.stride, window, strict=True)
        ):
            raise ValueError(f"predict.stride {self.predict.stride} leaves gaps between windows of {window}")
        return self

    @model_validator(mode="after")
    def _additions_fit(self) -> Self:
        if self.predict.crf is not None and self.predict.mode == "vote":
            raise ValueError("predict.crf refines probabilities, not votes: set predict.mode to dense")
        names = self.data.class_list().names
        if unknown := [name for name in self.report.explain if name not in names]:
            raise ValueError(
                f"report.explain: no class {', '.join(unknown)}; the classes are {', '.join(names)}"
            )
        return self
