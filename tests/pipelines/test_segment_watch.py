"""`medseg segment --watch`: what is taken when, what is tried again, what a watch survives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import batch, loading
from pipelines.commands import segment, segment_watch
from pipelines.commands.segment import Settings
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


class StoppedError(Exception):
    """The end of a watch."""


def test_a_file_is_taken_when_it_has_stopped_changing(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, loads: list[Path]
) -> None:
    source, out = scans_of("x/a"), tmp_path / "out"
    looks: list[dict[str, str]] = []

    def wait(_: float) -> None:
        table = out / "summary.csv"
        looks.append({case: row["status"] for case, row in rows(out).items()} if table.exists() else {})
        match len(looks):
            case 2:
                scans_of("y/b")  # seen for the first time at the third look
            case 3:
                scans_of("y/c")  # the folder changes again, and y/b waits no longer
            case 6:
                raise StoppedError

    with pytest.raises(StoppedError):
        segment_watch.run([source], out, Settings(make_model()), say, wait=wait)
    assert [sorted(look) for look in looks] == [
        [],
        ["x_a"],
        ["x_a"],
        ["x_a", "y_b"],
        ["x_a", "y_b", "y_c"],
        ["x_a", "y_b", "y_c"],
    ]
    assert set(looks[-1].values()) == {"done"} and len(loads) == 3


def test_files_of_one_case_wait_for_their_folder() -> None:
    a, b = (Path("in/p1", name) for name in ("t1.nii.gz", "flair.nii.gz"))
    first, second = {a: ("a", 1, 1, True)}, {a: ("a", 1, 1, True), b: ("b", 1, 1, True)}
    assert segment_watch._settled(first, second, alone=False) == {}
    assert segment_watch._settled(first, second, alone=True) == first
    assert segment_watch._settled(second, second, alone=False) == second
    slices = {Path("in/p1", f"{number}.dcm"): ("s", 1, number, True) for number in range(2)}
    assert segment_watch._settled(first, first | slices, alone=True) == first


def test_a_watch_tries_again_what_was_mended_and_follows_links_and_is_idle_where_nothing_changes(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, closed = scans_of("a"), scans_of("closed")
    scans_of("l", folder="elsewhere")
    (source / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    out, shut, looks = tmp_path / "in/out", [source / "closed.nii.gz"], []
    sha256, segment_once, passes = files.sha256, segment.segment_once, []

    def shut_or_sha256(path: Path, most: int | None = None) -> str:
        if path.absolute() in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return sha256(path, most)

    def counted(*arguments: Any, **keywords: Any) -> Any:
        passes.append(len(looks))
        return segment_once(*arguments, **keywords)

    def wait(_: float) -> None:
        looks.append({c: r["status"] for c, r in rows(out).items()} if out.exists() and looks else {})
        if len(looks) == 5:
            shut.clear()
        if len(looks) == 9:
            raise StoppedError

    monkeypatch.setattr(files, "sha256", shut_or_sha256)
    monkeypatch.setattr(batch, "read_scan", lambda *_: None)  # which would open the file, as root may
    monkeypatch.setattr("os.access", lambda path, _: Path(path).absolute() not in shut)
    monkeypatch.setattr(segment, "segment_once", counted)
    assert closed == source
    with pytest.raises(StoppedError):  # `in` and OUT are spelled differently
        segment_watch.run([Path("in")], out, Settings(make_model()), say, wait=wait)
    assert looks[4] == {"a": "done", "closed": "excluded", "link_l": "done"}
    assert set(looks[-1].values()) == {"done"} and len(passes) == 2


def test_a_folder_that_cannot_be_listed_is_one_row_and_all_others_are_segmented(
    scans_of: Any, tmp_path: Path, make_model: Any, say: Reporter, monkeypatch: Any
) -> None:
    source, scandir = scans_of("a", "shut/b", "open/c"), os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for out, private in ((tmp_path / "out", False), (tmp_path / "hidden", True)):
        settings = Settings(make_model(), private=private)
        assert segment.run([source], out, settings, say) == ExitCode.SOME_EXCLUDED
        (row,) = files.read_csv(out / "quarantine.csv")
        assert (row["code"], row["details"]) == (Code.FILE_UNREADABLE, "Permission denied")
        assert ("shut" in "".join(row.values())) == (not private)
        assert sorted(row["status"] for row in rows(out).values()) == ["done", "done", "excluded"]


def test_a_watch_goes_on_where_nothing_is_usable_yet(tmp_path: Path, make_model: Any, say: Reporter) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/readme.txt").write_text("soon")
    count = [0]

    def wait(_: float) -> None:
        count[0] += 1
        if count[0] == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        segment_watch.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), say, wait=wait)


def test_a_folder_that_is_not_there_is_not_watched(tmp_path: Path, make_model: Any, say: Reporter) -> None:
    with pytest.raises(MedsegError) as refused:
        segment_watch.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), say)
    assert refused.value.code == Code.PATH_MISSING
