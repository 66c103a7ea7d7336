"""Runs that nobody watches: failures are remembered, parts shared out, folders watched, stops told."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import batch, loading
from pipelines.commands import segment, segment_failures, segment_inputs, segment_locks
from pipelines.commands.segment import Settings
from pipelines.execution import cluster
from pipelines.execution.engines import Execution, Shard
from pipelines.execution.limits import Limits
from tests.helpers.scan_files import save


def rows(out: Path) -> dict[str, dict[str, str]]:
    return {row["case"]: row for row in files.read_csv(out / "summary.csv")}


@pytest.fixture
def scans_of(tmp_path: Path, brain: Any) -> Callable[..., Path]:
    def make(*names: str, folder: str = "in") -> Path:
        for number, name in enumerate(names):
            save(tmp_path / folder / f"{name}.nii.gz", brain + number)
        return tmp_path / folder

    return make


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The model folders that were loaded, one entry for each time."""
    loaded: list[Path] = []
    load = loading.load

    def counted(folder: Path, *arguments: Any, **keywords: Any) -> Any:
        loaded.append(folder)
        return load(folder, *arguments, **keywords)

    monkeypatch.setattr(loading, "load", counted)
    return loaded


def test_the_model_is_loaded_once_and_not_at_all_where_all_is_done(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, loads: list[Path]
) -> None:
    source, settings = scans_of("a", "b", "c"), Settings(make_model())
    for statuses in ({"done"}, {"skipped"}):
        assert segment.run([source], tmp_path / "out", settings, say) == ExitCode.DONE
        assert {row["status"] for row in rows(tmp_path / "out").values()} == statuses
        assert len(loads) == 1


def test_worker_processes_give_the_same_bytes_as_this_process(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, settings = scans_of("a", "b", "c", "d"), Settings(make_model())
    (source / "bad.nii.gz").write_bytes(b"no gzip")
    for out, workers in ((tmp_path / "one", 0), (tmp_path / "two", 2)):
        execution = Execution(workers, limits=Limits(100.0, 2**34))
        ended = segment.run([source], out, replace(settings, execution=execution), say)
        assert ended == ExitCode.SOME_EXCLUDED
    for path in (tmp_path / "one").glob("*.nii.gz"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert {case: row["code"] for case, row in one.items()} == {
        case: row["code"] for case, row in two.items()
    }


def test_a_failure_is_not_tried_again_unless_asked_for_or_changed(
    scans_of: Any, tmp_path: Path, brain: Any, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, out, settings = scans_of("a", "flat"), tmp_path / "out", Settings(make_model())
    save(source / "flat.nii.gz", brain * 0)
    started: list[str] = []
    start = batch.start

    def noted(task: batch.Task, *arguments: Any) -> Any:
        started.append(task.case)
        return start(task, *arguments)

    monkeypatch.setattr(batch, "start", noted)
    for settings_now, again in (
        (settings, ["a", "flat"]),
        (settings, []),
        (replace(settings, retry=True), ["flat"]),
        (replace(settings, accept_domain=True), ["flat"]),
    ):
        started.clear()
        assert segment.run([source], out, settings_now, say) == ExitCode.SOME_EXCLUDED
        assert rows(out)["flat"]["code"] == Code.CONSTANT
        assert started == again
    save(source / "flat.nii.gz", brain)
    assert segment.run([source], out, settings, say) == ExitCode.DONE
    assert segment_failures.read(out) == {}


def test_what_can_be_mended_outside_of_the_scan_is_tried_again(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, out, settings = scans_of("a", "b"), tmp_path / "out", Settings(make_model())
    with monkeypatch.context() as patched:
        patched.setattr(batch, "predict_case", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        assert segment.run([source], out, settings, say) == ExitCode.NOTHING_USABLE
    assert {row["code"] for row in rows(out).values()} == {Code.OUT_OF_MEMORY}
    assert segment.run([source], out, settings, say) == ExitCode.DONE


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"a": {"key": "k", "code": "X"}}', "null"])
def test_a_damaged_list_of_failures_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / segment_failures.NAME).write_text(text)
    assert segment_failures.read(tmp_path) == {}


def test_a_run_that_is_stopped_says_what_was_not_run(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, out, settings = scans_of("a", "b", "c", "d", "e"), tmp_path / "out", Settings(make_model())
    compute, seen = batch.compute, []

    def stops(started: batch.Started, *arguments: Any) -> Any:
        seen.append(started.task.case)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return compute(started, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batch, "compute", stops)
        with pytest.raises(KeyboardInterrupt):
            segment.run([source], out, settings, say)
    status = {case: row["status"] for case, row in rows(out).items()}
    assert len(status) == 5 and status["a"] == "done" and status["e"] == "not run"
    assert segment.run([source], out, settings, say) == ExitCode.DONE
    assert {row["status"] for row in rows(out).values()} == {"done", "skipped"}


def test_a_result_whose_input_is_gone_is_kept_and_has_a_row(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, out, settings = scans_of("a", "b", "c", "gone"), tmp_path / "out", Settings(make_model())
    segment.run([source], out, settings, say)
    before = rows(out)["gone"]
    (source / "gone.nii.gz").unlink()
    (out / "alien.json").write_text('{"sizes": 1}')  # somebody else's
    for shards in ([None], [Shard(1, 2), Shard(2, 2)]):
        for shard in shards:
            assert segment.run([source], out, replace(settings, shard=shard), say) == ExitCode.DONE
        now = rows(out)
        assert now.keys() == {"a", "b", "c", "gone"} and now["gone"]["status"] == "kept"
        assert "its input is not among those of this one" in now["gone"]["note"]
        same = now["gone"].keys() - {"status", "note"}
        assert {key: now["gone"][key] for key in same} == {key: before[key] for key in same}
        run = files.read_json(out / "run.json")
        assert run["inputs"] == 3 and run["counts"] == {"kept": 1, "skipped": 3}
    (out / "gone.nii.gz").write_bytes(b"cut off")  # no whole result
    segment.run([source], out, settings, say)
    assert rows(out).keys() == {"a", "b", "c"}


def test_names_of_plain_results_are_not_told_in_a_private_run(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, out, settings = scans_of("a"), tmp_path / "out", Settings(make_model())
    segment.run([scans_of("CANARY", folder="other")], out, settings, say)
    segment.run([source], out, replace(settings, private=True), say)
    assert len(rows(out)) == 1
    assert "CANARY" not in (out / "summary.csv").read_text() + (out / "run.json").read_text()


def test_run_json_tells_what_a_repetition_needs(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, out, settings = scans_of("a"), tmp_path / "out", Settings(make_model(), accept_domain=True)
    segment.run([source], out, settings, say)
    run = files.read_json(out / "run.json")
    assert run["paths"] == [str(source)] and run["model"] == str(settings.model)
    assert run["options"]["accept_domain"] and run["results_version"] == batch.VERSION
    assert run["versions"].keys() >= {"python", "system", "torch", "numpy", "nibabel"}
    segment.run([source], out, replace(settings, private=True), say)
    assert "paths" not in files.read_json(out / "run.json")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_result_that_cannot_be_written_is_one_row_and_all_others_are_made(
    workers: int, scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, out = scans_of("a", "b", "c"), tmp_path / "out"
    settings = Settings(make_model(), execution=Execution(workers))
    (out / "b.json").mkdir(parents=True)
    assert segment.run([source], out, settings, say) == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(out / "quarantine.csv")
    assert (row["case"], row["code"]) == ("b", Code.NOT_WRITTEN)
    assert row["details"] == "b.json could not be written: Is a directory"
    (out / "b.json").rmdir()
    assert segment.run([source], out, settings, say) == ExitCode.DONE


# Shards


def test_shards_do_everything_once_and_their_tables_become_one(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter
) -> None:
    source, out, settings = scans_of(*"abcdefgh"), tmp_path / "out", Settings(make_model())
    (source / "bad.nii.gz").write_bytes(b"no gzip")
    for number in (1, 2, 3):
        segment.run([source], out, replace(settings, shard=Shard(number, 3)), say)
    assert sorted(rows(out)) == ["a", "b", "bad", "c", "d", "e", "f", "g", "h"]
    assert files.read_json(out / "run.json")["shards"] == "3 of 3 have ended"
    assert [row["case"] for row in files.read_csv(out / "quarantine.csv")] == ["bad"]
    assert segment.run([source], out, settings, say) == ExitCode.SOME_EXCLUDED
    assert {row["status"] for row in rows(out).values()} == {"skipped", "excluded"}
    assert not list((out / "shards").iterdir())


def test_two_shards_may_run_at_once_and_nothing_else_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_locks, "_START_S", 0.1)

    def refused(shard: Shard | None) -> None:
        with pytest.raises(MedsegError) as caught, segment_locks.hold(tmp_path, shard):
            pass
        assert caught.value.code == Code.WORK_IN_USE

    with segment_locks.hold(tmp_path, Shard(1, 2)):
        with segment_locks.hold(tmp_path, Shard(2, 2)):
            refused(None)
            refused(Shard(1, 2))
        refused(None)
    with segment_locks.hold(tmp_path, None):
        refused(Shard(1, 2))
        refused(None)
    with segment_locks.hold(tmp_path, None):
        pass


def test_a_shard_waits_while_another_one_starts(tmp_path: Path) -> None:
    ended: list[str] = []

    def start_slowly() -> None:
        with batch.lock(tmp_path):
            begun.set()
            time.sleep(0.3)
            ended.append("the other start")

    begun = threading.Event()
    other = threading.Thread(target=start_slowly)
    other.start()
    begun.wait()
    with segment_locks.hold(tmp_path, Shard(2, 2)):
        assert ended == ["the other start"]
    other.join()


def test_a_shard_misses_a_file_that_belongs_to_no_case(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, settings = scans_of("a", "b", "c"), Settings(make_model(), shard=Shard(1, 1))
    by_case = segment_inputs._by_case
    monkeypatch.setattr(segment_inputs, "_by_case", lambda *arguments: by_case(*arguments)[1:])
    with pytest.raises(MedsegError) as refused:
        segment.run([source], tmp_path / "out", settings, say)
    assert refused.value.code == Code.DOES_NOT_ADD_UP


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(MedsegError) as refused:
        Shard.parse(text)
    assert refused.value.code == Code.USAGE


def test_a_scheduler_that_does_not_answer_is_told_before_tables_are_touched(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    source, out, settings = scans_of("a"), tmp_path / "out", Settings(make_model())
    segment.run([source], out, settings, say)
    before = (out / "summary.csv").read_bytes()
    with pytest.raises(MedsegError) as refused:
        on_cluster = replace(settings, execution=Execution(0, "dask", "tcp://127.0.0.1:9"))
        segment.run([source], out, on_cluster, say)
    assert refused.value.code == Code.CLUSTER_UNREACHABLE
    assert (out / "summary.csv").read_bytes() == before


def test_a_scheduler_and_its_executor_go_together() -> None:
    for executor, scheduler in (("dask", None), ("local", "tcp://here:1")):
        with pytest.raises(MedsegError) as refused:
            Execution(0, executor, scheduler)  # type: ignore[arg-type]
        assert refused.value.code == Code.USAGE


def test_events_are_lines_of_json(scans_of: Any, tmp_path: Path, make_model: Any) -> None:
    source, printed = scans_of("a", "b"), io.StringIO()
    (source / "bad.nii.gz").write_bytes(b"no gzip")
    say = Reporter(stream=io.StringIO(), results=printed, json_lines=True)
    segment.run([source], tmp_path / "out", Settings(make_model()), say)
    events = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert {(e["case"], e["status"]) for e in events if e["event"] == "case"} == {
        ("a", "done"),
        ("b", "done"),
        ("bad", "excluded"),
    }
    assert events[-1] == {"event": "end", "inputs": 3, "counts": {"done": 2, "excluded": 1}}


def test_a_model_that_changes_during_a_run_is_refused(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    settings = Settings(make_model())
    monkeypatch.setattr(loading, "identity", lambda _: "0" * 64)
    with pytest.raises(MedsegError) as refused:
        segment.run([scans_of("a")], tmp_path / "out", settings, say)
    assert refused.value.code == Code.MODEL_TAMPERED
    assert rows(tmp_path / "out")["a"]["status"] == "not run"


def test_tables_wait_for_each_other(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with segment_locks.hold_tables(tmp_path):
            order.append("second")

    with segment_locks.hold_tables(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        order.append("first")
    other.join()
    assert order == ["first", "second"]
