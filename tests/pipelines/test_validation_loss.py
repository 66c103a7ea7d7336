"""The loss beside the validation's scores: on fixed windows, without any effect on the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg import files
from medseg.config import load
from pipelines.fold.fold import FoldTraining
from pipelines.fold.validation_loss import loss_on_windows
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go
from tests.helpers.box_subjects import make_subjects


class Even(nn.Module):
    """Gives every class the same logit, plus ``favour`` for the background."""

    def __init__(self, favour: float = 0.0) -> None:
        super().__init__()
        self.favour = nn.Parameter(torch.tensor(favour))
        self.windows: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.windows.append(x)
        logits = torch.zeros(len(x), 3, *x.shape[2:])
        return logits + self.favour * torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("loss")
    make_subjects(place / "data", labelled=5)
    parts: dict[str, Any] = {"loss": {"name": "ce"}, "train": {**TRAIN, "epochs": 2, "steps_per_epoch": 40}}
    go(place / "data", place / "work", parts=parts)
    return place / "work"


def training(work: Path) -> FoldTraining:
    return FoldTraining(load.load(str(work / "recipe.yaml")), Work(work), 0)


def test_every_epoch_has_a_loss_of_validation(work: Path) -> None:
    losses = [float(row["val/loss"]) for row in files.read_csv(work / "train/0/history.csv")]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)


def test_it_is_the_recipe_s_loss_on_the_same_windows_each_time(work: Path) -> None:
    state, network = torch.get_rng_state(), Even()
    mean_loss = loss_on_windows(training(work))
    with torch.no_grad():
        assert mean_loss(network) == pytest.approx(math.log(3), abs=1e-5)
        first = network.windows[:]
        assert mean_loss(network) == mean_loss(network)
        assert mean_loss(Even(50.0)) > 1 > mean_loss(Even(0.0)) - 0.1
    assert len(first) == 2  # a sixteenth of forty batches
    again = network.windows[2:4]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
