"""Copies between the host and a device that nobody waits for before they are needed.

On CUDA they go through page-locked memory, and run while the host goes on and the device computes. On a CPU
nothing is copied; on other devices a copy is one that is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.grid import Array


def upload(array: Array | Tensor, device: str | torch.device) -> Tensor:
    """Copy an array to a device; its work waits for the copy, the host does not."""
    tensor, on_cuda = torch.as_tensor(array), torch.device(device).type == "cuda"
    if on_cuda and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=on_cuda)


class Download:
    """Tensors of one device on their way to the host."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._event: Any = None  # torch's own types leave an event untyped
        if tensors[0].device.type != "cuda":
            self._tensors = [tensor.cpu() for tensor in tensors]
            return
        self._tensors = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
        for target, tensor in zip(self._tensors, tensors, strict=True):
            target.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(tensors[0].device))

    @property
    def is_done(self) -> bool:
        """True once the copies have arrived."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> list[Tensor]:
        """Give the tensors on the host; only what was asked of the device before them is waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensors


def downloaded(items: Iterable[Sequence[Tensor]]) -> Iterator[list[Array]]:
    """Bring items to the host in order; while one travels, the next is asked for."""
    under_way: deque[Download] = deque()
    for item in items:
        under_way.append(Download(item))
        while under_way and (len(under_way) > 1 or under_way[0].is_done):
            yield [tensor.numpy() for tensor in under_way.popleft().wait()]
    for download in under_way:
        yield [tensor.numpy() for tensor in download.wait()]


class SideStream:
    """A stream of CUDA on which batches are made while the device trains on earlier ones."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def make(self, function: Callable[[], Sequence[Tensor]]) -> Callable[[], Sequence[Tensor]]:
        """Call ``function`` on this stream; give one that returns its tensors, for the stream that uses them.

        The first call is made by a thread that prepares batches, and what it waits for delays no other
        stream; the second by the thread that trains, which does not wait.
        """
        with torch.cuda.stream(self._stream):
            tensors = function()
            ready_event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready_event.record(self._stream)

        def taken() -> Sequence[Tensor]:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(ready_event)
            for tensor in tensors:
                if tensor.device.type == "cuda":
                    tensor.record_stream(stream)  # its memory is not used again before this stream is done
            return tensors

        return taken
