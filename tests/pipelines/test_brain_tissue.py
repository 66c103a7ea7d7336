"""`make model`, on a toy atlas: a training that resumes, a model folder with conventions and a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg import files
from medseg.console import Reporter
from medseg.infer import loading
from medseg.synth import anatomy, stream
from medseg.train.state import LAST
from pipelines.commands import brain_tissue, brain_tissue_model
from pipelines.commands.brain_tissue import Training
from tests.synth.toy_atlas import SHAPE, toy_atlas

SMALL = Training(epochs=2, steps=2, rows=2, side=32, held_out=1, shape=SHAPE)


def test_a_training_becomes_a_model_folder_with_conventions(
    tmp_path: Path, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anatomy.draw, "__defaults__", (anatomy.TRAINING, SHAPE))
    monkeypatch.setattr(stream, "POOL", 4)
    maps, work, out = toy_atlas(), tmp_path / "work", tmp_path / "model"
    brain_tissue.train(maps, work, SMALL, say)
    before = (work / LAST).read_bytes()
    brain_tissue.train(maps, work, SMALL, say)
    assert (work / LAST).read_bytes() == before, "it was finished"
    brain_tissue_model.export(maps, work, out, say, measured=2)

    model = loading.load(out)
    assert model.description.classes[1]["name"] == "ventricles"
    assert [c["value"] for c in model.description.classes] == [0, 1, 2, 3, 4]
    assert [c["name"] for c in model.description.classes[2:]] == [anatomy.CLASSES[k] for k in (2, 3, 4)]
    assert model.description.domain["skull_stripped"] is True
    for name, joined in (("ibsr", (0, 1, 2, 3, 2)), ("all-csf", (0, 1, 2, 3, 1))):
        convention = loading.load(out / name)
        assert convention.description.outputs == joined
        assert [c["name"] for c in convention.description.classes] == ["background", "CSF", "GM", "WM"]
    card = (out / "card.md").read_text(encoding="utf-8")
    assert [line for line in card.splitlines() if "{" in line] == []
    assert "held out" in card and "Louis Collins" in card
    rows = files.read_csv(work / "history.csv")
    assert f"GM {float(rows[-1]['val/dice_GM']):.3f}" in card


def test_weights_of_convolutions_are_stored_in_half_precision(tmp_path: Path) -> None:
    half, whole = brain_tissue_model._half(torch.ones(2, 2)), brain_tissue_model._half(torch.ones(2))
    assert (half.dtype, whole.dtype) == (torch.float16, torch.float32)


def test_validation_is_one_for_a_network_that_is_right() -> None:
    """The image holds the labels; the network reads them off the middle slice."""
    labels = np.random.default_rng(0).integers(0, 5, (30, 34, 38)).astype(np.uint8)
    scan = brain_tissue.Scan(labels.astype(np.float16), labels)

    class Reader(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x[:, 2] == k).float() for k in range(5)], dim=1)

    scores = brain_tissue.validation([scan])(Reader())
    assert set(scores.values()) == {1.0}
    assert list(scores)[:2] == ["dice_ventricles", "dice_GM"]
