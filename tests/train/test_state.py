"""Checkpoints: what is written comes back, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.train import state

SETTINGS = {"lr": 0.1, "phases": ({"lr": 0.1, "layers": ("*",)},), "clip": None}


def _written(path: Path) -> state.Checkpoint:
    history = [{"number": 1, "train_loss": 0.25, "val": {"dice_mean": 0.5}}]
    counters = state.State(step=7, epoch=1, loss_sum=0.1 + 0.2, loss_steps=3, best=0.5, history=history)
    moments = {"w": {"step": torch.tensor(7.0), "exp_avg": torch.ones(2)}}
    kept = state.Checkpoint(counters, {"w": torch.arange(2.0)}, moments, {"scale": 2.0}, SETTINGS)
    state.write(path, kept)
    return kept


def test_written_and_read(tmp_path: Path) -> None:
    kept = _written(tmp_path / "last.ckpt")
    found = state.read(tmp_path / "last.ckpt", SETTINGS)
    assert found.state == kept.state
    assert torch.equal(found.network["w"], kept.network["w"])
    assert torch.equal(found.optimiser["w"]["exp_avg"], torch.ones(2))
    assert found.scaler == kept.scaler
    assert torch.equal(state.read_network(tmp_path / "last.ckpt")["w"], kept.network["w"])
    state.write_network(tmp_path / "best.ckpt", kept.network, {"epoch": 1})
    assert torch.equal(state.read_network(tmp_path / "best.ckpt")["w"], kept.network["w"])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["best.ckpt", "last.ckpt"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    _written(tmp_path / "last.ckpt")
    with pytest.raises(MedsegError, match=r"clip was None, is 1.0; lr was 0.1, is 0.2") as refusal:
        state.read(tmp_path / "last.ckpt", {**SETTINGS, "lr": 0.2, "clip": 1.0})
    assert refusal.value.code == Code.CHECKPOINT_UNREADABLE


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text", "pickle", "format", "entries"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    _written(path)
    whole = path.read_bytes()
    if damage in ("format", "entries"):
        torch.save({"format": 1 if damage == "entries" else 0, "state": {}}, path)
    else:
        changed = {
            "cut": whole[: len(whole) // 2],
            "changed": whole[:100] + bytes(200) + whole[300:],
            "empty": b"",
            "text": b"no checkpoint",
            "pickle": b"cos\nsystem\n(S'echo'\ntR.",
        }
        files.write_bytes(path, changed[damage])
    with pytest.raises(MedsegError) as refusal:
        state.read(path, SETTINGS)
    assert refusal.value.code == Code.CHECKPOINT_UNREADABLE
    with pytest.raises(MedsegError):
        state.read_network(path)
