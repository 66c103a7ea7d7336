"""ONNX graphs of small networks: written if they agree, refused if they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.model import onnx_graph
from medseg.networks.contract import Network


class Halves(Network):
    """A network whose form depends on its size: with free sides it cannot be captured."""

    def __init__(self) -> None:
        super().__init__(1, 2)
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        left = x[..., : 4 if x.shape[-1] == 8 else 3]
        return torch.cat((self.layer(left), self.layer(x[..., left.shape[-1] :])), -1)


class Watches(Network):
    """A network whose form depends on grey values: it cannot be captured at all."""

    def __init__(self) -> None:
        super().__init__(1, 2)
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 0 else self.layer(x + 1)


def test_a_graph_takes_any_size_and_names_no_place_of_this_machine(tmp_path: Path) -> None:
    network = networks.build("unet", 3, 4, seed=0, width=2, depth=1)
    assert onnx_graph.write(tmp_path / "a.onnx", network, (8, 8))
    assert b".py" not in (tmp_path / "a.onnx").read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(3, 3, 12, 6, generator=torch.Generator().manual_seed(5))
    (found,) = session.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=0, atol=1e-5)


def test_a_network_whose_form_depends_on_its_size_keeps_the_windows(tmp_path: Path) -> None:
    assert not onnx_graph.write(tmp_path / "a.onnx", Halves(), (4, 8))
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[2:] == [4, 8]


def test_a_network_that_cannot_be_captured_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refused:
        onnx_graph.write(tmp_path / "a.onnx", Watches(), (4, 8))
    assert refused.value.code is Code.NOT_EXPORTABLE
    assert list(tmp_path.iterdir()) == []


def test_a_graph_of_other_logits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured, other = onnx_graph._captured, networks.build("unet", 1, 2, seed=1, width=2, depth=1)
    monkeypatch.setattr(onnx_graph, "_captured", lambda _, window, free: captured(other, window, free=free))
    with pytest.raises(MedsegError) as refused:
        onnx_graph.write(tmp_path / "a.onnx", networks.build("unet", 1, 2, seed=0, width=2, depth=1), (8, 8))
    assert refused.value.code is Code.NOT_EXPORTABLE
    assert "its graph's logits differ by" in str(refused.value) and "of the largest" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [15, 27])
def test_values_of_a_pooling_window_that_are_equal_but_for_rounding_do_not_matter(
    tmp_path: Path, seed: int
) -> None:
    network = networks.build("usegnet", 3, 4, seed=seed, width=32)
    onnx_graph.write(tmp_path / "a.onnx", network, (40, 40))
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(99))
    (given,) = session.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: x.numpy()})
    with torch.no_grad():
        expected = network(x).numpy()
    assert (given.argmax(1) == expected.argmax(1)).mean() > 0.999


def test_logits_agree_but_for_a_small_share_that_differs_little() -> None:
    expected = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(1, 2, 25, 40)
    few, many = expected.copy(), expected.copy()
    few[..., :1, :10] += 0.05  # 20 of 2000
    assert onnx_graph.agree(few, expected)
    assert onnx_graph.agree(expected * np.float32(1.00001), expected)
    few[0, 0, 0, 0] += 0.06
    assert not onnx_graph.agree(few, expected)  # by more than a pixel that moves could
    many[..., :2, :11] += 0.05
    assert not onnx_graph.agree(many, expected)
    assert not onnx_graph.agree(expected * np.float32(1.001), expected)
    assert not onnx_graph.agree(np.full_like(expected, np.nan), expected)
    assert onnx_graph.agree(np.zeros_like(expected), np.zeros_like(expected))
