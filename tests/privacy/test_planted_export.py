"""Nothing that is planted in an export is seen outside SEG, SR and `private/`, whatever is done with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg import files
from medseg.errors import ExitCode
from tests.helpers import planted_exports
from tests.helpers.leaks import leaks
from tests.privacy.conftest import Command


def test_convert(export: Path, tmp_path: Path, command: Command) -> None:
    code, screen = command("convert", export, out := tmp_path / "out", "--verbose")
    assert code == ExitCode.SOME_EXCLUDED, screen
    assert leaks(out, planted_exports.words(export), screen) == {}
    rows = files.read_csv(out / "summary.csv")
    assert sum(row["status"].startswith("done") for row in rows) > 7
    index = (out / "private/index.csv").read_text()
    assert "ZZMÜLLER^CANARYANNA" in index and "ZZMEIER empty" in index
    assert {row["case"] for row in files.read_csv(out / "quarantine.csv")} <= {
        row["case"] for row in files.read_csv(out / "private/index.csv")
    }


def test_segment(export: Path, tmp_path: Path, command: Command, model: Path) -> None:
    words = ("segment", export, out := tmp_path / "out", "--model", model, "--accept-domain", "--verbose")
    code, screen = command(*words)
    assert code == ExitCode.SOME_EXCLUDED, screen
    assert leaks(out, planted_exports.words(export), screen) == {}
    rows = files.read_csv(out / "summary.csv")
    assert sum(row["seg"] == "done" for row in rows) > 5
    assert any(row["case"].startswith("scan-") and row["status"].startswith("done") for row in rows)
    assert all(row["file"] == row["case"] for row in rows)
    code, screen = command(*words)  # and again, when all is done
    assert leaks(out, planted_exports.words(export), screen) == {}


@pytest.mark.parametrize("options", [(), ("--json",), ("--html", "page.html")], ids=["words", "json", "page"])
def test_check(
    options: tuple[str, ...],
    export: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    code, screen = command("check", export, *options)
    assert code == ExitCode.SOME_EXCLUDED, screen
    assert leaks(here, planted_exports.words(export), screen) == {}
    if "--html" in options:
        assert "<img" in (here / "page.html").read_text()
    if "--json" in options:
        results, _ = json.JSONDecoder().raw_decode(screen[screen.index("[\n") :])
        assert len(results) > 15
