"""`medseg export`: a work folder's model, checked, as a model folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.model import folder as model_folder
from medseg.model import onnx_graph, pruning
from medseg.model.folder import CARD, MODEL_JSON
from medseg.model.graphs import Graph
from medseg.tracking.logged_model import ALIAS
from pipelines import registry
from pipelines.commands import export_graphs
from pipelines.workfolder import Work

_LOCK = ".lock"


def run(
    work: Path,
    folder: Path,
    say: Reporter,
    *,
    onnx: bool = False,
    graphs: export_graphs.Wanted | None = None,
    register: str | None = None,
    alias: str = ALIAS,
    level: int | None = None,
) -> None:
    """Load the model (every sha256 is checked), then copy its files to `folder`: all of them or none.

    With `level` it is first pruned to that head of UNet++. KEYWORD_INVALID if it has none.

    With `onnx` each member is written as an ONNX graph, too, for other programs; with `graphs` as graphs that
    medseg itself may run, which `model.json` lists and `card.md` describes. The members and graphs of a model
    that lay in `folder` before are removed once the new ones are complete. With `register` the model that the
    work folder's run logged becomes a version of that name in MLflow's registry, with an alias. Raises USAGE
    for a folder of other files, WORK_IN_USE, NOT_EXPORTABLE, and as :func:`pipelines.registry.register`.
    """
    with _pruned_to(Work(work).model, level) as source:
        model = _copy(work, source, folder, say, onnx=onnx, graphs=graphs)
    say.result(
        f"{folder}: {model.description.network}, {model.parameters:,} parameters, sha256 {model.sha256[:12]}"
    )
    if register is not None:
        say.result(f"registered as {registry.register(Work(work), register, alias)}")


@contextmanager
def _pruned_to(source: Path, level: int | None) -> Iterator[Path]:
    """Give a model folder, or a temporary one of the network that ends in a head of it."""
    if level is None:
        yield source
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, model = Path(scratch) / "model", model_folder.read(source)
        members = {m.name: model_folder.load_network(source, m.name)[1].state_dict() for m in model.members}
        planes = {m.name: m.plane for m in model.members if m.plane is not None}
        description, smaller = pruning.pruned(model.description, members, level)
        model_folder.export(folder, smaller, description, planes)
        yield folder


def _copy(
    work: Path, source: Path, folder: Path, say: Reporter, *, onnx: bool, graphs: export_graphs.Wanted | None
) -> loading.Model:
    """Check the model in `source` and copy it to `folder`, with graphs where they are asked for."""
    model, members = loading.load(source), model_folder.read(source).members
    _check_is_model_or_empty(folder)
    lock, details = folder / _LOCK, "another medseg export is writing there"
    with files.hold_lock(lock, folder, details, "wait for it to end, or name another folder"):
        try:
            stale = model_folder.weights_and_graphs(folder)
            with files.written_together(folder, MODEL_JSON, without=stale) as part:
                for name in (*(member.file for member in members), CARD, MODEL_JSON):
                    if name != CARD or (source / CARD).is_file():
                        with files.written_aside(part / name) as unfinished:
                            shutil.copyfile(source / name, unfinished)
                lines = _write_graphs(part) if onnx else []
                if graphs is not None:
                    _record_graphs(part, export_graphs.write(work, part, graphs, say))
        finally:
            lock.unlink(missing_ok=True)  # while it is held, so that a model folder holds a model alone
            if not any(folder.iterdir()):
                folder.rmdir()
    for line in lines:
        say.line(line)
    return model


def _check_is_model_or_empty(folder: Path) -> None:
    if not folder.exists():
        return
    is_empty = folder.is_dir() and all(p.name == _LOCK or files.is_part(p) for p in folder.iterdir())
    if not is_empty and not (folder / MODEL_JSON).is_file():
        raise MedsegError(Code.USAGE, folder, "holds something else than a model", "name a new folder")


def _record_graphs(folder: Path, rows: list[Graph]) -> None:
    """List graphs in `model.json`, and describe them in `card.md`."""
    tree = {**model_folder.read_json(folder), "graphs": [row.model_dump(mode="json") for row in rows]}
    files.write_json(folder / MODEL_JSON, tree)
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    files.write_text(folder / CARD, card + export_graphs.card_section(rows))


def _write_graphs(folder: Path) -> list[str]:
    """Write each member of a model folder as a graph into it, and give a line for the user about each."""
    lines = []
    for member in model_folder.read(folder).members:
        description, network = model_folder.load_network(folder, member.name)
        window = network.size_from(description.window[0]), network.size_from(description.window[1])
        free = onnx_graph.write(folder / f"{member.name}.onnx", network, window)
        sides = "any size that the network takes" if free else f"{window[0]}×{window[1]} px"
        lines.append(f"{member.name}.onnx: slabs of {sides}; ONNX Runtime gives the same logits")
    return lines
