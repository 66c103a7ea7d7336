"""The figure of networks: a picture, whatever their stages, and the command that draws it."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import torch
from typer.testing import CliRunner

from medseg.cli import inspection  # noqa: F401 (registers the command)
from medseg.cli.app import app
from medseg.networks import build
from medseg.report.architecture import architectures


def test_networks_of_several_forms_are_drawn() -> None:
    with torch.device("meta"):
        networks = [("one", build("usegnet", 3, 4, width=2)), ("two", build("unet", 1, 2, width=2, depth=1))]
        networks.append(("three", build("unetpp", 1, 2, width=2, depth=2)))
    picture = iio.imread(architectures(networks, 16), extension=".png")
    assert picture.shape[0] > 800 and picture.shape[1] == 1540
    assert picture.std() > 5


def test_the_command_draws_the_figure(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["info", "--figure", str(tmp_path / "networks.png")])
    assert said.exit_code == 0, said.output
    assert iio.imread(tmp_path / "networks.png").shape[1] == 1540
