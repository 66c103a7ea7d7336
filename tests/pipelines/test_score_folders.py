"""`medseg evaluate --truth A --pred B`: each label map of either folder is scored, or named with its code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import score_folders
from tests.helpers import images
from tests.helpers.scan_files import save


def box(value: int = 1) -> Any:
    """A label map of 12 × 12 × 6 voxels with a box of 4 × 4 × 2."""
    label = np.zeros((12, 12, 6), np.uint8)
    label[4:8, 4:8, 2:4] = value
    return label


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: `a` is predicted as it is, `b` moved by two voxels, so that half of both boxes overlap."""
    truth, prediction = tmp_path / "truth", tmp_path / "pred"
    for name in "ab":
        save(truth / f"{name}_seg.nii.gz", box())
    save(prediction / "a.nii.gz", box())
    save(prediction / "b.nii.gz", np.roll(box(), 2, axis=0))
    return truth, prediction


def score(folders: tuple[Path, Path]) -> tuple[ExitCode, str, list[dict[str, str]]]:
    """Exit code, what was said, and the rows of quarantine.csv."""
    truth, prediction = folders
    stream = io.StringIO()
    ended = score_folders.run(
        truth, prediction, prediction / "evaluation", Reporter(stream=stream, results=stream)
    )
    return ended, stream.getvalue(), files.read_csv(prediction / "evaluation/quarantine.csv")


def dice(folders: tuple[Path, Path]) -> dict[str, str]:
    return {r["case"]: r["dice"] for r in files.read_csv(folders[1] / "evaluation/scores.csv")}


def test_both_folders_are_matched_and_scored(folders: tuple[Path, Path]) -> None:
    ended, said, excluded = score(folders)
    assert (ended, excluded) == (ExitCode.DONE, [])
    assert dice(folders) == {"a": "1.0", "b": "0.5"}
    assert "Dice 0.7500" in said
    assert score(folders)[0] == ExitCode.DONE  # the scores in the folder of predictions are no label maps


def test_a_prediction_without_a_truth_is_named(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "c.nii.gz", box())
    ended, said, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("c", "REFERENCE_MISSING")]
    assert any("REFERENCE_MISSING" in line and "c.nii.gz" in line for line in said.splitlines())
    assert dice(folders).keys() == {"a", "b"}


def test_a_missing_and_an_unusable_prediction_count_zero(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.nii.gz").unlink()
    save(folders[1] / "b.nii.gz", box()[:-1])
    ended, _, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("b", "GRID_MISMATCH")]
    assert dice(folders) == {"a": "0.0", "b": "0.0"}


def test_a_missing_prediction_alone_is_told_by_the_exit_code(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.nii.gz").unlink()
    ended, said, excluded = score(folders)
    assert (ended, excluded) == (ExitCode.SOME_EXCLUDED, [])
    assert "2 cases, 1 without prediction" in said
    assert dice(folders) == {"a": "0.0", "b": "0.5"}


def test_a_truth_that_cannot_be_read_is_excluded(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "a_seg.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    ended, _, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("a", "TRUNCATED")]
    assert dice(folders).keys() == {"b"}


def test_classes_are_named_by_labels_json(folders: tuple[Path, Path]) -> None:
    rows = [{"value": v, "name": n, "colour": [v, v, v]} for v, n in ((0, "background"), (1, "lesion"))]
    files.write_json(folders[1] / "labels.json", rows)
    assert "lesion" in score(folders)[1]


@pytest.mark.parametrize("text", ["", "[1]", '[{"a": 1}]', "{}"])
def test_a_damaged_labels_json_is_refused(folders: tuple[Path, Path], text: str) -> None:
    (folders[1] / "labels.json").write_text(text)
    with pytest.raises(MedsegError) as caught:
        score(folders)
    assert caught.value.code == Code.USAGE
    assert "labels.json" in caught.value.finding.where


@pytest.mark.parametrize("made", ["empty", "unreadable"])
def test_nothing_usable_ends_with_its_code(tmp_path: Path, made: str) -> None:
    (tmp_path / "pred").mkdir()
    if made == "empty":
        save(tmp_path / "truth/a.nii.gz", box(0))
    else:
        save(tmp_path / "truth/a.nii.gz", box(3))
        files.write_json(
            tmp_path / "truth/labels.json",
            [{"value": v, "name": str(v), "colour": [0, 0, 0]} for v in (0, 1)],
        )
    with pytest.raises(MedsegError) as caught:
        score((tmp_path / "truth", tmp_path / "pred"))
    assert caught.value.code == Code.NOTHING_USABLE


def said_of(folders: tuple[Path, Path], **keywords: Any) -> tuple[ExitCode, str]:
    """Exit code and the printed lines of scoring two folders with further keywords."""
    truth, prediction = folders
    stream = io.StringIO()
    reporter = Reporter(stream=stream, results=stream)
    return score_folders.run(
        truth, prediction, prediction / "evaluation", reporter, written=score_folders.Written(**keywords)
    ), stream.getvalue()


def test_a_missed_and_an_invented_class_have_both_means(tmp_path: Path) -> None:
    """Dice and NSD are 0 for both; HD95 leaves them out, its second mean counts the diagonal of 15 mm."""
    shape = np.s_[:10, :10, :5]  # with voxels of 1 × 1 × 1 mm the diagonal is √225
    for name, in_truth, predicted in (
        ("good", 1, 1),
        ("missed", 1, 0),
        ("invented", 0, 1),
        ("neither", 0, 0),
    ):
        for folder, there in (("truth", in_truth), ("pred", predicted)):
            save(tmp_path / folder / f"{name}.nii.gz", box(there)[shape], np.eye(4))
    ended, said = said_of((tmp_path / "truth", tmp_path / "pred"))
    assert ended == ExitCode.DONE
    rows = {r["case"]: r for r in files.read_csv(tmp_path / "pred/evaluation/scores.csv")}
    assert {case: r["nsd"] for case, r in rows.items()} == {
        **{"good": "1.0", "missed": "0.0", "invented": "0.0", "neither": ""}
    }
    assert {case: r["hd95"] for case, r in rows.items()} == {
        **{"good": "0.0", "missed": "", "invented": "", "neither": ""}
    }
    assert {case: r["hd95_penalised"] for case, r in rows.items()} == {
        **{"good": "0.0", "missed": "15.0", "invented": "15.0", "neither": ""}
    }
    means = files.read_json(tmp_path / "pred/evaluation/summary.json")["sets"]["test"]["classes"]["label 1"]
    assert [(means[m]["mean"], means[m]["n"]) for m in ("nsd", "hd95", "hd95_penalised")] == [
        (pytest.approx(1 / 3), 3), (0.0, 1), (10.0, 3),
    ]  # fmt: skip
    assert "HD95 0.00 n 1 (3 undefined) mm, with penalty 10.00 n 3 (1 undefined) mm" in said
    assert "counts as the image's diagonal" in said


def test_void_in_a_prediction_counts_as_background_with_a_note(folders: tuple[Path, Path]) -> None:
    for path in (folders[0] / "a_seg.nii.gz", folders[1] / "a.nii.gz"):  # the truth has void at one place,
        label = box()
        label[0, 0, 0] = 255
        if path.parent == folders[1]:  # the prediction there, in half of the box, and in the background
            label[4:6] = np.where(label[4:6] == 1, 255, label[4:6])
            label[11, 11, 5] = 255
        save(path, label)
    ended, said = said_of(folders, void=(255,))
    assert ended == ExitCode.DONE
    rows = {r["case"]: r for r in files.read_csv(folders[1] / "evaluation/scores.csv")}
    assert (rows["a"]["recall"], rows["a"]["precision"]) == ("0.5", "1.0")
    assert "void in 17 voxels" in rows["a"]["note"] and rows["b"]["note"] == ""
    assert any("VOID_PREDICTED" in line and "a.nii.gz" in line for line in said.splitlines())


def test_a_value_without_a_class_is_told_without_a_recipe(folders: tuple[Path, Path]) -> None:
    label = box()
    label[0, 0, 0] = 255
    save(folders[1] / "a.nii.gz", label)
    ended, said, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("a", "LABEL_VALUE_UNKNOWN")]
    assert "--void" in excluded[0]["how_to_fix"]
    for text in (said, excluded[0]["how_to_fix"]):
        assert "data." not in text and "recipe" not in text
    assert dice(folders)["a"] == "0.0"


@pytest.mark.parametrize("folder", [0, 1])
def test_a_mask_in_colours_is_told_without_a_recipe(tmp_path: Path, folder: int) -> None:
    grey = np.kron(np.array([[0, 1], [2, 1]], np.uint8), np.ones((4, 4), np.uint8))
    colours = np.stack([grey * 50, grey * 20, grey], axis=-1)
    for place in ("truth", "pred"):
        for name in "ab":
            images.save(tmp_path / place / f"{name}.png", grey)
    images.save(tmp_path / ("truth", "pred")[folder] / "a.png", colours)
    ended, _, excluded = score((tmp_path / "truth", tmp_path / "pred"))
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("a", "NOT_SCALAR")]
    assert "--classes" in excluded[0]["how_to_fix"] and "data." not in excluded[0]["how_to_fix"]


@pytest.mark.parametrize(("void", "offered"), [((), True), ((-1,), False)])
def test_zero_is_the_background_and_negative_values_are_offered_as_void(
    tmp_path: Path, void: tuple[int, ...], offered: bool
) -> None:
    label = box().astype(np.int16)
    label[0] = -1
    for folder in ("truth", "pred"):
        save(tmp_path / folder / "a.nii.gz", label)
    ended, said = said_of((tmp_path / "truth", tmp_path / "pred"), void=void)
    assert ended == ExitCode.DONE
    assert ("--void -1" in said) is offered
    rows = files.read_csv(tmp_path / "pred/evaluation/scores.csv")
    assert {r["class"] for r in rows} == ({"label -1", "label 1"} if offered else {"label 1"})
    header = (tmp_path / "pred/evaluation/confusion.csv").read_text().splitlines()[0].split(",")
    assert header[2] == "background"


def test_without_a_value_of_zero_every_class_is_foreground(tmp_path: Path) -> None:
    for folder in ("truth", "pred"):
        save(tmp_path / folder / "a.nii.gz", box() + 1)
    said_of((tmp_path / "truth", tmp_path / "pred"), void=(0,))
    rows = files.read_csv(tmp_path / "pred/evaluation/scores.csv")
    assert {r["class"] for r in rows} == {"label 1", "label 2"}


def test_an_image_among_the_label_maps_is_refused_in_words(tmp_path: Path) -> None:
    many = np.arange(12 * 12 * 6, dtype=np.int16).reshape(12, 12, 6)
    for folder in ("truth", "pred"):
        save(tmp_path / folder / "a.nii.gz", many)
    with pytest.raises(MedsegError) as caught:
        score((tmp_path / "truth", tmp_path / "pred"))
    assert caught.value.code == Code.USAGE
    assert "864 classes" in caught.value.finding.details


def test_a_class_named_mean_is_refused_in_words(folders: tuple[Path, Path]) -> None:
    rows = [{"value": v, "name": n, "colour": [v, v, v]} for v, n in ((0, "background"), (1, "Mean"))]
    files.write_json(folders[1] / "labels.json", rows)
    with pytest.raises(MedsegError, match="a class named 'Mean'; rename it") as caught:
        score(folders)
    assert caught.value.code == Code.USAGE


def test_masks_that_are_not_all_there_are_excluded_or_count_zero(tmp_path: Path) -> None:
    rows = [{"value": 1, "name": n, "colour": [9, 9, 9], "multilabel": True} for n in ("whole", "core")]
    files.write_json(tmp_path / "pred/labels.json", rows)
    for folder, absent in (("truth", "b_core"), ("pred", "c_core")):
        for case in "abc":
            for mask in ("whole", "core"):
                if f"{case}_{mask}" != absent:
                    save(tmp_path / folder / f"{case}_{mask}.nii.gz", box())
    ended, _, excluded = score((tmp_path / "truth", tmp_path / "pred"))
    assert ended == ExitCode.SOME_EXCLUDED
    assert {(r["case"], r["code"], r["details"]) for r in excluded} == {
        ("b", "MASK_MISSING", "no core"),
        ("c", "MASK_MISSING", "no core"),
    }
    scores = files.read_csv(tmp_path / "pred/evaluation/scores.csv")
    assert {(r["case"], r["class"], r["dice"]) for r in scores} == {
        ("a", "whole", "1.0"),
        ("a", "core", "1.0"),
        ("c", "whole", "0.0"),
        ("c", "core", "0.0"),
    }


def test_a_folder_that_another_command_writes_to_is_left_as_it_is(folders: tuple[Path, Path]) -> None:
    score(folders)
    out = folders[1] / "evaluation"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (folders[1] / "a.nii.gz").unlink()
    with files.hold_lock(out / ".lock", out, "", ""), pytest.raises(MedsegError) as caught:
        score(folders)
    assert caught.value.code == Code.WORK_IN_USE
    assert "--out" in caught.value.finding.how_to_fix
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert score(folders)[0] == ExitCode.SOME_EXCLUDED


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, -1, -1)])
def test_a_prediction_at_the_same_place_in_another_order_is_scored(
    folders: tuple[Path, Path], axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    image = nib.load(folders[1] / "b.nii.gz")
    given = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), np.array([[axes.index(n), signs[n]] for n in range(3)])
    )
    turned = image.as_reoriented(given)
    assert not np.allclose(turned.affine, image.affine)
    save(folders[1] / "b.nii.gz", np.asarray(turned.dataobj), turned.affine)
    ended, _, excluded = score(folders)
    assert (ended, excluded) == (ExitCode.DONE, [])
    assert dice(folders) == {"a": "1.0", "b": "0.5"}


def test_files_that_are_not_read_are_named_but_a_case_s_own(folders: tuple[Path, Path]) -> None:
    for path in (folders[0] / "c.webp", folders[1] / "a.npz", folders[1] / "a_0001.npz"):
        path.write_bytes(b"some bytes")
    ended, _, excluded = score(folders)
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(r["case"], r["code"]) for r in excluded] == [("c", "FORMAT_NOT_READ")]


def test_a_truth_folder_of_files_that_are_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "pred").mkdir()
    (tmp_path / "truth/a.webp").write_bytes(b"some bytes")
    with pytest.raises(MedsegError, match=r"a\.webp") as caught:
        score((tmp_path / "truth", tmp_path / "pred"))
    assert caught.value.code == Code.NOTHING_USABLE
    assert "PNG" in caught.value.finding.how_to_fix
