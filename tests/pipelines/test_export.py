"""`medseg export`: a model folder of its own, with ONNX graphs where asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from medseg import files
from medseg.cli import data  # noqa: F401 (registers the command)
from medseg.cli.app import app
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.model import onnx_graph
from pipelines.commands import export


def test_a_member_becomes_a_graph_and_goes_with_the_model_that_it_was_of(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    make_model("work/model")
    said = CliRunner().invoke(app, ["export", str(tmp_path / "work"), str(tmp_path / "out"), "--onnx"])
    assert said.exit_code == 0, said.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "card.md",
        "fold0.onnx",
        "fold0.safetensors",
        "model.json",
    ]
    session = onnxruntime.InferenceSession(tmp_path / "out/fold0.onnx", providers=["CPUExecutionProvider"])
    slabs = np.random.default_rng(0).normal(size=(1, 3, 24, 20)).astype(np.float32)
    (found,) = session.run(["logits"], {"slabs": slabs})
    assert found.shape == (1, 3, 24, 20)
    assert loading.load(tmp_path / "out").parameters > 0
    CliRunner().invoke(app, ["export", str(tmp_path / "work"), str(tmp_path / "out")])
    assert not (tmp_path / "out/fold0.onnx").exists()


def test_members_of_the_model_that_lay_there_before_go(
    make_model: Callable[..., Path], tmp_path: Path, say: Reporter
) -> None:
    make_model("three/model", members=3)
    make_model("one/model", members=1)
    export.run(tmp_path / "three", tmp_path / "out", say)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 3
    export.run(tmp_path / "one", tmp_path / "out", say)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "card.md",
        "fold0.safetensors",
        "model.json",
    ]
    assert loading.load(tmp_path / "out").sha256 == loading.load(tmp_path / "one/model").sha256


def test_an_export_that_fails_leaves_all_or_nothing(
    make_model: Callable[..., Path], tmp_path: Path, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("one/model", members=1)
    make_model("two/model", members=2)
    export.run(tmp_path / "one", tmp_path / "out", say, onnx=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert before.keys() == {"card.md", "fold0.onnx", "fold0.safetensors", "model.json"}
    write, graphs = onnx_graph.write, []

    def failing(path: Path, *rest: Any) -> bool:
        graphs.append(path)
        if len(graphs) > 1:
            raise MedsegError(Code.NOT_EXPORTABLE, "network", "no graph", "leave --onnx out")
        return write(path, *rest)

    monkeypatch.setattr(onnx_graph, "write", failing)
    for folder in ("out", "new"):
        graphs.clear()
        with pytest.raises(MedsegError) as refused:
            export.run(tmp_path / "two", tmp_path / folder, say, onnx=True)
        assert refused.value.code is Code.NOT_EXPORTABLE
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_two_exports_do_not_write_to_one_folder(
    make_model: Callable[..., Path], tmp_path: Path, say: Reporter
) -> None:
    make_model("work/model")
    out = tmp_path / "out"
    with files.hold_lock(out / ".lock", out, "another", "wait"), pytest.raises(MedsegError) as refused:
        export.run(tmp_path / "work", out, say)
    assert refused.value.code is Code.WORK_IN_USE
    assert [path.name for path in out.iterdir()] == [".lock"]
    export.run(tmp_path / "work", out, say)
    assert sorted(path.name for path in out.iterdir()) == ["card.md", "fold0.safetensors", "model.json"]


def test_a_folder_of_something_else_is_left_alone(
    make_model: Callable[..., Path], tmp_path: Path, say: Reporter
) -> None:
    make_model("work/model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.onnx").write_text("mine")
    with pytest.raises(MedsegError) as refused:
        export.run(tmp_path / "work", tmp_path / "out", say, onnx=True)
    assert refused.value.code is Code.USAGE
    assert (tmp_path / "out/notes.onnx").read_text() == "mine"
