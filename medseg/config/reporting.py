"""Sections of a recipe on what is said of results: scores, report, tracking."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from medseg.config.base import (
    NotNegative,
    Section,
    refusal,
)
from medseg.errors import Code
from medseg.redaction import has_credentials


class Evaluate(Section):
    """Settings of the scores."""

    nsd_tolerance: NotNegative = 1.0
    """Surface distance that counts as correct in the normalised surface Dice (mm; px for images). Typical: 1
    to 3, the differences between human readers."""

    bf_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0075
    """Distance that counts as correct in boundary F1, as a share of the image's diagonal. Typical: 0.0075,
    as published."""

    cost_fp: NotNegative = 1.0
    """Cost of a false positive voxel in the weighted error. Typical: 1."""

    cost_fn: NotNegative = 1.0
    """Cost of a false negative voxel in the weighted error. Typical: 1; more where misses are worse."""


class Report(Section):
    """Settings of the report."""

    explain: tuple[str, ...] = ()
    """Names of classes for which the report shows Grad-CAM figures of every case. Typical: left out; each
    predicts every case once more."""

    viewers: Annotated[int, Field(ge=0)] = 500
    """Most cases that get a page of their own in `report/cases/`, on which all slices can be scrolled, the
    worst scored first; 0 for none. Typical: 500; a page takes about a second and some megabytes."""


class Tracking(Section):
    """Tracking of the run in MLflow."""

    enabled: bool = True
    """Track the run. Typical: true."""

    uri: str | None = None
    """Address of an MLflow server; nothing takes a store in the work folder. User name and password are given
    by MLflow's environment variables, not here. Typical: left out, or `http://localhost:5000`."""

    overlays: bool = True
    """Figures of one validation case during training, and of the scored cases. Typical: true; false where
    images must not leave the machine."""

    host: bool = True
    """The name of this machine among the run's tags. Typical: true; false where names of machines must not be
    shared."""

    register_as: Annotated[str, Field(pattern=r"^[^/:]{1,200}$")] | None = None
    """Name in MLflow's model registry: each trained model becomes its newest version, with the alias
    `current`. Typical: left out, or `brain-tissues`."""

    @field_validator("uri")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value is not None and has_credentials(value):
            how_to_fix = (
                "leave it out of the URI and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN, in the environment"
            )
            raise refusal(Code.RECIPE_INVALID, "it holds a user name, a password or a token", how_to_fix)
        return value
