from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medseg.metrics.table import ScoreRow
from medseg.report import charts, mpl


def row(class_name: str, dice: float | None) -> ScoreRow:
    return ScoreRow(
        fold=0,
        case="a",
        subject="a",
        role="test",
        class_name=class_name,
        dice=dice,
        iou=dice,
        precision=dice,
        recall=dice,
        hd95=None,
        assd=None,
        nsd=dice,
        length_unit="mm",
        size=1.0,
        reference_size=1.0,
        size_unit="ml",
        size_error_percent=None if dice is None else 100 * (dice - 1),
    )


def is_picture(png: bytes, most: int = 200_000) -> bool:
    image = Image.open(BytesIO(png))
    drawn = np.asarray(image.convert("L"))
    return image.format == "PNG" and len(png) < most and drawn.min() < drawn.max()


def test_learning_curves_of_cells_as_a_csv_file_holds_them():
    history = [
        {"epoch": "0", "seconds": "3", "train/loss": "1.5", "val/dice_GM": "", "lr": "0.001"},
        {"epoch": "1", "seconds": "3", "train/loss": "1.1", "val/dice_GM": "0.8", "lr": "0.0005"},
    ]
    assert is_picture(charts.learning_curves(history))
    assert charts._lines(history, "loss") == {"train/loss": [(0.0, 1.5), (1.0, 1.1)]}
    assert charts._lines(history, "dice") == {"GM": [(1.0, 0.8)]}
    assert charts._lines(history, "lr") == {"lr": [(0.0, 0.001), (1.0, 0.0005)]}


def test_a_class_called_as_a_panel_stays_among_the_classes():
    history = [
        {"epoch": "1", "train/loss": "1.5", "val/dice_loss": "0.5", "val/dice_lr_2": "0.6", "lr": "0.1"}
    ]
    panels = charts._panels(history)
    assert panels == {
        "loss": {"train/loss": [(1.0, 1.5)]},
        "Dice": {"loss": [(1.0, 0.5)], "lr_2": [(1.0, 0.6)]},
        "learning rate": {"lr": [(1.0, 0.1)]},
    }


@pytest.mark.parametrize(
    ("metric", "unit", "text"),
    [
        ("dice", "mm", "Dice"),
        ("hd95", "mm", "HD95 (mm)"),
        ("assd_penalised", "px", "ASSD with penalty (px)"),
        ("size_error_percent", "mm", "relative volume difference (%)"),
        ("size_error_percent", "px", "relative area difference (%)"),
    ],
)
def test_headings_have_the_field_s_words_and_units(metric, unit, text):
    assert charts.heading(metric, unit) == text


def test_images_show_mean_iou_and_accuracies_instead_of_dice():
    over_set = {"val/miou": "0.3", "val/G": "0.7", "val/C": "0.4"}
    history = [{"epoch": "1", "train/loss": "1", "val/dice_G": "0.2", **over_set}]
    panels = charts._panels(history)
    assert panels["validation"] == {"mIoU": [(1.0, 0.3)], "G": [(1.0, 0.7)], "C": [(1.0, 0.4)]}
    assert list(panels) == ["loss", "validation"]
    assert is_picture(charts.learning_curves(history))


def test_lines_that_cannot_be_told_apart_are_their_mean():
    dice = {f"val/dice_c{k}": "0.5" for k in range(20)}
    many, few = ({"epoch": "1", **each, "val/dice_mean": "0.4"} for each in (dice, {"val/dice_a": "0.5"}))
    assert charts._panels([many]) == {"Dice": {"mean": [(1.0, 0.4)]}}
    assert list(charts._panels([few])["Dice"]) == ["a", "mean"]


@pytest.mark.parametrize("epochs", [1, 200])
def test_learning_curves_of_any_length(epochs):
    history = [{"epoch": e, "train_loss": 1 / (e + 1), "val_loss": None} for e in range(epochs)]
    assert is_picture(charts.learning_curves(history))


def test_box_plots_leave_out_what_is_undefined():
    rows = [row("GM", 0.9), row("GM", 0.8), row("WM", None), row("CSF", 0.7)]
    assert is_picture(charts.box_plots(rows, colours={"GM": (86, 180, 233)}))
    assert charts.box_plots(rows) == charts.box_plots(rows)


def test_time_bars():
    assert is_picture(
        charts.time_bars({"whole run": {"train": 800.0, "predict": 90.0}, "scan": {"read": 0.0}})
    )


@pytest.mark.parametrize("count", [1, 41, pytest.param(150, marks=pytest.mark.long)])
def test_class_bars_of_short_and_long_lists(count):
    values = {f"class {i}": i / count for i in range(count)} | {"nowhere": None}
    assert is_picture(charts.class_bars(values, dict.fromkeys(values, (128, 64, 0))), most=400_000)


@pytest.mark.parametrize("count", [11, 21, 31, pytest.param(150, marks=pytest.mark.long)])
def test_a_confusion_figure_stays_within_a_page_and_its_names_apart(count):
    matrix = np.random.default_rng(count).integers(0, 9, (count, count))
    matrix[1] = 0
    png = charts.confusion_figure(matrix, [f"class {i}" for i in range(count)])
    assert is_picture(png, most=400_000)
    width, height = (side / mpl.DPI for side in Image.open(BytesIO(png)).size)
    assert width < 10.2 or width / count < 0.12
    assert height / count > 0.08  # inches a row


def test_confusion_figure_with_an_empty_row():
    assert is_picture(charts.confusion_figure(np.array([[9, 1], [0, 0]]), ("background", "GM")))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.424, "0.42 s"),
        (37.4, "37 s"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3599.7, "1 h"),
        (12_000, "3 h 20 min"),
    ],
)
def test_duration(seconds, text):
    assert charts.duration(seconds) == text
