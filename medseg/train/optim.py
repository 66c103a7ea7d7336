"""Optimisers, learning-rate schedules and phases: which layers train, at which rates, for how long.

Weight decay acts on every parameter that trains, biases and batch norm included, as the papers' recipes have
it: AdamW decouples it from the gradient, SGD adds it to the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError

Schedule = Literal["constant", "poly", "cosine", "plateau"]

_POLY_POWER = 0.9


@dataclass(frozen=True)
class Optimiser:
    """AdamW, or SGD with momentum (Nesterov's form by keyword)."""

    name: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False


@dataclass(frozen=True)
class Plateau:
    """Under the schedule `plateau` the rate falls to ``factor`` of it after ``patience`` validations in a row
    without a better score."""

    patience: int = 5
    factor: float = 0.1


@dataclass(frozen=True)
class Phase:
    """For ``epochs`` epochs the parameters whose names match a glob of ``layers`` train, the rest is frozen.

    Their rate is ``lr`` times the factor of the first glob in ``factors`` that matches, times the schedule,
    which runs from the phase's start to its end.
    """

    epochs: int
    lr: float
    layers: tuple[str, ...] = ("*",)
    factors: tuple[tuple[str, float], ...] = ()

    def rate_of(self, name: str) -> float:
        """Give the rate of one parameter before the schedule; 0 if it is frozen."""
        if not any(fnmatchcase(name, layer) for layer in self.layers):
            return 0.0
        return self.lr * next((f for glob, f in self.factors if fnmatchcase(name, glob)), 1.0)


def schedule_factor(schedule: Schedule, step: int, total: int, warmup: int = 0) -> float:
    """Give the factor of the rate at ``step`` (0-based) of ``total``.

    The first ``warmup`` steps rise linearly, (step + 1) / warmup. Then, with x from 0 towards 1 over the
    rest: constant 1; poly (1 − x)^0.9; cosine (1 + cos πx) / 2; plateau 1, as scores lower the rate beside
    it (:class:`Plateau`).
    """
    if step < warmup:
        return (step + 1) / warmup
    x = (step - warmup) / max(1, total - warmup)
    if schedule == "poly":
        return float((1 - x) ** _POLY_POWER)
    return (1 + math.cos(math.pi * x)) / 2 if schedule == "cosine" else 1.0


def phase_at(phases: Sequence[Phase], epoch: int) -> tuple[Phase, int]:
    """Find the phase of an epoch (0-based) and the epoch that it started with."""
    start = 0
    for phase in phases:
        if epoch < start + phase.epochs:
            return phase, start
        start += phase.epochs
    raise IndexError(f"epoch {epoch} of {start}")


def check_phases(phases: Sequence[Phase], epochs: int, network: nn.Module) -> None:
    """Raise ``KEYWORD_INVALID`` unless the phases fill the epochs and every glob finds parameters."""
    planned = sum(phase.epochs for phase in phases)
    if planned != epochs:
        raise MedsegError(
            Code.KEYWORD_INVALID, "train.phases", f"{planned} epochs", f"make them {epochs}, as train.epochs"
        )
    names = [name for name, _ in network.named_parameters()]
    globs = [glob for phase in phases for glob in (*phase.layers, *(glob for glob, _ in phase.factors))]
    for glob in dict.fromkeys(globs):
        if not any(fnmatchcase(name, glob) for name in names):
            raise MedsegError(
                Code.KEYWORD_INVALID,
                "train.phases",
                f"no parameter's name matches {glob!r}",
                f"names look like {', '.join(names[:3])}",
            )


def build(settings: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    """Build an optimiser for all parameters; :func:`apply_phase` says which of them train."""
    parameters = list(network.parameters())
    if settings.name == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=0.0,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def apply_phase(phase: Phase, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put the network in training mode, free what trains in this phase, and group it by its rate.

    See :func:`free_layers`. Moments of parameters that come back are those they left with.
    """
    grouped = free_layers(phase, network)
    common = {k: v for k, v in optimiser.param_groups[0].items() if k not in ("params", "lr", "rate")}
    optimiser.param_groups.clear()
    for rate, parameters in grouped.items():
        optimiser.add_param_group({**common, "params": parameters, "lr": rate, "rate": rate})


def free_layers(phase: Phase, network: nn.Module) -> dict[float, list[nn.Parameter]]:
    """Put the network in training mode as this phase has it; give all parameters by their rates.

    A frozen layer is in evaluation mode, so that batch norm's statistics stay too.
    """
    network.train()
    grouped: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = phase.rate_of(name)
        parameter.requires_grad_(rate > 0)
        if rate == 0:
            parameter.grad = None
        grouped.setdefault(rate, []).append(parameter)
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own:
            module.training = any(parameter.requires_grad for parameter in own)
    return grouped


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate to its phase's times ``factor``; give the highest."""
    for group in optimiser.param_groups:
        group["lr"] = group["rate"] * factor
    return float(max(group["lr"] for group in optimiser.param_groups))


def state_by_name(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict[str, Any]]:
    """Give the optimiser's moments under their parameters' names, whatever groups these are in."""
    named = network.named_parameters()
    return {name: dict(optimiser.state[p]) for name, p in named if p in optimiser.state}


def load_by_name(
    optimiser: torch.optim.Optimizer, network: nn.Module, state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Undo :func:`state_by_name`; moments go to their parameter's device, step counts stay on the CPU."""
    for name, parameter in network.named_parameters():
        if name in state:
            optimiser.state[parameter] = {
                key: value.to(parameter.device) if isinstance(value, Tensor) and key != "step" else value
                for key, value in state[name].items()
            }
