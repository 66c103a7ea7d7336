"""The section `train` of a recipe: the loop, what changes training windows, phases, sizes."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from medseg.config.section import Count, Positive, Precision, Section, Share

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class Augment(Section):
    """Random changes of training windows; zero or empty is off.

    `saturation` and `hue` (a part of the colour circle) are for images of three colours. What lies `outside`
    a slice is mirrored; with `void` its labels are void.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"saturation", "hue", "outside"})

    flip: tuple[Literal["h", "w"], ...] = ()
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift_px: Annotated[float, Field(ge=0)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    brightness: Annotated[float, Field(ge=0)] = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0
    elastic_px: Annotated[float, Field(ge=0)] = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    outside: Literal["mirror", "void"] = "mirror"

    @property
    def colour(self) -> bool:
        """Whether colours change."""
        return self.saturation > 0 or self.hue > 0


class Phase(Section):
    """A phase of training, in which only some layers train; all phases together last `train.epochs`."""

    layers: tuple[str, ...]
    """Globs of parameter names that train in this phase. Typical: `["head.*"]` first, `["*"]` last."""

    lr: Positive
    """Learning rate of the phase. Typical: 1e-5 to 1e-2."""

    epochs: Count
    """Epochs of the phase. Typical: 1 to 20."""


class Size(Section):
    """A part of training with smaller patches; all parts together last `train.epochs`."""

    epochs: Count
    """Epochs with this size. Typical: 1 to 20."""

    scale: Annotated[float, Field(gt=0, le=1)]
    """Factor by which patches are resized, up to a size that the network takes. Typical: 0.5, then 1."""


class Train(Section):
    """The loop: how long, how fast, in which precision, what counts as best.

    `resizing` trains on small windows first. The best weights have the highest mean Dice of the validation
    cases or, over all their pixels, mean IoU (`miou`), pixel accuracy `G` or mean class accuracy `C`; `auto`
    is the mean Dice for scans and the mean IoU for images.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"resizing", "monitor"})

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 10
    steps_per_epoch: Count = 100
    batch: Count = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Share = 0.9
    schedule: Literal["constant", "poly", "cosine"] = "poly"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    phases: tuple[Phase, ...] = ()
    resizing: tuple[Size, ...] = ()
    clip: Positive | None = None
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False
    device: str = "auto"
    processes: Count = 1
    threads: Annotated[int, Field(ge=0)] = 0
    validate_every: Count = 1
    validate_cases: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=0)] = 0
    monitor: Literal["auto", "dice_mean", "miou", "G", "C"] = "auto"
    augment: Augment = Augment()

    @field_validator("device")
    @classmethod
    def _device_has_a_name(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("use auto, cpu, cuda, cuda:1 (or another number) or mps")
        return value
