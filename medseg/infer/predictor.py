"""Predictors: callables from a batch of slabs to logits, with the form of their input and output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from medseg.device import Precision, resolve_precision
from medseg.errors import Code, MedsegError
from medseg.grid import Plane
from medseg.infer.decide import highest
from medseg.networks.contract import side_from
from medseg.transfer import Download


@dataclass(frozen=True)
class Spec:
    """The form of a predictor's input and output.

    It takes slabs of ``channels``·``depth`` slices along ``plane``, whose height and width are
    ``size_remainder`` modulo ``size_divisor`` and at least ``min_size``, and gives ``classes`` logits per
    pixel; ``border`` is how many pixels its output lacks on each side (0 for same padding). One forward pass
    takes at most ``bytes_per_pixel`` of memory for each input pixel, 0 if unknown. Class 0 is the
    ``background``, or a class like the others. Where classes are masks that overlap, ``thresholds`` has one
    for each: a pixel lies in a mask if its probability, the sigmoid of the logit, is above it. Slabs are
    best given on ``device``, where the logits are, and in ``channels_last`` memory format or torch's own.
    """

    plane: Plane
    depth: int
    channels: int
    classes: int
    size_divisor: int
    border: int = 0
    size_remainder: int = 0
    min_size: int = 1
    bytes_per_pixel: float = 0.0
    background: bool = True
    thresholds: tuple[float, ...] = ()
    device: str = "cpu"
    channels_last: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format in which slabs need no copy."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def size_from(self, size: int) -> int:
        """The smallest side length (px) from ``size`` upwards that the predictor takes."""
        return side_from(size, self)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (…, K, H, W) → soft-max over K, or each mask's sigmoid."""
        return logits.sigmoid() if self.thresholds else logits.softmax(dim=-3)

    def logits(self, probabilities: Tensor) -> Tensor:
        """Logits whose :meth:`probabilities` are these (up to rounding)."""
        return probabilities.clamp(0, 1).logit() if self.thresholds else probabilities.log()

    def inside(self, logits: Tensor) -> Tensor:
        """Decide on overlapping masks: logits (…, K, H, W) → (…, K, H, W) bool."""
        least = torch.tensor(self.thresholds, device=logits.device).view(-1, 1, 1)
        return self.probabilities(logits) > least

    def labels(self, logits: Tensor) -> Tensor:
        """Logits (…, K, H, W) → class indices (…, H, W) uint8, ties to the lowest; bits of masks."""
        if not self.thresholds:
            return highest(logits.movedim(-3, 0))
        bits = torch.tensor([1 << bit for bit in range(self.classes)], device=logits.device).view(-1, 1, 1)
        return (self.inside(logits) * bits).sum(dim=-3).to(torch.uint8)


class Predictor(Protocol):
    """Anything callable with a spec: a network here, an exported graph elsewhere."""

    @property
    def spec(self) -> Spec:
        """The form of its input and output."""

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32, on the predictor's device."""


class NetworkPredictor:
    """A torch network as a predictor: on its device, in evaluation mode, under autocast below fp32.

    The network itself is moved and switched to evaluation; training must switch it back.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: Spec,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
        *,
        channels_last: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self.spec = replace(spec, device=str(self._device), channels_last=channels_last)
        self._low = autocast_dtype(precision, self._device)
        self._format = self.spec.memory_format
        # torch's stubs know `to` with a memory format only beside a device
        self._network = network.to(self._device).to(memory_format=self._format).eval()  # type: ignore[call-overload]

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32."""
        moved = batch.to(self._device, memory_format=self._format)
        with torch.autocast(self._device.type, self._low, enabled=self._low is not None):
            logits: Tensor = self._network(moved)
        return logits.float()


class JoinedClasses:
    """A predictor whose outputs count for fewer classes: their probabilities are added.

    ``outputs`` has for each of the predictor's classes the index of the class that it becomes part of.
    """

    def __init__(self, predictor: Predictor, outputs: Sequence[int]) -> None:
        self._predictor = predictor
        self._parts = [[k for k, to in enumerate(outputs) if to == one] for one in range(max(outputs) + 1)]
        self.spec = replace(predictor.spec, classes=len(self._parts))

    def __call__(self, batch: Tensor) -> Tensor:
        """Slabs (B, C·D, H, W) float32 → logits (B, K, H, W) float32 of the joined classes."""
        logits = self._predictor(batch)
        return torch.stack([logits[:, part].logsumexp(dim=1) for part in self._parts], dim=1)


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Name the lower type of a precision key on a device, None for fp32; raises KEYWORD_INVALID."""
    lower = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return lower[resolve_precision(precision, device)]


@contextmanager
def checked(predictor: Predictor) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give a function from slabs (B, C·D, H, W) to logits (B, K, H', W'), which lack the border, checked.

    It raises SIZE_IMPOSSIBLE for outputs of another shape. Logits that are not numbers are NAN_OR_INF: on a
    CPU at once, elsewhere at the next call or the end of the block, as nothing here waits for the device.
    """
    spec = predictor.spec
    under_way: list[Download] = []

    def logits_of(batch: Tensor) -> Tensor:
        logits = predictor(batch)
        shape = (len(batch), spec.classes, *(n - 2 * spec.border for n in batch.shape[2:]))
        if tuple(logits.shape) != shape:
            raise MedsegError(
                Code.SIZE_IMPOSSIBLE,
                "network output",
                f"{tuple(logits.shape)} for an input of {tuple(batch.shape)}",
                f"the network must give {shape}, as its padding and number of classes say",
            )
        under_way.append(Download([logits.amin().isnan()]))  # NaN if any is: a tenth of isnan().any()
        while under_way and (len(under_way) > 1 or under_way[0].is_done):
            _require_numbers(under_way.pop(0))
        return logits

    yield logits_of
    for download in under_way:
        _require_numbers(download)


def _require_numbers(are_missing: Download) -> None:
    if are_missing.wait()[0]:
        raise MedsegError(
            Code.NAN_OR_INF, "network output", "logits that are not numbers", "predict with precision fp32"
        )
