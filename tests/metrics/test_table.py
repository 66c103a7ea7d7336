from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from medseg import files
from medseg.classes import VOID, ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.metrics import confusion_matrix, surface, table

CLASSES = ClassList.from_names({0: "background", 1: "CSF", 2: "GM", 3: "WM"})
ENTRY = table.Entry("case1", "subject1", fold=2, role="val")


def grid(shape=(6, 6, 6), spacing=(1.0, 2.0, 0.5), unit="mm") -> Grid:
    return Grid(shape, np.diag([*spacing, 1.0]), unit)


def labels(*boxes: tuple[int, tuple[slice, ...]], shape=(6, 6, 6)) -> np.ndarray:
    out = np.zeros(shape, dtype=np.uint8)
    for index, box in boxes:
        out[box] = index
    return out


CUBE = (slice(1, 3),) * 3  # eight voxels
SHIFTED = (slice(2, 4), slice(1, 3), slice(1, 3))
ELSEWHERE = (slice(4, 6),) * 3


def by_class(truth, prediction, **keywords) -> dict[str, dict]:
    rows = table.score(ENTRY, truth, prediction, grid(), CLASSES, **keywords)
    return {row.class_name: asdict(row) for row in rows}


def test_one_row_per_foreground_class_with_the_entry_s_names():
    rows = table.score(ENTRY, labels((1, CUBE)), labels((1, CUBE)), grid(), CLASSES)
    assert [row.class_name for row in rows] == ["CSF", "GM", "WM"]
    assert {(row.fold, row.case, row.subject, row.role) for row in rows} == {(2, "case1", "subject1", "val")}
    assert {(row.length_unit, row.size_unit, row.note) for row in rows} == {("mm", "ml", "")}


def test_a_shifted_cube_by_hand():
    row = by_class(labels((1, CUBE)), labels((1, SHIFTED)))["CSF"]
    assert (row["dice"], row["iou"], row["precision"], row["recall"]) == (0.5, 4 / 12, 0.5, 0.5)
    # Every voxel of a 2×2×2 cube is surface; half of each lies on the other, half is one voxel (1 mm) away.
    assert (row["hd95"], row["assd"], row["nsd"]) == (1.0, 0.5, 1.0)
    assert row["size"] == row["reference_size"] == pytest.approx(8 * 1.0 / 1000)
    assert row["size_error_percent"] == 0.0


def test_the_tolerance_is_a_keyword():
    row = by_class(labels((1, CUBE)), labels((1, SHIFTED)), tolerance=0.9)["CSF"]
    assert row["nsd"] == 0.5


UNDEFINED_BOTH = dict.fromkeys(("dice", "iou", "precision", "recall", "hd95", "assd", "nsd"))


def test_a_class_in_neither_is_absent():
    row = by_class(labels((1, CUBE)), labels((1, CUBE)))["GM"]
    assert {name: row[name] for name in UNDEFINED_BOTH} == UNDEFINED_BOTH
    assert (row["size"], row["reference_size"], row["size_error_percent"]) == (0.0, 0.0, None)


def test_a_class_in_the_truth_only():
    row = by_class(labels((2, CUBE)), labels((1, CUBE)))["GM"]
    assert (row["dice"], row["iou"], row["recall"], row["nsd"]) == (0.0, 0.0, 0.0, 0.0)
    assert (row["precision"], row["hd95"], row["assd"]) == (None, None, None)
    assert row["size_error_percent"] == -100.0


def test_a_class_in_the_prediction_only():
    row = by_class(labels((2, CUBE)), labels((1, CUBE)))["CSF"]
    assert (row["dice"], row["iou"], row["precision"]) == (0.0, 0.0, 0.0)
    assert (row["recall"], row["hd95"], row["assd"]) == (None, None, None)
    assert row["nsd"] == 0.0  # as MONAI
    assert (row["reference_size"], row["size_error_percent"]) == (0.0, None)


def test_two_empty_maps():
    row = by_class(labels(), labels())["WM"]
    assert {name: row[name] for name in UNDEFINED_BOTH} == UNDEFINED_BOTH


def test_a_missing_prediction_is_dice_0_in_every_row():
    rows = by_class(labels((1, CUBE)), None)
    assert [row["dice"] for row in rows.values()] == [0.0, 0.0, 0.0]
    assert {row["note"] for row in rows.values()} == {"missing prediction"}
    assert (rows["CSF"]["recall"], rows["CSF"]["nsd"]) == (0.0, 0.0)
    assert (rows["WM"]["recall"], rows["WM"]["nsd"]) == (None, 0.0)  # as Dice: not left out of the mean
    penalties = [row[name] for row in rows.values() for name in ("hd95_penalised", "assd_penalised")]
    assert penalties == [pytest.approx(table.diagonal(grid()))] * 6
    assert rows["CSF"]["reference_size"] == pytest.approx(0.008)
    assert rows["CSF"]["size"] is rows["CSF"]["hd95"] is None


def test_void_counts_nowhere():
    truth, prediction = labels((1, CUBE), (VOID, ELSEWHERE)), labels((1, CUBE), (1, ELSEWHERE))
    row = by_class(truth, prediction)["CSF"]
    assert (row["dice"], row["hd95"], row["size_error_percent"]) == (1.0, 0.0, 0.0)


def test_an_image_is_scored_in_pixels():
    square = (slice(1, 4), slice(1, 4), slice(0, 1))
    truth = labels((1, square), shape=(6, 6, 1))
    of_image = grid((6, 6, 1), (1.0, 1.0, 1.0), "px")
    row = table.score(ENTRY, truth, truth, of_image, CLASSES)[0]
    assert (row.length_unit, row.size_unit, row.size, row.hd95) == ("px", "px", 9.0, 0.0)


def bf(truth, prediction, classes=CLASSES, unit="px", **keywords) -> dict[str, float | None]:
    of_image = grid(truth.shape, (1.0, 1.0, 1.0), unit)
    rows = table.score(ENTRY, truth, prediction, of_image, classes, **keywords)
    return {row.class_name: row.bf for row in rows}


def test_boundary_f1_of_an_image_by_class():
    # 10×10 px: a square of 4×4 (12 boundary pixels) and the same one column on.
    truth = labels((1, np.s_[2:6, 2:6]), shape=(10, 10, 1))
    moved = labels((1, np.s_[2:6, 3:7]), (2, np.s_[9:, 9:]), shape=(10, 10, 1))
    assert bf(truth, moved) == {"CSF": 0.5, "GM": None, "WM": None}
    assert bf(truth, moved, bf_tolerance=1 / np.hypot(10, 10)) == {"CSF": 1.0, "GM": None, "WM": None}
    assert bf(truth, None) == {"CSF": 0.0, "GM": None, "WM": None}


def test_without_a_background_every_class_has_a_boundary_f1():
    streets = ClassList.from_names({0: "sky", 1: "road"}, background=False)
    truth = labels((1, np.s_[5:]), shape=(10, 10, 1))
    assert bf(truth, truth, streets) == {"sky": 1.0, "road": 1.0}
    assert bf(truth, None, streets) == {"sky": 0.0, "road": 0.0}


@pytest.mark.parametrize(("unit", "depth"), [("mm", 1), ("px", 2)])
def test_only_images_have_a_boundary_f1(unit, depth):
    truth = labels((1, np.s_[2:6, 2:6]), shape=(10, 10, depth))
    assert bf(truth, truth, unit=unit)["CSF"] is None
    assert "bf" in table.metrics_of("px") and "bf" not in table.metrics_of("mm")


def test_scoring_on_the_joint_box_changes_nothing():
    generator = np.random.default_rng(5)
    truth, prediction = np.zeros((2, 14, 12, 10), dtype=np.uint8)
    truth[2:9, 3:11, 0:7] = generator.integers(0, 4, (7, 8, 7))
    prediction[3:9, 3:12, 1:7] = generator.integers(0, 4, (6, 9, 6))
    rows = table.score(ENTRY, truth, prediction, grid(truth.shape), CLASSES)
    for index, row in enumerate(rows, start=1):
        whole = surface.distances(truth == index, prediction == index, (1.0, 2.0, 0.5))
        assert whole is not None
        assert (row.hd95, row.assd, row.nsd) == pytest.approx((whole.hd95, whole.assd, whole.nsd(1.0)))


def test_a_prediction_on_another_grid_is_refused_by_the_case_s_name():
    with pytest.raises(MedsegError) as refusal:
        table.score(ENTRY, labels(), labels(shape=(6, 6, 5)), grid(), CLASSES)
    assert refusal.value.code is Code.GRID_MISMATCH
    assert refusal.value.finding.where == "case1"


def test_the_csv_has_the_columns_of_the_design_and_reads_back_exactly(tmp_path: Path):
    rows = table.score(ENTRY, labels((1, CUBE), (3, ELSEWHERE)), labels((1, SHIFTED)), grid(), CLASSES)
    path = tmp_path / "scores.csv"
    table.write(path, rows)
    header = path.read_text().splitlines()[0]
    assert header == (
        "fold,case,subject,set,class,dice,iou,precision,recall,hd95,assd,nsd,bf,length_unit,"
        "size,reference_size,size_unit,size_error_percent,note,hd95_penalised,assd_penalised"
    )
    assert table.read(path) == rows


def test_a_table_without_the_column_of_boundary_f1_is_read(tmp_path: Path):
    rows = table.score(ENTRY, labels((1, CUBE)), labels((1, SHIFTED)), grid(), CLASSES)
    path = tmp_path / "scores.csv"
    table.write(path, rows)
    younger = {"bf", "hd95_penalised", "assd_penalised"}
    older = [{k: v for k, v in row.items() if k not in younger} for row in files.read_csv(path)]
    files.write_csv(path, tuple(older[0]), older)
    assert table.read(path) == [replace(row, hd95_penalised=None, assd_penalised=None) for row in rows]


DIAGONAL = 6 * np.linalg.norm([1.0, 2.0, 0.5])  # mm, of 6 × 6 × 6 voxels


@pytest.mark.parametrize(
    ("truth", "prediction", "penalty"),
    [
        (labels((1, CUBE)), labels(), DIAGONAL),  # missed
        (labels(), labels((1, CUBE)), DIAGONAL),  # invented
        (labels((1, CUBE)), None, DIAGONAL),  # no prediction at all
        (labels((1, CUBE)), labels((1, CUBE)), 0.0),
        (labels(), labels(), None),  # in neither: absent
        (labels(), None, DIAGONAL),  # no prediction, of a class that is absent, too
        (labels((VOID, CUBE)), labels((1, CUBE)), None),  # predicted within void alone
    ],
)
def test_a_missed_or_invented_class_counts_as_the_diagonal(truth, prediction, penalty):
    row = by_class(truth, prediction)["CSF"]
    assert row["hd95_penalised"] == row["assd_penalised"] == (penalty and pytest.approx(penalty))


def test_the_penalised_distances_are_the_distances_where_these_are_defined():
    row = by_class(labels((1, CUBE)), labels((1, SHIFTED)))["CSF"]
    assert (row["hd95_penalised"], row["assd_penalised"]) == (row["hd95"], row["assd"]) == (1.0, 0.5)


def test_the_diagonal_of_an_image_lies_in_its_plane():
    assert table.diagonal(grid((30, 40, 1), (1.0, 1.0, 1.0), "px")) == 50.0


def test_void_in_a_prediction_is_nothing_predicted():
    # Of eight true voxels four are predicted as void: recall and Dice fall, precision does not.
    half = (slice(1, 2), slice(1, 3), slice(1, 3))
    row = by_class(labels((1, CUBE)), labels((1, CUBE), (VOID, half)))["CSF"]
    assert (row["recall"], row["precision"]) == (0.5, 1.0)
    assert row["dice"] == pytest.approx(2 / 3)
    assert row["size"] == pytest.approx(0.004)


@pytest.mark.parametrize(
    "names", [("truth", "set"), ("mask", "class mask"), ("class truth", "truth"), ("=1+1", "b")]
)
def test_a_class_named_as_a_column_of_the_confusion_matrix_keeps_its_counts(tmp_path: Path, names):
    classes = ClassList.from_names(dict(enumerate(("background", *names))))
    matrix = np.arange(9).reshape(3, 3)
    table.write_confusion(tmp_path / "confusion.csv", {"test": matrix}, classes)
    assert np.array_equal(table.read_confusion(tmp_path / "confusion.csv")["test"], matrix)
    header = (tmp_path / "confusion.csv").read_text().splitlines()[0].split(",")
    assert len(set(header)) == 5 and not any(cell.startswith("=") for cell in header)


def test_confusion_csv_reads_back(tmp_path: Path):
    truth, prediction = labels((1, CUBE)), labels((1, SHIFTED))
    matrices = {
        "test": confusion_matrix.confusion(truth, prediction, 4),
        "val": confusion_matrix.confusion(truth, None, 4),
    }
    table.write_confusion(tmp_path / "confusion.csv", matrices, CLASSES)
    found = table.read_confusion(tmp_path / "confusion.csv")
    assert found.keys() == matrices.keys()
    assert all(np.array_equal(found[role], matrices[role]) for role in matrices)


@pytest.mark.data
def test_a_real_brain_against_itself_shifted_by_a_voxel(data: Path):
    import nibabel

    path = data / "ibsr18" / "IBSR_06" / "IBSR_06_seg.nii.gz"
    if not path.is_file():
        pytest.skip("ibsr18 is not among the data")
    image = nibabel.load(path)
    truth = np.squeeze(np.asarray(image.dataobj)).astype(np.uint8)
    of_scan = Grid(truth.shape, image.affine)
    for row in table.score(ENTRY, truth, np.roll(truth, 1, axis=0), of_scan, CLASSES):
        assert row.size_error_percent == 0.0
        assert row.dice is not None and 0.5 < row.dice < 1
        assert row.hd95 == pytest.approx(of_scan.spacing[0])
        assert row.nsd == 1.0
