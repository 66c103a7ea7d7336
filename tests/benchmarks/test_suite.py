"""The benchmark suite with rows that cost nothing: order, ratios, resuming, tables, refusals."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite import command, goals, table, timing
from benchmarks.suite.goals import ROWS, Figure, Row
from benchmarks.suite.options import Options
from benchmarks.suite.results import Book, Measured, Way
from medseg import files
from medseg.errors import Code, ExitCode, MedsegError

ROOT = Path(__file__).parents[2]
FAST = Row("fast", "Fast | work", (Figure("times as fast", "at least", 3), Figure("share")))
SLOW = Row("slow", "Slow work", (Figure("over the floor", "at most", 1.05),))
PEER = Row("peer", "Work of a peer", (Figure("ratio", "at least", 2),), needs=("no-such-package",))
GPU = Row("gpu", "Work of a GPU", (Figure("share that waits", "at most", 0.05),), device="cuda")
FAKES = (FAST, SLOW, PEER, GPU)
CONDITIONS: dict[str, Any] = {
    "machine": {"processor": "a CPU", "memory_gb": 8, "system": "Linux 6", "device": "cpu"},
    "versions": {"python": "3.11", "medseg": "0.1.0"},
    "settings": {"threads": 1, "quick": False},
}
MEASURED = Measured(
    "ten slices",
    {"medseg": Way((1.0, 3.0, 2.0), peak_mb=12.34), "other": Way((9.0, 6.0, 8.0))},
    {"times as fast": 4.00049, "share": 0.25},
    {"operations": 0.5},
    ["peers average"],
)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows that cost nothing in place of the real ones; gives the names of those that were measured."""
    measured: list[str] = []

    def in_a_process(row: Row, _options: Options, _folder: Path) -> tuple[dict[str, Any] | None, str]:
        measured.append(row.name)
        return (MEASURED.to_json(), "") if row.name == "fast" else (None, "ValueError: no | such thing")

    by_name = {row.name: row for row in FAKES}
    for module in (command, table):
        monkeypatch.setattr(module, "ROWS", FAKES)
    monkeypatch.setattr(command, "BY_NAME", by_name)
    monkeypatch.setattr(command, "_in_a_process", in_a_process)
    from benchmarks.suite import machine

    monkeypatch.setattr(machine, "conditions", lambda *_, **__: CONDITIONS)
    monkeypatch.setattr(machine, "rates", lambda: {"copy in memory, GB/s": 8.0})
    return measured


def run(folder: Path, *arguments: str) -> int:
    return command.main(["--out", str(folder / "suite.json"), "--cache", str(folder), *arguments])


def content(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "suite.json").read_text())
    return result


# --- rows and goals


def test_each_row_has_a_module_that_can_be_run_or_a_reason_why_not() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        file = ROOT / f"benchmarks/rows/{row.name}.py"
        assert file.is_file() != bool(row.reason), row.name
        if not row.reason:
            functions = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)]
            assert "run" in [function.name for function in functions], row.name
    modules = {path.stem for path in (ROOT / "benchmarks/rows").glob("*.py")} - {"__init__"}
    assert modules == {row.name for row in ROWS if not row.reason}


def test_a_goal_is_met_on_its_own_side_of_its_value() -> None:
    most, least = Figure("a", "at most", 1.05), Figure("b", "at least", 3)
    assert [most.is_met(v) for v in (1.04, 1.05, 1.06)] == [True, True, False]
    assert [least.is_met(v) for v in (2.9, 3.0, 3.1)] == [False, True, True]
    assert Figure("c").is_met(1.0) is None
    assert [figure.in_words for figure in (most, least, Figure("c"))] == ["≤ 1.05", "≥ 3", "–"]


# --- timing


def test_calls_are_timed_in_turn_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(10**6))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(timing, "peak_mb", lambda call: (timing.timed(call), 5.0))
    ways = timing.in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert ways == {"a": Way((1.0, 1.0), peak_mb=5.0), "b": Way((1.0, 1.0), peak_mb=5.0)}
    assert timing.in_turn({"a": lambda: None}, 2, warm=0) == {"a": Way((1.0, 1.0), peak_mb=5.0)}


def test_ratios_are_medians_of_rounds_not_ratios_of_medians() -> None:
    one, other = Way((2.0, 30.0, 8.0)), Way((1.0, 10.0, 2.0))
    assert timing.over(one, other) == 3.0  # of 2, 3, 4; the medians' ratio is 4
    assert timing.beyond(one, other) == (1.0, 20.0, 6.0)
    with pytest.raises(ValueError, match="shorter"):
        timing.over(one, (1.0, 2.0))


def test_the_peak_of_a_call_is_what_it_holds_at_once() -> None:
    def call() -> None:
        for _ in range(3):
            bytearray(b"x" * 50_000_000)

    seconds, peak = timing.peak_mb(call)
    assert seconds > 0
    assert peak is None or 80 < peak < 140  # the bytes and their copy


# --- results


def test_what_a_row_measured_keeps_its_runs() -> None:
    kept = MEASURED.to_json()
    assert kept["ways"]["medseg"] == {"median": 2.0, "unit": "s", "runs": [1.0, 3.0, 2.0], "peak_mb": 12.3}
    assert "peak_mb" not in kept["ways"]["other"]
    assert kept["figures"]["times as fast"] == 4.0
    assert json.loads(json.dumps(kept)) == kept


def test_an_ended_run_goes_on_with_what_is_missing(tmp_path: Path, fakes: list[str]) -> None:
    book = Book.open(tmp_path / "suite.json", CONDITIONS, [], again=False)
    book.keep("fast", {"status": "done", "seconds": 1, "load_before": 0, **MEASURED.to_json()})
    assert run(tmp_path) == ExitCode.DONE
    assert fakes == ["slow"]
    assert content(tmp_path)["complete"] is True
    assert list(content(tmp_path)["rows"]) == ["fast", "slow", "peer", "gpu"]


def test_an_ended_run_is_begun_again_if_asked_or_on_another_machine(tmp_path: Path, fakes: list[str]) -> None:
    for conditions, words in ((CONDITIONS, ["--again"]), ({**CONDITIONS, "machine": {}}, [])):
        (tmp_path / "suite.json").unlink(missing_ok=True)
        Book.open(tmp_path / "suite.json", conditions, [], again=False).keep("fast", {"status": "done"})
        fakes.clear()
        assert run(tmp_path, *words) == ExitCode.DONE
        assert fakes == ["fast", "slow"]


def test_a_whole_run_is_not_kept_by_the_next(tmp_path: Path, fakes: list[str]) -> None:
    run(tmp_path)
    run(tmp_path)
    assert fakes == ["fast", "slow"] * 2


def test_single_rows_are_measured_again_and_the_others_stay(tmp_path: Path, fakes: list[str]) -> None:
    run(tmp_path)
    before = content(tmp_path)["rows"]
    assert run(tmp_path, "--only", "fast") == ExitCode.DONE
    assert fakes == ["fast", "slow", "fast"]
    assert content(tmp_path)["complete"] is True
    assert content(tmp_path)["rows"]["slow"] == before["slow"]


def test_a_row_alone_does_not_make_a_file_complete(tmp_path: Path, fakes: list[str]) -> None:
    assert run(tmp_path, "--only", "fast") == ExitCode.DONE
    assert content(tmp_path)["complete"] is False
    assert "before its last row" in (tmp_path / "suite.md").read_text()


def test_rows_of_two_machines_do_not_stand_in_one_table(
    tmp_path: Path, fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Book.open(tmp_path / "suite.json", {**CONDITIONS, "versions": {}}, [], again=False).keep("slow", {})
    before = (tmp_path / "suite.json").read_bytes()
    assert run(tmp_path, "--only", "fast") == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "versions" in line
    assert "--out" in line
    assert (tmp_path / "suite.json").read_bytes() == before
    assert fakes == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 99}'])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, fakes: list[str], text: str) -> None:
    (tmp_path / "suite.json").write_text(text)
    assert run(tmp_path) == ExitCode.USAGE
    assert (tmp_path / "suite.json").read_text() == text


def test_an_unknown_row_and_an_unknown_device_are_refused_in_one_line(
    tmp_path: Path, fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--only", "fast", "quick") == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "quick" in line
    assert "fast, slow, peer, gpu" in line
    assert run(tmp_path, "--device", "cuda:7") == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "suite.json").exists()


def test_ctrl_c_keeps_the_rows_that_are_done(
    tmp_path: Path, fakes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = command.measure

    def interrupted(row: Row, options: Options) -> dict[str, Any]:
        if row.name == "slow":
            raise KeyboardInterrupt
        return measure(row, options)

    monkeypatch.setattr(command, "measure", interrupted)
    assert run(tmp_path) == ExitCode.INTERRUPTED
    assert "goes on" in capsys.readouterr().err
    assert list(content(tmp_path)["rows"]) == ["fast"]
    monkeypatch.setattr(command, "measure", measure)
    assert run(tmp_path) == ExitCode.DONE
    assert fakes == ["fast", "slow"]


def test_two_runs_do_not_disturb_each_other(
    tmp_path: Path, fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with files.hold_lock(tmp_path / ".lock", "", "", ""):
        assert run(tmp_path) == ExitCode.USAGE
    assert "another run measures here" in capsys.readouterr().err
    assert fakes == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "suite.json"),
        (["--quick"], "suite-quick.json"),
        (["--device", "cuda"], "suite-cuda.json"),
        (["--device", "cuda:1", "--quick"], "suite-cuda-quick.json"),
    ],
)
def test_each_kind_of_run_has_a_file_of_its_own(words: list[str], name: str) -> None:
    assert command._default_file(command._parse(words)) == command.RESULT.with_name(name)


# --- what cannot be run


def test_a_row_without_its_peer_or_its_device_says_so(tmp_path: Path, fakes: list[str]) -> None:
    assert run(tmp_path) == ExitCode.DONE
    rows = content(tmp_path)["rows"]
    assert rows["peer"]["status"] == rows["gpu"]["status"] == "not run"
    assert rows["peer"]["why"].startswith("no-such-package not installed: pip install")
    assert rows["gpu"]["why"] == "no GPU was at hand"
    assert rows["slow"] == {**rows["slow"], "status": "failed", "why": "ValueError: no | such thing"}


def test_rows_of_the_processor_are_not_run_on_a_gpu(tmp_path: Path) -> None:
    options = Options(tmp_path, device="cuda:1")
    assert command.obstacle(SLOW, options) == "a row of the processor; this run is of a GPU"
    assert command.obstacle(GPU, options) == ""
    assert command.obstacle(Row("any", "", (), device="any"), options) == ""
    assert command.obstacle(Row("never", "", (), reason="no model"), options) == "no model"


def test_a_fault_of_a_row_is_its_last_line(tmp_path: Path) -> None:
    row = Row("no_such_row", "", ())
    result = command.measure(row, Options(tmp_path))
    assert result["status"] == "failed"
    assert "no_such_row" in result["why"]
    assert "Traceback" not in result["why"]


def test_a_row_beyond_its_limit_is_ended(tmp_path: Path) -> None:
    row = Row("drawing", "", (), limit_s=0)
    result = command.measure(row, Options(tmp_path))
    assert (result["status"], result["why"]) == ("failed", "ended after its limit of 0 s")
    assert result["seconds"] < 10


# --- tables


def test_the_table_says_what_is_met_missed_and_not_run(tmp_path: Path, fakes: list[str]) -> None:
    run(tmp_path)
    lines = (tmp_path / "suite.md").read_text().splitlines()
    absent = command.obstacle(PEER, Options(tmp_path))
    goals_table = [line for line in lines if line.startswith("| ")][2:6]
    assert goals_table == [
        "| `fast` | Fast ¦ work | times as fast | 4 | ≥ 3 | yes |",
        "|  |  | share | 0.25 | – | – |",
        "| `slow` | Slow work | over the floor | failed: ValueError: no ¦ such thing | ≤ 1.05 | – |",
        f"| `peer` | Work of a peer | ratio | not run: {absent} | ≥ 2 | – |",
    ]
    assert "|  |  | other | 8 s | 3 | – |  |" in lines
    assert "| `fast`: operations | 0.5 s |" in lines
    assert "- fast: peers average" in lines


def test_a_goal_that_is_missed_is_printed_as_it_is(fakes: list[str]) -> None:
    row = {"status": "done", "seconds": 1, "load_before": 3.0, **MEASURED.to_json()}
    row["figures"] = {"times as fast": 2.99}
    text = table.tables({**CONDITIONS, "complete": True, "rates": {}, "rows": {"fast": row}})
    assert "| times as fast | 2.99 | ≥ 3 | **no** |" in text
    assert "| share | not measured | – | – |" in text
    assert "3 (busy)" in text


def test_render_writes_between_the_marks_and_nowhere_else(tmp_path: Path, fakes: list[str]) -> None:
    run(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.render(tmp_path / "suite.json", tmp_path / "suite.md", page)
    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\nMachine: a CPU")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "old" not in text
    page.write_text("no marks\n")
    with pytest.raises(MedsegError) as refused:
        table.render(tmp_path / "suite.json", tmp_path / "suite.md", page)
    assert refused.value.code == Code.USAGE
    assert page.read_text() == "no marks\n"


def test_nothing_is_rendered_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--render") == ExitCode.USAGE
    assert "python -m benchmarks" in capsys.readouterr().err


def test_the_page_shows_what_was_measured() -> None:
    text = table.tables(json.loads(command.RESULT.read_text()))
    page = command.PAGE.read_text()
    assert table.between_marks(page, text, command.PAGE) == page, "run `python -m benchmarks --render`"
    assert command.RESULT.with_suffix(".md").read_text() == text


def test_rows_of_the_results_are_the_suites_and_all_of_them_if_it_says_so() -> None:
    content = json.loads(command.RESULT.read_text())
    names = [row.name for row in goals.ROWS]
    assert [name for name in names if name in content["rows"]] == list(content["rows"])
    assert content["complete"] == (set(names) == set(content["rows"]))
