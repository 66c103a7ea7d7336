"""The section `data` of a recipe: where the cases are, what label values mean, and how cases are split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medseg.classes import ClassList, ClassListError
from medseg.config.base import (
    Above,
    Clash,
    ClashError,
    Count,
    NotNegative,
    Section,
    Share,
    number_of,
    refusal,
)
from medseg.config.codes import ClassCodes
from medseg.config.series import OneSeries, Selectors
from medseg.errors import Code, MedsegError
from medseg.ingest import imagesets, subjects
from medseg.ingest.imagesets import ImageSet
from medseg.ingest.patterns import CLASS, of_classes
from medseg.names import invalid

Layout = Literal["auto", "plain", "subjects", "decathlon", "bids", "patterns", "csv", "dicom", ImageSet]
Colour = tuple[int, int, int]


class ClassSpec(Section):
    """One class, by the value that label files have for it: `1: lesion`, or with a colour."""

    name: str
    """Name of the class in tables and reports. Typical: a short word in lower case."""

    colour: Colour | None = None
    """Colour in figures and PNG label maps: red, green, blue, each 0 to 255. Typical: left out for scans."""


class Fold(Section):
    """One fold, written by case names. An entry is a name, a glob (`scan_1*`) or a range (`first..last`)."""

    train: tuple[str, ...] = ()
    """Cases to train on. Typical: 60 to 80 % of the cases."""

    val: tuple[str, ...] = ()
    """Cases that choose the best epoch. Typical: 10 to 20 % of the cases, and at least two."""

    test: tuple[str, ...] = ()
    """Cases that are only scored. Typical: 10 to 20 % of the cases, and at least five for intervals."""


class RandomSplit(Section):
    """Folds drawn at random by subject. Instead write one fold or a list of folds, `listed` or `all`."""

    folds: Count = 1
    """Number of folds; with several, every subject is tested once. Typical: 1, or 5 to cross-validate."""

    val: Share = 0.2
    """Share of the subjects that choose the best epoch. Typical: 0.1 to 0.2."""

    test: Share = 0.2
    """Share of the subjects that are only scored; more than one fold sets it. Typical: 0.2."""

    seed: int = 0
    """Seed of the drawing: the same seed gives the same split. Typical: 0."""


class Data(Section):
    """The cases: their files, channels and labels, the meaning of label values, and the splits.

    Classes exclude each other. For structures that overlap write `regions` or `masks`.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"series", "segments", "ignore", "instances", "overlap"})

    path: Path | None = None
    """Folder with the scans or images; `--data` overrides it. Typical: left out, and given by `--data`."""

    layout: Layout = "auto"
    """Organisation of the folder; `auto` recognises it, `patterns` reads `channels` and `label`, `csv` reads
    `table`, `dicom` DICOM series and segmentations. Typical: `auto`, or `patterns`."""

    table: str | None = None
    """CSV file of the layout `csv`, relative to `path`; its columns are case, image or one for each channel,
    label, and optionally subject and role. Typical: `cases.csv`."""

    channels: dict[str, str] = Field(default_factory=dict)
    """Channel name: file pattern below `path`; `{case}` and `{subject}` stand for names, `*` for anything;
    what stands in brackets may be missing: `{subject}/[{case}/]t1.nii.gz` reads visits of some patients.
    Three names with one pattern read the colours of an image. Typical: `{t1: "{case}/{case}_t1.nii.gz"}`."""

    label: str | None = None
    """File pattern of the label maps; with layout `dicom` a pattern of the SeriesDescription of the
    segmentations to use, all where it is left out. `{class}` stands for the name of a class where each has a
    file of its own, 1 inside and 0 outside. Typical: `"{case}/{case}_seg.nii.gz"`, or
    `"{case}/segmentations/{class}.nii.gz"`."""

    overlap: Literal["refuse", "later"] = "refuse"
    """Voxels that two classes with files of their own (`{class}` in `label`) share: `refuse` excludes the
    case, `later` gives them to the class that is later in the order of values. Typical: `refuse`."""

    series: dict[str, OneSeries] = Field(default={})
    """Channel name: rules that choose its series in DICOM exports, for ingest with layout `dicom` and for
    `segment`; left out, every MR series fits. Typical: `{t1: {contrast: [t1, t1ce], min_slices: 10}}`, or
    `{t1: "*t1*mprage*"}`."""

    segments: dict[int, Selectors] = Field(default={})
    """Value of a class: its segments in DICOM segmentations, each by label (`*` for anything), number, or
    code (`SCT:10200004`); left out, a segment belongs to the class that has its label as name. Typical: left
    out, or `{1: "Tumor*", 2: 5}`."""

    subject: str | None = None
    """Pattern that reads the subject (person) from a case's name: with `"{subject}_ses-*"` the case
    `sub-1_ses-2` belongs to `sub-1`; other names are subjects of their own. A name alone, `"anna"`, is the
    subject of all cases. All cases of a subject are on one side of a split. Typical: left out where every
    case is another person."""

    masks: dict[str, str] = Field(default={})
    """Mask name: file pattern, for structures that overlap and have a file each, 1 inside and 0 outside; use
    it instead of `label` and `classes`; with layout `dicom` each is a segment, by label or code. Typical:
    left out, or 1 to 7 masks."""

    ignore: tuple[str, ...] = ()
    """Files below `path` that are no images of cases though a pattern of `channels` takes them, as other
    raters' label maps; `*` stands for anything. Typical: left out, or `["*_rater2.nii.gz"]`."""

    classes: dict[int, ClassSpec] = Field(default={}, validate_default=True)
    """Value in the label files: name of the class. Values that are not listed exclude a case. nnU-Net's way,
    `{background: 0, lesion: 1}`, is taken, too. An auto-encoder's recipe may leave them out. Typical:
    `{0: background, 1: lesion}`."""

    regions: dict[str, Annotated[tuple[int, ...], Field(min_length=1)]] = Field(default={})
    """Mask name: the label values that make up the mask, for structures that overlap. Typical: left out, or
    1 to 7 masks such as `{whole: [1, 2], core: [1]}`."""

    codes: dict[str, ClassCodes] = Field(default={})
    """Name of a class or mask: its codes in DICOM results. Typical: left out for csf, gm, wm, brain,
    hippocampus, lesion, tumor, edema and liver, which are known."""

    class_file: str | None = None
    """Name of a packaged class list, or a YAML file with `classes` and optionally `background`, `void`,
    `void_colours`, `label_form`, `merge`, `codes`, `layout`, `channels` and `label`; keys of the recipe
    come first. Typical: left out for scans, `cityscapes` and the like for public image sets."""

    background: bool = True
    """True if one class is the background, which is neither scored nor drawn. Typical: true; false for street
    scenes, where every pixel has a class."""

    void: tuple[int, ...] = ()
    """Label values of void (ignored) voxels, which the loss, the sampling and the scores leave out; negative
    values may be given. Typical: left out, 255 or -1."""

    label_form: Literal["values", "colours"] | NotNegative = "values"
    """Form of a class in label files: its value, its colour, or `{above: x}`, where grey values above x
    are the second of two classes. Typical: `values`; `{above: 127}` for grey masks."""

    void_colours: tuple[Colour, ...] = ()
    """Colours of void pixels where `label_form` is `colours`. Typical: left out, or `[[0, 0, 0]]`."""

    instances: bool = False
    """Tell objects of the one class apart: by a folder with a mask of each (layout `masks`), or by the values
    of label files of `label_form: {above: 0}`. Training then has background where two touch, and objects are
    scored. Typical: false; true for touching cells."""

    merge: dict[int, int] = Field(default_factory=dict)
    """Label value: the value of the class that it is counted as. Typical: left out, or `{3: 1}`."""

    splits: Literal["listed", "all"] | RandomSplit | tuple[Fold, ...] = RandomSplit()
    """Splits of the cases: at random, by lists of case names, `listed` for the roles that the data set or the
    table gives, or `all` to train on every labelled case, with none left to validate or test. Typical: random
    for a first run, lists for a result that others should reproduce, `all` for the model that is used."""

    @field_validator(
        "classes", mode="before", json_schema_input_type=dict[int, str | ClassSpec] | dict[str, int]
    )
    @classmethod
    def _names_alone_will_do(cls, value: Any) -> Any:
        """Take `{1: lesion}` for a name alone, and nnU-Net's `{lesion: 1}`."""
        if not isinstance(value, dict):
            return value
        if value and all(isinstance(name, str) and not _is_number(name) for name in value):
            value = _by_value(value)
        return {k: {"name": v} if isinstance(v, str) else v for k, v in value.items()}

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

    @field_validator("void", mode="before", json_schema_input_type=int | tuple[int, ...] | None)
    @classmethod
    def _one_value_will_do(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, int) else value

    @field_validator(
        "label_form", mode="before", json_schema_input_type=Literal["values", "colours"] | NotNegative | Above
    )
    @classmethod
    def _above(cls, value: Any) -> Any:
        return number_of(value)

    @field_validator(
        "splits",
        mode="before",
        json_schema_input_type=Literal["listed", "all"] | RandomSplit | Fold | tuple[Fold, ...],
    )
    @classmethod
    def _one_fold_will_do(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"train", "val", "test"} & value.keys():
            shares = all(isinstance(v, int | float) for v in value.values())
            return value if shares else (value,)
        return value

    @field_validator("channels")
    @classmethod
    def _channels_may_be_in_file_names(cls, channels: dict[str, str]) -> dict[str, str]:
        for name in channels:
            if (details := invalid(name)) is not None:
                raise refusal(Code.NAME_INVALID, f"a channel whose name {details}", "rename the channel")
        return channels

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        try:
            self.class_list()
        except ClassListError as error:
            given_by = "masks" if self.masks else "regions" if self.regions else "classes"
            key = given_by if error.part == "classes" else error.part
            raise ClashError((Clash((f"data.{key}",), error.details, error.how_to_fix),)) from None
        if (self.layout == "csv") != (self.table is not None):
            raise ValueError("give data.table with data.layout csv, and not without it")
        return self

    def used_for_cases(self) -> dict[str, Any]:
        """Return the values that decide the cases, without those that reach the model folder alone: codes of
        classes, and rules of series where the cases are files.
        """
        model_folder_alone = {"codes"} if self.layout == "dicom" else {"codes", "series"}
        return {key: value for key, value in self.used().items() if key not in model_folder_alone}

    def class_list(self) -> ClassList:
        """Build the class list: value → name and colour; or the masks that may overlap."""
        names = {v: c.name for v, c in self.classes.items()}
        colours = {v: c.colour for v, c in self.classes.items() if c.colour is not None}
        if self.masks or self.regions:
            regions = dict.fromkeys(self.masks, ()) or self.regions
            classes = ClassList.of_masks(regions, self.void, self.classes)
        else:
            classes = ClassList.from_names(names, colours, self.void, background=self.background)
        classes = classes.with_codes({name: codes.checked() for name, codes in self.codes.items()})
        classes = replace(
            classes,
            merged=tuple(self.merge.items()),
            own_files=CLASS in (self.label or ""),
            later_wins=self.overlap == "later",
        )
        if isinstance(self.label_form, str):
            return replace(classes, label_form=self.label_form, void_colours=self.void_colours)
        return replace(classes, label_form="above", threshold=self.label_form)

    @property
    def mask_patterns(self) -> dict[str, str]:
        """The patterns of masks, or of the files of classes that have their own: name → pattern."""
        return self.masks or of_classes(self.label, self.class_list().foreground_names)

    @property
    def label_pattern(self) -> str | None:
        """The pattern of label maps; None where classes or masks have files of their own."""
        return None if CLASS in (self.label or "") else self.label

    def channel_names(self) -> tuple[str, ...]:
        """Return the recipe's channels, or those of its layout; ingest may find others."""
        named = self.series if self.layout == "dicom" else self.channels
        if named:
            return tuple(named)
        return imagesets.COLOURS if self.layout in get_args(ImageSet) else ("image",)

    def n_folds(self) -> int:
        """Return the number of folds."""
        if isinstance(self.splits, str):
            return 1
        return self.splits.folds if isinstance(self.splits, RandomSplit) else len(self.splits)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _by_value(value_of: dict[str, Any]) -> dict[Any, Any]:
    """Turn `name: value` around; refuses two names of a value, and nnU-Net's regions, with what to write."""
    if lists := [name for name, value in value_of.items() if isinstance(value, list | tuple)]:
        details = f"{lists[0]} is several values, a region"
        how_to_fix = "write data.regions: {name: [values]}, and each value with a name in data.classes"
        raise refusal(Code.RECIPE_INVALID, details, how_to_fix)
    values = list(value_of.values())
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        details, how_to_fix = (
            "names on the left, but not a number for each",
            "write {0: background, 1: lesion}",
        )
        raise refusal(Code.RECIPE_INVALID, details, how_to_fix)
    if twice := [value for value in values if values.count(value) > 1]:
        both = " and ".join(name for name, value in value_of.items() if value == twice[0])
        raise refusal(
            Code.RECIPE_INVALID, f"{both} have the value {twice[0]}", "give each a value of its own"
        )
    return {value: name for name, value in value_of.items()}
