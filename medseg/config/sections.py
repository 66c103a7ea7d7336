"""The sections of a recipe, each valid by itself. Defaults are written here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medseg import losses, networks
from medseg.config.base import (
    Above,
    Clash,
    ClashError,
    Count,
    Pair,
    Positive,
    Section,
    Share,
    number_of,
    refusal,
)
from medseg.config.crf_search import CRFSearch
from medseg.config.data import Data
from medseg.config.pretrained import Weights
from medseg.config.reporting import Evaluate, Report, Tracking
from medseg.config.training import Train
from medseg.errors import Code, MedsegError, choice
from medseg.grid import Plane, planes_of
from medseg.limits import MAX_NAME_BYTES
from medseg.model.description import CRFSettings, InstanceSettings
from medseg.volume import Intensity


class Preprocess(Section):
    """Orientation, voxel size, crop and grey values of what the network sees. Results are resampled back."""

    LATER: ClassVar[frozenset[str]] = frozenset({"spacing_px"})

    foreground: Literal["auto", "all"] | float = "auto"
    """Voxels that crop and z-score use: `auto` (all but the lowest value if it fills 20 % of the volume),
    `all`, or `{above: x}`. Typical: `auto` for scans, `all` for images."""

    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """Voxel size (mm along R, A, S) that scans are resampled to; nothing keeps each scan's own. Typical: left
    out where all scans are alike, otherwise their median, such as `[1, 1, 1]`."""

    spacing_px: tuple[Positive, Positive] | None = None
    """Size of a new pixel in old pixels (rows, columns) for images: 2 halves them. Typical: left out, or 2
    where whole images are too large to train on."""

    n4: bool = False
    """N4 correction of the bias field before anything else. Typical: false; true where the same tissue is
    brighter on one side of the scans. It takes about a minute a scan."""

    crop: bool = True
    """Cut volumes to their foreground, plus `crop_margin`. Typical: true for scans, false for images."""

    crop_margin: Annotated[int, Field(ge=0)] = 8
    """Voxels kept around the foreground on each side. Typical: 4 to 16."""

    intensity: Intensity = "zscore"
    """Scaling of grey values: by mean and standard deviation of each volume's foreground, by the fixed values
    of ImageNet (three colours), none, or cut off at two ends that become -1 and 1: `{window: [a, b]}` at
    these values (HU in CT), `{percentiles: [p, q]}` at those of each volume's foreground. Typical: `zscore`;
    `imagenet` with `network.weights`; `{window: [-200, 250]}` for the liver in CT."""

    @field_validator(
        "foreground", mode="before", json_schema_input_type=Literal["auto", "all"] | float | Above
    )
    @classmethod
    def _above(cls, value: Any) -> Any:
        return number_of(value)


class Sampling(Section):
    """The 2.5D patches that the network is trained on."""

    LATER: ClassVar[frozenset[str]] = frozenset({"order", "plane_networks"})

    plane: Plane | tuple[Plane, ...] = "axial"
    """Plane whose slices are segmented, or a list of planes whose results are combined. Typical: the plane
    with the finest pixels; all three for isotropic voxels and smoother results, at three times the cost."""

    plane_networks: Literal["shared", "separate"] = "shared"
    """With several planes: one network trained on all of them, or one network for each plane. Typical:
    `shared`."""

    depth: Count = 3
    """Input slices (2.5D): an odd number of adjacent slices that the network sees; it labels the middle one.
    Typical: 3 to 7 for scans, 1 for images."""

    window: Pair = (40, 40)
    """Height and width (px) of a training patch. Typical: 40 to 256; larger patches show more context and
    take more memory."""

    foreground_oversampling: Share = 0.8
    """Share of the patches that are centred on a voxel of a class drawn by chance, so that rare classes are
    seen; the others lie anywhere, and so do all of an auto-encoder. Typical: 0.5 to 0.8 for small
    structures, 0 for whole images."""

    order: Literal["random", "shuffled"] = "random"
    """`random`: `train.steps_per_epoch` batches of patches drawn from any case. `shuffled`: every training
    case once an epoch in a new order; the last batch is filled up with the first cases. Typical: `random` for
    scans, `shuffled` for images."""

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
        """Planes, as a tuple even where there is one."""
        return planes_of(self.plane)

    @field_validator("depth")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("give an odd number of input slices: the middle one is labelled")
        return value


def _names_of_networks(schema: dict[str, Any]) -> None:
    """Offer the table's names in a JSON Schema, beside those of MONAI."""
    del schema["type"]
    pattern = f"^{networks.MONAI_PREFIX.replace('.', '[.]')}[A-Za-z_][A-Za-z0-9_]*$"
    schema["anyOf"] = [{"enum": sorted(networks.NETWORKS)}, {"type": "string", "pattern": pattern}]


class Network(Section):
    """The network and its initial weights, which are random (by `train.seed`) unless a key names others."""

    LATER: ClassVar[frozenset[str]] = frozenset({"weights", "init_from", "reinit_layers"})

    name: Annotated[str, Field(json_schema_extra=_names_of_networks)] = "usegnet"
    """Name of the network (`medseg info --full` lists them), or `monai.networks.nets:<Name>` for a 2-D one
    of MONAI. Typical: `usegnet`, or `unet`."""

    keywords: dict[str, Any] = Field(default_factory=dict)
    """Keywords of the network, by name; `medseg info --full` lists them. Typical: `{width: 32}` to make it
    smaller or larger."""

    weights: Weights | None = None
    """Published weights of the backbone to start from. Typical: left out for scans; ImageNet's for images."""

    init_from: Path | None = None
    """Model folder to start from, or a model that comes with medseg, by its name (`medseg models`): every
    tensor whose name and shape agree is taken; FCN-16s and FCN-8s take the coarser network. Typical: left
    out, or `brain-tissue` for few labelled brains."""

    reinit_layers: tuple[str, ...] = ()
    """Globs of parameter names that are not taken from `init_from`. Typical: left out, or `["head.*"]`."""

    @model_validator(mode="after")
    def _starts_from_one_place(self) -> Self:
        if self.weights is not None and self.init_from is not None:
            details = "init_from also says which weights training starts from"
            raise ClashError((Clash(("network.weights", "network.init_from"), details, "keep one of them"),))
        if self.reinit_layers and self.init_from is None:
            details = "there is no network.init_from whose layers could start anew"
            keys = ("network.reinit_layers", "network.init_from")
            raise ClashError((Clash(keys, details, "name a model folder there, or leave it out"),))
        return self

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            networks.check_name(value)
        except MedsegError as error:
            raise refusal(error.code, error.finding.details, error.finding.how_to_fix) from None
        return value

    @field_validator("keywords")
    @classmethod
    def _may_be_set(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        try:
            networks.check_keywords(info.data.get("name", ""), value)
        except MedsegError as error:
            raise refusal(error.code, error.finding.details, error.finding.how_to_fix) from None
        return value


class WeightMap(Section):
    """Pixel weights between close objects, as in the U-Net paper: w0 · exp(−(d1 + d2)² / 2 sigma²)."""

    w0: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Largest weight, where two objects touch. Typical: 5 to 20."""

    sigma_px: Positive = 5.0
    """Distance (px of a slice) over which the weight fades. Typical: the width of the gaps, 2 to 10."""


class Loss(Section):
    """The training loss."""

    name: Annotated[str, Field(json_schema_extra={"enum": sorted(losses.LOSSES)})] = "ce_dice"
    """Name of the loss: `ce`, `dice`, `ce_dice`, `focal`, `iou`, `unetpp`, for overlapping masks `bce`,
    `bce_dice`, or `reconstruction` of the network `autoencoder`, which needs no labels. Typical: `ce_dice`;
    `bce_dice` for masks."""

    class_weights: Literal["none", "median_frequency"] | tuple[float, ...] = "none"
    """Weight of each class: none, by its median frequency in the training cases, or a list, background first.
    Typical: `none`; `median_frequency` where classes differ much in size."""

    weight_map: WeightMap | None = None
    """Extra weight of pixels between close objects, added to the weight of the class; for `ce`, `ce_dice`
    and `focal`. Typical: left out; `{}` for touching cells."""

    keywords: dict[str, Any] = Field(default_factory=dict)
    """Keywords of the loss, by name. Typical: left out, or `{gamma: 2}` for `focal`."""

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in losses.LOSSES:
            how_to_fix = choice(value, sorted(losses.LOSSES))
            raise refusal(Code.KEYWORD_INVALID, f"there is no loss {value!r}", how_to_fix)
        return value

    @model_validator(mode="after")
    def _takes_its_weight_map(self) -> Self:
        if self.weight_map is not None and self.name not in losses.TAKE_WEIGHT_MAPS:
            takers = ", ".join(losses.TAKE_WEIGHT_MAPS)
            raise ValueError(f"loss.weight_map: {self.name} takes none; use one of {takers}")
        return self


class Predict(Section):
    """The segmentation of whole volumes from the network's outputs. The model folder keeps these settings."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "scales",
            "scale_fusion",
            "flip",
            "thresholds",
            "calibrate",
            "level",
            "probabilities",
            "instances",
            "crf_search",
        }
    )

    mode: Literal["dense", "vote", "tiles", "gaussian"] = "dense"
    """`dense`: whole slices; `vote`: majority vote of overlapping windows; `gaussian`: windows blended with
    Gaussian weights; `tiles`: overlap-tiles, for networks of valid convolutions. Typical: `dense`; `gaussian`
    where slices are too large for the memory."""

    window: Pair | None = None
    """Height and width (px) of a window of `vote` and `gaussian`; nothing takes `sampling.window`. Typical:
    left out."""

    stride: Pair | None = None
    """Distance (px) between windows; nothing takes at most 10 px to vote, half a window to blend and the
    least overlap for tiles. Typical: left out."""

    tile: Count | Pair | None = None
    """Side of the input of an overlap-tile (px), or height and width; nothing takes the largest that fit into
    `memory_mb`. Typical: left out."""

    memory_mb: Count = 1024
    """Memory (MiB) that a batch of overlap-tiles may take. Typical: 512 to 8192."""

    batch: Count | None = None
    """Slices or windows in one forward pass; nothing chooses by the mode. Typical: left out; 1 to 8 when the
    memory is full."""

    level: Annotated[int, Field(ge=1, le=6)] | None = None
    """Head of `unetpp` to predict by: the model folder gets the smaller network that ends there (pruning);
    nothing takes the whole network. Typical: left out; 3 for two thirds of the time."""

    crf: CRFSettings | None = None
    """Dense CRF that refines each slice's probabilities; `{}` takes its defaults. Typical: left out."""

    crf_search: CRFSearch | None = None
    """Grid of values of `crf` to search for the best ones on the validation cases, once training has ended;
    the model folder gets them in place of `crf`. Typical: left out, or `{sigma_alpha: [30, 65, 100]}`."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Test-time augmentation: sizes at which each slice is segmented and averaged. Typical: `[1]`;
    `[0.75, 1, 1.25]` for images."""

    scale_fusion: Literal["mean", "max"] = "mean"
    """Combination of `scales` and `flip`: mean probability or largest score. Typical: `mean`."""

    flip: bool = False
    """Test-time augmentation: also segment each slice mirrored from left to right, and average; sagittal
    slices are not mirrored. Typical: false; true for a little accuracy at twice the time."""

    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    """Mask name: probability above which a voxel is inside, for overlapping masks; 0.5 where none is given.
    Typical: 0.3 to 0.6."""

    ensemble: Literal["mean", "vote"] = "mean"
    """Combination of the networks of several folds, and of the results along several planes: mean
    probabilities, or majority vote (a tie goes to the first class). Typical: `mean`."""

    instances: InstanceSettings | None = None
    """Also save a map of objects, each with a number: `{}` takes what is connected as one object, see below.
    It needs one class beside the background. Typical: left out; `{}` for cells."""

    roles: tuple[Literal["train", "val", "test", "unlabelled"], ...] = ("test", "unlabelled")
    """Cases that the predict stage segments. Typical: `[test, unlabelled]`."""

    calibrate: bool = False
    """Predict the Dice of each structure in new scans, and mark those below a threshold for review: a
    calibration is fitted on the validation cases, clean and corrupted, once training has ended, and kept in
    the model folder. For scans. Typical: true; it takes as long as segmenting some 30 to 170 scans."""

    confidence_map: bool = False
    """Also save a confidence map: the difference of the two highest probabilities, 0 to 1, in each voxel.
    Typical: false."""

    probabilities: bool = False
    """Also save the probability of each class in each voxel, in steps of 1/255. Typical: false."""


class Sections(Section):
    """All sections of a recipe; only `name` and `data` are required."""

    name: Annotated[str, Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME_BYTES - 1}}}$")]
    """Name of the run: the default work folder is `work/<name>`. Typical: letters, digits, `_`, `.`, `-`."""

    description: str = ""
    """One sentence for lists and reports. Typical: data and method."""

    data: Data
    """The cases, their labels and splits."""

    preprocess: Preprocess = Preprocess()
    """Geometry and grey values."""

    sampling: Sampling = Sampling()
    """Training patches."""

    network: Network = Network()
    """The network and its initial weights."""

    loss: Loss = Loss()
    """The training loss."""

    train: Train = Train()
    """The training loop."""

    predict: Predict = Predict()
    """Segmentation of whole volumes."""

    evaluate: Evaluate = Evaluate()
    """Scores."""

    report: Report = Report()
    """The report."""

    tracking: Tracking = Tracking()
    """MLflow."""

    @property
    def reconstructs(self) -> bool:
        """True for the recipe of an auto-encoder, which looks at no label and ends with its training."""
        return self.loss.name == losses.RECONSTRUCTION
