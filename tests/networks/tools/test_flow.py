"""Stages and ways read off the captured graphs of the networks that the figure shows."""

from __future__ import annotations

import torch

from medseg.networks import build
from medseg.networks.tools.flow import Flow, flow


def read(name: str, **keywords: object) -> Flow:
    with torch.device("meta"):
        network = build(name, 3, 4, **keywords)
    return flow(network, network.size_from(40))


def test_usegnet_has_its_papers_stages() -> None:
    found = read("usegnet")
    told = [(s.name, [c for _, c in s.convolutions], s.size[0], s.level, s.depth) for s in found.stages]
    assert told == [
        ("encoders.0", [64, 64], 40, 0, 0),
        ("encoders.1", [128, 128], 20, 1, 1),
        ("encoders.2", [256, 256, 256], 10, 2, 2),
        ("decoders.2", [256, 256, 128], 10, 2, 3),
        ("decoders.1", [128, 64], 20, 1, 4),
        ("joins.0", [64], 40, 0, 5),
        ("decoders.0", [64], 40, 0, 6),
        ("head", [4], 40, 0, 7),
    ]
    assert [s.convolutions[0][0] for s in found.stages[-3:]] == [1, 3, 3]
    assert ("encoders.0", "joins.0", "skip") in found.ways
    assert ("encoders.0", "joins.0", "positions") in found.ways
    assert ("decoders.1", "joins.0", "unpool") in found.ways


def test_segnet_has_no_skip_and_two_skips_are_two() -> None:
    assert not [way for way in read("segnet_small").ways if way[2] == "skip"]
    assert len([way for way in read("usegnet", skips=2).ways if way[2] == "skip"]) == 2


def test_unet_joins_every_level_and_ends_at_its_size() -> None:
    found = read("unet", depth=2, width=4)
    skips = [(a, b) for a, b, how in found.ways if how == "skip"]
    assert skips == [("encoders.1", "decoders.1"), ("encoders.0", "decoders.0")]
    assert sorted(how for _, _, how in found.ways) == ["next", "pool", "pool", "skip", "skip", "up", "up"]
    assert found.stages[-1].size == found.stages[0].size


def test_unetpp_takes_all_nodes_before_at_its_level() -> None:
    found = read("unetpp", depth=2, width=4)
    into = {(a, how) for a, b, how in found.ways if b == "nodes.0_2"}
    assert into == {("nodes.0_0", "skip"), ("nodes.0_1", "skip"), ("nodes.1_1", "up")}
    assert {s.name: s.depth for s in found.stages}["nodes.0_2"] == 4
