"""How much memory a forward pass takes, found by following the network on the ``meta`` device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.networks.contract import Network

_SIDE = 16384
"""Borders that valid convolutions eat do not count at this side length (px), so that smaller inputs take
less a pixel."""


def bytes_per_pixel(network: Network) -> float:
    """Bytes that one forward pass of evaluation holds at its peak, for each pixel (H·W) of its input.

    ``network`` lies on the ``meta`` device. All values are float32, its weights do not count. An input of any
    size takes at most so much a pixel; the workspace of the device's convolutions comes on top.
    """
    side = network.size_from(_SIDE)
    network.eval()
    alive = _Alive()
    with torch.no_grad(), alive:
        network(torch.zeros(1, network.in_channels, side, side, device="meta"))
    return alive.peak / side**2


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's mode has no hints
    """Counts the bytes of the tensors made under it that are alive; ``peak`` is the most at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, sum(self._sizes.values()))
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # torch keeps one object for a storage as long as that lives
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            weakref.finalize(storage, self._sizes.pop, key)
