"""The network of a recipe: built in one place, and tried without memory before anything runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from medseg import losses, networks
from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError
from medseg.infer import inferers, loading, predict
from medseg.networks.contract import Network
from medseg.patches.resize import Resizer
from medseg.train import optim
from pipelines.fold import model_spec, plan

Pair = tuple[int, int]

_ONE_VALUE = "Expected more than 1 value per channel"
_ONE_PIXEL = "Expected more than 1 spatial element"
_MEANT = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ArithmeticError)
"""What torch and networks raise for a shape or a value that they cannot take."""


def build_network(recipe: Recipe, channels: int) -> Network:
    """Build the recipe's network for images of so many channels, its weights drawn by `train.seed`."""
    seed, keywords = recipe.train.seed, recipe.network.keywords
    return networks.build(*_shape(recipe, channels), seed=seed, multilabel=_multilabel(recipe), **keywords)


def network_without_weights(recipe: Recipe, channels: int) -> Network:
    """Give the same network on torch's meta device, for its names and sizes; all who ask share it."""
    keywords = json.dumps(recipe.network.keywords, sort_keys=True)
    return _on_meta(*_shape(recipe, channels), keywords, multilabel=_multilabel(recipe))


def _shape(recipe: Recipe, channels: int) -> tuple[str, int, int]:
    return recipe.network.name, channels * recipe.sampling.depth, len(recipe.data.class_list())


def _multilabel(recipe: Recipe) -> bool:
    return recipe.data.class_list().multilabel


@lru_cache(maxsize=8)
def _on_meta(name: str, in_channels: int, classes: int, keywords: str, *, multilabel: bool) -> Network:
    with torch.device("meta"):
        return networks.build(name, in_channels, classes, multilabel=multilabel, **json.loads(keywords))


def check_sizes(recipe: Recipe, network: Network) -> None:
    """Refuse what the recipe's network cannot be trained on, or predicted by, before anything runs.

    Raises SIZE_IMPOSSIBLE, with the size to use, and KEYWORD_INVALID.
    """
    window = recipe.sampling.window
    usable = network.size_from(window[0]), network.size_from(window[1])
    if usable != window:
        raise MedsegError(
            Code.SIZE_IMPOSSIBLE,
            "sampling.window",
            f"{window[0]}×{window[1]} px is no input of {recipe.network.name}",
            f"use [{usable[0]}, {usable[1]}]",
        )
    description = model_spec.described(recipe, {})
    predict.check(inferers.choose_inferer(description), loading.spec(description, network))


def check_training_step(recipe: Recipe, channels: int) -> int:
    """Try the first step of each phase and window size on the meta device; give the number of heads.

    Needs no memory and no data. Raises KEYWORD_INVALID or SIZE_IMPOSSIBLE, naming the key to change: a batch
    too small for batch normalisation or for the processes, phases that name no layer, shapes that the network
    cannot take.
    """
    train, network = recipe.train, network_without_weights(recipe, channels)
    if train.batch % train.processes:
        details = f"{train.batch} patches cannot be shared by {train.processes} processes"
        how_to_fix = "make the batch a multiple of train.processes"
        raise MedsegError(Code.KEYWORD_INVALID, "train.batch", details, how_to_fix)
    phases = plan.phases(recipe, network)
    optim.check_phases(phases, train.epochs, network)
    heads = 1
    for phase in _together(recipe):
        optim.free_layers(phase, network)  # without an optimiser: torch loads its compiler for the first one
        for size in _sizes(recipe, network):
            heads = _try_step(recipe, network, channels, size)
    network.eval()
    return heads


def _together(recipe: Recipe) -> list[optim.Phase]:
    """The recipe's phases with all their layers at once, which asks most of a batch."""
    train = recipe.train
    if not train.phases:
        return [optim.Phase(train.epochs, train.lr)]
    return [optim.Phase(part.epochs, part.lr, part.layers) for part in train.phases]


def _sizes(recipe: Recipe, network: Network) -> list[Pair]:
    """Sizes (px) that training windows have in some epoch."""
    window, stages = recipe.sampling.window, [(s.epochs, s.scale) for s in recipe.train.resizing]
    if not stages:
        return [window]
    resizer = Resizer(lambda *arrays: arrays, stages, 1, network.size_from)
    return sorted({resizer.size(window, epoch) for epoch in range(recipe.train.epochs)})


def _try_step(recipe: Recipe, network: Network, channels: int, size: Pair) -> int:
    name, share = recipe.network.name, recipe.train.batch // recipe.train.processes
    shape = (share, channels * recipe.sampling.depth, *size)
    patches = f"{share} {'patch' if share == 1 else 'patches'} of {size[0]}×{size[1]} px"
    try:
        heads = _heads(network, torch.zeros(shape, device="meta"))
    except (MedsegError, *_MEANT) as error:
        if _ONE_VALUE in str(error):
            details = f"with {patches} in a step of a process, a batch normalisation of {name} has one value"
            how_to_fix = (
                f"set train.batch to {2 * recipe.train.processes} or more, or enlarge sampling.window"
            )
            raise MedsegError(Code.SIZE_IMPOSSIBLE, "train.batch", details, how_to_fix) from None
        if _ONE_PIXEL in str(error):
            details = f"with {patches}, a normalisation of {name} has one pixel"
            raise MedsegError(
                Code.SIZE_IMPOSSIBLE, "sampling.window", details, "enlarge sampling.window"
            ) from None
        if isinstance(error, MedsegError):
            raise
        heads = _heads_on_cpu(recipe, channels, shape)
    output = (size[0] - 2 * network.border, size[1] - 2 * network.border)
    for head in heads:
        if tuple(head.shape[2:]) != output or head.shape[1] != network.classes:
            details = (
                f"for {patches} it gives {list(head.shape)}, not {share}×{network.classes} maps of the size"
            )
            raise MedsegError(
                Code.KEYWORD_INVALID, f"network {name}", details, "change network.keywords or sampling.window"
            )
    return len(heads)


def _heads(network: nn.Module, patches: Tensor) -> Sequence[Tensor]:
    with torch.no_grad():
        logits = network(patches)
    return [logits] if isinstance(logits, Tensor) else logits


def _heads_on_cpu(recipe: Recipe, channels: int, shape: tuple[int, ...]) -> Sequence[Tensor]:
    """Try the step on the CPU: not every operation supports the meta device. Raises KEYWORD_INVALID."""
    try:
        return _heads(build_network(recipe, channels).train(), torch.zeros(shape))
    except MedsegError:
        raise
    except _MEANT as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        details = f"a training step on {list(shape)} (patches, channels, px) ends with: {first}"
        raise MedsegError(
            Code.KEYWORD_INVALID,
            f"network {recipe.network.name}",
            details,
            "change network.keywords, sampling.window or train.batch",
        ) from None


def check_loss(recipe: Recipe, heads: int = 1) -> None:
    """Build the recipe's loss and try it on two by two pixels. Raises KEYWORD_INVALID."""
    name, weights, classes = recipe.loss.name, recipe.loss.class_weights, len(recipe.data.class_list())
    given: Any = [1.0] * classes if weights == "median_frequency" else weights
    pixels = torch.zeros(1, 2, 2)
    truth = torch.zeros(1, classes, 2, 2) if recipe.reconstructs else pixels.to(torch.uint8)
    maps = () if recipe.loss.weight_map is None else (pixels,)
    try:
        loss = losses.build(name, None if isinstance(given, str) else given, **recipe.loss.keywords)
        loss([torch.zeros(1, classes, 2, 2)] * heads, truth, *maps)
    except MedsegError:
        raise
    except _MEANT as error:
        how_to_fix = "correct the values of loss.keywords"
        raise MedsegError(Code.KEYWORD_INVALID, f"loss {name}", str(error), how_to_fix) from None
