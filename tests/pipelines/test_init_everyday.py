"""`medseg init` on folders named as people name them; `test_everyday_runs` goes on with their recipes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.ingest.layouts import Guess
from pipelines import run as pipeline
from pipelines.commands import init
from pipelines.commands.init_reading import Given
from pipelines.run import Request
from tests.helpers.commands import run_command
from tests.helpers.everyday_folders import FOLDERS, PATIENTS, label, scan


def made(root: Path, given: Given | None = None) -> tuple[Guess, Recipe, list[dict[str, str]]]:
    """The guess, the recipe, and the cases that ingest finds with it."""
    out = root.parent / "made.yaml"
    guess = init.run(root, out, force=True, given=given)
    request = Request(str(out), None, root.parent / "work", ("tracking.enabled=false",))
    ended = pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest")
    assert ended in (ExitCode.DONE, ExitCode.SOME_EXCLUDED)
    return guess, load.load(str(out)), files.read_csv(root.parent / "work/ingest/cases.csv")


def test_regions_and_the_ignored_label_of_nnunet_are_kept(tmp_path: Path) -> None:
    FOLDERS["nnU-Net raw with regions"].build(tmp_path / "data")
    data = made(tmp_path / "data")[1].data
    assert data.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)} and data.void == (4,)


def test_globs_choose_channels_and_labels(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, name in enumerate(PATIENTS):
        for contrast in ("t1", "t2", "flair"):
            scan(root / name / f"{name}_{contrast}.nii.gz", i)
        label(root / name / f"{name}_manual.nii.gz", 1, place=i)
        label(root / name / f"{name}_automatic.nii.gz", 1, 2, place=i)
    guess = made(root)[0]
    assert guess.label == "{case}/{case}_manual.nii.gz" and len(guess.channels) == 3
    given = Given({"fl": "*_flair.nii.gz"}, "*_automatic*")
    guess, recipe, rows = made(root, given)
    assert recipe.data.channels == {"fl": "{case}/{case}_flair.nii.gz"} and len(rows) == 5
    assert recipe.data.label == "{case}/{case}_automatic.nii.gz" and set(recipe.data.classes) == {0, 1, 2}
    given = Given({"t2": "{subject}/{subject}_t2.nii.gz"}, "{subject}/{subject}_manual.nii.gz")
    assert made(root, given)[1].data.channels == given.channels


def test_structures_with_a_file_each_are_masks(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, name in enumerate(PATIENTS):
        scan(root / name / "ct.nii.gz", i)
        for structure in ("liver", "kidney_left", "kidney_right", "brain_mask"):
            label(root / name / f"{structure}.nii.gz", 1, place=i)
    guess, recipe, rows = made(root)
    structures = ("kidney_left", "kidney_right", "liver")
    assert recipe.data.masks == {name: f"{{case}}/{name}.nii.gz" for name in structures}
    assert recipe.data.class_list().masks == structures and recipe.loss.name == "bce_dice"
    assert len(rows) == 5 and "for one of them alone use --label" in " ".join(guess.remarks)
    one = made(root, Given({}, "liver.nii.gz"))[1].data
    assert (one.label, one.classes[1].name, one.masks) == ("{case}/liver.nii.gz", "liver", {})


def test_two_readings_are_both_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, name in enumerate(PATIENTS):
        scan(root / f"{name}_t1.nii.gz", i)
        scan(root / f"{name}_pet.nii.gz", i + 7)
        for rater in ("rater1", "rater2"):
            label(root / f"{name}_{rater}.nii.gz", 1, place=i)
        if i < 2:
            scan(root / f"{name}_t2.nii.gz", i)
    guess = made(root)[0]
    said = "\n".join(guess.remarks)
    assert (guess.channels, guess.label) == ({"t1": "{case}_t1.nii.gz"}, "{case}_rater1.nii.gz")
    assert "there are also {case}_rater2 (5 cases)" in said
    assert "they lie on another grid than the label maps: {case}_pet" in said
    assert "not all labelled cases have them: {case}_t2" in said
    assert all(f"# Note: {remark}" in (tmp_path / "made.yaml").read_text() for remark in guess.remarks)


def test_scans_without_labels_give_a_skeleton_and_exit_code_3(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate(PATIENTS):
        scan(tmp_path / "data" / name / "t1.nii.gz", i)
    out = tmp_path / "r.yaml"
    ended = run_command(["init", tmp_path / "data", "--out", out], capfd, monkeypatch)
    said, text = ended.text, out.read_text()
    assert ended.code == ExitCode.SOME_EXCLUDED
    assert "read it, then" not in said and "no labelled case was recognised" in said
    assert "5 images such as P01/t1.nii.gz, 12 × 14 × 6" in said and "# NOT COMPLETE" in text
    assert "#   5 images such as P01/t1.nii.gz, 12 × 14 × 6" in text
    assert load.load(str(out)).data.label is None


def test_label_maps_on_another_grid_are_no_labels(tmp_path: Path) -> None:
    for i, name in enumerate(PATIENTS):
        scan(tmp_path / f"data/images/{name}.nii.gz", i)
        label(tmp_path / f"data/labels/{name}.nii.gz", 1, place=i + 40)
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert guess.n_labelled == 0
    assert "no label map lies on the grid of an image" in (tmp_path / "r.yaml").read_text()


def test_empty_label_maps_are_told_to_be_so(tmp_path: Path) -> None:
    for i, name in enumerate(PATIENTS):
        scan(tmp_path / f"data/images/{name}.nii.gz", i)
        label(tmp_path / f"data/labels/{name}.nii.gz", place=i)
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert guess.n_labelled == 0
    assert "# Note: the label files hold no class: nothing but 0" in (tmp_path / "r.yaml").read_text()


def test_the_data_set_in_a_folder_below_is_read(tmp_path: Path) -> None:
    FOLDERS["nnU-Net raw with regions"].build(tmp_path / "data/Dataset007_Brain")
    guess, recipe, _ = made(tmp_path / "data")
    assert guess.remarks[0] == "the data set is the folder Dataset007_Brain"
    assert recipe.data.path == tmp_path / "data/Dataset007_Brain" and len(recipe.data.regions or {}) == 3


def test_a_data_set_in_a_folder_beside_scans_is_named(tmp_path: Path) -> None:
    FOLDERS["nnU-Net raw with regions"].build(tmp_path / "data/Dataset007_Brain")
    scan(tmp_path / "data/other.nii.gz", 77.0)
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert guess.n_labelled == 5
    assert any("name" in remark and "Dataset007_Brain to use" in remark for remark in guess.remarks)


def test_files_of_one_case_are_told_to_be_so(tmp_path: Path) -> None:
    scan(tmp_path / "data/t1.nii.gz")
    label(tmp_path / "data/tumour.nii.gz", 1)
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert guess.n_labelled == 0 and "name the folder above" in " ".join(guess.remarks)


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--channel", "t1"], "no NAME=PATTERN"), (["--label", "*_seg*"], "no file matches")],
)
def test_options_that_cannot_work_are_refused_in_one_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    FOLDERS["flat with suffixes"].build(tmp_path)
    out = tmp_path / "r.yaml"
    ended = run_command(["init", tmp_path, "--out", out, *options], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE and words in ended.text and not out.exists()
