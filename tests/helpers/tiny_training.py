"""A training small enough to run many times: a network with batch norm and dropout, batches by (seed, t)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.losses import build
from medseg.train.fit import fit
from medseg.train.plan import Epoch, FitPlan


class TinyNet(nn.Module):
    """(B, 3, H, W) -> (B, 2, H, W)."""

    def __init__(self, seed: int = 0, *, norm: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            self.encoder = nn.Conv2d(3, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
            self.drop = nn.Dropout(0.3 if norm else 0.0)
            self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.drop(self.norm(self.encoder(x)).relu()))
        return logits


def draw(t: int, rows: slice = slice(None)) -> tuple[Any, Any]:
    """Four 6×6 patches; the label is where the middle channel is positive."""
    patches = np.random.default_rng((11, t)).normal(size=(4, 3, 6, 6)).astype(np.float32)
    return patches[rows], (patches[rows, 1] > 0).astype(np.uint8)


def jitter(patches: Tensor, labels: Tensor, t: int, rows: slice) -> tuple[Tensor, Tensor]:
    shift = np.random.default_rng((12, t)).normal(size=4).astype(np.float32)[rows]
    return patches + torch.from_numpy(shift).view(-1, 1, 1, 1), labels


def validate(network: nn.Module) -> dict[str, float]:
    """Accuracy on two batches; disturbs torch's generator as a careless validation might."""
    torch.rand(3)
    assert not network.training
    right = [network(torch.from_numpy(p)).argmax(1).numpy() == y for p, y in (draw(1000), draw(1001))]
    return {"dice_mean": float(np.mean(right)), "dice/a": 0.5}


def plan(**changes: Any) -> FitPlan:
    values = {
        "epochs": 3,
        "steps_per_epoch": 4,
        "lr": 0.02,
        "clip": 1.0,
        "device": "cpu",
        "precision": "fp32",
    }
    return FitPlan(**{**values, **changes})


def run(folder: Path, network: nn.Module, wanted: FitPlan | None = None, **changes: Any) -> Iterator[Epoch]:
    keywords = {"validate": validate, "augment": jitter, **changes}
    source = keywords.pop("draw", draw)
    loss = keywords.pop("loss", None) or build("ce_dice")
    return fit(network, source, loss, wanted or plan(), folder=folder, **keywords)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
