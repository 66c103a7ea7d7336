"""`medseg export --runtime`: calibrated on training, accepted on validation cases, used by `segment`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg import files
from medseg.cli import data, segment  # noqa: F401 (registers the commands)
from medseg.cli.app import app
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import runtimes
from medseg.model import folder as model_folder
from medseg.model import onnx_graph
from pipelines.commands import export, export_graphs
from pipelines.commands.export_graphs import Wanted
from tests.helpers.box_runs import TRAIN, go
from tests.helpers.graphs import conv_graph


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a trained network of two levels, prepared cases and a model."""
    from tests.helpers.box_subjects import make_subjects

    root = tmp_path_factory.mktemp("graphs")
    make_subjects(root / "data", 5)
    network = {"name": "unet", "keywords": {"width": 4, "depth": 1}}
    train = {**TRAIN, "steps_per_epoch": 100, "batch": 8, "lr": 0.01}
    parts = {"network": network, "train": train, "predict": {"mode": "dense"}}
    code, said = go(root / "data", root / "work", parts=parts)
    assert code == ExitCode.DONE, said
    return root / "work"


def test_graphs_are_written_accepted_described_and_used(work: Path, tmp_path: Path) -> None:
    out, runner = tmp_path / "model", CliRunner()
    words = ["--runtime", "openvino", "--runtime", "onnx", "--precision", "fp32", "--precision", "int8"]
    said = runner.invoke(app, ["export", str(work), str(out), *words, "--calibrate", "s0,s1"])
    assert said.exit_code == 0, said.output
    rows = model_folder.read(out).graphs
    kinds = [(row.runtime, row.precision) for row in rows]
    assert kinds == [("openvino", "fp32"), ("openvino", "int8"), ("onnx", "fp32"), ("onnx", "int8")]
    assert [row.accepted.calibrated_on for row in rows] == [0, 2, 0, 2]
    assert rows[0].accepted.agreement == 1.0 and rows[0].sides is None
    assert sorted(path.name for path in out.glob("*.onnx")) == ["fold0.int8.onnx", "fold0.onnx"]
    card = (out / "card.md").read_text(encoding="utf-8")
    assert "## Graphs" in card and "| fold0 | openvino | int8 |" in card
    scan = next(work.parent.glob("data/s3/s3.nii.gz"))
    labels = []
    for number, options in enumerate(([], ["--runtime", "openvino"], ["--runtime", "auto"], ["--fast"])):
        folder = tmp_path / f"out{number}"
        command = ["segment", str(scan), str(folder), "--model", str(out), "--no-figure", "--workers", "0"]
        said = runner.invoke(app, [*command, *options])
        assert said.exit_code == 0, said.output
        assert ("the fastest on two slices" in said.output) == (number >= 2)
        assert ("24 px from the foreground" in said.output) == (number == 3)
        labels.append((folder / "s3.nii.gz").read_bytes())
        run = files.read_json(folder / "run.json")
        assert files.read_json(folder / "s3.json")["runtime"] == run["runtime"]
        assert run["margin"] == (24 if number == 3 else None)
        again = runner.invoke(app, [*command, *options])
        assert "1 skipped" in again.output
    assert labels[0] == labels[1] == labels[2]
    other = runner.invoke(app, [*command, "--runtime", "onnx"])
    assert "1 skipped" not in other.output and other.exit_code == 0


def written(path: Path, graph: Any) -> bool:
    path.write_bytes(graph.SerializeToString())
    return True


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_of_other_labels_is_refused_and_nothing_is_written(
    work: Path, tmp_path: Path, say: Reporter, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    monkeypatch.setattr(onnx_graph, "write", lambda path, *_: written(path, conv_graph(bias=(0, 9, 0))))
    with pytest.raises(MedsegError, match="accepted are") as refused:
        export.run(work, tmp_path / "out", say, graphs=Wanted(("onnx",), (precision,)))
    assert refused.value.code is Code.NOT_EXPORTABLE
    assert not (tmp_path / "out").exists()


def test_a_graph_whose_dice_drops_is_refused_though_labels_agree(
    work: Path, tmp_path: Path, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_graphs, "_agreement", lambda *_: 1.0)
    monkeypatch.setattr(onnx_graph, "write", lambda path, *_: written(path, conv_graph(bias=(9, 0, 0))))
    labels = export_graphs._Comparison._labels
    scores = iter([0.9, 0.8979])  # the network's, the graph's

    def scored(self: Any, *arguments: Any) -> Any:
        return labels(self, *arguments)[0], next(scores)

    monkeypatch.setattr(export_graphs._Comparison, "_labels", scored)
    with pytest.raises(MedsegError, match=r"Dice 0\.8979 \(-0\.0021\)"):
        export.run(work, tmp_path / "out", say, graphs=Wanted(("onnx",)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int8"], "give --runtime, too"),
        (["--calibrate", "3"], "give --runtime, too"),
        (["--runtime", "onnx", "--calibrate", "3"], "give --precision int8, too"),
        (["--runtime", "onnx", "--precision", "bf16"], "no bf16"),
        (["--runtime", "onnx", "--precision", "int8", "--calibrate", "s9"], "'s9' is no training case"),
        (["--runtime", "onnx", "--precision", "int8", "--calibrate", "0"], "'0' is no training case"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    work: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    said = CliRunner().invoke(app, ["export", str(work), str(tmp_path / "out"), *options])
    assert isinstance(said.exception, MedsegError) and words in str(said.exception)
    assert said.exception.code is Code.USAGE
    assert not (tmp_path / "out").exists()


def test_a_work_folder_without_validation_cases_is_refused(
    make_model: Callable[..., Path], tmp_path: Path, say: Reporter
) -> None:
    make_model("work/model")
    (tmp_path / "work/ingest").mkdir()
    (tmp_path / "work/ingest/splits.csv").write_text("fold,case,subject,role\n")
    with pytest.raises(MedsegError, match="no labelled validation case"):
        export.run(tmp_path / "work", tmp_path / "out", say, graphs=Wanted(("onnx",)))


def test_cases_to_calibrate_on_are_spread_over_the_list() -> None:
    class Case:
        def __init__(self, name: str) -> None:
            self.name = name

    cases: Any = [Case(str(n)) for n in range(9)]
    assert [case.name for case in export_graphs._chosen(cases, "3")] == ["0", "4", "8"]
    assert [case.name for case in export_graphs._chosen(cases, "99")] == [str(n) for n in range(9)]


def test_agreement_counts_the_foreground_of_both(work: Path) -> None:
    classes = model_folder.read(work / "model").description.class_list()
    one, other = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 0])
    assert export_graphs._agreement([one], [other], classes) == pytest.approx(1 / 3)
    assert export_graphs._agreement([one * 0], [one * 0], classes) == 1.0


def test_a_graph_of_fixed_sides_suits_windows_alone(work: Path) -> None:
    description = model_folder.read(work / "model").description
    file = export_graphs.GraphFile(
        member="fold0", runtime="onnx", precision="fp32", file="f.onnx", sha256="", sides=(16, 16)
    )
    with pytest.raises(MedsegError, match="16×16 px alone"):
        export_graphs._inferer(description, file)
    voting = description.model_copy(update={"mode": "vote"})
    assert type(export_graphs._inferer(voting, file)).__name__ == "MajorityVote"
    free = file.model_copy(update={"sides": None})
    assert type(export_graphs._inferer(voting, free)).__name__ == "WholeSlice"


def test_what_segment_cannot_have_ends_before_any_scan_is_read(work: Path, tmp_path: Path) -> None:
    scan = next(work.parent.glob("data/s3/s3.nii.gz"))
    command = ["segment", str(scan), str(tmp_path / "out"), "--model", str(work / "model")]
    for options, words in (
        (["--runtime", "openvino"], "no graph at all"),
        (["--precision", "int8"], "nothing of auto int8"),
        (["--runtime", "torch", "--precision", "int8"], "no int8"),
    ):
        said = CliRunner().invoke(app, [*command, *options])
        assert isinstance(said.exception, MedsegError) and words in str(said.exception), options
    assert runtimes.EXTRAS["openvino"] == "openvino"
