"""A hospital's export, invented identities in every file: none is seen outside SEG, SR and `private/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.errors import ExitCode
from tests.helpers.leaks import Words, leaks
from tests.privacy.conftest import Command

pytestmark = pytest.mark.data


@pytest.fixture
def hospital(data: Path) -> Path:
    folder = data / "dicom/hospital_export"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not at hand")
    return folder


@pytest.fixture
def identities(hospital: Path) -> Words:
    """Every planted value, UID and file or folder name."""
    planted = json.loads((hospital.parent / "planted_identities.json").read_text())
    values = {*_texts(planted["patients"]), *_texts(planted["uids"]), *_texts(planted["dicomdir"])}
    values |= {*_texts(planted["burned_into_pixels"]["texts"]), "Canary General", hospital.name}
    values |= {path.name for path in hospital.rglob("*")}
    values -= {"ISO_IR 100", "ISO_IR 192 (UTF-8)", "DICOMDIR"}
    return Words.of(values, ["(?i)canary", "ZZ[A-ZÄÖÜ]{2,}", "19010203", "19020405"])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def test_segment(hospital: Path, identities: Words, tmp_path: Path, command: Command, model: Path) -> None:
    words = ("segment", hospital, out := tmp_path / "out", "--model", model, "--accept-domain", "--verbose")
    code, screen = command(*words)
    assert code == ExitCode.SOME_EXCLUDED
    assert leaks(out, identities, screen) == {}
    rows = files.read_csv(out / "summary.csv")
    assert [row["seg"] for row in rows].count("done") == 6
    screen_save = next(row for row in rows if row["status"] == "excluded")
    assert "text may be burned into the pixels" in screen_save["note"] and "burned" in screen
    assert "CANARY-PID-0001" in (out / "private/index.csv").read_text()


def test_convert(hospital: Path, identities: Words, tmp_path: Path, command: Command) -> None:
    code, screen = command("convert", hospital, out := tmp_path / "out", "--verbose")
    assert code == ExitCode.SOME_EXCLUDED and leaks(out, identities, screen) == {}
    assert len([*out.glob("*.nii.gz")]) == 6


@pytest.mark.parametrize("options", [(), ("--json",), ("--html", "page.html")], ids=["words", "json", "page"])
def test_check(
    options: tuple[str, ...],
    hospital: Path,
    identities: Words,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    code, screen = command("check", hospital, *options)
    assert code == ExitCode.SOME_EXCLUDED and leaks(here, identities, screen) == {}
    assert "BurnedInAnnotation" in screen
