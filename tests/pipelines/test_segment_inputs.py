"""What `medseg segment` takes as input among files, links and folders, and what it leaves out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.scan_files import save

MakeModel = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., None]:
    """Make empty files below tmp_path."""

    def make(*given: str) -> None:
        for name in given:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


def test_results_in_a_folder_among_the_scans_are_no_inputs(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    model, out = make_model(), tmp_path / "in/labels"
    for _ in range(2):
        segment.run([tmp_path / "in"], out, Settings(model), say)
        assert [r["case"] for r in files.read_csv(out / "summary.csv")] == ["a"]
    save(tmp_path / "all/in/a.nii.gz", brain)  # scans in a folder of OUT are scans all the same
    segment.run([tmp_path / "all/in"], tmp_path / "all", Settings(model), say)
    assert (tmp_path / "all/a.nii.gz").is_file()


def test_results_never_lie_where_the_scans_do(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    before, model = scan.read_bytes(), make_model()
    for given in (scan.parent, scan):
        with pytest.raises(MedsegError) as caught:
            segment.run([given], scan.parent, Settings(model), say)
        assert caught.value.code == Code.USAGE
    assert scan.read_bytes() == before
    assert [p.name for p in scan.parent.iterdir()] == ["a.nii.gz"]


def test_broken_links_and_folders_named_like_scans_are_set_aside(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    (tmp_path / "in/folder.nii.gz").mkdir()
    link = tmp_path / "in/link.nii.gz"
    link.symlink_to(tmp_path / "gone.nii.gz")
    model = make_model()
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.SOME_EXCLUDED
    codes = {r["case"]: r["code"] for r in files.read_csv(tmp_path / "out/quarantine.csv")}
    assert codes == {"folder": "FILE_UNREADABLE", "link": "FILE_UNREADABLE"}
    assert segment.run([link], tmp_path / "out", Settings(model), say) == ExitCode.NOTHING_USABLE


def test_files_that_are_left_out_are_counted_on_the_screen(
    tmp_path: Path, brain: Any, make_model: MakeModel
) -> None:
    for name in ("a", "a_seg", "a_confidence", "b_dseg"):
        save(tmp_path / "in" / f"{name}.nii.gz", brain)
    (tmp_path / "in/readme.txt").write_text("hello")
    stream = io.StringIO()
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), Reporter(stream=stream))
    assert "4 files left out (3 named like label maps: --include-labels takes them)" in stream.getvalue()


def test_files_that_vanish_between_inputs_and_outcomes_stop_the_command(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.nii.gz", brain)
    by_case = segment._by_case
    monkeypatch.setattr(segment, "_by_case", lambda *a: by_case(*a)[1:])
    with pytest.raises(MedsegError) as caught:
        segment.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), say)
    assert caught.value.code == Code.DOES_NOT_ADD_UP
    assert caught.value.exit_code == ExitCode.FAULT


def test_no_name_is_given_twice_and_no_file_is_lost(tmp_path: Path, touch: Callable[..., None]) -> None:
    touch("x/p/a.nii", "y/p/a.nii", "x/p_a_2.nii")
    found = segment.find_inputs([tmp_path], ["t1"], tmp_path / "out", Settings(tmp_path))
    assert sorted(c.case for c in found.cases) == ["p_a", "p_a_2", "p_a_3"]
    touch("two/a.nii", "two/a_t1.nii", "two/a_t1.nii.gz", "two/a_t2.nii")
    found = segment.find_inputs([tmp_path / "two"], ["t1", "t2"], tmp_path / "out", Settings(tmp_path))
    assert {p for c in found.cases for p in c.channels.values()} == set(found.files)
    assert len(found.files) == 4
