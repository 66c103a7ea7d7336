"""The command line of `segment`: a recipe's patterns, one file as OUT, dry runs, results made anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

import medseg
from medseg import files
from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines.commands import segment, segment_tables
from pipelines.commands.segment import Settings
from pipelines.fold import initial_weights
from tests.helpers.commands import Ended, run_command
from tests.helpers.dicom_files import write_series
from tests.helpers.scan_files import save

Command = Callable[..., Ended]


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., Path]
) -> Command:
    """`medseg segment` with a model of one channel, in this process."""
    model = make_model()

    def run(*words: object, model: Path = model) -> Ended:
        options = ["--model", model, "--workers", "0", "--no-figure", "--accept-domain"]
        return run_command(["segment", *words, *options], capfd, monkeypatch)

    return run


@pytest.fixture
def scans(tmp_path: Path, brain: Any) -> Path:
    for case in ("a", "b", "c"):
        save(tmp_path / f"in/{case}.nii.gz", brain)
    return tmp_path / "in"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_out_may_be_an_option(command: Command, scans: Path, tmp_path: Path) -> None:
    assert command(scans / "a.nii.gz", scans / "b.nii.gz", "-o", tmp_path / "out").code == ExitCode.DONE
    assert {row["case"] for row in files.read_csv(tmp_path / "out/summary.csv")} == {"a", "b"}
    assert command(scans, tmp_path / "more").code == ExitCode.DONE


@pytest.mark.parametrize("words", [[], ["scans"], ["--out", "x"]])
def test_a_missing_input_is_told_in_one_line(command: Command, words: list[str]) -> None:
    ended = command(*words)
    assert ended.code == ExitCode.USAGE
    assert ended.text.startswith("USAGE IN… OUT: no input") and ended.text.count("\n") == 1


def test_a_work_folder_is_taken_for_its_model(
    command: Command, scans: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    make_model("work/model")
    assert command(scans, tmp_path / "out", model=tmp_path / "work").code == ExitCode.DONE
    assert files.read_json(tmp_path / "out/run.json")["model"] == str(tmp_path / "work/model")
    assert medseg.load_model(tmp_path / "work", device="cpu").description.channels == ("t1",)
    from_work = initial_weights._member(tmp_path / "work", "fold0")
    assert from_work == initial_weights._member(tmp_path / "work/model", "fold0")
    assert "NOT_A_MODEL" in command(scans, tmp_path / "out", model=tmp_path / "in").text


# One file


def test_one_scan_may_become_one_file(command: Command, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "results/brain.nii.gz"
    ended = command(scans / "a.nii.gz", out)
    assert (ended.code, ended.text.splitlines()[0]) == (ExitCode.DONE, str(out))
    assert sorted(path.name for path in out.parent.iterdir()) == ["brain.json", "brain.nii.gz"]
    assert nib.load(out).shape == (20, 24, 8)
    assert files.read_json(out.parent / "brain.json")["case"] == "brain"
    events = command(scans / "a.nii.gz", tmp_path / "other/x.nii.gz", "--json-lines", "--quiet").text
    assert [json.loads(line)["event"] for line in events.splitlines()] == ["case", "end"]
    before = contents(tmp_path / "results")
    assert "skipped: brain" in command(scans / "a.nii.gz", out).text
    assert contents(tmp_path / "results") == before
    command(scans / "a.nii.gz", out, "--confidence-map", "--probabilities")
    names = ["brain.json", "brain.nii.gz", "brain_confidence.nii.gz", "brain_probabilities.nii.gz"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    folder = tmp_path / "folder"
    command(scans / "a.nii.gz", folder)
    assert (nib.load(folder / "a.nii.gz").get_fdata() == nib.load(out).get_fdata()).all()


def test_a_series_of_dicom_may_become_one_file(command: Command, brain: Any, tmp_path: Path) -> None:
    write_series(
        tmp_path / "CANARY",
        brain.astype("uint16"),
        nib.affines.from_matvec([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    )
    out = tmp_path / "x.nii.gz"
    ended = command(tmp_path / "CANARY", out)
    assert ended.code == ExitCode.DONE, ended.text
    assert {path.name for path in tmp_path.glob("x*")} == {"x.nii.gz", "x.json", "x.seg.dcm", "x.sr.dcm"}
    assert not (tmp_path / "private").exists() and "CANARY" not in ended.text


@pytest.mark.parametrize(
    ("given", "out", "options", "answer"),
    [
        ("in", "x.nii.gz", [], "x.nii.gz: one file for 3 scans; name one scan, or a folder for OUT"),
        ("in/a.nii.gz", "x.mha", [], "label maps of this model are files `….nii.gz`"),
        ("in/a.nii.gz", "x.png", [], "label maps of this model are files `….nii.gz`"),
        ("in/a.nii.gz", "in/a.nii.gz", [], "the label map would overwrite its scan"),
        ("in/a.nii.gz", "in/b.nii.gz", [], "a file that is no result of segment is there"),
        ("in/a.nii.gz", "x.nii.gz", ["--watch"], "x.nii.gz is one file; name a folder for OUT"),
        ("in/a.nii.gz", "x.nii.gz", ["--shard", "1/2"], "x.nii.gz is one file; name a folder for OUT"),
    ],
)
def test_what_one_file_cannot_be_is_told_in_one_line(
    command: Command, scans: Path, tmp_path: Path, given: str, out: str, options: list[str], answer: str
) -> None:
    before = contents(tmp_path)
    ended = command(tmp_path / given, tmp_path / out, *options)
    assert (ended.code, ended.text.count("\n")) == (ExitCode.USAGE, 1)
    assert answer in ended.text and contents(tmp_path) == before


def test_masks_are_no_single_file(
    command: Command, scans: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    from medseg.classes import ClassList

    masks = tuple(ClassList.of_masks({"whole": (1, 2), "core": (1,)}).to_json())
    model = make_model("masks", classes=masks)
    ended = command(scans / "a.nii.gz", tmp_path / "x.nii.gz", model=model)
    assert ended.code == ExitCode.USAGE and "a file for each of its masks whole, core" in ended.text


def test_a_scan_that_cannot_be_used_leaves_no_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_text("no scan")
    ended = command(tmp_path / "bad.nii.gz", tmp_path / "out/x.nii.gz")
    assert ended.code == ExitCode.NOTHING_USABLE and "NOT_AN_IMAGE" in ended.text
    assert list((tmp_path / "out").iterdir()) == []


# A recipe's patterns


def test_cases_are_those_of_a_recipe(command: Command, brain: Any, tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        save(tmp_path / f"in/{case}/anat/T1.nii.gz", brain)
        save(tmp_path / f"in/{case}/anat/T2.nii.gz", brain)
        save(tmp_path / f"in/{case}/rois/final.nii.gz", brain * 0 + 1)
    recipe = tmp_path / "r.yaml"
    patterns = 'channels: {mr: "{case}/anat/T1.nii.gz"}\n  label: "{case}/rois/final.nii.gz"'
    recipe.write_text(f"name: r\ndata:\n  {patterns}\n  classes: {{0: background, 1: x}}\n")
    ended = command(tmp_path / "in", tmp_path / "out", "--recipe", recipe)
    assert ended.code == ExitCode.DONE
    assert "2 cases by the recipe ({case}/anat/T1.nii.gz)" in ended.text
    rows = files.read_csv(tmp_path / "out/summary.csv")
    assert [(row["case"], Path(row["file"]).name) for row in rows] == [
        ("p1", "T1.nii.gz"),
        ("p2", "T1.nii.gz"),
    ]
    both = command(tmp_path / "in", tmp_path / "out", "--recipe", recipe, "--channel", "t1=*")
    assert both.code == ExitCode.USAGE and "--recipe names the files already" in both.text
    (tmp_path / "other").mkdir()
    save(tmp_path / "other/x.nii.gz", brain)
    none = command(tmp_path / "other", tmp_path / "out", "--recipe", recipe)
    assert none.code == ExitCode.USAGE and "--recipe: no file of" in none.text


def test_a_recipe_may_name_a_layout_or_a_table(command: Command, scans: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\ndata:\n  layout: plain\n  classes: {0: background, 1: x}\n")
    assert "3 cases by the recipe" in command(scans, tmp_path / "plain", "--recipe", recipe).text
    (scans / "t.csv").write_text("case,image\nfirst,a.nii.gz\n")
    recipe.write_text("name: r\ndata:\n  layout: csv\n  table: t.csv\n  classes: {0: background, 1: x}\n")
    assert command(scans, tmp_path / "table", "--recipe", recipe).code == ExitCode.DONE
    assert [row["case"] for row in files.read_csv(tmp_path / "table/summary.csv")] == ["first"]


def test_a_recipe_of_other_channels_is_refused(
    command: Command, scans: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    model = make_model("two", channels=("t1", "flair"))
    ended = command(scans, tmp_path / "out", "--recipe", "demo", model=model)
    assert ended.code == ExitCode.USAGE
    assert "its channels are t1, the model's t1, flair" in ended.text
    assert "did you mean demo?" in command(scans, tmp_path / "out", "--recipe", "demmo").text


# Dry runs, results made anew, tables that grow


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    command: Command, scans: Path, brain: Any, tmp_path: Path
) -> None:
    command(scans / "a.nii.gz", tmp_path / "out")
    save(scans / "sub/c.nii.gz", brain)
    save(scans / "sub_c.nii.gz", brain)
    (tmp_path / "empty.nii.gz").write_text("")
    before = contents(tmp_path)
    ended = command(scans, tmp_path / "out", "--dry-run")
    assert contents(tmp_path) == before
    assert "skipped: a" in ended.text and "to segment: b" in ended.text
    assert "1 skipped" in ended.text and "Nothing was written." in ended.text
    new = command(scans / "b.nii.gz", tmp_path / "new", "--dry-run", "--json-lines", "--quiet")
    events = [json.loads(line) for line in new.text.splitlines()]
    assert events[0] == {"event": "case", "case": "b", "status": "to segment"}
    assert events[-1] == {"event": "end", "inputs": 1, "counts": {"to segment": 1}}
    assert not (tmp_path / "new").exists()
    assert command(scans / "a.nii.gz", tmp_path / "x.nii.gz", "--dry-run").code == ExitCode.DONE
    assert command(scans, tmp_path / "out", "--dry-run", "--watch").code == ExitCode.USAGE


def test_a_dry_run_of_dicom_has_the_names_of_the_run(command: Command, brain: Any, tmp_path: Path) -> None:
    write_series(
        tmp_path / "export",
        brain.astype("uint16"),
        nib.affines.from_matvec([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    )
    planned = command(tmp_path / "export", tmp_path / "out", "--dry-run")
    assert planned.code == ExitCode.DONE and not (tmp_path / "out").exists()
    command(tmp_path / "export", tmp_path / "out")
    (row,) = files.read_csv(tmp_path / "out/summary.csv")
    again = command(tmp_path / "export", tmp_path / "out", "--dry-run")
    assert f"skipped: {row['case']}" in again.text


def test_results_are_made_anew_where_that_is_asked_for(command: Command, scans: Path, tmp_path: Path) -> None:
    (scans / "bad.nii.gz").write_text("no scan")
    out = tmp_path / "out"
    command(scans, out)
    assert "skipped: a" in command(scans, out).text
    assert "to segment: a" in command(scans, out, "--dry-run", "--overwrite").text
    assert "done: a" in command(scans, out, "--overwrite").text


def test_tables_appear_with_the_first_case_and_grow(
    scans: Path, tmp_path: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_tables, "_EVERY_S", 0.0)
    monkeypatch.setattr(segment_tables, "_COST", 0.0)
    seen = []
    write = segment_tables._write

    def watched(tables: segment_tables.Tables, out: Path) -> None:
        write(tables, out)
        rows = files.read_csv(out / "summary.csv")
        assert files.read_json(out / "run.json")["inputs"] == 3 and (out / "summary.html").is_file()
        seen.append([row["status"] for row in rows])

    monkeypatch.setattr(segment_tables, "_write", watched)
    settings = Settings(make_model(), accept_domain=True)
    assert segment.run([scans], tmp_path / "out", settings, Reporter(quiet=True)) == ExitCode.DONE
    assert [row.count("not run") for row in seen] == [2, 1, 0, 0]


def test_tables_are_not_written_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    growing = segment_tables.Growing(lambda: written.append(now[0]))
    for second in range(12):
        now[0] = 100.0 + second
        growing.grow()
    assert written == [100.0, 105.0, 110.0]
