"""Stages give the same bytes on any engine, and a case that is lost is named and made by the next run."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg import files
from medseg.cli.engine import execution as from_options
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import loading
from medseg.ingest.patterns import CaseFiles
from pipelines import prepared_case, scoring
from pipelines import run as pipeline
from pipelines.commands import score_folders
from pipelines.execution import cluster
from pipelines.execution.engines import Execution
from pipelines.execution.limits import Limits
from pipelines.run import Request
from pipelines.stages import ingest, predict
from tests.helpers.box_subjects import make_subjects
from tests.helpers.deadly_work import deadly

TEST = ["s4", "s5", "s6", "s7"]
RECIPE = {
    "name": "boxes",
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "label": "{case}/{case}_seg.nii.gz",
        "classes": {0: "background", 1: "outer", 2: "inner"},
        "splits": {"train": ["s0", "s1", "s2"], "val": ["s3"], "test": TEST},
    },
    "sampling": {"window": [16, 16]},
    "network": {"name": "usegnet", "keywords": {"width": 2}},
    "predict": {"confidence_map": True},
    "train": {
        "epochs": 1,
        "steps_per_epoch": 1,
        "batch": 2,
        "threads": 1,
        "precision": "fp32",
        "device": "cpu",
    },
    "tracking": {"enabled": False},
}
LIMITS = Limits(100.0, 2**34)


@dataclass(frozen=True)
class KillsOne(Execution):
    """An engine that kills one of its workers when the first case of a stage has ended."""

    pids: Callable[[], Sequence[int]] = tuple
    killed: list[int] = field(default_factory=list)

    def carry_out(self, tasks: Any, work: Any) -> Iterator[tuple[int, Any]]:
        for number, ended in enumerate(super().carry_out(tasks, work)):
            if number == 0:
                self.killed.append(self.pids()[0])
                os.kill(self.killed[-1], signal.SIGKILL)
            yield ended


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a recipe, and work folders: `ingested`, and `done` by this process alone."""
    place = tmp_path_factory.mktemp("engines")
    make_subjects(place / "data", labelled=8, unlabelled=2)
    (place / "boxes.yaml").write_text(yaml.safe_dump(RECIPE))
    stage(place, "done", "ingest")
    shutil.copytree(place / "done", place / "ingested")
    for name in ("preprocess", "train"):
        stage(place, "done", name)
    shutil.copytree(place / "done", place / "trained")
    for name in ("predict", "evaluate"):
        assert stage(place, "done", name) == ExitCode.DONE
    return place


def stage(
    place: Path, work: str, name: str, execution: Execution | None = None, say: Reporter | None = None
) -> ExitCode:
    request = Request(str(place / "boxes.yaml"), place / "data", place / work)
    say = say or Reporter(stream=io.StringIO(), results=io.StringIO())
    return pipeline.run(request, say, only=name, execution=execution)


def results(work: Path) -> dict[str, Any]:
    """All that the three stages leave: bytes, but for times in JSON and tables."""
    known: dict[str, Any] = {}
    for folder in ("prepared", "predictions", "evaluation"):
        for path in sorted((work / folder).rglob("*")):
            name = path.relative_to(work).as_posix()
            if path.name == "volumes.csv":
                known[name] = [{**row, "seconds": None} for row in files.read_csv(path)]
            elif path.name == "stage.json":
                known[name] = files.read_json(path)["hash"]
            elif path.name == "key.json":
                known[name] = files.read_json(path)["key"]
            elif folder == "predictions" and path.suffix == ".json" and path.name != "labels.json":
                known[name] = {**files.read_json(path), "seconds": None}
            elif path.is_file():
                known[name] = path.read_bytes()
    return known


def by_all_stages(place: Path, work: str, execution: Execution) -> dict[str, Any]:
    """Results of the three stages on an engine, after the same ingest and training."""
    shutil.copytree(place / "ingested", place / f"{work}-prepared")
    assert stage(place, f"{work}-prepared", "preprocess", execution) == ExitCode.DONE
    shutil.copytree(place / "trained", place / work)
    shutil.rmtree(place / work / "prepared")
    shutil.copytree(place / f"{work}-prepared/prepared", place / work / "prepared")
    for name in ("predict", "evaluate"):
        assert stage(place, work, name, execution) == ExitCode.DONE
    return results(place / work)


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


@pytest.mark.parametrize("killing", [False, True])
def test_two_workers_give_the_bytes_of_this_process(place: Path, killing: bool) -> None:
    kills = KillsOne(2, limits=LIMITS, pids=children)
    execution = kills if killing else Execution(2, limits=LIMITS)
    assert by_all_stages(place, f"workers-{killing}", execution) == results(place / "done")
    assert len(kills.killed) == (3 if killing else 0)


def test_two_dask_workers_give_the_bytes_of_this_process_though_one_is_killed(place: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):

        def pids() -> list[int]:
            return list(client.run(os.getpid).values())

        kills = KillsOne(0, "dask", local.scheduler_address, Limits(100.0), pids)
        assert by_all_stages(place, "dask", kills) == results(place / "done")
    assert len(kills.killed) == 3


def test_no_stage_runs_again_because_of_another_engine(place: Path) -> None:
    said = io.StringIO()
    for name in ("preprocess", "predict", "evaluate"):
        stage(place, "done", name, Execution(2, limits=LIMITS), Reporter(stream=said, results=io.StringIO()))
        assert f"{name}: up to date" in said.getvalue()


def test_the_networks_are_loaded_once_for_all_cases(place: Path, monkeypatch: Any) -> None:
    loads: list[Any] = []
    load = loading.load

    def counted(*arguments: Any, **keywords: Any) -> Any:
        loads.append(keywords["members"])
        return load(*arguments, **keywords)

    monkeypatch.setattr(loading, "load", counted)
    shutil.copytree(place / "trained", place / "counted")
    stage(place, "counted", "predict")
    assert loads == [("fold0",)]


# Lost cases


@pytest.mark.parametrize(
    ("misbehaviour", "code", "seconds"),
    [("dies", Code.WORKER_KILLED, 100.0), ("hangs", Code.TIME_LIMIT, 8.0)],
)
def test_a_case_that_preprocess_loses_ends_it_after_all_others(
    place: Path, monkeypatch: Any, misbehaviour: Any, code: Code, seconds: float
) -> None:
    work = f"prepare-{misbehaviour}"
    shutil.copytree(place / "ingested", place / work)
    with monkeypatch.context() as patched:
        patched.setattr(prepared_case, "work", deadly(prepared_case.work, "s1", misbehaviour))
        with pytest.raises(MedsegError) as refused:
            stage(place, work, "preprocess", Execution(2, limits=Limits(seconds)))
    finding = refused.value.finding
    assert (finding.code, finding.where) == (code, "s1")
    assert "run the same command again" in finding.how_to_fix and "--retry" not in finding.how_to_fix
    prepared = place / work / "prepared"
    before = {path.name: path.stat().st_mtime_ns for path in prepared.glob("s*")}
    assert sorted(before) == ["s0", "s2", "s3"] and not (prepared / "stage.json").exists()
    stage(place, work, "preprocess")
    after = {path.name: path.stat().st_mtime_ns for path in prepared.glob("s?")}
    assert after.pop("s1") and after == before


def test_a_case_without_reference_that_predict_loses_is_a_row(place: Path, monkeypatch: Any) -> None:
    shutil.copytree(place / "trained", place / "row")
    with monkeypatch.context() as patched:
        patched.setattr(predict, "work", deadly(predict.work, "s8", "dies"))
        assert stage(place, "row", "predict", Execution(2, limits=LIMITS)) == ExitCode.SOME_EXCLUDED
    table = place / "row/predictions/volumes.csv"
    rows = {row["case"]: row for row in files.read_csv(table)}
    assert list(rows) == [*TEST, "s8", "s9"]
    assert (rows["s8"]["status"], rows["s8"]["code"]) == ("excluded", Code.WORKER_KILLED)
    assert not any(row["status"] == "excluded" for case, row in rows.items() if case != "s8")
    assert stage(place, "row", "predict") == ExitCode.DONE
    assert stage(place, "row", "evaluate") == ExitCode.DONE
    assert results(place / "row") == results(place / "done")


def test_a_scored_case_that_predict_loses_ends_it_after_all_others(place: Path, monkeypatch: Any) -> None:
    shutil.copytree(place / "trained", place / "scored")
    with monkeypatch.context() as patched:
        patched.setattr(predict, "work", deadly(predict.work, "s5", "dies"))
        with pytest.raises(MedsegError) as refused:
            stage(place, "scored", "predict", Execution(2, limits=LIMITS))
    assert (refused.value.code, refused.value.finding.where) == (Code.WORKER_KILLED, "s5")
    maps = sorted(path.name for path in (place / "scored/predictions").glob("s?.nii.gz"))
    assert maps == [f"{case}.nii.gz" for case in [*TEST, "s8", "s9"] if case != "s5"]
    with pytest.raises(MedsegError) as missing:
        stage(place, "scored", "evaluate")
    assert missing.value.code == Code.STAGE_MISSING
    stage(place, "scored", "predict")
    stage(place, "scored", "evaluate")
    assert results(place / "scored") == results(place / "done")


def test_a_case_that_evaluate_loses_ends_it_and_no_mean_lacks_it(place: Path, monkeypatch: Any) -> None:
    shutil.copytree(place / "trained", place / "unscored")
    stage(place, "unscored", "predict")
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "work", deadly(scoring.work, "s6", "dies"))
        with pytest.raises(MedsegError) as refused:
            stage(place, "unscored", "evaluate", Execution(2, limits=LIMITS))
    assert (refused.value.code, refused.value.finding.where) == (Code.WORKER_KILLED, "s6")
    assert not (place / "unscored/evaluation/scores.csv").exists()
    stage(place, "unscored", "evaluate")
    assert results(place / "unscored") == results(place / "done")


def tables(work: Path) -> dict[str, bytes]:
    """All that ingest leaves, but for times."""
    return {path.name: path.read_bytes() for path in work.glob("ingest/*") if path.name != "stage.json"}


def test_ingest_leaves_the_same_tables_on_any_engine_and_any_number_of_threads(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(place / "data", place / "checked")
    (data / "s8/s8.nii.gz").write_bytes(b"no gzip")
    request = Request(str(place / "boxes.yaml"), data, place / "checked-0")
    say = Reporter(stream=io.StringIO(), results=io.StringIO())
    for number, (workers, threads) in enumerate([(0, 1), (0, 5), (2, 1)]):
        monkeypatch.setattr(ingest, "_threads", lambda _tasks, threads=threads: threads)
        request = replace(request, work=place / f"checked-{number}")
        engine = Execution(workers, limits=LIMITS)
        assert pipeline.run(request, say, only="ingest", execution=engine) == ExitCode.SOME_EXCLUDED
    first = tables(place / "checked-0")
    assert {"cases.csv", "quarantine.csv", "splits.csv", "dataset.json"} <= first.keys()
    assert b"s8" in first["quarantine.csv"] and b"s8" not in first["cases.csv"]
    assert tables(place / "checked-1") == first
    assert tables(place / "checked-2") == first


def test_a_case_that_ingest_loses_ends_it_after_all_others(place: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "work", deadly(ingest.work, "s6", "dies"))
        with pytest.raises(MedsegError) as refused:
            stage(place, "unread", "ingest", Execution(2, limits=LIMITS))
    assert (refused.value.code, refused.value.finding.where) == (Code.WORKER_KILLED, "s6")
    assert not (place / "unread/ingest/cases.csv").exists()
    assert stage(place, "unread", "ingest") == ExitCode.DONE
    assert tables(place / "unread") == tables(place / "done")


def test_few_threads_check_cases_that_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.nii").write_bytes(bytes(1000))
    cases = [CaseFiles("a", "a", {"t1": tmp_path / "a.nii"})]
    monkeypatch.setattr(ingest, "most_threads", lambda: 4)
    by_memory = {}
    for memory in (2**30, 180_000, 10, None):
        monkeypatch.setattr(ingest, "machine_memory", lambda memory=memory: memory)
        by_memory[memory] = ingest._threads(cases)
    assert by_memory == {2**30: 4, 180_000: 2, 10: 1, None: 4}
    assert ingest._threads([]) == 4


def test_a_refusal_of_a_case_ends_the_stage_as_in_this_process(place: Path) -> None:
    findings = []
    for work, workers in (("refused-0", 0), ("refused-2", 2)):
        shutil.copytree(place / "ingested", place / work)
        scan = place / "data/s2/s2.nii.gz"
        content, times = scan.read_bytes(), scan.stat()
        scan.write_bytes(b"no gzip")
        try:
            with pytest.raises(MedsegError) as refused:
                stage(place, work, "preprocess", Execution(workers, limits=LIMITS))
        finally:
            scan.write_bytes(content)
            os.utime(scan, ns=(times.st_atime_ns, times.st_mtime_ns))
        findings.append(refused.value.finding)
    assert findings[0] == findings[1] and "it was usable at ingest" in findings[0].details


def test_a_case_of_two_folders_that_is_lost_is_excluded_and_the_others_are_scored(
    place: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    for folder in ("truth", "predicted"):
        for case in TEST:
            label = place / f"data/{case}/{case}_seg.nii.gz"
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(label, tmp_path / folder / f"{case}.nii.gz")
    monkeypatch.setattr(scoring, "work", deadly(scoring.work, "s6", "dies"))
    say = Reporter(stream=io.StringIO(), results=io.StringIO())
    ended = score_folders.run(
        tmp_path / "truth",
        tmp_path / "predicted",
        tmp_path / "out",
        say,
        execution=Execution(2, limits=LIMITS),
    )
    assert ended == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert (row["case"], row["code"]) == ("s6", Code.WORKER_KILLED)
    scores = files.read_csv(tmp_path / "out/scores.csv")
    assert sorted({score["case"] for score in scores}) == ["s4", "s5", "s7"]
    assert {score["dice"] for score in scores} == {"1.0"}


# Options


def test_options_that_do_not_go_together_are_refused() -> None:
    for options in ((2, "dask", "tcp://a:1"), (0, "local", "tcp://a:1"), (0, "dask", None)):
        with pytest.raises(MedsegError) as refused:
            from_options(*options, 0.0).check()  # type: ignore[arg-type]
        assert refused.value.code == Code.USAGE
    chosen = from_options(2, "local", None, 0.0)
    assert chosen.workers == 2 and chosen.limits.seconds is None and chosen.limits.memory
    assert from_options(0, "local", None, 9.0) == Execution(limits=Limits(9.0))


def test_a_scheduler_that_is_not_there_is_refused_before_the_work_folder_is_touched(
    place: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    with pytest.raises(MedsegError) as refused:
        stage(place, "untouched", "ingest", Execution(0, "dask", "tcp://127.0.0.1:9"))
    assert refused.value.code == Code.CLUSTER_UNREACHABLE
    assert not (place / "untouched").exists()


def test_paths_are_absolute_in_what_is_sent_to_a_cluster(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    sent = cluster.message({"channels": (Path("a/../b.nii.gz"), Path("/c")), "name": "a"})
    received = pickle.loads(sent)  # noqa: S301 - what was just written
    assert received == {"channels": (tmp_path / "b.nii.gz", Path("/c")), "name": "a"}
