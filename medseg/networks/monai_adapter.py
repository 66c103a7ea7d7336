"""MONAI's 2-D networks by name, looked up in ``monai.networks.nets`` and nowhere else.

What MONAI raises, of whatever type, becomes one coded line: its constructors and networks are not ours.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Sequence
from copy import deepcopy
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError, first_line
from medseg.networks.blocks import resized
from medseg.networks.contract import Network
from medseg.resources import is_out_of_memory

_USE_ANOTHER = "use a segmentation network, such as BasicUNet"
_NAMES = {"Quicknat": {"in_channels": "num_channels", "out_channels": "num_classes"}}
"""Of networks whose constructors have other names for channels and classes, or no number of dimensions."""

_OF_EXTRA = frozenset({"einops"})
"""Packages that MONAI does not bring along and the extra `train` does."""

_TRIED = 128
"""Side length (px) of the image on which a network is tried when a recipe is checked."""


def monai_class(name: str) -> type[nn.Module]:
    """Look up the segmentation network of this name in ``monai.networks.nets``; it is not called.

    :raises MedsegError: ``EXTRA_MISSING`` without MONAI; ``NETWORK_UNKNOWN`` unless the name is a class of
        ``torch.nn.Module`` whose constructor takes ``spatial_dims``, ``in_channels`` and ``out_channels``.
    """
    where = f"monai.networks.nets:{name}"
    nets = _monai_nets(where)
    kind: object = getattr(nets, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise MedsegError(Code.NETWORK_UNKNOWN, where, "MONAI has no such network", "check its spelling")
    lacking = _needed(kind) - inspect.signature(kind).parameters.keys()
    if lacking:
        details = f"its constructor has no {', '.join(sorted(lacking))}"
        raise MedsegError(Code.NETWORK_UNKNOWN, where, details, _USE_ANOTHER)
    return kind


def constructed(name: str, values: dict[str, Any]) -> nn.Module:
    """Call the constructor of a class of ``monai.networks.nets`` by its dotted name, on ``meta`` too.

    :raises MedsegError: ``EXTRA_MISSING`` without MONAI or a package that it needs; ``KEYWORD_INVALID``.
    """
    return _built(attrgetter(name)(_monai_nets(f"monai.networks.nets:{name}")), values)


def _monai_nets(where: str) -> ModuleType:
    # MONAI imports MLflow where it is installed, and MLflow would report that to its makers
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    try:
        from monai.networks import nets
    except ImportError:
        how_to_fix = "install medseg[train]"
        raise MedsegError(Code.EXTRA_MISSING, where, "MONAI is not installed", how_to_fix) from None
    return nets  # type: ignore[no-any-return]


class MonaiNetwork(Network):
    """A network of MONAI under the contract of :class:`Network`.

    Of several heads (a list, a tuple, or a further axis), training gets all of them at full size, and
    evaluation the last, which in MONAI's networks is the deepest supervised one. Built on ``meta``, where
    recipes are checked, it is also tried on an image, so that a class that is no segmentation network or
    lacks a package is known before anything runs.

    :param size_divisor: what the sides must be multiples of; MONAI does not say, and 32 suits its usual
        depths.
    :raises MedsegError: ``KEYWORD_INVALID``; ``EXTRA_MISSING`` for a package that MONAI needs for it;
        ``NETWORK_UNKNOWN``.
    """

    def __init__(
        self,
        kind: type[nn.Module],
        in_channels: int,
        classes: int,
        *,
        size_divisor: int = 32,
        **keywords: Any,
    ) -> None:
        super().__init__(in_channels, classes)
        counts = {"in_channels": in_channels, "classes": classes, "size_divisor": size_divisor}
        for key, count in counts.items():
            if type(count) is not int or count < 1:
                how_to_fix = "use a whole number of at least 1"
                raise MedsegError(Code.KEYWORD_INVALID, kind.__name__, f"{key}={count!r}", how_to_fix)
        self.size_divisor = size_divisor
        shape = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": classes}
        names = _NAMES.get(kind.__name__, {key: key for key in shape})
        self.network = _built(kind, {names[key]: shape[key] for key in names} | keywords)
        if torch.get_default_device().type == "meta":
            self._try_out()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); a list of them in training under deep supervision."""
        self.require(x)
        try:
            output = self.network(x)
        except Exception as error:
            if _is_the_machines(error):
                raise
            raise _forward_refusal(type(self.network).__name__, error, x) from error
        heads = [resized(head, x.shape) for head in self._heads(output)]
        return heads if self.training and len(heads) > 1 else heads[-1]

    def _heads(self, output: Any) -> Sequence[Tensor]:
        """Logits (B, K, h, w) of each head; raises NETWORK_UNKNOWN for anything else."""
        heads = output
        if isinstance(output, Tensor):
            heads = output.unbind(1) if output.ndim == 5 else [output]
        is_list = isinstance(heads, list | tuple) and len(heads) > 0
        if not is_list or not all(
            isinstance(head, Tensor) and head.ndim == 4 and head.shape[1] == self.classes for head in heads
        ):
            where, details = type(self.network).__name__, "its output is not logits (B, K, H, W)"
            raise MedsegError(Code.NETWORK_UNKNOWN, where, details, _USE_ANOTHER)
        return heads  # type: ignore[no-any-return]

    def _try_out(self) -> None:
        """Refuse a class that cannot be used at any size."""
        side = self.size_from(_TRIED)
        try:
            with torch.no_grad():
                self(torch.zeros(2, self.in_channels, side, side))
        except MedsegError as refusal:
            if refusal.code is not Code.SIZE_IMPOSSIBLE:
                raise


def _needed(kind: type[nn.Module]) -> set[str]:
    """Name the parameters by which the constructor of a segmentation network takes its shape."""
    names = _NAMES.get(kind.__name__)
    return set(names.values()) if names else {"spatial_dims", "in_channels", "out_channels"}


def _built(kind: type[nn.Module], values: dict[str, Any]) -> nn.Module:
    """Call MONAI's constructor; on ``meta`` also those that compute numbers on the way (SwinUNETR).

    Weights are never fetched, also where that is a constructor's default. The values are copied: some
    constructors turn the lists that they are given round.
    """
    where, parameters = kind.__name__, inspect.signature(kind).parameters
    values = deepcopy(values)
    if "pretrained" in parameters:
        values["pretrained"] = False
    takes = "it takes " + ", ".join(str(p).split(":")[0] for p in parameters.values())
    try:
        inspect.signature(kind).bind(**values)
        return _called(kind, values)
    except ImportError as error:
        raise _package_missing(where, error) from error
    except Exception as error:
        if _is_the_machines(error):
            raise
        raise MedsegError(Code.KEYWORD_INVALID, where, first_line(error), takes) from error


def _called(kind: type[nn.Module], values: dict[str, Any]) -> nn.Module:
    try:
        return kind(**values)
    except (RuntimeError, NotImplementedError) as error:
        if torch.get_default_device().type != "meta" or "meta" not in str(error):
            raise
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return kind(**values).to("meta")


def _forward_refusal(where: str, error: Exception, x: Tensor) -> MedsegError:
    if isinstance(error, ImportError):
        return _package_missing(where, error)
    if isinstance(error, TypeError):
        details = f"it cannot be called with an image alone: {first_line(error)}"
        return MedsegError(Code.NETWORK_UNKNOWN, where, details, _USE_ANOTHER)
    details = f"it fails on an input of {x.shape[2]}×{x.shape[3]} px: {first_line(error)}"
    how_to_fix = "use larger windows, or another size_divisor or other values in network.keywords"
    return MedsegError(Code.SIZE_IMPOSSIBLE, where, details, how_to_fix)


def _package_missing(where: str, error: ImportError) -> MedsegError:
    named = re.search(r"No module named '([\w.]+)'|from ([\w.]+) import|import ([\w.]+)", str(error))
    package = error.name or next((name for name in named.groups() if name), "") if named else error.name or ""
    package = package.partition(".")[0] or "a package that is not installed"
    details = f"MONAI needs the package {package} for it"
    how_to_fix = "install medseg[train]" if package in _OF_EXTRA else f"pip install {package}"
    return MedsegError(Code.EXTRA_MISSING, where, details, how_to_fix)


def _is_the_machines(error: Exception) -> bool:
    """True for errors that say nothing about the network: full memory, a failing GPU, our own refusals."""
    return isinstance(error, MedsegError | torch.AcceleratorError) or is_out_of_memory(error)
