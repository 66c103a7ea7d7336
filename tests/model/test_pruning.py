"""UNet++ reduced to one head: the exported folder alone gives what that head gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from medseg.cli import data  # noqa: F401 (registers the command)
from medseg.cli.app import app
from medseg.config.load import load
from medseg.config.recipe import Recipe
from medseg.errors import Code, MedsegError
from medseg.model import folder as model_folder
from medseg.model import pruning
from medseg.networks import build, level_problem
from tests.helpers.model_folders import describe

KEYWORDS: dict[str, Any] = {"width": 2, "depth": 3}


def write_model(folder: Path, **keywords: Any) -> torch.nn.Module:
    description = describe(network="unetpp", keywords={**KEYWORDS, **keywords})
    network = model_folder.build_network(description)
    model_folder.export(folder, {"fold0": network.state_dict()}, description)
    return network.eval()


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("keywords", [{}, {"backbone": "alexnet", "backbone_width": 4}])
def test_exported_level_gives_what_the_head_gives(
    tmp_path: Path, level: int, keywords: dict[str, Any]
) -> None:
    with torch.random.fork_rng(devices=[]):
        full = write_model(tmp_path / "work/model", **keywords)
        said = CliRunner().invoke(
            app, ["export", str(tmp_path / "work"), str(tmp_path / "out"), "--level", str(level)]
        )
        assert said.exit_code == 0, said.output
        description, small = model_folder.load_network(tmp_path / "out", "fold0")
        x = torch.randn(2, small.in_channels, 32, 64)
        with torch.no_grad():
            head = full.train(False).pruned(level)(x)  # type: ignore[operator]
            assert torch.equal(small(x), head)
    assert description.keywords["depth"] == level and description.keywords["deep_supervision"] is False
    card = (tmp_path / "out/card.md").read_text()
    assert f"{sum(p.numel() for p in small.parameters()):,} parameters" in card
    assert small.size_divisor == 2**level


@pytest.mark.parametrize("branch", [1, 2, 3])
def test_fast_mode_predicts_by_the_chosen_branch_alone(branch: int) -> None:
    fast = build("unetpp", 1, 2, seed=0, mode="fast", branch=branch, **KEYWORDS).eval()
    x = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    ran: list[str] = []
    for name, node in fast.nodes.items():  # type: ignore[operator, union-attr]
        node.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.no_grad():
        found = fast(x)
        assert max(sum(map(int, name.split("_"))) for name in ran) == branch
        assert torch.equal(found, fast.pruned(branch)(x))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("network", "keywords", "level", "words"),
    [
        ("unet", {}, 2, "only unetpp"),
        ("unetpp", {"deep_supervision": False}, 2, "one head"),
        ("unetpp", {"depth": 3}, 4, "depth 3 has no head 4"),
        ("unetpp", {}, 5, "depth 4 has no head 5"),
        ("unetpp", {"backbone": "resnet18"}, 6, "depth 5 has no head 6"),
    ],
)
def test_levels_that_are_no_heads_are_refused(
    network: str, keywords: dict[str, Any], level: int, words: str
) -> None:
    assert words in str(level_problem(network, keywords, level))
    with pytest.raises(MedsegError) as refused:
        pruning.pruned(describe(network=network, keywords=keywords), {}, level)
    assert refused.value.code is Code.KEYWORD_INVALID and words in str(refused.value)


def test_levels_that_exist_have_no_problem() -> None:
    assert level_problem("unetpp", {"backbone": "resnet18"}, 5) is None
    assert level_problem("unetpp", {}, 4) is None


@pytest.mark.parametrize(
    "keywords",
    [{"branch": 2}, {"mode": "fast", "branch": 5}, {"mode": "fast", "branch": 2, "deep_supervision": False}],
)
def test_branches_that_do_not_exist_are_refused(keywords: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(MedsegError) as refused:
        build("unetpp", 1, 2, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID and "branch" in str(refused.value)


def test_an_export_of_a_level_is_not_registered(tmp_path: Path) -> None:
    write_model(tmp_path / "work/model")
    arguments = [
        "export",
        str(tmp_path / "work"),
        str(tmp_path / "out"),
        "--level",
        "1",
        "--register",
        "name",
    ]
    said = CliRunner().invoke(app, arguments)
    assert isinstance(said.exception, MedsegError) and said.exception.code is Code.USAGE
    assert not (tmp_path / "out").exists()


def test_a_model_without_such_a_head_is_not_exported(tmp_path: Path) -> None:
    write_model(tmp_path / "work/model", deep_supervision=False)
    said = CliRunner().invoke(app, ["export", str(tmp_path / "work"), str(tmp_path / "out"), "--level", "1"])
    assert isinstance(said.exception, MedsegError) and said.exception.code is Code.KEYWORD_INVALID
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_another_network_has_no_level_to_predict_by() -> None:
    values = load("dsb2018_unetpp").model_dump(mode="json")
    assert Recipe.model_validate(values | {"predict": {"level": 3}}).predict.level == 3
    with pytest.raises(ValueError, match="only unetpp has several heads"):
        Recipe.model_validate(values | {"predict": {"level": 3}, "network": {"name": "unet"}})
