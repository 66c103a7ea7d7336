"""What of a recipe goes together with masks that may overlap, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medseg import losses
from medseg.config.section import Clash

if TYPE_CHECKING:
    from medseg.config.data import Data
    from medseg.config.recipe import Loss, Predict, Recipe


_WHERE = ("data.classes", "data.regions", "data.masks")


def clashes(recipe: Recipe) -> Iterator[Clash]:
    """Everything about overlapping masks that is wrong."""
    data, loss, predict = recipe.data, recipe.loss, recipe.predict
    if not data.class_list().multilabel:
        yield from _of_classes(loss, predict)
        return
    key = "data.masks" if data.masks else "data.regions"
    yield from _of_files(data) if data.masks else _of_regions(data)
    if not data.background:
        yield Clash(("data.background", key), "masks have no background to leave out", "remove the key")
    if loss.name not in losses.OF_MASKS:
        found = f"{loss.name} is for classes that exclude each other, and masks may overlap"
        yield Clash(("loss.name", key), found, f"use one of {', '.join(losses.OF_MASKS)}")
    if loss.class_weights == "median_frequency":
        found = "median_frequency is defined for classes that share the pixels out"
        yield Clash(("loss.class_weights", key), found, "give one weight a mask, or none")
    if recipe.train.monitor not in ("auto", "dice_mean"):
        found = f"{recipe.train.monitor} is of classes that exclude each other"
        yield Clash(("train.monitor", key), found, "use dice_mean")
    names = data.class_list().masks
    if unknown := [name for name in predict.thresholds if name not in names]:
        found = f"no mask {', '.join(unknown)}"
        yield Clash(("predict.thresholds", key), found, f"name some of {', '.join(names)}")
    if predict.crf is not None:
        found = "a CRF shares each pixel out among classes, and masks may overlap"
        yield Clash(("predict.crf", key), found, "leave it out")


def _of_classes(loss: Loss, predict: Predict) -> Iterator[Clash]:
    if loss.name in losses.OF_MASKS:
        found = f"{loss.name} is for masks that may overlap, and these classes do not"
        yield Clash(("loss.name", *_WHERE), found, "give data.regions or data.masks, or use ce_dice")
    if predict.thresholds:
        found = "only masks that may overlap have thresholds"
        yield Clash(("predict.thresholds", *_WHERE), found, "give data.regions or data.masks, or none")


def _of_files(data: Data) -> Iterator[Clash]:
    for other in ("regions", "label", "classes"):
        if getattr(data, other):
            found = f"there is data.{other} too, and each mask has a file of its own, 1 inside and 0 outside"
            yield Clash(("data.masks", f"data.{other}"), found, "keep one of them")
    if data.label_form == "colours":
        found = "label_form colours, and a mask is inside or outside"
        yield Clash(("data.masks", "data.label_form"), found, "use values, or above a grey")
    if not data.channels:
        yield Clash(("data.masks", "data.channels"), "no channels", "write the channels' patterns, too")
    if data.layout not in ("auto", "patterns"):
        found = f"layout {data.layout} knows no masks"
        yield Clash(("data.masks", "data.layout"), found, "set data.layout to patterns")


def _of_regions(data: Data) -> Iterator[Clash]:
    if data.label_form != "values":
        found = f"label_form {data.label_form}, and regions are of values"
        yield Clash(("data.regions", "data.label_form"), found, "write the label maps by values")
    for name, values in data.regions.items():
        if unknown := [str(value) for value in values if value not in data.classes]:
            found = f"{name}: no class has the value {', '.join(unknown)}"
            known = ", ".join(map(str, data.classes))
            yield Clash(("data.regions", "data.classes"), found, f"name some of {known}")
