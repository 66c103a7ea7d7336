"""The section `train` of a recipe: the loop, what changes training windows, phases, sizes."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from medseg.config.base import (
    Clash,
    ClashError,
    Count,
    Positive,
    Precision,
    Section,
    Share,
    refusal,
)
from medseg.config.phases import Phase, Plateau, Size
from medseg.errors import Code
from medseg.patches.slabs import IMAGE_FLIPS, SCAN_FLIPS, Flip

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

_OLD_FLIPS = {
    "h": "left_right for axial and coronal slices of scans, anterior_posterior for sagittal ones, "
    "vertical for images",
    "w": "anterior_posterior for axial slices of scans, superior_inferior for coronal and sagittal ones, "
    "horizontal for images",
}
"""Flips as they were named by the array's rows and columns, and what each is now."""


PLANNED = ("epochs", "steps_per_epoch", "validate_every", "validate_cases")
"""Keys of `train` that are planned where `minutes` is given."""

LONGEST = 43_200
"""Minutes of a training at most: thirty days."""


class Augment(Section):
    """Random changes of training windows, drawn anew for each; zero or empty is off.

    Moves act on windows and labels, all others on grey values alone. Grey values are scaled already: by
    `preprocess.intensity: zscore`, 1 is the standard deviation of the foreground. `bias_field`, `gibbs`,
    `ghosting`, `low_resolution`, `histogram_shift` and `coarse_dropout` change as MONAI's do, and come last.
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            *("saturation", "hue", "outside"),
            *("bias_field", "gibbs", "ghosting", "low_resolution", "histogram_shift", "coarse_dropout"),
        }
    )

    flip: tuple[Flip, ...] = Field(
        default=(),
        description="Directions in which half of the windows are mirrored: `left_right`, "
        "`anterior_posterior` or `superior_inferior` for scans, `horizontal` or `vertical` for images. "
        "With several planes, a window is mirrored in those that lie in its plane. Typical: "
        "`[left_right]`, `[horizontal]`.",
    )
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = Field(
        default=0.0,
        description="Largest rotation within the slice, degrees to either side. Typical: 5 to 15.",
    )
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Largest magnification: 0.1 is from 1/1.1 to 1.1 times. Typical: 0.05 to 0.2.",
    )
    shift_px: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Largest shift along rows and columns, px of a pixel's shorter side. Windows lie "
        "anywhere in the slice already, so this is for fractions of a pixel. Typical: 0 to 1.",
    )
    contrast: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Largest relative change of the distance of grey values from the window's mean. "
        "Typical: 0.1 to 0.3.",
    )
    brightness: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Largest number added to all (scaled) grey values of a window. Typical: 0.1 to 0.3.",
    )
    gamma: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Largest change of the exponent that bends a window's grey values: 0.2 is from "
        "1/1.2 to 1.2. Typical: 0.1 to 0.3.",
    )
    noise: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Largest standard deviation of added Gaussian noise, in scaled grey values. "
        "Typical: 0.02 to 0.1.",
    )
    elastic_px: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Standard deviation of the displacements of U-Net's elastic deformation (3 × 3 "
        "nodes over the slice), px of a pixel's shorter side. Typical: up to a twelfth of the slice's "
        "shorter side (10 for slices of 512 px); with more, many fields fold.",
    )
    saturation: Share = Field(
        default=0.0,
        description="Largest relative change of the distance from grey, for images of three colours. "
        "Typical: 0.2 to 0.5.",
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0,
        description="Largest turn of the hue, as a part of the colour circle, for images of three "
        "colours. Typical: 0.02 to 0.1.",
    )
    outside: Literal["mirror", "void"] = Field(
        default="mirror",
        description="Labels of what lies outside the slice, where the image is mirrored: mirrored, "
        "too, or `void` (ignored by the loss). Typical: `mirror`.",
    )
    bias_field: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Largest coefficient, to either side, of a polynomial (degree 3) whose "
        "exponential multiplies the window, from its darkest value up: uneven brightness of a coil. "
        "Typical: 0.05 to 0.2.",
    )
    gibbs: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Largest part of the spectrum's radius that is cut off: ringing at edges. Up to "
        "0.3 only its corners go. Typical: 0.4 to 0.7.",
    )
    ghosting: Share = Field(
        default=0.0,
        description="Largest part that is taken from every n-th line of the spectrum, along rows or "
        "columns: n - 1 faint copies of the window, as of a patient who moved. Typical: 0.2 to 0.6.",
    )
    low_resolution: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Largest part by which the window's sides are shortened before it is brought back"
        " to its size: 0.5 halves the resolution. Typical: 0.3 to 0.5.",
    )
    histogram_shift: Share = Field(
        default=0.0,
        description="Largest shift of the control points of a monotonic curve of grey values, as a "
        "part of what keeps it monotonic. Typical: 0.3 to 0.8.",
    )
    coarse_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Longest side, as a part of the window's, of up to four rectangles that are "
        "filled with the window's mean. Typical: 0.1 to 0.3.",
    )

    @field_validator("flip", mode="before")
    @classmethod
    def _named_by_anatomy(cls, value: Any) -> Any:
        for name in [value] if isinstance(value, str) else value or ():
            if name in _OLD_FLIPS:
                details = f"{name!r} names an axis of the array"
                raise refusal(Code.RECIPE_INVALID, details, f"write {_OLD_FLIPS[name]}")
        return value

    @field_validator("flip")
    @classmethod
    def _of_one_kind(cls, value: tuple[Flip, ...]) -> tuple[Flip, ...]:
        if set(value) & set(SCAN_FLIPS) and set(value) & set(IMAGE_FLIPS):
            raise ValueError(f"use {', '.join(SCAN_FLIPS)} for scans, or {', '.join(IMAGE_FLIPS)} for images")
        return value

    @property
    def colour(self) -> bool:
        """True where colours change."""
        return self.saturation > 0 or self.hue > 0


class Train(Section):
    """The loop: length, rates, precision, and which weights count as the best.

    The best weights have the highest score in validation. As long as its scores say nothing (no validation
    case holds a class, or all scores are the same), the last weights count as the best.
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"resizing", "monitor", "minutes", "accumulate", "ema", "plateau", "keep_at"}
    )

    seed: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Seed of the first weights, of all draws and of dropout."
        " Typical: 0; others to see how much results vary.",
    )
    minutes: Annotated[float, Field(gt=0, le=LONGEST)] | None = Field(
        default=None,
        description="Time for the training of a fold, validations included, in place of `epochs`, "
        "`steps_per_epoch`, `validate_every` and `validate_cases`: before the first step their values are "
        "planned from a few steps that are measured on this machine, by processor time, which other programs "
        "change little. The work folder keeps the plan (`train_length.json`) for all folds and for later "
        "runs, also on other machines. Typical: left out, or 15 to 600.",
    )
    epochs: Count = Field(default=10, description="Number of epochs. Typical: 10 to 1000.")
    steps_per_epoch: Count = Field(
        default=100,
        description="Batches of an epoch; with `sampling.order: shuffled`, as many as use every case "
        "once. Typical: 50 to 500.",
    )
    batch: Count = Field(
        default=64,
        description="Windows of a batch, shared by all processes. Typical: 64 for windows of 40 × 40 "
        "px, 2 to 16 for 256 × 256.",
    )
    accumulate: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1,
        description="Batches before each step of the optimiser, which takes the mean of their gradients: "
        "with 4, `batch: 3` trains as 12 would, in the memory of 3. Steps, epochs and schedules count steps "
        "of the optimiser. Batch normalisation has the statistics of `batch` windows. Typical: 1; 4 to 32.",
    )
    optimiser: Literal["adamw", "sgd"] = Field(
        default="adamw", description="AdamW, or stochastic gradient descent with momentum. Typical: `adamw`."
    )
    lr: Positive = Field(
        default=1e-3,
        description="Learning rate after the warm-up. Typical: 1e-4 to 1e-3 for adamw, 1e-2 for sgd.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=1e-4, description="Weight decay, on all parameters. Typical: 0 to 1e-2."
    )
    momentum: Share = Field(default=0.9, description="Momentum of sgd. Typical: 0.9 to 0.99.")
    schedule: Literal["constant", "poly", "cosine", "plateau"] = Field(
        default="poly",
        description="Course of the learning rate over the training, or each phase: constant, (1 - "
        "progress)^0.9, half a cosine, or by `plateau`: constant until the validation cases' score no longer "
        "rises, then a tenth. Typical: `poly`.",
    )
    plateau: Plateau = Field(
        default=Plateau(), description="When the rate falls under `schedule: plateau`, and how far."
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Steps over which the rate rises linearly at the start. Typical: 0 to 1000."
    )
    phases: tuple[Phase, ...] = Field(
        default=(), description="Which layers train when; without, all layers at `lr` all the time."
    )
    resizing: tuple[Size, ...] = Field(
        default=(),
        description="Sizes of the training windows over the epochs, small ones first; without, one size.",
    )
    clip: Positive | None = Field(
        default=None, description="Largest norm of the gradient; a longer one is shortened. Typical: 1 to 12."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of an exponential moving average of weights and running statistics, which is then "
        "what is validated and kept in place of the trained weights. At step t it is at most (t + 1)/(t + 10)"
        ". Typical: left out; 0.99 for some hundred steps, 0.999 for thousands.",
    )
    precision: Precision = Field(
        default="auto",
        description="Numbers that the network computes in; `auto` is the fastest that the device "
        "computes natively. Typical: `auto`.",
    )
    channels_last: bool = Field(
        default=True,
        description="Memory order of the network's tensors; faster on most devices when true. Typical: true.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the network with `torch.compile`, which needs a C++ compiler; without "
        "one it is trained as it is, and a line says so. Typical: false; true for long trainings.",
    )
    draw_from: Literal["auto", "host", "device"] = Field(
        default="auto",
        description="Memory that training windows are cut from: the `host`'s, where files are mapped, or the "
        "`device`'s, which then holds all training cases. `auto` is the device on CUDA, if the cases take at "
        "most half of its free memory. Typical: `auto`.",
    )
    device: str = Field(
        default="auto",
        description="`auto`, `cpu`, `cuda`, `cuda:1` (or another number) or `mps`. Typical: `auto`.",
    )
    processes: Count = Field(
        default=1,
        description="Processes that share each batch, one a GPU. They must divide `batch`. Typical: "
        "the number of GPUs.",
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Threads of torch on a CPU, at most those of a container's quota; 0 leaves it to torch. "
        "Typical: the number of cores.",
    )
    keep_at: tuple[Count, ...] = Field(
        default=(),
        description="Steps whose weights are kept, too: the evaluation scores them beside the best ones, as "
        "papers print scores at chosen iterations. Typical: left out, or `[40000, 80000]`.",
    )
    validate_every: Count = Field(default=1, description="Epochs between validations. Typical: 1 to 50.")
    validate_cases: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Number of validation cases that are predicted, the first ones; 0 takes all. "
        "Typical: 0; 2 to 10 where prediction is slow.",
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Validations in a row without a better score after which training ends; 0 never "
        "ends it early. Those that say nothing do not count. Typical: 5 to 50.",
    )
    monitor: Literal["auto", "dice_mean", "miou", "G", "C", "BF"] = Field(
        default="auto",
        description="Score of the validation cases that says which weights are best: mean Dice or, "
        "over all their pixels, mean IoU (`miou`), pixel accuracy (`G`), mean class accuracy (`C`), or "
        "of images the boundary F1 (`BF`). "
        "`auto` is the mean Dice for scans and the mean IoU for images. Typical: `auto`.",
    )
    augment: Augment = Field(default=Augment(), description="Random changes of training windows.")

    @model_validator(mode="before")
    @classmethod
    def _null_leaves_out(cls, value: Any) -> Any:
        """Take `epochs: null` for a key that is left out, which is what `--set` can say."""
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if v is not None or k not in PLANNED}

    @model_validator(mode="after")
    def _minutes_stand_alone(self) -> Self:
        if self.minutes is None:
            return self
        clashes = [
            Clash(
                (f"train.{key}", "train.minutes"),
                f"{getattr(self, key)}, but train.minutes: {self.minutes:g} plans it",
                f"leave one of them out, as by --set train.{key}=null or --set train.minutes=null",
            )
            for key in PLANNED
            if key in self.model_fields_set
        ]
        clashes += [
            Clash(
                (f"train.{key}", "train.minutes"),
                "its epochs are counted, but train.minutes plans their number",
                f"leave one of them out, as by --set 'train.{key}=[]' or --set train.minutes=null",
            )
            for key in ("phases", "resizing")
            if getattr(self, key)
        ]
        if clashes:
            raise ClashError(tuple(clashes))
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, to_tree: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is planned: a recipe is the same before and after."""
        tree: dict[str, Any] = to_tree(self)
        planned = () if self.minutes is None else PLANNED
        return {key: value for key, value in tree.items() if key not in planned}

    @field_validator("device")
    @classmethod
    def _device_has_a_name(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("use auto, cpu, cuda, cuda:1 (or another number) or mps")
        return value
