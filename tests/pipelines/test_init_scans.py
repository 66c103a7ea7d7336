"""`medseg init` on scans: void, regions, files that are no label maps; its recipes load and ingest."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg.config import load
from medseg.config.fitted import plan
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest.layouts import Guess
from pipelines import run as pipeline
from pipelines.commands import check, init, init_text
from pipelines.run import Request

USUAL = plan.unfitted("mm", multilabel=False)

CASES = tuple(f"c{i}" for i in range(5))


def save(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, np.eye(4)).to_filename(path)


def label_of(brain: Any, *values: int) -> Any:
    label = np.zeros(brain.shape, np.int16)
    for i, value in enumerate(values):
        label[6 + i, 8:16, 2:5] = value
    return label


def made(tmp_path: Path) -> tuple[Guess, Recipe, str]:
    """The guess, the recipe that init writes for `data` and that ingest takes, and its text."""
    out = tmp_path / "made.yaml"
    guess = init.run(tmp_path / "data", out, force=True)
    request = Request(str(out), None, tmp_path / "w", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.DONE
    return guess, load.load(str(out)), out.read_text()


def write_dataset(tmp_path: Path, brain: Any, labels: dict[str, Any], *values: int) -> None:
    for name in CASES:
        save(tmp_path / f"data/imagesTr/{name}_0000.nii.gz", brain)
        save(tmp_path / f"data/labelsTr/{name}.nii.gz", label_of(brain, *values))
    content = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (tmp_path / "data/dataset.json").write_text(json.dumps(content))


def test_values_below_zero_become_void(tmp_path: Path, brain: Any) -> None:
    for name in CASES:
        save(tmp_path / f"data/images/{name}.nii.gz", brain)
        save(tmp_path / f"data/labels/{name}.nii.gz", label_of(brain, -1, 1))
    _, recipe, text = made(tmp_path)
    assert recipe.data.void == (-1,) and list(recipe.data.classes) == [0, 1]
    assert recipe.data.class_list().names[0] == "background"
    assert "# Note: the values -1 are below 0" in text and recipe.train.precision == "auto"
    assert "precision: auto" in text


def test_the_ignored_label_of_nnunet_becomes_void(tmp_path: Path, brain: Any) -> None:
    write_dataset(tmp_path, brain, {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}, 1, 2, 3)
    _, recipe, _ = made(tmp_path)
    assert recipe.data.void == (3,)
    assert {v: c.name for v, c in recipe.data.classes.items()} == {0: "background", 1: "liver", 2: "tumour"}


def test_regions_of_nnunet_become_masks(tmp_path: Path, brain: Any) -> None:
    write_dataset(tmp_path, brain, {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, 1, 2, 3)
    guess, recipe, text = made(tmp_path)
    assert recipe.data.regions == {"whole": (1, 2), "core": (2,)} and recipe.data.void == (3,)
    assert recipe.data.class_list().masks == ("whole", "core") and recipe.loss.name == "bce_dice"
    assert guess.regions == recipe.data.regions and "data.regions" in text


def test_an_image_among_label_files_is_named_on_the_recipe(tmp_path: Path, brain: Any) -> None:
    for name in CASES:
        save(tmp_path / f"data/images/{name}.nii.gz", brain)
        save(tmp_path / f"data/labels/{name}.nii.gz", brain if name == "c3" else label_of(brain, 1))
    out = tmp_path / "made.yaml"
    guess = init.run(tmp_path / "data", out, force=False)
    assert guess.classes == {0: "background", 1: "label_1"}
    assert "# Note: labels/c3.nii.gz alone holds" in out.read_text()
    stream = io.StringIO()
    assert check.run(tmp_path / "data", str(out), Reporter(stream=stream)) == ExitCode.SOME_EXCLUDED
    assert "c3.nii.gz" in stream.getvalue() or "c3: LABEL_VALUE_UNKNOWN" in stream.getvalue()


def test_derivatives_in_another_space_are_named_in_one_line_and_exclude_nothing(
    tmp_path: Path, brain: Any
) -> None:
    for i in range(4):
        scan, derived = f"sub-{i}/anat/sub-{i}", f"derivatives/fmriprep/sub-{i}/anat/sub-{i}"
        save(tmp_path / f"data/{scan}_T1w.nii.gz", brain)
        save(tmp_path / f"data/{derived}_dseg.nii.gz", label_of(brain, 1, 2))
        save(tmp_path / f"data/{derived}_space-MNI152_dseg.nii.gz", label_of(brain, 1, 2)[2:])
        save(tmp_path / f"data/{derived}_desc-preproc_T1w.nii.gz", brain)
    guess, _, _ = made(tmp_path)
    assert (guess.n_cases, guess.n_labelled, guess.n_other) == (4, 4, 8)
    stream = io.StringIO()
    check.run(tmp_path / "data", str(tmp_path / "made.yaml"), Reporter(stream=stream))
    lines = [line for line in stream.getvalue().splitlines() if "match no pattern" in line]
    assert len(lines) == 1 and lines[0].startswith("  8 scans match no pattern: ")


def test_check_without_a_recipe_names_formats_that_are_not_read_and_no_recipe(
    tmp_path: Path, brain: Any
) -> None:
    save(tmp_path / "a.nii.gz", brain)
    (tmp_path / "b.img").touch()
    (tmp_path / "b.hdr").touch()
    (tmp_path / "notes.txt").touch()
    stream = io.StringIO()
    assert check.run(tmp_path, None, Reporter(stream=stream)) == ExitCode.SOME_EXCLUDED
    said = stream.getvalue()
    assert (
        "excluded  FORMAT_NOT_READ: 2 files have formats that are not read (convert the" in said
        and "1 other file is no scan: notes.txt" in said
    )
    assert "3 files: 1 usable, 2 would be excluded" in said
    assert not any(word in line for line in said.splitlines()[1:] for word in ("recipe", "data."))


def test_a_folder_without_a_case_names_its_unread_files(tmp_path: Path, brain: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.dcm").touch()
    with pytest.raises(MedsegError) as caught:
        init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    assert caught.value.code is Code.NOTHING_USABLE and "DICOM" in caught.value.finding.how_to_fix


def test_remarks_are_comments_of_one_line_each(tmp_path: Path) -> None:
    guess = Guess(
        "plain",
        {"t1": "{case}"},
        None,
        None,
        1,
        0,
        void=(-1,),
        subject="{subject}_*",
        remarks=("a\nb: c", "# d"),
    )
    text = init_text.recipe_text(Path("r.yaml"), Path("data"), guess, USUAL)
    tree = yaml.safe_load(text)
    assert tree["data"]["subject"] == "{subject}_*" and tree["data"]["void"] == [-1]
    assert "# Note: a b: c\n# Note: # d\n" in text
