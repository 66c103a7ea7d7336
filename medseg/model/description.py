"""The content of `model.json`: all that is needed to use a trained network, as one frozen tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg import names
from medseg.classes import ClassList
from medseg.grid import Plane, planes_of
from medseg.io.dicom.rules import SeriesRules
from medseg.limits import MAX_COUNT, MAX_MEMBERS
from medseg.model.calibration import Calibration
from medseg.model.domain import Domain
from medseg.model.graphs import Graph
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground, Intensity
from medseg.preprocess.prepare import PreparePlan

Fusion = Literal["mean", "max"]
"""Rule that joins the scores of several scales."""

MEMORY_MB = 1024
"""Memory that a batch of tiles may take, unless a model or recipe says otherwise."""

Weight = Annotated[float, Field(ge=0)]
Sigma = Annotated[float, Field(gt=0)]


class CRFSettings(BaseModel):
    """Weights and widths of the two kernels of a dense CRF, and the number of its mean-field steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    w1: Weight = 4.0
    """Weight by which near pixels of similar grey values get the same class. Typical: 3 to 10."""

    sigma_alpha: Sigma = 70.0
    """Width of that kernel in pixels. Typical: 30 to 100 for images, less for scans."""

    sigma_beta: Sigma = 4.0
    """Width of that kernel in grey values, 0 to 255. Typical: 3 to 10."""

    w2: Weight = 3.0
    """Weight by which near pixels get the same class. Typical: 3."""

    sigma_gamma: Sigma = 3.0
    """Width of that kernel in pixels. Typical: 1 to 5."""

    iterations: Annotated[int, Field(ge=1)] = 10
    """Mean-field steps. Typical: 5 to 10."""


class InstanceSettings(BaseModel):
    """The way in which objects of one class are told apart in a label map."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: Literal["components", "watershed"] = "components"
    """`components`: what is connected is one object; `watershed`: components are also cut where they are
    narrow. Typical: `components` where training had background between objects, otherwise `watershed`."""

    min_distance_px: Annotated[int, Field(ge=1, le=1000)] = 5
    """For `watershed`, the distance (px) within which there is one object. Typical: half the width of a small
    object."""

    min_size_px: Annotated[int, Field(ge=0)] = 0
    """Pixels that an object must have to be in the map. Typical: 0, or a tenth of a small object."""


THRESHOLD = 0.5
"""Of a mask for which none is given."""

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class _ClassRow(BaseModel):
    """The form of a row of `classes`."""

    model_config = ConfigDict(extra="forbid")

    value: int
    name: str
    colour: tuple[int, int, int]
    foreground: bool = False
    multilabel: bool = False
    codes: dict[str, dict[str, str]] = Field(default={})


class FilePatterns(BaseModel):
    """The patterns by which the recipe found the files of each channel, and label maps or masks; or none.

    Files that globs of ``ignore`` match are no scans. With ``layout`` bids placeholders match BIDS names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: dict[str, str] = Field(default={})
    label: str | None = None
    masks: dict[str, str] = Field(default={})
    ignore: tuple[str, ...] = ()
    layout: Literal["patterns", "bids"] = "patterns"


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
    outputs: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """For each of the network's outputs the index of the class that it counts for; empty: one a class."""
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
    memory_mb: int = MEMORY_MB
    batch: Count | None
    crf: CRFSettings | None = None
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    scale_fusion: Fusion = "mean"
    flip: bool = False
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    ensemble: Literal["mean", "vote"]
    instances: InstanceSettings | None = None
    series: dict[str, SeriesRules] = Field(default={})
    files: FilePatterns = FilePatterns()
    domain: dict[str, Any]
    calibration: Calibration | None = None
    trained: dict[str, Any]

    @field_validator("name")
    @classmethod
    def _may_be_a_file_name(cls, name: str) -> str:
        return names.check_name(name, "model.json, name")

    @field_validator("channels")
    @classmethod
    def _may_be_in_file_names(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.check_name(name, "model.json, channels") for name in channels)

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
    def _outputs_are_of_classes(self) -> Self:
        if self.outputs and set(self.outputs) != set(range(len(self.classes))):
            raise ValueError(f"outputs {self.outputs} for {len(self.classes)} classes")
        if self.outputs and self.class_list().multilabel:
            raise ValueError("outputs of overlapping masks, which cannot be joined")
        return self

    @model_validator(mode="after")
    def _thresholds_are_of_masks(self) -> Self:
        if unknown := self.thresholds.keys() - set(self.class_list().masks):
            raise ValueError(f"thresholds of {', '.join(sorted(unknown))}, which are no overlapping masks")
        return self

    @model_validator(mode="after")
    def _objects_are_of_one_class(self) -> Self:
        if self.instances is not None and len(self.class_list().foreground) != 1:
            raise ValueError("instances of more than one class")
        return self

    def series_rules(self) -> dict[str, SeriesRules]:
        """The rules by which the series of a DICOM export are chosen, for each channel."""
        return {name: self.series.get(name, SeriesRules()) for name in self.channels}

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

    def preprocessing(self) -> PreparePlan:
        """The steps from a scan to what the network sees."""
        geometry = GeometryPlan(
            spacing_mm=self.spacing_mm,
            crop=self.crop,
            crop_margin=self.crop_margin,
            foreground=self.foreground,
            spacing_px=self.spacing_px,
        )
        return PreparePlan(geometry, self.n4, self.intensity)

    @property
    def network_classes(self) -> int:
        """The number of the network's outputs, several of which may count for one class."""
        return len(self.outputs) or len(self.classes)

    @property
    def several_views(self) -> bool:
        """True if networks see each slice more than once: at several scales, or mirrored."""
        return self.scales != (1.0,) or self.flip


class Member(BaseModel):
    """A file of weights in the model folder: of a fold, for one ``plane`` or, without it, for all of them.

    A ``shared`` file lies in the folder above: several model folders in it use the same weights.
    """

    name: str
    file: str
    sha256: str
    plane: Plane | None = None
    shared: bool = False

    @field_validator("name", "file")
    @classmethod
    def _stays_in_the_folder(cls, value: str) -> str:
        return names.check_name(value, "model.json, members")


class ModelFile(BaseModel):
    """The part of `model.json` that is used; what wrote it is left out."""

    parameters: int
    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    graphs: Annotated[tuple[Graph, ...], Field(max_length=MAX_MEMBERS)] = ()
    description: Description
