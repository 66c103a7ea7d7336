"""A recipe's data section: where cases lie, what the values of labels mean, who has which role."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medseg.classes import ClassList, ClassListError
from medseg.config.section import Clash, ClashError, Count, Section, Share, refusal
from medseg.errors import Code, MedsegError
from medseg.ingest import imagesets, subjects
from medseg.ingest.imagesets import ImageSet


class ClassSpec(Section):
    """One class: its name and, if wanted, its colour (RGB, 0-255)."""

    name: str
    colour: tuple[int, int, int] | None = None


class Fold(Section):
    """Case names of one fold; an entry is a name, a glob, or a range `first..last` in sorted order."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class RandomSplit(Section):
    """Folds made by subject from a seed: shares of subjects for validation and test."""

    folds: Count = 1
    val: Share = 0.2
    test: Share = 0.2
    seed: int = 0


class Data(Section):
    """Where the scans lie, which files are channels and labels, what values mean, who has which role.

    Without a `background` the first class is scored and drawn like the others. Values in `void` are ignored.
    Label files write a class by its value, by its colour (`label_form: colours`; those of `void_colours` are
    void) or as a grey mask (`label_form: {above: x}`, also written as the number alone: greys above x are the
    second class). `merge` gives values of label files to a class of another value.

    What is segmented may overlap: `regions` names masks by the values of the label map that make them up
    (`whole: [1, 2]`), or `masks` by the pattern of a file each, 1 inside and 0 outside, instead of `label`
    and `classes`; at most 7, whose names are parts of files' names.

    `class_file` names a packaged class list (`configs/classes/`) or a YAML file with `classes` and perhaps
    `background`, `void`, `void_colours`, `label_form`, `merge`, `layout`, `channels` and `label`, which hold
    where the recipe does not say otherwise.

    `subject` reads the subject from a case's name: by `"{subject}_ses-*"` the case `sub-1_ses-2` is of
    subject `sub-1`; a name that it does not match is a subject of its own. Cases of one subject are on one
    side of the splits.

    Pictures give three channels where three names share a pattern, one where a name has its own. Layout `csv`
    reads `table`, a path relative to `path`. `splits: listed` takes the roles that the data set itself gives.
    """

    path: Path | None = None
    layout: Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns", "csv", ImageSet] = "auto"
    table: str | None = None
    channels: dict[str, str] = Field(default_factory=dict)
    label: str | None = None
    subject: str | None = None
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

    @field_validator("subject")
    @classmethod
    def _reads_subjects(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                subjects.rule(value)
            except MedsegError as error:
                raise refusal(error.code, error.finding.details, error.finding.how_to_fix) from None
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
        try:
            self.class_list()
        except ClassListError as wrong:
            raise ClashError(
                (Clash((f"data.{self._key(wrong)}",), wrong.details, wrong.how_to_fix),)
            ) from None
        if (self.layout == "csv") != (self.table is not None):
            raise ValueError("layout csv and a table belong together")
        return self

    def _key(self, wrong: ClassListError) -> str:
        """The key that holds what is wrong with the class list."""
        if wrong.part != "classes":
            return wrong.part
        return "masks" if self.masks else "regions" if self.regions else "classes"

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
