"""Files that belong together appear together, or not at all; names that are joined stay apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import files
from medseg.names import joined

PARTS = st.lists(st.text("_ab%5F", min_size=1, max_size=5), min_size=2, max_size=4)


def write(folder: Path, text: str, names: tuple[str, ...] = ("a", "b", "last")) -> None:
    with files.written_together(folder, "last", without=[folder / "a", folder / "old"]) as part:
        for name in names:
            files.write_text(part / name, text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_new_files_take_the_places_of_old_ones_and_what_is_stale_goes(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "other").write_text("other")
    write(tmp_path, "1")
    assert contents(tmp_path) == {"a": "1", "b": "1", "last": "1", "other": "other"}
    write(tmp_path, "2", ("b", "last"))
    assert contents(tmp_path) == {"b": "2", "last": "2", "other": "other"}


def test_where_one_fails_all_stay_as_they_were(tmp_path: Path) -> None:
    write(tmp_path, "1")
    (tmp_path / "old").write_text("old")
    with (
        pytest.raises(ZeroDivisionError),
        files.written_together(tmp_path, "last", [tmp_path / "old"]) as part,
    ):
        files.write_text(part / "a", "2")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"a": "1", "b": "1", "last": "1", "old": "old"}


def test_a_kill_between_two_files_leaves_none_that_vouches_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "1")
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target == tmp_path / "b":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "2")
    assert "last" not in contents(tmp_path)


def test_a_folder_that_a_kill_left_is_removed(tmp_path: Path) -> None:
    with files.written_aside(tmp_path / "x") as part:
        host = part.name.split("-")[1]
    gone = next(n for n in range(2**22 - 1, 2, -1) if not Path(f"/proc/{n}").exists())
    left = tmp_path / "sub" / f".part-{host}-{gone}-0-last"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    write(tmp_path / "sub", "1")
    assert sorted(contents(tmp_path / "sub")) == ["a", "b", "last"]
    assert os.getpid() != gone


def test_parts_are_joined_by_one_underscore_more_than_they_have() -> None:
    assert joined(["T1"]) == "T1"
    assert joined(["a_b"]) == "a_b"
    assert joined(["a", "b", "T1"]) == "a_b_T1"
    assert joined(["a_b", "c"]) == "a_b__c"
    assert joined(["a", "b_c"]) == "a__b_c"
    assert joined(["a_", "b"]) != joined(["a", "_b"])


@given(PARTS, PARTS)
def test_different_parts_are_never_joined_to_one_name(a: list[str], b: list[str]) -> None:
    assert (joined(a) == joined(b)) == (a == b)
