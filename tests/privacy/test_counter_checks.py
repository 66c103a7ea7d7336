"""The scan for leaks fails as soon as one line, cell, header or name is made to leak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.infer import results
from medseg.ingest.privacy import Pseudonyms
from medseg.io import nifti_writer
from pipelines.commands import convert, segment_words
from tests.helpers import planted_exports
from tests.helpers.dicom_files import write_series
from tests.helpers.leaks import leaks
from tests.privacy.conftest import Command

Leak = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    """One good series."""
    folder = tmp_path / "CANARYFOLDER"
    write_series(
        folder / "a",
        brain.astype("uint16"),
        planted_exports.AFFINE,
        prefix="ZZMEIER",
        **planted_exports.IDENTITY,
    )
    return folder


def _wrap(
    patch: pytest.MonkeyPatch, owner: Any, name: str, change: Callable[[Any, tuple[Any, ...]], Any]
) -> None:
    """Let `owner.name` give what `change` makes of its result and its arguments."""
    before = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(before(*args, **kwargs), args))


def _log_a_description(patch: pytest.MonkeyPatch) -> None:
    _wrap(
        patch,
        segment_words,
        "say_outcome",
        lambda _, args: args[0].line(f"done: {args[1].series.header.description}"),
    )


def _log_a_file_name(patch: pytest.MonkeyPatch) -> None:
    _wrap(
        patch,
        segment_words,
        "say_outcome",
        lambda _, args: args[0].detail(str(args[1].series.header.file.path.name)),
    )


def _in_summary(patch: pytest.MonkeyPatch) -> None:
    _wrap(patch, results, "table_row", lambda row, _: row | {"note": "ZZMEIER"})


def _in_header(patch: pytest.MonkeyPatch) -> None:
    def leak(header: bytes, _: object) -> bytes:
        return header[:148] + b"ZZMEIER" + header[155:]  # descrip

    _wrap(patch, nifti_writer, "_header_to_write", leak)


def _in_json(patch: pytest.MonkeyPatch) -> None:
    _wrap(patch, results.Result, "to_json", lambda content, _: content | {"patient": "CANARY-PID-7"})


def _in_a_name(patch: pytest.MonkeyPatch) -> None:
    _wrap(patch, Pseudonyms, "of_volume", lambda name, args: f"zzmeier-{name}")


def _in_a_date(patch: pytest.MonkeyPatch) -> None:
    _wrap(patch, results, "table_row", lambda row, _: row | {"note": "born 03.02.1901"})


LEAKS: tuple[Leak, ...] = (
    _log_a_description,
    _log_a_file_name,
    _in_summary,
    _in_header,
    _in_json,
    _in_a_name,
    _in_a_date,
)


def segmented(export: Path, tmp_path: Path, command: Command, model: Path) -> dict[str, set[str]]:
    out = tmp_path / "out"
    here = ("--workers", "0")  # a worker process would not have what a test has changed
    code, screen = command("segment", export, out, "--model", model, "--accept-domain", *here)
    assert code == 0, screen
    return leaks(out, planted_exports.words(export), screen)


def test_nothing_leaks_by_itself(export: Path, tmp_path: Path, command: Command, model: Path) -> None:
    assert segmented(export, tmp_path, command, model) == {}


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__.strip("_"))
def test_a_leak_is_seen(
    leak: Leak, export: Path, tmp_path: Path, command: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak(monkeypatch)
    assert segmented(export, tmp_path, command, model)


def test_a_leak_of_convert_is_seen(
    export: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(monkeypatch, convert, "_row", lambda row, args: row | {"note": args[1].header.description})
    _, screen = command("convert", export, out := tmp_path / "out")
    assert leaks(out, planted_exports.words(export), screen).keys() == {"summary.csv"}


def test_a_path_in_a_line_is_hidden_all_the_same(
    export: Path, tmp_path: Path, command: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wrap(
        monkeypatch,
        segment_words,
        "say_outcome",
        lambda _, args: args[0].line(f"read {args[1].series.header.file}"),
    )
    assert segmented(export, tmp_path, command, model) == {}
    assert "read input 1/…" in (tmp_path / "out/medseg.log").read_text()
