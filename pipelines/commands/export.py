"""`medseg export`: a work folder's model, checked, as a model folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.model import folder as model_folder
from medseg.model import onnx_graph
from pipelines.workfolder import Work


def run(work: Path, folder: Path, say: Reporter, *, onnx: bool = False) -> None:
    """Load the model (every sha256 is checked), then copy it file by file, `model.json` last.

    With `onnx` each member is written as an ONNX graph, too. Graphs and members of a model that lay here
    before go.
    """
    source = Work(work).model
    model = loading.load(source)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "model.json").is_file())
    ):
        raise MedsegError(Code.USAGE, folder, "holds something else than a model", "name a new folder")
    for stale in folder.glob("*.onnx"):
        stale.unlink()
    names = sorted(p.name for p in source.iterdir() if p.suffix in {".safetensors", ".md"})
    for name in [*names, "model.json"]:
        with files.written_aside(folder / name) as part:
            shutil.copyfile(source / name, part)
    named = {Path(member.file).name for member in model_folder.read(folder).members}
    for unnamed in {p.name for p in folder.glob("*.safetensors")} - named:
        (folder / unnamed).unlink()
    if onnx:
        _write_graphs(folder, say)
    say.result(
        f"{folder}: {model.description.network}, {model.parameters:,} parameters, sha256 {model.sha256[:12]}"
    )


def _write_graphs(folder: Path, say: Reporter) -> None:
    for member in model_folder.read(folder).members:
        about, network = model_folder.load_network(folder, member.name)
        window = network.size_from(about.window[0]), network.size_from(about.window[1])
        free = onnx_graph.write(folder / f"{member.name}.onnx", network, window)
        sides = "any size that it takes" if free else f"{window[0]}×{window[1]} px"
        say.line(f"{member.name}.onnx: slabs of {sides}, as ONNX Runtime agrees")
