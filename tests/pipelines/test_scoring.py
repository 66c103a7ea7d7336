"""The evaluate stage on damaged files: it behaves as two folders do, except that references must be there."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.metrics.table import Entry
from pipelines import run as pipeline
from pipelines import scoring
from pipelines.commands import baseline, score_folders
from pipelines.run import Request
from pipelines.scored_case import Reference
from pipelines.scoring import Scored
from tests.helpers.box_subjects import make_subjects
from tests.helpers.scan_files import save
from tests.pipelines.test_run import OFF, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A finished run on five tiny subjects, of which s3 and s4 are predicted."""
    make_subjects(tmp_path / "data", labelled=5)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    assert evaluate(tmp_path, only=None)[0] == ExitCode.DONE
    return tmp_path


def evaluate(place: Path, only: str | None = "evaluate") -> tuple[ExitCode, str]:
    """Exit code and printed lines of `medseg evaluate`, or of the whole run."""
    stream = io.StringIO()
    request = Request(str(place / "boxes.yaml"), place / "data", place / "work", (OFF,))
    return pipeline.run(request, Reporter(stream=stream, results=stream), only=only), stream.getvalue()


def rows(folder: Path) -> list[dict[str, str]]:
    """Scores of a folder without what names the stage's subject, fold and set."""
    left_out = ("fold", "subject", "set", "class")
    return [{k: v for k, v in r.items() if k not in left_out} for r in files.read_csv(folder / "scores.csv")]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def test_an_unusable_prediction_is_dice_0_in_both_commands_and_ends_with_3(place: Path) -> None:
    predictions = place / "work/predictions"
    cut(predictions / "s3.nii.gz")
    ended, said = evaluate(place)
    assert ended == ExitCode.SOME_EXCLUDED
    (excluded,) = files.read_csv(place / "work/evaluation/quarantine.csv")
    assert (excluded["case"], excluded["code"]) == ("s3", "TRUNCATED")
    assert "excluded: TRUNCATED" in said
    # A stage that is up to date says and ends the same. The whole run makes the damaged label map again.
    again, said_again = evaluate(place)
    assert (again, "excluded: TRUNCATED" in said_again) == (ExitCode.SOME_EXCLUDED, True)
    assert evaluate(place, only=None)[0] == ExitCode.DONE
    cut(predictions / "s3.nii.gz")
    evaluate(place)
    truth = place / "truth"
    for case in ("s3", "s4"):
        files.write_bytes(truth / f"{case}.nii.gz", (place / f"data/{case}/{case}_seg.nii.gz").read_bytes())
    ended = score_folders.run(truth, predictions, place / "out", Reporter(quiet=True))
    assert ended == ExitCode.SOME_EXCLUDED
    assert rows(place / "out") == rows(place / "work/evaluation")
    (of_folders,) = files.read_csv(place / "out/quarantine.csv")
    assert of_folders == excluded
    assert {r["dice"] for r in rows(place / "out") if r["case"] == "s3"} == {"0.0"}


def test_a_missing_prediction_ends_with_3_in_the_stage_too(place: Path) -> None:
    (place / "work/predictions/s4.nii.gz").unlink()
    ended, said = evaluate(place)
    assert ended == ExitCode.SOME_EXCLUDED
    assert "2 cases, 1 without prediction" in said
    assert files.read_csv(place / "work/evaluation/quarantine.csv") == []


@pytest.mark.parametrize(("damage", "code"), [(cut, Code.TRUNCATED), (Path.unlink, Code.FILE_MISSING)])
def test_a_reference_that_was_damaged_since_ingest_ends_the_stage(
    place: Path, damage: Any, code: Code
) -> None:
    before = files.read_csv(place / "work/evaluation/scores.csv")
    damage(place / "data/s3/s3_seg.nii.gz")
    with pytest.raises(MedsegError) as caught:
        evaluate(place)
    assert caught.value.code == code
    assert "s3_seg.nii.gz" in caught.value.finding.where
    assert "`medseg ingest` again" in caught.value.finding.how_to_fix
    assert files.read_csv(place / "work/evaluation/scores.csv") == before


def test_a_case_that_cannot_be_clustered_ends_a_baseline_with_3(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=5)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    path = tmp_path / "data/s3/s3.nii.gz"
    image = nib.load(path)
    two_values = (np.asarray(image.dataobj) > 0).astype(np.int16)
    nib.Nifti1Image(two_values, image.affine).to_filename(path)
    request = Request(str(tmp_path / "boxes.yaml"), tmp_path / "data", tmp_path / "fcm", ())
    assert baseline.run(request, Reporter(quiet=True)) == ExitCode.SOME_EXCLUDED


MASKS = ClassList.of_masks({"whole": (), "core": ()})


def test_masks_in_part_are_no_reference_and_no_prediction(tmp_path: Path) -> None:
    label = np.zeros((6, 6, 4), np.uint8)
    label[2:4, 2:4, 1:3] = 1
    whole, core = (save(tmp_path / f"{name}.nii.gz", label) for name in ("a_whole", "a_core"))
    both, part = {"whole": whole, "core": core}, {"whole": whole}
    listed = [
        Reference(Entry("no truth", "s"), part, both),
        Reference(Entry("no prediction", "s"), both, part),
        Reference(Entry("good", "s"), both, both),
    ]
    scored = scored_by(listed, MASKS)
    assert [(case, f.code, f.details) for case, f in scored.unscored] == [
        ("no truth", "MASK_MISSING", "no core")
    ]
    assert [(case, f.code, f.details) for case, f in scored.unread] == [
        ("no prediction", "MASK_MISSING", "no core")
    ]
    assert {(r.case, r.class_name): r.dice for r in scored.rows} == {
        ("no prediction", "whole"): 0.0,
        ("no prediction", "core"): 0.0,
        ("good", "whole"): 1.0,
        ("good", "core"): 1.0,
    }
    assert scored.matrices["test"].shape == (2, 2, 2)


def test_void_in_a_mask_is_nothing_predicted(tmp_path: Path) -> None:
    label = np.zeros((6, 6, 4), np.uint8)
    label[2:4, 2:4, 1:3] = 1
    void = np.where(np.arange(6)[:, None, None] == 2, label * 255, label).astype(np.uint8)
    whole, core, guess = (
        save(tmp_path / f"{n}.nii.gz", a) for n, a in (("w", label), ("c", label), ("p", void))
    )
    truth = {"whole": whole, "core": core}
    masks = replace(MASKS, void_values=(255,))
    scored = scored_by([Reference(Entry("a", "s"), truth, {"whole": guess, "core": core})], masks)
    (note,) = scored.notes
    assert note[1].code == Code.VOID_PREDICTED and "void in 4 voxels" in note[1].details
    assert [(r.class_name, r.recall, r.precision) for r in scored.rows] == [
        ("whole", 0.5, 1),
        ("core", 0.5, 1),
    ]


def test_a_case_of_two_folds_is_excluded_in_each(tmp_path: Path) -> None:
    truth = save(tmp_path / "a.nii.gz", np.ones((6, 6, 4), np.uint8))
    broken = [save(tmp_path / f"{fold}/a.nii.gz", np.ones((6, 6, 5), np.uint8)) for fold in range(2)]
    listed = [Reference(Entry("a", "s", fold), truth, path) for fold, path in enumerate(broken)]
    scored = scored_by(listed, ClassList.from_names({0: "background", 1: "box"}))
    scoring.write(tmp_path / "out", scored, ClassList.from_names({0: "background", 1: "box"}))
    excluded = files.read_csv(tmp_path / "out/quarantine.csv")
    assert [r["file"] for r in excluded] == [str(path) for path in broken]
    assert scoring.is_incomplete(tmp_path / "out")
    assert not scoring.is_incomplete(tmp_path / "elsewhere")


def scored_by(listed: list[Reference], classes: ClassList) -> Scored:
    return scoring.score(listed, classes, nsd_tolerance=1, bf_tolerance=0.01, progress=lambda *_: None)
