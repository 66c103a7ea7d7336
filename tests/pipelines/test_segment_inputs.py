"""What `medseg segment` takes as input among files, links and folders, and what it leaves out."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import segment, segment_inputs
from pipelines.commands.segment import Settings
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

MakeModel = Callable[..., Path]


def of_channels(*channels: str) -> Any:
    """The description of a model of these channels."""
    return describe(channels=channels)


def names(found: segment_inputs.Inputs) -> dict[str, str]:
    """Case → its first file's path below the input, of the cases that can be used."""
    return {c.task.case: c.task.file.as_posix() for c in found.cases if c.reason is None}


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


def test_files_of_formats_that_are_not_read_are_named_by_format_and_remedy(
    tmp_path: Path, brain: Any, make_model: MakeModel
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    for name in ("b.hdr", "b.img", "c.hdr", "c.img", "d.npy"):
        (tmp_path / "in" / name).write_bytes(b"x")
    stream, model = io.StringIO(), make_model()
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), Reporter(stream=stream))
    said = stream.getvalue()
    assert "5 files left out" in said
    assert said.count("not read: ") == 2 and "not read: 2 .hdr, 2 .img (convert the .hdr/.img pair" in said
    assert "not read: 1 .npy (save the array as NIfTI with its affine)" in said
    (tmp_path / "in/a.nii.gz").unlink()
    with pytest.raises(MedsegError) as caught:
        segment.run([tmp_path / "in"], tmp_path / "none", Settings(model), Reporter(stream=stream))
    assert caught.value.code == Code.NOTHING_USABLE
    assert caught.value.finding.details == (
        "no scan among the inputs that is read: 2 .hdr, 2 .img, 1 .npy only"
    )
    assert "fslchfiletype NIFTI_GZ b" in caught.value.finding.how_to_fix


def test_files_that_vanish_between_inputs_and_outcomes_stop_the_command(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.nii.gz", brain)
    by_case = segment_inputs._by_case
    monkeypatch.setattr(segment_inputs, "_by_case", lambda *a: by_case(*a)[1:])
    with pytest.raises(MedsegError) as caught:
        segment.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), say)
    assert caught.value.code == Code.DOES_NOT_ADD_UP
    assert caught.value.exit_code == ExitCode.FAULT


def test_no_name_is_given_twice_and_no_file_is_lost(tmp_path: Path, touch: Callable[..., None]) -> None:
    touch("in/x/p/a.nii", "in/y/p/a.nii", "in/x/p_a_2.nii", "in/a.nii")
    found = segment_inputs.find_inputs([tmp_path / "in"], of_channels("t1"), tmp_path / "out")
    assert sorted(c.task.case for c in found.cases) == ["a", "x__p_a_2", "x_p_a", "y_p_a"]
    touch("two/a.nii", "two/a_t1.nii", "two/a_t1.nii.gz", "two/a_t2.nii")
    found = segment_inputs.find_inputs([tmp_path / "two"], of_channels("t1", "t2"), tmp_path / "out")
    assert {p for c in found.cases for p in c.task.channels.values()} == set(found.files)
    assert len(found.files) == 4
    assert {c.reason.code for c in found.cases if c.reason} == {Code.DUPLICATE_CASE}


def test_a_name_comes_from_the_own_path_alone(tmp_path: Path, touch: Callable[..., None]) -> None:
    touch("in/anna/anat/T1.nii.gz", "in/carl/anat/T1.nii.gz", "in/flat.nii.gz")
    before = names(segment_inputs.find_inputs([tmp_path / "in"], of_channels("t1"), tmp_path / "out"))
    assert before.keys() == {"anna_anat_T1", "carl_anat_T1", "flat"}
    touch("in/bert/anat/T1.nii.gz", "in/anat/T1.nii.gz", "in/a_b/c.nii", "in/a/b_c.nii", "in/b/flat.nii.gz")
    after = names(segment_inputs.find_inputs([tmp_path / "in"], of_channels("t1"), tmp_path / "out"))
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"bert_anat_T1", "anat_T1", "a_b__c", "a__b_c", "b_flat"}
    alone = segment_inputs.find_inputs(
        [tmp_path / "in/bert/anat/T1.nii.gz"], of_channels("t1"), tmp_path / "out"
    )
    assert names(alone).keys() == {"T1"}


def test_two_inputs_of_one_name_are_excluded_and_both_named(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    one, two = (save(tmp_path / folder / "T1.nii.gz", brain) for folder in ("one", "two"))
    flat, deep = save(tmp_path / "in/a_b.nii.gz", brain), save(tmp_path / "in/a/b.nii.gz", brain)
    third = save(tmp_path / "in/c.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    assert segment.run([one, two, tmp_path / "in"], out, Settings(model), say) == ExitCode.SOME_EXCLUDED
    rows = files.read_csv(out / "quarantine.csv")
    assert [(r["case"], r["code"]) for r in rows] == [
        ("T1", "DUPLICATE_CASE"),
        ("T1", "DUPLICATE_CASE"),
        *[("a_b", "DUPLICATE_CASE")] * 2,
    ]
    for row, pair in zip(rows, [(one, two)] * 2 + [(flat, deep)] * 2, strict=True):
        assert all(str(path) in row["details"] for path in pair)
    assert sorted(p.name for p in out.glob("*.nii.gz")) == ["c.nii.gz"]
    same = segment.run(
        [third, tmp_path / "in/../in/c.nii.gz", third], tmp_path / "same", Settings(model), say
    )
    assert same == ExitCode.DONE  # one file, whatever it is called


def test_names_are_compared_in_one_unicode_form(tmp_path: Path, touch: Callable[..., None]) -> None:
    composed = unicodedata.normalize("NFC", "Jürgen")
    touch(f"in/{composed}.nii", f"in/{unicodedata.normalize('NFD', composed)}.nii", "in/b.nii")
    found = segment_inputs.find_inputs([tmp_path / "in"], of_channels("t1"), tmp_path / "out")
    assert [c.task.case for c in found.cases] == [composed, composed, "b"]
    assert names(found).keys() == {"b"}


@pytest.mark.parametrize("name", ["x" * 201, ".hidden", "line\nbreak"])
def test_a_name_that_no_file_can_have_is_a_row(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, name: str
) -> None:
    paths = [save(tmp_path / "in" / f"{each}.nii.gz", brain) for each in (name, "good")]
    assert segment.run(paths, tmp_path / "out", Settings(make_model()), say) == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert row["code"] == "NAME_INVALID"
    assert (tmp_path / "out/good.nii.gz").is_file()


def test_a_channel_is_the_longest_that_the_name_ends_with(tmp_path: Path, touch: Callable[..., None]) -> None:
    touch("in/N1_flair.nii", "in/N1_t2_flair.nii", "in/N3_FLAIR.nii", "in/N3_T2_FLAIR.nii")
    for channels in (("flair", "t2_flair"), ("t2_flair", "flair")):
        found = segment_inputs.find_inputs([tmp_path / "in"], of_channels(*channels), tmp_path / "out")
        assert {c.task.case: {k: p.stem for k, p in c.task.channels.items()} for c in found.cases} == {
            "N1": {"flair": "N1_flair", "t2_flair": "N1_t2_flair"},
            "N3": {"flair": "N3_FLAIR", "t2_flair": "N3_T2_FLAIR"},
        }
    touch("alike/Nflair.nii")
    found = segment_inputs.find_inputs([tmp_path / "alike"], of_channels("t1", "flair"), tmp_path / "out")
    assert found.cases[0].task.channels.keys() == {"t1"}  # no channel's name stands there by itself


def test_files_that_no_segment_wrote_are_not_replaced(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    mine = save(tmp_path / "mine/a.nii.gz", np.ones_like(brain))
    before = mine.read_bytes()
    with pytest.raises(MedsegError) as refused:
        segment.run([tmp_path / "in"], mine.parent, Settings(make_model()), say)
    assert refused.value.code == Code.USAGE
    assert mine.read_bytes() == before


def test_cases_may_be_called_like_the_programs_own_files(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    cases = ("labels", "run", "stage", "Labels_case", "labels_case", "summary", "quarantine", "mean")
    for case in cases:
        save(tmp_path / "in" / f"{case}.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    for status in ("done", "skipped"):
        assert segment.run([tmp_path / "in"], out, Settings(model), say) == ExitCode.DONE
        assert {r["case"]: r["status"] for r in files.read_csv(out / "summary.csv")} == dict.fromkeys(
            cases, status
        )
    assert [c["name"] for c in files.read_json(out / "labels.json")] == ["background", "csf", "gm"]
    assert files.read_json(out / "run.json")["inputs"] == len(cases)
    assert files.read_json(out / "labels_case.json")["case"] == "labels"
    assert files.read_json(out / "labels_case_case.json")["case"] == "labels_case"


def test_files_named_by_their_channel_belong_to_their_folder(
    tmp_path: Path, touch: Callable[..., None]
) -> None:
    touch("in/p1/flair.nii", "in/p1/t2_flair.nii", "in/s/p2/T2_FLAIR.nii", "in/s/p2/FLAIR.nii")
    found = segment_inputs.find_inputs([tmp_path / "in"], of_channels("flair", "t2_flair"), tmp_path / "out")
    assert {c.task.case: sorted(p.name for p in c.task.channels.values()) for c in found.cases} == {
        "p1": ["flair.nii", "t2_flair.nii"],
        "s_p2": ["FLAIR.nii", "T2_FLAIR.nii"],
    }
