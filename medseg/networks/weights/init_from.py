"""First weights of a network from another that was trained before."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.networks.contract import Network
from medseg.networks.fcn import FCN32s
from medseg.networks.weights.initial_tensors import InitialTensors
from medseg.networks.weights.pretrained import for_channels


def start(network: Network, trained: Network, fresh: Sequence[str] = ()) -> InitialTensors:
    """Choose what ``network``, which may lie on ``meta``, starts with from a ``trained`` one; copies nothing.

    FCN-16s and 8s start as :meth:`medseg.networks.fcn.FCN32s.init_from` says from a coarser net. Any other
    takes the tensors whose names and shapes agree, running statistics included; the first layer's weight
    adapts to another number of input channels; what matches a glob of ``fresh`` is left out.

    :raises MedsegError: ``WEIGHTS_DO_NOT_FIT`` if no layer's weight agrees, or an FCN's coarser net is
        another; ``KEYWORD_INVALID`` for a glob that no tensor's name matches.
    """
    own, given = network.state_dict(), trained.state_dict()
    if isinstance(network, FCN32s) and isinstance(trained, FCN32s) and trained.skips < network.skips:
        network.require_coarser(trained)
    for glob in fresh:
        if not any(fnmatchcase(name, glob) for name in own):
            details = f"no tensor's name matches {glob!r}"
            how_to_fix = f"names look like {', '.join([*own][:3])}"
            raise MedsegError(Code.KEYWORD_INVALID, "network.reinit_layers", details, how_to_fix)
    tensors: dict[str, Tensor] = {}
    for name in own:
        if name not in given or any(fnmatchcase(name, glob) for glob in fresh):
            continue
        if own[name].shape == given[name].shape:
            tensors[name] = given[name]
        elif _is_first_layer(own[name], network, given[name], trained):
            tensors[name] = for_channels(given[name], network.in_channels)
    if not any(tensor.ndim > 1 for tensor in tensors.values()):
        details = f"no layer of {type(trained).__name__} has the same name and shape"
        how_to_fix = "start from a network with the same layers"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, type(network).__name__, details, how_to_fix)
    return InitialTensors.of(tensors, {name: name for name in tensors}, given, [*own])


def _is_first_layer(own: Tensor, network: Network, given: Tensor, trained: Network) -> bool:
    """True if both are weights (O, C, h, w) of a layer that sees the image, differing in C alone."""
    return (
        own.ndim == given.ndim == 4
        and own.shape[1] == network.in_channels
        and given.shape[1] == trained.in_channels
        and own.shape[0] == given.shape[0]
        and own.shape[2:] == given.shape[2:]
    )
