"""A recipe: what is done to which data, as one frozen tree. Defaults stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from medseg import losses, networks
from medseg.config import image_rules, multilabel_rules, plane_rules
from medseg.config.data import Data
from medseg.config.pretrained import Weights
from medseg.config.section import Clash, ClashError, Count, Pair, Positive, Section, Share, refusal
from medseg.config.training import Train
from medseg.errors import Code, MedsegError
from medseg.grid import Plane, planes_of
from medseg.model.description import CRFSettings


class Preprocess(Section):
    """From the scan's own grid and grey values to what networks see.

    `foreground` is `auto`, `all`, or `above: x` (also written as the number alone): grey values above x.
    `spacing_px` (rows, columns) resizes images: 2 halves them; without `crop` labels are decided at full size
    all the same. `intensity` imagenet is the fixed scaling of published bodies, for three colours.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"spacing_px"})

    foreground: Literal["auto", "all"] | float = "auto"
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    spacing_px: tuple[Positive, Positive] | None = None
    n4: bool = False
    crop: bool = True
    crop_margin: Annotated[int, Field(ge=0)] = 8
    intensity: Literal["zscore", "imagenet", "none"] = "zscore"

    @field_validator("foreground", mode="before")
    @classmethod
    def _above(cls, value: Any) -> Any:
        return value["above"] if isinstance(value, dict) and value.keys() == {"above"} else value


class Sampling(Section):
    """Which 2.5D windows a training batch is made of.

    By `order: shuffled` every training case is used once an epoch, in an order of the epoch's own; the last
    batch is filled up with the first cases again, and `train.steps_per_epoch` is not used.

    `plane` may be a list: each window is then of one of them, drawn by chance, for a network that is `shared`
    by all (`plane_networks`), or `separate` networks are trained, one a plane. A volume is predicted along
    each plane; `predict.ensemble` says how the results are joined.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"order", "plane_networks"})

    plane: Plane | tuple[Plane, ...] = "axial"
    plane_networks: Literal["shared", "separate"] = "shared"
    depth: Count = 3
    window: Pair = (40, 40)
    foreground_oversampling: Share = 0.8
    order: Literal["random", "shuffled"] = "random"

    @field_validator("plane", mode="before")
    @classmethod
    def _different(cls, value: Any) -> Any:
        names: Any = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("name a plane or a list of planes")
        planes = planes_of(names)
        return planes if len(planes) > 1 else planes[0]

    @property
    def planes(self) -> tuple[Plane, ...]:
        """All planes."""
        return planes_of(self.plane)

    @field_validator("depth")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a slab has an odd number of slices, the middle one is predicted")
        return value


class Network(Section):
    """A row of `medseg info --full`, or `monai.networks.nets:<Name>`, and its keywords.

    Its first weights are drawn by `train.seed`, unless its body's published `weights` are named, or a model
    folder to `init_from`: FCN-16s and 8s start as the coarser net that lies there; any other network takes
    every tensor whose name and shape agree, but for those whose names match `reinit_layers` (globs).
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"weights", "init_from", "reinit_layers"})

    name: str = "usegnet"
    keywords: dict[str, Any] = Field(default_factory=dict)
    weights: Weights | None = None
    init_from: Path | None = None
    reinit_layers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _starts_from_one_place(self) -> Self:
        if self.weights is not None and self.init_from is not None:
            found = "init_from, too, says what training starts from"
            raise ClashError((Clash(("network.weights", "network.init_from"), found, "keep one of them"),))
        if self.reinit_layers and self.init_from is None:
            found = "it leaves out some of what network.init_from gives, which names nothing"
            keys = ("network.reinit_layers", "network.init_from")
            raise ClashError((Clash(keys, found, "name a model there, or leave it out"),))
        return self

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            networks.check_name(value)
        except MedsegError as error:
            raise refusal(error.code, error.finding.details, error.finding.how_to_fix) from None
        return value


class WeightMap(Section):
    """U-Net's weight between two close cells: at most `w0`, fading over `sigma_px` pixels of a slice."""

    w0: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    sigma_px: Positive = 5.0


class Loss(Section):
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


class Predict(Section):
    """How label maps are made: whole slices, a covering grid of windows that vote or are blended by Gaussian
    weights, or overlap-tiles (for networks of valid convolutions).

    `window` is `sampling.window` unless given. Without `stride`, voting windows are at most 10 px apart,
    blended ones overlap by half, tiles by as little as can be. A `tile` is what the network takes in; without
    it a batch of tiles takes at most `memory_mb`. `crf` refines each slice's probabilities: weights, widths
    and steps of a dense CRF, or null.

    `ensemble` combines the networks of several folds, and the results along several planes: by their mean
    probabilities, or by majority vote, ties going to the first class.

    The image is seen at each of `scales`, with `flip` also mirrored left to right, and of what the network
    says the mean probability counts, or the largest score (`scale_fusion: max`). Of masks that may overlap,
    `thresholds` has the probability above which a pixel lies in one, by name; 0.5 where none is given.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"scales", "scale_fusion", "flip", "thresholds"})

    mode: Literal["dense", "vote", "tiles", "gaussian"] = "dense"
    window: Pair | None = None
    stride: Pair | None = None
    tile: Count | Pair | None = None
    memory_mb: Count = 1024
    batch: Count | None = None
    crf: CRFSettings | None = None
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    scale_fusion: Literal["mean", "max"] = "mean"
    flip: bool = False
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    ensemble: Literal["mean", "vote"] = "mean"
    roles: tuple[Literal["train", "val", "test", "unlabelled"], ...] = ("test", "unlabelled")
    confidence_map: bool = False


class Evaluate(Section):
    """Tolerances of the surface Dice (mm, or px for images) and of boundary F1 (share of the diagonal).

    `cost_fp` and `cost_fn` are what a false positive and a false negative cost in the weighted error.
    """

    nsd_tolerance: Annotated[float, Field(ge=0)] = 1.0
    bf_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0075
    cost_fp: Annotated[float, Field(ge=0)] = 1.0
    cost_fn: Annotated[float, Field(ge=0)] = 1.0


class Report(Section):
    """Classes, by name, whose Grad-CAM pictures the report shows for every case."""

    explain: tuple[str, ...] = ()


class Tracking(Section):
    """MLflow: a server's URI, or nothing for a store in the work folder."""

    enabled: bool = True
    uri: str | None = None
    overlays: bool = True


class Recipe(Section):
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
        yield from image_rules.clashes(self)
        yield from multilabel_rules.clashes(self)
        yield from plane_rules.clashes(self)
