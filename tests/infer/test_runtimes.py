"""Exported graphs as predictors, the choice among runtimes, and refusals before any scan is read."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medseg
from medseg import extras, files
from medseg.errors import Code, MedsegError
from medseg.infer import loading, runtimes, timing
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.loading import Numerics
from medseg.infer.predictor import Predictor
from medseg.model import folder as model_folder
from tests.helpers.graphs import add_graph, conv_graph
from tests.helpers.model_folders import describe

RUNTIMES = ("onnx", "openvino")


def make(folder: Path, **changes: Any) -> Path:
    description = describe(**changes)
    model_folder.export(folder, {"fold0": model_folder.build_network(description).state_dict()}, description)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a graph for each runtime."""
    folder = make(tmp_path / "model")
    for runtime in RUNTIMES:
        add_graph(folder, conv_graph(), runtime)
    return folder


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_gives_logits_of_its_own(model: Path, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    predictor = loading.load(model, numerics=Numerics(runtime, threads=1)).predictor  # type: ignore[arg-type]
    assert not isinstance(predictor, MultiPlaneEnsemble)
    first, second = (predictor(torch.randn(2, 3, side, 7)) for side in (5, 9))
    assert first.shape == (2, 3, 5, 7) and second.shape == (2, 3, 9, 7)
    assert np.array_equal(first[0, :, 0, 0].numpy(), [0.0, 1.0, 0.5])
    own = loading.load(model).predictor.spec  # type: ignore[union-attr]
    assert predictor.spec == replace(own, channels_last=False), "a graph takes its input as it lies"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such stack")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_signal_is_handled_after_graphs_have_ended_in_any_order(model: Path, runtime: str) -> None:
    code = (
        "import signal; from pathlib import Path; from medseg.infer import loading\n"
        f"numerics = loading.Numerics({runtime!r}, threads=1)\n"
        f"models = [loading.load(Path({str(model)!r}), numerics=numerics) for _ in range(3)]\n"
        "while models:\n"
        "    del models[0]\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_are_not_overwritten_by_those_of_the_next_batch(tmp_path: Path, runtime: str) -> None:
    folder, graph = make(tmp_path / "model"), conv_graph()
    graph.graph.initializer[0].raw_data = np.ones((3, 3, 1, 1), np.float32).tobytes()
    add_graph(folder, graph, runtime)
    predictor: Any = loading.load(folder, numerics=Numerics(runtime, threads=1)).predictor  # type: ignore[arg-type]
    first = predictor(torch.ones(1, 3, 4, 4))
    before = first.clone()
    predictor(torch.zeros(1, 3, 4, 4))
    assert torch.equal(first, before)


def test_one_graph_serves_several_planes(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", plane=("axial", "coronal"))
    add_graph(folder, conv_graph())
    predictor = loading.load(folder, numerics=Numerics("onnx")).predictor
    assert isinstance(predictor, MultiPlaneEnsemble)
    assert [one.spec.plane for one in predictor.predictors] == ["axial", "coronal"]


def test_a_graph_of_fixed_sides_refuses_others(tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    add_graph(folder, conv_graph(), sides=[4, 4])
    model = loading.load(folder, numerics=Numerics("onnx"))
    assert model.reach is None and loading.load(folder).reach is not None  # no part of a slice fits
    predictor: Any = model.predictor
    assert predictor(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)
    with pytest.raises(MedsegError, match="4, 4") as error:
        predictor(torch.zeros(1, 3, 8, 4))
    assert error.value.code is Code.SIZE_IMPOSSIBLE


@pytest.mark.parametrize("operator", [b"Cons", b"Co\xffv"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_a_runtime_refuses_is_one_line(
    tmp_path: Path, runtime: str, operator: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, graph = make(tmp_path / "model"), conv_graph().SerializeToString()
    add_graph(folder, graph.replace(b"Conv", operator), runtime)
    with pytest.raises(MedsegError) as error:
        loading.load(folder, numerics=Numerics(runtime))  # type: ignore[arg-type]
    assert error.value.code is Code.NOT_A_MODEL and "\n" not in str(error.value)
    assert capfd.readouterr().out == ""


def test_a_network_that_cannot_be_built_is_refused_though_its_graph_could_be_run(tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    add_graph(folder, conv_graph())
    tree = files.read_json(folder / "model.json")
    tree["description"]["keywords"]["width"] = 10**30
    files.write_json(folder / "model.json", tree)
    with pytest.raises(MedsegError) as error:
        loading.load(folder, numerics=Numerics("onnx"))
    assert error.value.code is Code.NOT_A_MODEL


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_slabs_that_a_graph_does_not_take_are_one_line(tmp_path: Path, runtime: str) -> None:
    folder = make(tmp_path / "model")
    add_graph(folder, conv_graph(channels=5), runtime)
    predictor: Any = loading.load(folder, numerics=Numerics(runtime)).predictor  # type: ignore[arg-type]
    with pytest.raises(MedsegError) as error:
        predictor(torch.zeros(1, 3, 4, 4))
    assert error.value.code is Code.NOT_A_MODEL


def test_a_full_memory_is_told_from_a_refusal(tmp_path: Path) -> None:
    full, other = RuntimeError("Failed to allocate memory for requested buffer"), RuntimeError("bad\nshape")
    assert isinstance(runtimes._refused(tmp_path, full), MemoryError)
    assert "bad" in str(runtimes._refused(tmp_path, other)) and "shape" not in str(
        runtimes._refused(tmp_path, other)
    )


@pytest.mark.parametrize(
    ("numerics", "device", "words"),
    [
        (Numerics("torch", "int8"), "cpu", "torch has no int8"),
        (Numerics("onnx", "bf16"), "cpu", "no bf16"),
        (Numerics("onnx", "int8"), "cpu", "onnx fp32, openvino fp32, no onnx int8"),
        (Numerics("onnx"), "cuda", "run on the cpu"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_loaded(
    model: Path, numerics: Numerics, device: str, words: str
) -> None:
    with pytest.raises(MedsegError, match=words) as error:
        loading.load(model, device, numerics=numerics)
    assert error.value.code is Code.USAGE


def test_a_runtime_that_is_not_installed_names_its_extra(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras._PACKAGES, "openvino", ("no_such_package",))
    with pytest.raises(MedsegError, match=r"medseg\[openvino\]") as error:
        loading.load(model, numerics=Numerics("openvino"))
    assert error.value.code is Code.EXTRA_MISSING
    assert Numerics("openvino", "fp32") not in timing.choose(model, "cpu", threads=1).seconds


def test_the_library_loads_graphs_too(model: Path) -> None:
    loaded = medseg.load_model(model, runtime="onnx")
    assert isinstance(loaded.predictor, runtimes.OnnxPredictor)
    for wrong in ({"runtime": "tensorrt"}, {"precision": "int4"}):
        with pytest.raises(MedsegError, match="use one of") as error:
            medseg.load_model(model, **wrong)  # type: ignore[arg-type]
        assert error.value.code is Code.USAGE


# The choice among runtimes


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that each runtime and precision is said to take."""
    seconds = {"torch fp32": 1.0, "torch bf16": 0.9}
    monkeypatch.setattr(timing, "has_native_bf16", lambda _device: True)

    def said(models: dict[Numerics, Any], mode: str | None) -> dict[Numerics, float]:
        return {one: seconds[str(one)] for one in models}

    monkeypatch.setattr(timing, "_seconds", said)
    return seconds


def test_the_fastest_of_a_precision_is_taken_and_said(model: Path, speeds: dict[str, float]) -> None:
    speeds |= {"onnx fp32": 0.8, "openvino fp32": 0.5}
    choice = timing.choose(model, "cpu")
    assert f"{choice.numerics}" == "openvino fp32"
    assert choice.words() == (
        "runtime: openvino fp32, the fastest on two slices "
        "(torch fp32 1000 ms, onnx fp32 800 ms, openvino fp32 500 ms)"
    )


def test_torch_stays_where_a_graph_is_not_clearly_faster(model: Path, speeds: dict[str, float]) -> None:
    speeds |= {"onnx fp32": 0.98, "openvino fp32": 0.99}
    assert timing.choose(model, "cpu").numerics.runtime == "torch"


def test_any_precision_is_compared_where_speed_comes_first(model: Path, speeds: dict[str, float]) -> None:
    add_graph(model, conv_graph(), "openvino", "int8")
    speeds |= {"onnx fp32": 0.8, "openvino fp32": 0.5, "openvino int8": 0.2}
    assert f"{timing.choose(model, 'cpu', precision=None).numerics}" == "openvino int8"
    assert f"{timing.choose(model, 'cpu', precision='int8').numerics}" == "openvino int8"
    assert f"{timing.choose(model, 'cpu', precision=None, runtime='onnx').numerics}" == "onnx fp32"
    assert f"{timing.choose(model, 'cpu', precision='bf16').numerics}" == "torch bf16"


def test_torch_in_bf16_is_fast_where_the_processor_has_it(
    model: Path, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds |= {"torch bf16": 0.3, "onnx fp32": 0.8, "openvino fp32": 0.5}
    assert f"{timing.choose(model, 'cpu', precision=None).numerics}" == "torch bf16"
    assert f"{timing.choose(model, 'cpu').numerics}" == "openvino fp32"  # never without being asked
    monkeypatch.setattr(timing, "has_native_bf16", lambda _device: False)
    assert f"{timing.choose(model, 'cpu', precision=None).numerics}" == "openvino fp32"


def test_nothing_to_choose_from_is_refused_and_one_thing_is_not_timed(tmp_path: Path) -> None:
    folder = make(tmp_path / "bare")
    assert timing.choose(folder, "cpu").words() == "runtime: torch fp32, the only one of this model here"
    with pytest.raises(MedsegError, match="nothing of auto int8") as error:
        timing.choose(folder, "cpu", precision="int8")
    assert error.value.code is Code.USAGE


@pytest.mark.parametrize("mode", ["dense", "vote"])
def test_every_runtime_is_timed_on_the_models_own_input(model: Path, mode: str) -> None:
    choice = timing.choose(model, "cpu", mode=mode, threads=1)
    assert list(choice.seconds) == ["torch fp32", "onnx fp32", "openvino fp32"]
    assert all(value > 0 for value in choice.seconds.values())
    batch = timing._batch(loading.load(model), mode)
    assert batch.shape == ((2, 3, 192, 192) if mode == "dense" else (64, 3, 16, 16))


def test_folding_keeps_labels(model: Path) -> None:
    description, network = model_folder.load_network(model, "fold0")
    batch = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    predictor: Predictor = loading.load(model).predictor  # type: ignore[assignment]
    with torch.no_grad():
        torch.testing.assert_close(predictor(batch), network(batch))
    assert description.network == "usegnet"
