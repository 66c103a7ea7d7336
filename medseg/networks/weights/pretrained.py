"""Published weights, in a file and under their publisher's names, into the layers of a network."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks.contract import Network
from medseg.networks.weights.initial_tensors import InitialTensors, listed
from medseg.resources import is_out_of_memory

_WRAPPERS = ("state_dict", "model")
"""Keys under which published files may hold their state dict, beside other things."""

_BLOCK = re.compile(r"(?:module\.)?(layers?\.?\d+(?:\.blocks)?)\.\d+\.")
"""A block of a stage, as ResNet, SE-ResNet and Swin name them; group 1 is the stage."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict (name -> tensor, on the CPU) from ``.safetensors`` or torch's format of plain data.

    A dict that holds it under ``state_dict`` or ``model``, as some publishers write it, is opened.

    :raises MedsegError: ``PATH_MISSING``; ``FILE_UNREADABLE``; ``WEIGHTS_DO_NOT_FIT`` if the file is damaged
        or holds anything else.
    """
    if not path.is_file():
        raise MedsegError(Code.PATH_MISSING, path, "there is no such file", "name a weight file")
    how_to_fix = "get the file again, or save the state dict alone, best as .safetensors"
    try:
        content = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
    except Exception as error:  # a damaged file makes the readers raise anything
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a place outside the file
            details = error.strerror or type(error).__name__
            raise MedsegError(Code.FILE_UNREADABLE, path, details, "make the file readable") from None
        # The reader's own words are not passed on: torch's advise to read the file in a way that runs code.
        details = "it is damaged, or not a state dict of plain tensors"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, details, how_to_fix) from None
    wrapped = [content[key] for key in _WRAPPERS if key in content] if isinstance(content, dict) else []
    for tensors in (content, *wrapped):
        if _is_state_dict(tensors):
            return dict(tensors)
    raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, "it holds more than a state dict", how_to_fix)


def _is_state_dict(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )


def fill(network: Network, tensors: Mapping[str, Tensor], where: object = None) -> InitialTensors:
    """Copy published weights into the layers of ``network`` that have them, in place; nothing on a misfit.

    :raises MedsegError: as :func:`fitted`.
    """
    filled = fitted(network, tensors, where)
    network.load_state_dict(filled.tensors, strict=False)
    return filled


def fitted(network: Network, tensors: Mapping[str, Tensor], where: object = None) -> InitialTensors:
    """Give published weights the names and shapes of ``network``, which may lie on ``meta``.

    The first layer adapts to other than three channels: each gets the mean over the published three, scaled
    so that a grey image keeps its response. Fully connected weights become convolutions of the same extent.

    :param where: the file, for messages.
    :raises MedsegError: ``WEIGHTS_DO_NOT_FIT`` with the keys and shapes that do not fit, of many the first.
    """
    own = network.state_dict()
    names = network.pretrained_key_map()
    keys = {ours: _key_of(theirs, tensors) for ours, theirs in names.items()}
    filled: dict[str, Tensor] = {}
    misfits: list[str] = []
    for ours, key in keys.items():
        published = tensors.get(key)
        shaped = None if published is None else _shaped(published, own[ours].shape)
        if published is None:
            misfits.append(f"{names[ours]} is absent")
        elif shaped is None:
            misfits.append(f"{key} is {tuple(published.shape)}, {ours} needs {tuple(own[ours].shape)}")
        elif not bool(published.isfinite().all()):
            misfits.append(f"{key} has values that are not finite")
        else:
            filled[ours] = shaped
    misfits += _blocks_of_a_deeper_network(tensors, set(keys.values()))
    if misfits or not names:
        details = _misfits_in_words(misfits, names, tensors)
        how_to_fix = "use the published weights of the same backbone, and the published width"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, where or type(network).__name__, details, how_to_fix)
    return InitialTensors.of(filled, keys, tensors, [*own])


def _key_of(published: str, tensors: Mapping[str, Tensor]) -> str:
    """Find a published name in a file, where it may be DenseNet's of 2017 or of a parallel training."""
    earlier = re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", published)
    candidates = (published, earlier, f"module.{published}", f"module.{earlier}")
    return next((key for key in candidates if key in tensors), published)


def _blocks_of_a_deeper_network(tensors: Iterable[str], used: set[str]) -> list[str]:
    """Say which blocks a file has, and the network has not, of stages that it has: ResNet-34's for 18."""
    blocks = {match[0]: match[1] for key in tensors if (match := _BLOCK.match(key))}
    own = {match[0] for key in used if (match := _BLOCK.match(key))}
    stages = {blocks[block] for block in own if block in blocks}
    deeper = [block.rstrip(".") for block, stage in blocks.items() if stage in stages and block not in own]
    return [f"it has blocks that the network has not, {listed(deeper)}"] if deeper else []


def _misfits_in_words(misfits: Sequence[str], names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    if not names:
        return "the network has no layers with published weights"
    if all(_key_of(theirs, tensors) not in tensors for theirs in names.values()):
        has, needs = ", ".join([*tensors][:3]) or "none", ", ".join([*names.values()][:3])
        return (
            f"none of its {len(tensors)} keys ({has}, …) is one of the {len(names)} "
            f"that the network needs ({needs}, …)"
        )
    return f"it is of another network, or damaged: {listed(misfits, '; ')}"


def conv_names(module: nn.Module, prefix: str, published: tuple[str, ...]) -> dict[str, str]:
    """Pair the parameters of ``module``'s convolutions, in order, with those of the ``published`` layers."""
    ours = [name for name, layer in module.named_modules(prefix=prefix) if isinstance(layer, nn.Conv2d)]
    return {
        f"{a}.{kind}": f"{b}.{kind}"
        for a, b in zip(ours, published, strict=False)
        for kind in ("weight", "bias")
    }


def for_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt a first layer's weight (O, C, h, w) to another number of channels.

    Each gets the mean over the C, scaled so that an image whose channels are equal keeps its response.
    """
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, -1, -1)


def _shaped(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """Shape a tensor of this shape, the first layer's, or one of a fully connected layer that is a
    convolution here or in the file; None for any other.
    """
    if tensor.shape == shape:
        return tensor
    if tensor.ndim == 2 and len(shape) == 4 and tensor.shape == (shape[0], math.prod(shape[1:])):
        return tensor.view(shape)
    if tensor.ndim == 4 and len(shape) == 2 and tensor.shape == (*shape, 1, 1):
        return tensor.view(shape)
    if tensor.ndim == len(shape) == 4 and tensor.shape == (shape[0], 3, *shape[2:]):
        return for_channels(tensor, shape[1])
    return None
