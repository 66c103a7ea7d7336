"""What `model.json` holds: all that is needed to use a trained network, as one frozen tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medseg.classes import ClassList
from medseg.grid import Plane, planes_of
from medseg.model.domain import Domain
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Foreground, Intensity

Fusion = Literal["mean", "max"]
"""How scores of several scales are joined."""

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
    multilabel: bool = False


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
    memory_mb: int = MEMORY_MB
    batch: Count | None
    crf: CRFSettings | None = None
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    scale_fusion: Fusion = "mean"
    flip: bool = False
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    ensemble: Literal["mean", "vote"]
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
