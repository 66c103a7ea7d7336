"""Files that are whole or absent, locks, tables that no spreadsheet takes for programs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import files
from medseg.errors import Code, MedsegError


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_two_writers_of_one_path_do_not_touch_each_others_files(tmp_path: Path) -> None:
    path, texts = tmp_path / "a.txt", [f"{n}" * 100_000 for n in range(8)]
    threads = [threading.Thread(target=files.write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    left = tmp_path / f".part-{files._host()}-{_dead_process()}-0-other.bin"
    alive = tmp_path / f".part-{files._host()}-{os.getpid()}-99999-other.bin"
    elsewhere = tmp_path / f".part-aaaaaa-{_dead_process()}-0-other.bin"
    old = tmp_path / ".part-bbbbbb-1-0-other.bin"
    for part in (left, alive, elsewhere, old):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    files.write_text(tmp_path / "a.txt", "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", alive.name, elsewhere.name}
    assert files.is_part(alive) and not files.is_part(tmp_path / "a.txt")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_of_the_umask_whatever_a_library_sets(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        with files.written_aside(tmp_path / "a") as part:
            part.write_bytes(b"x")
            part.chmod(0o600)
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyError), files.written_aside(path) as part:
        part.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refused, files.written_aside(tmp_path / "a") as part:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert refused.value.code == Code.DISK_FULL and not list(tmp_path.iterdir())


def test_a_lock_is_held_by_one_alone(tmp_path: Path) -> None:
    with files.hold_lock(tmp_path / ".lock", tmp_path, "in use", "wait"):
        second = files.hold_lock(tmp_path / ".lock", tmp_path, "in use", "wait")
        with pytest.raises(MedsegError) as refused, second:
            pytest.fail("both hold it")
        assert refused.value.code == Code.WORK_IN_USE
    with files.hold_lock(tmp_path / ".lock", tmp_path, "in use", "wait"):
        pass


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1)))
def test_tables_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    cells = [cell.replace("\r", "") or "x" for cell in cells]
    files.write_csv(path, ["cell"], [{"cell": cell} for cell in cells])
    assert [row["cell"] for row in files.read_csv(path)] == cells


def test_no_cell_of_text_is_a_formula(tmp_path: Path) -> None:
    cells = ["=1+1", "@SUM(A1)", "+cmd", "-cmd", "-3.5", "'=1", "plain", -3.5, None]
    files.write_csv(tmp_path / "a.csv", ["cell"], [{"cell": cell} for cell in cells])
    lines = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert lines == ["'=1+1", "'@SUM(A1)", "'+cmd", "'-cmd", "-3.5", "''=1", "plain", "-3.5", '""']


def test_a_fingerprint_knows_its_file_again_after_a_copy_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcd")
    known = files.fingerprint(path)
    assert known["sha256"] == files.sha256(path)
    assert files.is_unchanged(path, known)
    os.utime(path, ns=(1, 1))
    assert files.is_unchanged(path, known)
    path.write_bytes(b"abce")
    os.utime(path, ns=(1, 1))
    assert not files.is_unchanged(path, known)
    path.write_bytes(b"abc")
    assert not files.is_unchanged(path, known)
    path.unlink()
    assert not files.is_unchanged(path, known)


def test_a_content_is_read_only_where_its_time_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcd")
    known = files.fingerprint(path, "0" * 64)
    monkeypatch.setattr(files, "sha256", lambda _: pytest.fail("it was read"))
    assert files.is_unchanged(path, known)


def test_the_place_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    seen = []
    with files.written_aside(tmp_path / "a.json") as part:
        seen.append(files.final(part))
    with files.written_together(tmp_path, "b.json") as folder:
        seen += [files.final(folder / "b.nii.gz"), files.final(folder)]
        with files.written_aside(folder / "b.png") as part:
            seen.append(files.final(part))
        (folder / "b.json").touch()
    names = ["a.json", "b.nii.gz", "b.json", "b.png"]
    assert seen == [tmp_path / name for name in names]
    assert files.final(Path("x/y.z")) == Path("x/y.z")
