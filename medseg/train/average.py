"""Exponential moving averages of a network's weights, which are often better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def decay_at(decay: float, t: int) -> float:
    """Give the share that the average keeps at step ``t`` (0-based): min(decay, (t + 1) / (t + 10)).

    The first weights would weigh on the average for long otherwise: with 0.999 a thousandth of it changes at
    a step, and after 850 steps 43 % of it were still the weights that training started from.
    """
    return min(decay, (t + 1) / (t + 10))


class Average:
    """The average of ``network``'s weights and running statistics; counts are the latest.

    Statistics of batch norm are averaged as the weights are, so that both are of the same steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.values = _copied(network.state_dict())

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Move the average towards the weights after step ``t``."""
        share = 1 - decay_at(self.decay, t)
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, share)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def in_the_network(self) -> Iterator[None]:
        """Let the network have the averaged weights while the block runs; then put its own back."""
        trained = _copied(self.network.state_dict())
        self.network.load_state_dict(self.values)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over an average from a checkpoint."""
        for name, value in values.items():
            self.values[name].copy_(value)


def _copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}
