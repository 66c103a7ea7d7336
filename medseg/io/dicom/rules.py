"""Rules by which the series of an export are chosen: for a channel of a model, or of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medseg.errors import Code, MedsegError
from medseg.grid import PLANE_AXIS, Plane
from medseg.io.dicom.contrast import CONTRASTS, Contrast, contrast_of
from medseg.io.dicom.series import SeriesVolume

ANY = "any"
"""The word that lifts a rule on the command line."""

_PLANE_OF_AXIS = {axis: plane for plane, axis in PLANE_AXIS.items()}
_KNOWN_MODALITIES = ("MR", "CT", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "SC", "OT", "OCT", "OPT")


class SeriesRules(BaseModel):
    """Rules that a series must meet to be taken; an empty rule is always met."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    modality: tuple[str, ...] = ("MR",)
    """Modalities as DICOM names them. Typical: [MR]."""

    contrast: tuple[Contrast, ...] = ()
    """Contrasts of MR by its sequence's times: t1, t1ce (after a contrast agent), t2, flair, pd, t2star, dwi.
    Typical: [t1, t1ce]."""

    plane: tuple[Plane, ...] = ()
    """Planes that the slices lie nearest to. Typical: [] for any."""

    description: tuple[str, ...] = ()
    """Patterns of SeriesDescription, of which one must match, in capital or small letters. Typical:
    ["*mprage*"]."""

    min_slices: Annotated[int, Field(ge=1)] = 1
    """Least number of slices. Typical: 10."""

    max_spacing_mm: Annotated[float, Field(gt=0)] | None = None
    """Longest edge that a voxel may have. Typical: 7 for stacks of thick slices, 1.5 for 3-D scans."""

    @field_validator("modality")
    @classmethod
    def _in_capitals(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.upper() for word in words)

    def words(self) -> str:
        """The rules that are not empty, in words."""
        rules = {
            name: value for name, value in self.model_dump(exclude_none=True).items() if value not in ((), 1)
        }
        listed = {
            name: " or ".join(value) if isinstance(value, tuple) else f"{value:g}"
            for name, value in rules.items()
        }
        return "; ".join(f"{name} {value}" for name, value in listed.items()) or "any"

    def changed(self, text: str) -> Self:
        """These rules with one replaced, given as `rule=value,value`; `any` lifts it. Raises USAGE."""
        name, _, value = text.partition("=")
        rule = type(self).model_fields.get(name)
        if rule is None or not value:
            known = ", ".join(type(self).model_fields)
            raise MedsegError(Code.USAGE, "--series", f"{text!r} is no RULE=VALUE", f"name one of {known}")
        listed = str(rule.annotation).startswith("tuple")
        words: Any = value.split(",") if listed else value
        if value == ANY:
            words = () if listed else SeriesRules(modality=()).model_dump()[name]
        try:
            return type(self).model_validate({**self.model_dump(), name: words})
        except ValidationError as error:
            details = f"{name}: {error.errors()[0]['msg'].lower()}"
            how_to_fix = (
                f"contrasts are {', '.join(CONTRASTS)}; planes {', '.join(PLANE_AXIS)}; or give {ANY}"
            )
            raise MedsegError(Code.USAGE, "--series", details, how_to_fix) from None


def against(volume: SeriesVolume, rules: SeriesRules) -> str:
    """The rule that a volume does not meet, with its value, in words; empty if it meets them all.

    Free text of the header is compared, never repeated. Raises OSError.
    """
    modality = volume.header.modality
    if rules.modality and modality not in rules.modality:
        shown = modality if modality in _KNOWN_MODALITIES else "unknown"
        return f"modality: {shown}; taken are {', '.join(rules.modality)}"
    plane, slices, spacing = _geometry(volume)
    if rules.plane and plane not in rules.plane:
        return f"plane: {plane}; taken are {', '.join(rules.plane)}"
    if slices < rules.min_slices:
        return f"min_slices: {slices} slices; at least {rules.min_slices} are taken"
    if rules.max_spacing_mm is not None and max(spacing) > rules.max_spacing_mm:
        return (
            f"max_spacing_mm: voxels of up to {max(spacing):.3g} mm; up to {rules.max_spacing_mm:g} are taken"
        )
    if rules.description and not _matches(volume.header.description, rules.description):
        return "description: matches none of the patterns"
    if rules.contrast and (contrast := contrast_of(volume)) not in rules.contrast:
        return f"contrast: {contrast or 'not told by the header'}; taken are {', '.join(rules.contrast)}"
    return ""


def described(volume: SeriesVolume) -> str:
    """A volume in words: modality, contrast, plane, slices and voxels; empty for one that is refused."""
    if volume.grid is None:
        return ""
    plane, slices, spacing = _geometry(volume)
    modality = volume.header.modality if volume.header.modality in _KNOWN_MODALITIES else "modality unknown"
    contrast = contrast_of(volume) if modality == "MR" else None
    edges = " × ".join(f"{edge:.3g}" for edge in spacing)
    return ", ".join(filter(None, (modality, contrast, plane, f"{slices} slices", f"{edges} mm")))


def _geometry(volume: SeriesVolume) -> tuple[Plane, int, tuple[float, ...]]:
    """The plane nearest to the slices, their number, and the voxels' edges (mm)."""
    if volume.grid is None:
        raise ValueError("a refused volume has no slices")
    normal = np.abs(volume.grid.affine[:3, 2])
    return _PLANE_OF_AXIS[int(normal.argmax())], volume.grid.shape[2], tuple(volume.grid.spacing)


def _matches(description: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(description.lower(), pattern.lower()) for pattern in patterns)
