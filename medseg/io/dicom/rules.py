"""Rules by which the series of an export are chosen: for a channel of a model, or of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from medseg.errors import Code, MedsegError, choice
from medseg.grid import PLANE_AXIS, Grid, Plane
from medseg.io.dicom import terms
from medseg.io.dicom.contrast import CONTRASTS, Contrast, contrast_of
from medseg.io.dicom.series import SeriesVolume

ANY = "any"
"""The word that lifts a rule on the command line."""

_PLANE_OF_AXIS = {axis: plane for plane, axis in PLANE_AXIS.items()}


def one_will_do(value: Any) -> Any:
    """Make a list of a single text or number, so that recipes need not (for validators)."""
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(one_will_do, json_schema_input_type=str | tuple[str, ...])]
Contrasts = Annotated[
    tuple[Contrast, ...], BeforeValidator(one_will_do, json_schema_input_type=Contrast | tuple[Contrast, ...])
]
Planes = Annotated[
    tuple[Plane, ...], BeforeValidator(one_will_do, json_schema_input_type=Plane | tuple[Plane, ...])
]


class SeriesRules(BaseModel):
    """Rules by which the DICOM series of a channel is chosen; all must be met, and an empty one always is.

    A text alone is the pattern of the description. Patterns have `*` and `?`; case does not matter. A single
    value need not be a list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    modality: Texts = ("MR",)
    """Modalities as DICOM names them; `[]` for any. Typical: left out, or `CT`."""

    contrast: Contrasts = ()
    """Contrasts of MR by its sequence's times: t1, t1ce (after a contrast agent), t2, flair, pd, t2star, dwi.
    Typical: `[t1, t1ce]`."""

    plane: Planes = ()
    """Planes that the slices lie nearest to. Typical: left out."""

    description: Texts = ()
    """Patterns of the SeriesDescription, one of which must match. Typical: `"*mprage*"`."""

    without: Texts = ()
    """Patterns of the SeriesDescription, none of which may match. Typical: left out, or `"*localizer*"`."""

    min_slices: Annotated[int, Field(ge=1)] = 1
    """Least number of slices. Typical: 10, which leaves localizers out."""

    max_spacing_mm: Annotated[float, Field(gt=0)] | None = None
    """Longest edge that a voxel may have (mm). Typical: 7 for stacks of thick slices, 1.5 for 3-D scans."""

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
            how_to_fix = choice(name, type(self).model_fields, "name one of")
            raise MedsegError(Code.USAGE, "--series", f"{text!r} is no RULE=VALUE", how_to_fix)
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

    A volume that is refused meets the rules of plane and voxels, as nobody knows its own. Free text of the
    header is compared, never repeated. Raises OSError.
    """
    checks = (_against_modality, _against_stack, _against_description, _against_contrast)
    return next(filter(None, (check(volume, rules) for check in checks)), "")


def against_all(volume: SeriesVolume, by_channel: Mapping[str, SeriesRules]) -> dict[str, str]:
    """By channel, the rule that a volume does not meet, as by :func:`against`. Raises OSError."""
    return {name: against(volume, rules) for name, rules in by_channel.items()}


def reason_of(against: Mapping[str, str]) -> str:
    """The rules by channel that a volume does not meet, in words; a model's only channel is not named."""
    if len(against) == 1:
        return next(iter(against.values()))
    return "; ".join(f"{name}: {why}" for name, why in against.items())


def _against_modality(volume: SeriesVolume, rules: SeriesRules) -> str:
    modality = volume.header.modality
    if rules.modality and modality not in rules.modality:
        return f"modality: {modality or 'none'}; taken are {', '.join(rules.modality)}"
    return ""


def _against_stack(volume: SeriesVolume, rules: SeriesRules) -> str:
    slices = _slices(volume)
    if slices is not None and slices < rules.min_slices:
        return f"min_slices: {slices} slices; at least {rules.min_slices} are taken"
    if volume.grid is None:
        return ""
    plane, longest = _plane(volume.grid), max(volume.grid.spacing)
    if rules.plane and plane not in rules.plane:
        return f"plane: {plane}; taken are {', '.join(rules.plane)}"
    if rules.max_spacing_mm is not None and longest > rules.max_spacing_mm:
        return f"max_spacing_mm: voxels of up to {longest:.3g} mm; up to {rules.max_spacing_mm:g} are taken"
    return ""


def _against_description(volume: SeriesVolume, rules: SeriesRules) -> str:
    text = volume.header.description
    if rules.description and not _like_any(text, rules.description):
        return "description: matches none of the patterns"
    return "without: the description matches a pattern" if _like_any(text, rules.without) else ""


def _against_contrast(volume: SeriesVolume, rules: SeriesRules) -> str:
    if rules.contrast and (contrast := contrast_of(volume)) not in rules.contrast:
        return f"contrast: {contrast or 'not told by the header'}; taken are {', '.join(rules.contrast)}"
    return ""


def described(volume: SeriesVolume) -> str:
    """A volume in words: modality, contrast, plane, slices and voxels; empty for one that is refused."""
    if volume.grid is None:
        return ""
    modality = volume.header.modality
    contrast = contrast_of(volume) if modality == "MR" else None
    edges = " × ".join(f"{edge:.3g}" for edge in volume.grid.spacing)
    kind = modality if modality in terms.MODALITIES else "modality unknown"
    words = (kind, contrast, _plane(volume.grid), f"{_slices(volume)} slices", f"{edges} mm")
    return ", ".join(filter(None, words))


def like(text: str, pattern: str) -> bool:
    """Tell whether a text is a pattern's, with ``*`` and ``?``, regardless of case and outer spaces."""
    one, other = text.strip().casefold(), pattern.strip().casefold()
    return one == other or fnmatchcase(one, other)


def escaped(text: str) -> str:
    """Write a text so that a pattern takes it as it is."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _like_any(text: str, patterns: Sequence[str]) -> bool:
    return any(like(text, pattern) for pattern in patterns)


def _slices(volume: SeriesVolume) -> int | None:
    """The number of slices; None for a refused mosaic, whose tiles nobody can count."""
    if volume.grid is not None:
        return volume.grid.shape[2]
    return None if volume.header.mosaic else len(volume.frames)


def _plane(grid: Grid) -> Plane:
    """The plane nearest to the slices."""
    return _PLANE_OF_AXIS[int(np.abs(grid.affine[:3, 2]).argmax())]
