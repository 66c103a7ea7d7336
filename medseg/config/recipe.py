"""A recipe: what is done to which data, as one frozen tree. Defaults stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medseg import losses, networks
from medseg.config import images, masks, planes
from medseg.config.part import Clash, ClashError, Count, Pair, Positive, Share, refusal
from medseg.config.part import Part as _Part
from medseg.config.training import Train
from medseg.config.weights import Weights
from medseg.errors import Code, MedsegError
from medseg.infer.crf import Crf
from medseg.ingest import imagesets
from medseg.ingest.imagesets import ImageSet
from medseg.volume import ClassList, Plane, planes_of


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
    Label files write a class by its value, by its colour (`label_form: colours`; those of `void_colours` are
    void) or as a grey mask (`label_form: {above: x}`, also written as the number alone: greys above x are the
    second class). `merge` gives values of label files to a class of another value.

    What is segmented may overlap: `regions` names masks by the values of the label map that make them up
    (`whole: [1, 2]`), or `masks` by the pattern of a file each, 1 inside and 0 outside, instead of `label`
    and `classes`.

    `class_file` names a packaged class list (`configs/classes/`) or a YAML file with `classes` and perhaps
    `background`, `void`, `void_colours`, `label_form`, `merge`, `layout`, `channels` and `label`, which hold
    where the recipe does not say otherwise.

    Pictures give three channels where three names share a pattern, one where a name has its own. Layout `csv`
    reads `table`, a path relative to `path`. `splits: listed` takes the roles that the data set itself gives.
    """

    path: Path | None = None
    layout: Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns", "csv", ImageSet] = "auto"
    table: str | None = None
    channels: dict[str, str] = Field(default_factory=dict)
    label: str | None = None
    masks: dict[str, str] = Field(default={})
    classes: dict[int, ClassSpec] = Field(default={}, validate_default=True)
    regions: dict[str, Annotated[tuple[int, ...], Field(min_length=1)]] = Field(default={})
    class_file: str | None = None
    background: bool = True
    void: tuple[int, ...] = ()
    label_form: Literal["values", "colours"] | Annotated[float, Field(ge=0)] = "values"
    void_colours: tuple[tuple[int, int, int], ...] = ()
    merge: dict[int, int] = Field(default_factory=dict)
    splits: Literal["listed"] | RandomSplit | tuple[Fold, ...] = RandomSplit()

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

    @field_validator("label_form", mode="before")
    @classmethod
    def _above(cls, value: Any) -> Any:
        return value["above"] if isinstance(value, dict) and value.keys() == {"above"} else value

    @field_validator("splits", mode="before")
    @classmethod
    def _one_fold_will_do(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"train", "val", "test"} & value.keys() and not _is_random(value):
            return (value,)
        return value

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        self.class_list()
        if (self.layout == "csv") != (self.table is not None):
            raise ValueError("layout csv and a table belong together")
        return self

    def class_list(self) -> ClassList:
        """The class list: value → name, colour; or the masks that may overlap."""
        names = {v: c.name for v, c in self.classes.items()}
        colours = {v: c.colour for v, c in self.classes.items() if c.colour is not None}
        if self.masks or self.regions:
            regions = dict.fromkeys(self.masks, ()) or self.regions
            made = ClassList.of_masks(regions, self.void, self.classes)
        else:
            made = ClassList.from_names(names, colours, self.void, background=self.background)
        made = replace(made, merged=tuple(self.merge.items()))
        if isinstance(self.label_form, str):
            return replace(made, label_form=self.label_form, void_colours=self.void_colours)
        return replace(made, label_form="above", threshold=self.label_form)

    def channel_names(self) -> tuple[str, ...]:
        """The channels that the recipe names, or those that its layout has; ingest may find others."""
        if self.channels:
            return tuple(self.channels)
        return imagesets.COLOURS if self.layout in get_args(ImageSet) else ("image",)

    def n_folds(self) -> int:
        """How many folds the splits make."""
        if self.splits == "listed":
            return 1
        return self.splits.folds if isinstance(self.splits, RandomSplit) else len(self.splits)


def _is_random(value: dict[str, Any]) -> bool:
    return all(isinstance(v, int | float) for v in value.values())


class Preprocess(_Part):
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


class Sampling(_Part):
    """Which 2.5D windows a training batch is made of.

    By `order: each_once` every training case is used once an epoch, in an order of the epoch's own; the last
    batch is filled up with the first cases again, and `train.steps_per_epoch` is not used.

    `plane` may be a list: each window is then of one of them, drawn by chance, for a network that is `shared`
    by all (`plane_networks`), or `separate` networks are trained, one a plane. A volume is predicted along
    each plane; `predict.members` says how the results are joined.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"order", "plane_networks"})

    plane: Plane | tuple[Plane, ...] = "axial"
    plane_networks: Literal["shared", "separate"] = "shared"
    depth: Count = 3
    window: Pair = (40, 40)
    class_share: Share = 0.8
    order: Literal["random", "each_once"] = "random"

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


class Network(_Part):
    """A row of `medseg info --full`, or `monai.networks.nets:<Name>`, and its keywords.

    Its first weights are drawn by `train.seed`, unless its body's published `weights` are named, or a model
    folder to `start_from`: FCN-16s and 8s start as the coarser net that lies there; any other network takes
    every tensor whose name and shape agree, but for those whose names match `start_fresh` (globs).
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"weights", "start_from", "start_fresh"})

    name: str = "usegnet"
    keywords: dict[str, Any] = Field(default_factory=dict)
    weights: Weights | None = None
    start_from: Path | None = None
    start_fresh: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _starts_from_one_place(self) -> Self:
        if self.weights is not None and self.start_from is not None:
            raise ValueError("weights and start_from both say what training starts from; keep one of them")
        if self.start_fresh and self.start_from is None:
            raise ValueError("start_fresh leaves out some of what start_from gives; name a model there")
        return self

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


class Predict(_Part):
    """How label maps are made: whole slices, a covering grid of windows that vote or are blended by Gaussian
    weights, or overlap-tiles (for networks of valid convolutions).

    `window` is `sampling.window` unless given. Without `stride`, voting windows are at most 10 px apart,
    blended ones overlap by half, tiles by as little as can be. A `tile` is what the network takes in; without
    it a batch of tiles takes at most `memory_mb`. `crf` refines each slice's probabilities: weights, widths
    and steps of a dense CRF, or null.

    `members` says how the networks of several folds are joined, and the results along several planes: by mean
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
    crf: Crf | None = None
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    scale_fusion: Literal["mean", "max"] = "mean"
    flip: bool = False
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    members: Literal["mean", "vote"] = "mean"
    roles: tuple[Literal["train", "val", "test", "unlabelled"], ...] = ("test", "unlabelled")
    margin_map: bool = False


class Evaluate(_Part):
    """Tolerances of the surface Dice (mm, or px for images) and of boundary F1 (share of the diagonal).

    `cost_fp` and `cost_fn` are what a false positive and a false negative cost in the weighted error.
    """

    nsd_tolerance: Annotated[float, Field(ge=0)] = 1.0
    bf_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0075
    cost_fp: Annotated[float, Field(ge=0)] = 1.0
    cost_fn: Annotated[float, Field(ge=0)] = 1.0


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
        yield from images.clashes(self)
        yield from masks.clashes(self)
        yield from planes.clashes(self)
