"""Losses by pixel and by overlap, and class weights: the table of losses, and the function that builds one.

A loss maps logits ``(B, K, H, W)``, or a list of such heads under deep supervision, and labels
``(B, H, W)`` to a scalar; :class:`medseg.losses.base.Loss` says the rest. This module imports no torch, so
that names can be checked where start-up time matters.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.errors import Code, MedsegError, choice

if TYPE_CHECKING:
    from medseg.losses.base import Loss

LOSSES: dict[str, str] = {
    "ce": "medseg.losses.pixel:CrossEntropy",
    "focal": "medseg.losses.pixel:Focal",
    "dice": "medseg.losses.overlap:SoftDice",
    "iou": "medseg.losses.overlap:SoftIoU",
    "ce_dice": "medseg.losses.overlap:CEDice",
    "unetpp": "medseg.losses.overlap:UNetPP",
    "bce": "medseg.losses.multilabel:MaskCrossEntropy",
    "bce_dice": "medseg.losses.multilabel:MaskCEDice",
    "reconstruction": "medseg.losses.reconstruction:Reconstruction",
}
"""Name in a recipe -> ``module:Class``."""

TAKE_WEIGHT_MAPS = ("ce", "ce_dice", "focal")
"""Losses whose sum over pixels may be weighted by a map."""

OF_MASKS = ("bce", "bce_dice")
"""Losses of overlapping masks, with labels of bits; all others are of classes that exclude each other."""


RECONSTRUCTION = "reconstruction"
"""The loss of an auto-encoder, whose truth is its input: no label is looked at."""


def build(name: str, class_weights: Sequence[float] | None = None, **keywords: Any) -> Loss:
    """Build the loss of a name.

    :param class_weights: K weights, one a class or mask, for the losses that know them; without, all weigh 1.
    :param keywords: the class's own.
    :raises MedsegError: ``KEYWORD_INVALID`` for an unknown name, keyword or value.
    """
    if name not in LOSSES:
        raise MedsegError(
            Code.KEYWORD_INVALID,
            "loss",
            f"there is no loss {name!r}",
            choice(name, sorted(LOSSES)),
        )
    module, _, attribute = LOSSES[name].partition(":")
    cls: type[Loss] = getattr(import_module(module), attribute)
    if class_weights is not None:
        keywords["class_weights"] = class_weights
    known = inspect.signature(cls).parameters
    for key in keywords.keys() - known.keys():
        listed = ", ".join(f"{p.name}={p.default!r}" for p in known.values())
        raise MedsegError(
            Code.KEYWORD_INVALID, f"loss {name}", f"unknown keyword {key!r}", f"it takes {listed}"
        )
    return cls(**keywords)
