"""Schedules by hand, and phases that free, freeze and group parameters."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.train import optim
from medseg.train.optim import Optimiser, Phase, schedule_factor
from tests.helpers.tiny_training import TinyNet


@pytest.mark.parametrize(
    ("schedule", "step", "warmup", "expected"),
    [
        ("constant", 7, 0, 1.0),
        ("poly", 0, 0, 1.0),
        ("poly", 5, 0, 0.5**0.9),
        ("poly", 9, 0, 0.1**0.9),
        ("cosine", 0, 0, 1.0),
        ("cosine", 5, 0, 0.5),
        ("cosine", 9, 0, 0.024471742),
        ("poly", 0, 4, 0.25),
        ("poly", 3, 4, 1.0),
        ("poly", 4, 4, 1.0),
        ("poly", 7, 4, 0.5**0.9),
        ("constant", 9, 20, 0.5),
    ],
)
def test_schedule_by_hand(schedule: optim.Schedule, step: int, warmup: int, expected: float) -> None:
    assert schedule_factor(schedule, step, 10, warmup) == pytest.approx(expected)


def test_phase_at() -> None:
    first, second = Phase(2, 0.1), Phase(3, 0.01)
    found = [optim.phase_at((first, second), epoch) for epoch in range(5)]
    assert found == [(first, 0), (first, 0), (second, 2), (second, 2), (second, 2)]
    with pytest.raises(IndexError, match="epoch 5 of 5"):
        optim.phase_at((first, second), 5)


def test_rate_of_takes_the_first_factor_that_matches() -> None:
    phase = Phase(1, 0.1, ("head.*", "encoder.*"), (("head.bias", 2.0), ("head.*", 10.0)))
    rates = [phase.rate_of(name) for name in ("head.bias", "head.weight", "encoder.weight", "norm.weight")]
    assert rates == pytest.approx([0.2, 1.0, 0.1, 0.0])


def test_a_phase_frees_freezes_and_groups() -> None:
    network = TinyNet()
    optimiser = optim.build(Optimiser(weight_decay=0.3), network)
    optim.apply_phase(Phase(1, 0.1, ("head.*",), (("head.bias", 2.0),)), network, optimiser)
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    assert free == {"head.weight", "head.bias"}
    modes = network.training, network.drop.training, network.norm.training, network.head.training
    assert modes == (True, True, False, True)
    assert optim.set_rates(optimiser, 0.5) == pytest.approx(0.1)
    groups = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in optimiser.param_groups]
    assert groups == [(4, 0.0, 0.3), (1, 0.05, 0.3), (1, 0.1, 0.3)]
    optim.apply_phase(Phase(1, 0.1), network, optimiser)
    assert network.norm.training
    assert [len(g["params"]) for g in optimiser.param_groups] == [6]


@pytest.mark.parametrize("settings", [Optimiser(), Optimiser("sgd", nesterov=True)])
def test_moments_survive_another_grouping(settings: Optimiser) -> None:
    def steps(network: TinyNet, optimiser: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optim.apply_phase(Phase(1, 0.1), network, optimiser)
            network.zero_grad()
            network(torch.ones(1, 3, 4, 4)).square().sum().backward()
            optimiser.step()

    network = TinyNet(norm=False)
    optimiser = optim.build(settings, network)
    steps(network, optimiser, 2)
    copy = TinyNet(seed=1, norm=False)
    copy.load_state_dict(network.state_dict())
    other = optim.build(settings, copy)
    optim.apply_phase(Phase(1, 0.1, ("*",), (("head.*", 3.0),)), copy, other)
    optim.load_by_name(other, copy, deepcopy(optim.state_by_name(optimiser, network)))
    steps(network, optimiser, 1)
    steps(copy, other, 1)
    for a, b in zip(network.parameters(), copy.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((Phase(2, 0.1),), "2 epochs; make them 3"),
        ((Phase(3, 0.1, ("decoder.*",)),), "no parameter's name matches 'decoder"),
        ((Phase(3, 0.1, ("*",), (("tail", 2.0),)),), "no parameter's name matches 'tail'"),
    ],
)
def test_refusals(phases: tuple[Phase, ...], words: str) -> None:
    with pytest.raises(MedsegError, match=words) as refusal:
        optim.check_phases(phases, 3, TinyNet())
    assert refusal.value.code == Code.KEYWORD_INVALID
