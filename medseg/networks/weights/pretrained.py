"""Published weights, in a file and under their publisher's names, into the layers of a network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks.contract import Network
from medseg.resources import is_out_of_memory


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict (name -> tensor, on the CPU) from ``.safetensors`` or torch's format of plain data.

    :raises MedsegError: ``PATH_MISSING``; ``FILE_UNREADABLE``; ``WEIGHTS_DO_NOT_FIT`` if the file is damaged
        or holds anything else.
    """
    if not path.is_file():
        raise MedsegError(Code.PATH_MISSING, path, "there is no such file", "name a weight file")
    how_to_fix = "save the state dict alone, best as .safetensors"
    try:
        tensors = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
    except OSError as error:
        details = error.strerror or type(error).__name__
        raise MedsegError(Code.FILE_UNREADABLE, path, details, "make the file readable") from None
    except Exception as error:  # a damaged file makes the readers raise anything
        if is_out_of_memory(error):
            raise
        # The reader's own words are not passed on: torch's advise to read the file in a way that runs code.
        details = "it is not a state dict of plain tensors"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, details, how_to_fix) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, path, "it holds more than a state dict", how_to_fix)
    return tensors


def fill(network: Network, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy published weights into the layers of ``network`` that have them, in place; nothing on a misfit.

    :returns: names of the network's tensors that stay as they were.
    :raises MedsegError: as :func:`fitted`.
    """
    filled = fitted(network, tensors)
    network.load_state_dict(filled, strict=False)
    return [key for key in network.state_dict() if key not in filled]


def keys_in_words(network: Network, tensors: Mapping[str, Tensor]) -> str:
    """Say which keys of a file of published weights ``network`` uses, and which it does not.

    Those used are counted by the first part of their names, the others are listed, twelve at most.
    """
    used = {key for key in network.pretrained_key_map().values() if key in tensors}
    parts = Counter(key.partition(".")[0] for key in tensors if key in used)
    unused = [key for key in tensors if key not in used]
    others = f"not used: {', '.join(unused[:12])}" if unused else "all are used"
    more = f" and {len(unused) - 12} more" if len(unused) > 12 else ""
    counts = ", ".join(f"{part} ({count})" for part, count in parts.items())
    return f"{len(used)} of its {len(tensors)} keys used: {counts}; {others}{more}"


def fitted(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give published weights the names and shapes of ``network``, which may lie on ``meta``.

    The first layer adapts to other than three channels: each gets the mean over the published three, scaled
    so that a grey image keeps its response. Fully connected weights become convolutions of the same extent.

    :raises MedsegError: ``WEIGHTS_DO_NOT_FIT`` with every key and shape that does not fit.
    """
    own = network.state_dict()
    names = network.pretrained_key_map()
    filled: dict[str, Tensor] = {}
    misfits = [] if names else ["it has no layers with published weights"]
    for ours, theirs in names.items():
        published = tensors.get(theirs)
        shaped = None if published is None else _shaped(published, own[ours].shape)
        if shaped is not None:
            filled[ours] = shaped
        else:
            has = "absent" if published is None else str(tuple(published.shape))
            misfits.append(f"{theirs} is {has}, {ours} needs {tuple(own[ours].shape)}")
    if misfits:
        how_to_fix = "use the published weights of the same backbone, and the published width"
        raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, type(network).__name__, "; ".join(misfits), how_to_fix)
    return filled


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
