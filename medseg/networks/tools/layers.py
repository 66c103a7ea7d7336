"""Layers of a network in the order in which it runs them, by following it on the ``meta`` device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from medseg.networks.contract import Network

Layer = tuple[str, ...]
"""Names of a layer's parameters: of a convolution or product, and of the normalisation after it."""


def in_order(network: Network, window: tuple[int, int]) -> list[Layer]:
    """List the layers from the first that runs to the last; each parameter is in one of them.

    ``network``, on the ``meta`` device, is tried on inputs of ``window`` (px) as in training, and left in
    evaluation mode. What it runs several times counts where it runs last; what it never runs is of the last
    layer. Where the meta device does not know one of its operations the order is that of its definition.
    """
    owners = {
        name: module for name, module in network.named_modules() if list(module.parameters(recurse=False))
    }
    calls: list[str] = []
    with _reported(owners, calls.append):
        try:
            network.train()
            with torch.no_grad():
                network(torch.zeros(2, network.in_channels, *window, device="meta"))
        except NotImplementedError:
            calls = [*owners]
        finally:
            network.eval()
    last_calls = list(dict.fromkeys(reversed(calls)))[::-1]
    return _grouped(network, [*last_calls, *(name for name in owners if name not in last_calls)])


@contextmanager
def _reported(modules: dict[str, nn.Module], report: Callable[[str], None]) -> Iterator[None]:
    """Report the name of each of the modules that runs inside the block."""

    def hook(name: str) -> Callable[..., None]:
        def run(*_: Any) -> None:
            report(name)

        return run

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _grouped(network: Network, modules: Sequence[str]) -> list[Layer]:
    """Join parameters of modules to layers: vectors alone, as of a normalisation, go to the one before."""
    parameters = dict(network.named_parameters())  # one that two modules share has one name
    layers: list[Layer] = []
    leading: Layer = ()
    for name in modules:
        own = dict(network.get_submodule(name).named_parameters(prefix=name, recurse=False))
        names = tuple(key for key in own if key in parameters)
        if any(parameter.ndim > 1 for parameter in own.values()):
            layers.append(leading + names)
            leading = ()
        elif layers:
            layers[-1] += names
        else:
            leading += names
    return layers
