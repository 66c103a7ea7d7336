"""No input can bring code: no pickle is loaded, and no model folder opens a connection."""

from __future__ import annotations

import ast
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.preprocess import brain_extraction
from tests.helpers.model_folders import describe

ROOT = Path(__file__).parents[2]
SOURCES = sorted((*(ROOT / "medseg").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")))
UNSAFE_CALLS = {
    ("pickle", "load"), ("pickle", "loads"), ("dill", "load"), ("joblib", "load"), ("marshal", "loads"),
    ("yaml", "unsafe_load"), ("yaml", "full_load"), ("shelve", "open"), ("os", "system"),
}  # fmt: skip


OWN_PIPES = {
    "medseg/helper_process.py": "from a helper that medseg started, over its pipe",
    "pipelines/execution/cluster.py": "from the scheduler, as all code that a cluster's workers run",
}
"""Files that read pickles which come from no file."""


def calls(tree: ast.Module) -> Iterator[tuple[str, str, ast.Call]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)):
                yield module, name, node
            case ast.Call(func=ast.Name(id=("eval" | "exec" | "__import__") as name)):
                yield "", name, node


def unsafe(tree: ast.Module) -> Iterator[str]:
    """Calls that run what a file says; the exceptions of pickle may be named."""
    for module, name, call in calls(tree):
        options = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        if (module, name) in UNSAFE_CALLS or not module:
            yield f"{module}.{name}"
        if (module, name) == ("torch", "load") and options.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        if (module, name) in {("np", "load"), ("numpy", "load")} and options.get("allow_pickle") is not False:
            yield "np.load without allow_pickle=False"
        if (module, name) == ("yaml", "load") and ast.unparse(call.args[-1]) not in {"_Loader", "loader"}:
            yield "yaml.load"
        if options.get("trust_remote_code") or options.get("shell"):
            yield f"{module}.{name} with a shell or remote code"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_runs_code_of_a_file_is_called(path: Path) -> None:
    loads = list(unsafe(ast.parse(path.read_text(encoding="utf-8"))))
    if path.relative_to(ROOT).as_posix() in OWN_PIPES:
        assert {call.partition(".")[0] for call in loads} == {"pickle"}
    else:
        assert loads == []


@pytest.mark.parametrize(
    "line",
    ["torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)", "pickle.load(f)", "eval(x)",
     "yaml.load(t)", "subprocess.run(c, shell=True)", "torch.jit.load(p)"],
)  # fmt: skip
def test_the_search_sees_what_it_looks_for(line: str) -> None:
    tree = ast.parse(line)
    if line.startswith("torch.jit"):
        assert "torch.jit" in ast.unparse(tree)
        assert "torch.jit" not in "".join(p.read_text(encoding="utf-8") for p in SOURCES)
        return
    assert list(unsafe(tree))


def test_torchscript_of_deepbet_is_not_read_unless_its_sha256_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    for name in brain_extraction.WEIGHTS:
        (folder / name).write_bytes(b"code")
    spec = type("Spec", (), {"origin": str(tmp_path / "deepbet" / "__init__.py")})
    monkeypatch.setattr(brain_extraction.importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setitem(__import__("sys").modules, "deepbet", None)  # its import would raise another error
    with pytest.raises(MedsegError) as refused:
        brain_extraction.extract(None)  # type: ignore[arg-type]
    assert refused.value.code is Code.MODEL_TAMPERED


@pytest.mark.parametrize(
    ("network", "keywords"),
    [
        ("monai.networks.nets:FlexibleUNet", {"backbone": "efficientnet-b0", "pretrained": True}),
        ("monai.networks.nets:AHNet", {"pretrained": True}),
        ("monai.networks.nets:DenseNet121", {"pretrained": True, "progress": False}),
    ],
)
def test_a_model_that_asks_for_pretrained_weights_is_refused_without_a_socket(
    network: str, keywords: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = {**describe().model_dump(mode="json"), "network": network, "keywords": keywords}
    safetensors.torch.save_file({"weight": torch.zeros(4)}, tmp_path / "fold0.safetensors")
    member = {
        "name": "fold0",
        "file": "fold0.safetensors",
        "sha256": files.sha256(tmp_path / "fold0.safetensors"),
    }
    tree = {"format": 1, "parameters": 1, "members": [member], "description": description}
    (tmp_path / "model.json").write_text(json.dumps(tree))

    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", opened)
    monkeypatch.setattr(socket, "create_connection", opened)
    monkeypatch.setattr(socket, "getaddrinfo", opened)
    with pytest.raises(MedsegError) as refused:
        loading.load(tmp_path)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert "offline" in refused.value.finding.details
