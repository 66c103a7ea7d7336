from __future__ import annotations

import pytest

from medseg.report import curves
from tests.helpers.svg import is_chart, texts


def test_learning_curves_of_cells_as_a_csv_file_holds_them():
    history = [
        {"epoch": "0", "seconds": "3", "train/loss": "1.5", "val/dice_GM": "", "lr": "0.001"},
        {"epoch": "1", "seconds": "3", "train/loss": "1.1", "val/dice_GM": "0.8", "lr": "0.0005"},
    ]
    assert is_chart(curves.learning_curves(history))
    assert curves._lines(history, "loss") == {"training": [(0.0, 1.5), (1.0, 1.1)]}
    assert curves._lines(history, "dice") == {"GM": [(1.0, 0.8)]}
    assert curves._lines(history, "lr") == {"lr": [(0.0, 0.001), (1.0, 0.0005)]}


def test_a_class_called_as_a_panel_stays_among_the_classes():
    history = [
        {"epoch": "1", "train/loss": "1.5", "val/dice_loss": "0.5", "val/dice_lr_2": "0.6", "lr": "0.1"}
    ]
    panels = curves._panels(history)
    assert panels == {
        "loss": {"training": [(1.0, 1.5)]},
        "validation Dice": {"loss": [(1.0, 0.5)], "lr_2": [(1.0, 0.6)]},
        "learning rate": {"lr": [(1.0, 0.1)]},
    }


def test_images_show_mean_iou_and_accuracies_instead_of_dice():
    over_set = {"val/miou": "0.3", "val/G": "0.7", "val/C": "0.4"}
    history = [{"epoch": "1", "train/loss": "1", "val/dice_G": "0.2", **over_set}]
    panels = curves._panels(history)
    assert panels["validation"] == {"mIoU": [(1.0, 0.3)], "G": [(1.0, 0.7)], "C": [(1.0, 0.4)]}
    assert list(panels) == ["loss", "validation"]
    assert is_chart(curves.learning_curves(history))


def test_lines_that_cannot_be_told_apart_are_their_mean():
    dice = {f"val/dice_c{k}": "0.5" for k in range(20)}
    many, few = ({"epoch": "1", **each, "val/dice_mean": "0.4"} for each in (dice, {"val/dice_a": "0.5"}))
    assert curves._panels([many]) == {"validation Dice": {"mean": [(1.0, 0.4)]}}
    assert list(curves._panels([few])["validation Dice"]) == ["a", "mean"]


@pytest.mark.parametrize("epochs", [1, 200])
def test_learning_curves_of_any_length(epochs):
    history = [{"epoch": e, "train_loss": 1 / (e + 1), "val_loss": None} for e in range(epochs)]
    assert is_chart(curves.learning_curves(history))


def test_time_bars():
    assert is_chart(curves.time_bars({"whole run": {"train": 800.0, "predict": 90.0}, "scan": {"read": 0.0}}))


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
    assert curves.duration(seconds) == text


HISTORY = [
    {
        "epoch": e,
        "train_loss": 1 / e,
        "val/loss": 1.1 / e,
        "val/dice_GM": e / 9,
        "val/dice_mean": e / 9,
        "is_best": best,
    }
    for e, best in ((1, "1"), (2, "0"), (3, "1"), (4, "0"))
]


def test_the_best_epoch_is_the_last_one_that_was_and_is_named():
    assert curves.best_epoch(HISTORY) == 3
    assert "best: epoch 3" in texts(curves.learning_curves(HISTORY))
    unchosen = [{"epoch": 1, "train_loss": 1.0, "is_best": "1"}]
    assert curves.best_epoch(unchosen) is None
    assert not any("best" in text for text in texts(curves.learning_curves(unchosen)))


def test_classes_have_their_colours_and_losses_their_names():
    svg = curves.learning_curves(HISTORY, {"GM": (86, 180, 233)})
    assert svg.count(b"stroke: #56b4e9") >= 1
    assert {"training", "validation", "validation Dice", "GM", "mean"} <= set(texts(svg))


@pytest.mark.parametrize("name", ["$a_b", "<b>"])
def test_names_stand_in_curves_as_they_are(name):
    rows = [{"epoch": e, f"val/dice_{name}": 0.5, "val/dice_mean": 0.5} for e in (1, 2)]
    assert name in texts(curves.learning_curves(rows))
