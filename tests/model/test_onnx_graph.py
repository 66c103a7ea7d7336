"""ONNX graphs of small networks: written if they agree, refused if they cannot."""

from __future__ import annotations

from pathlib import Path

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
