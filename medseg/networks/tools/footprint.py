"""Memory of a forward pass, measured by following the network on the ``meta`` device."""

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
"""Side length (px) at which the borders of valid convolutions do not count, so that smaller inputs take
less per pixel."""


def bytes_per_pixel(network: Network) -> float:
    """Measure the peak memory of a forward pass of evaluation, in bytes per pixel (H·W) of its input.

    ``network`` lies on the ``meta`` device. All values are float32, its weights do not count. An input of any
    size takes at most so much per pixel; the workspace of the device's convolutions comes on top.
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
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # torch keeps one object for a storage as long as that lives
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            weakref.finalize(storage, self._sizes.pop, key)
