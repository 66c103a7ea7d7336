"""Single steps: clipped gradients, dropout's seeds, and what torch refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.train import fabric, state
from medseg.train.optim import Optimiser
from tests.helpers.tiny_training import TinyNet, plan, run, weights


class Affine(nn.Module):
    """Two weights whose gradients under :func:`total` are 3 and 4 (norm 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return (3 * self.a + 4 * self.b) + 0 * x[:, :2]


def total(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.mean()


@pytest.mark.parametrize(("clip", "moved"), [(1.0, (0.6, 0.8)), (10.0, (3.0, 4.0)), (None, (3.0, 4.0))])
def test_gradients_are_shortened_to_the_norm_and_no_further(
    tmp_path: Path, clip: float | None, moved: tuple[float, float]
) -> None:
    network = Affine()
    sgd = Optimiser("sgd", weight_decay=0.0, momentum=0.0)
    wanted = plan(epochs=1, steps_per_epoch=1, lr=1.0, schedule="constant", optimiser=sgd, clip=clip)
    list(run(tmp_path, network, wanted, loss=total, augment=None, validate=None))
    torch.testing.assert_close(torch.stack([-network.a, -network.b]), torch.tensor(moved), rtol=1e-5, atol=0)


class Recorder(TinyNet):
    """Keeps the pixels that dropout leaves, of each call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.masks.append(self.drop(torch.ones(64)) > 0)
        return super().forward(x)


def masks(folder: Path, seed: int = 0) -> list[Tensor]:
    network = Recorder()
    list(run(folder, network, plan(epochs=2, steps_per_epoch=3, seed=seed), validate=None, augment=None))
    return network.masks


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed_alone(tmp_path: Path) -> None:
    first = masks(tmp_path / "a")
    assert len(first) == 6
    assert not any(torch.equal(first[i], first[j]) for i in range(6) for j in range(i))
    assert all(torch.equal(*pair) for pair in zip(first, masks(tmp_path / "b"), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, masks(tmp_path / "c", seed=1), strict=True))


class Pooled(nn.Module):
    """Batch norm on an image's mean, as the image-level branch of DeepLab has it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x + self.norm(x.mean(dim=(2, 3), keepdim=True)))
        return logits


def one_patch(t: int, rows: slice = slice(None)) -> tuple[Any, Any]:
    patches = np.random.default_rng(t).normal(size=(1, 3, 6, 6)).astype(np.float32)
    return patches, (patches[:, 1] > 0).astype(np.uint8)


def test_one_patch_with_batch_norm_over_one_value_is_refused_by_key(tmp_path: Path) -> None:
    with pytest.raises(
        MedsegError, match=r"train\.batch: 1 patch\(es\) leave one value a channel"
    ) as refusal:
        list(run(tmp_path, Pooled(), draw=one_patch, augment=None))
    assert refusal.value.code == Code.KEYWORD_INVALID
    assert not list(tmp_path.iterdir())
    # With more than one pixel a channel, batch norm has something to normalise
    assert len(list(run(tmp_path, TinyNet(), draw=one_patch, augment=None, validate=None))) == 3


def test_other_value_errors_of_a_network_are_not_taken_for_it(tmp_path: Path) -> None:
    def wrong(logits: Tensor, labels: Tensor) -> Tensor:
        raise ValueError("Expected something else")

    with pytest.raises(ValueError, match="something else"):
        list(run(tmp_path, TinyNet(), loss=wrong))


_WITHOUT_COMPILER = """
import sys, torch
from pathlib import Path
from medseg.train.fabric import compile_problem
from tests.helpers.tiny_training import TinyNet, plan, run
torch.set_num_threads(1)
list(run(Path(sys.argv[1]), TinyNet(), plan(compile=True, epochs=1)))
print(compile_problem("cpu"))
"""


def test_without_a_compiler_the_network_is_trained_as_it_is(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _WITHOUT_COMPILER, str(tmp_path / "compile")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "No working C++ compiler" in done.stdout
    assert "InductorError" not in done.stdout + done.stderr
    network = TinyNet()
    list(run(tmp_path / "plain", network, plan(epochs=1)))
    trained = state.read_network(tmp_path / "compile" / "last.ckpt")
    assert all(torch.equal(trained[name], value) for name, value in weights(network).items())


def test_a_network_that_torch_cannot_compile_is_refused_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def backend(x: Tensor) -> Tensor:
        return x

    class Uncompilable(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            raise BackendCompilerFailed(backend, RuntimeError("no such operator"), None)

    with pytest.raises(
        MedsegError, match=r"torch cannot compile this network: .*train\.compile: false"
    ) as refusal:
        list(run(tmp_path, Uncompilable()))
    assert refusal.value.code == Code.KEYWORD_INVALID


def test_the_probe_for_a_compiler_takes_no_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(function: Any) -> Any:
        raise RuntimeError("\n  torch.compile is not supported here \nmore")

    monkeypatch.setattr(torch, "compile", no_compiler)
    before = torch.get_rng_state()
    fabric.compile_problem.cache_clear()
    assert fabric.compile_problem("cpu") == "torch.compile is not supported here"
    fabric.compile_problem.cache_clear()
    assert torch.equal(torch.get_rng_state(), before)
