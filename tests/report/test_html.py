from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medseg.metrics import summary
from medseg.metrics.table import MISSING, ScoreRow
from medseg.report import charts, html

SVG = charts.confusion_figure(np.eye(2, dtype=np.int64), ("background", "GM"))
PNG = b"\x89PNG\r\n\x1a\nrest"


def row(
    case: str, class_name: str, dice: float | None, hd95: float | None = None, note: str = ""
) -> ScoreRow:
    return ScoreRow(
        fold=0,
        case=case,
        subject=case,
        role="test",
        class_name=class_name,
        dice=dice,
        iou=dice,
        precision=dice,
        recall=dice,
        hd95=hd95,
        assd=hd95,
        nsd=dice,
        length_unit="mm",
        size=1234.5,
        reference_size=1300.0,
        size_unit="ml",
        size_error_percent=-5.04,
        note=note,
    )


ROWS = [
    row("good", "GM", 0.91, 1.0),
    row("good", "WM", 0.93, 1.5),
    row("fair", "GM", 0.81, 2.0),
    row("fair", "WM", None),
    row("lost", "GM", 0.0, note=MISSING),
    row("lost", "WM", 0.0, note=MISSING),
]


def report(**changes) -> html.Report:
    matrices = {"test": np.array([[9, 1], [0, 5]])}
    values = {
        "title": "a run",
        "lead": "A network on scans.",
        "facts": {"Versions": {"medseg": "0.1.0"}},
        "recipe": "data:\n  path: scans\n",
        "summary": summary.summarise(ROWS, matrices),
        "scores": ROWS,
        "command": "medseg run a",
        "excluded": [
            {
                "case": "b",
                "file": "b.nii",
                "code": "TRUNCATED",
                "details": "ends early",
                "how_to_fix": "copy again",
            }
        ],
        "tiles": [html.Tile("mean Dice", "0.7")],
        "training": [html.Chart("Curves", SVG, "Loss.")],
        "spread": [html.Chart("Boxes", SVG)],
        "times": [html.Chart("Times", SVG)],
        "cases": [html.CaseView(case, "test", PNG) for case in ("new", "good", "fair", "lost")],
    }
    return html.Report(**{**values, **changes})


class Page(HTMLParser):
    """Collects text, references, ids and tags, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def page(**changes) -> Page:
    return Page(html.render(report(**changes)))


def test_the_page_is_well_formed_and_complete_in_itself():
    text = html.render(report())
    found = Page(text)
    assert found.open == []
    assert all(reference.startswith(("data:", "#")) for reference in found.references)
    assert not re.search(r"https?://|url\(|@import|<iframe|\bfetch\(", text)
    assert len(set(found.ids)) == len(found.ids)
    assert {r[1:] for r in found.references if r.startswith("#")} <= set(found.ids)


def test_everything_that_was_given_stands_on_it():
    words = page().words
    for text in ("a run", "A network on scans.", "medseg run a", "path: scans", "TRUNCATED", "ends early"):
        assert text in words
    for heading in ("Run", "Scores", "Training", "Computing time", "Excluded cases"):
        assert heading in words


def test_counts_stand_beside_the_means_and_missing_cases_are_named():
    words = page().words
    assert "1 without a prediction, scored Dice 0: lost" in words
    assert "n 2 · 1 undefined" in words


def test_the_mean_with_penalty_is_shown_where_a_class_was_missed():
    rows = [
        replace(row("good", "GM", 0.9, 2.0), hd95_penalised=2.0, assd_penalised=2.0),
        replace(row("missed", "GM", 0.0), hd95_penalised=98.0, assd_penalised=98.0),
    ]
    shown = " ".join(page(scores=rows, summary=summary.summarise(rows, {})).words.split())
    assert re.search(r"2\.00 ?n 1 · 1 undefined ?with penalty 50\.00 ?n 2", shown)
    assert re.search(r"HD95 with penalty \(mm\) 50\.00", shown)
    assert "with penalty 50.00" not in " ".join(
        page(scores=rows[:1], summary=summary.summarise(rows[:1], {})).words.split()
    )


def test_a_summary_without_penalised_distances_is_shown():
    older = summary.summarise(ROWS, {})
    for of_set in older["sets"].values():
        for values in (*of_set["classes"].values(), of_set["over_classes"]):
            del values["hd95_penalised"], values["assd_penalised"]
    assert "n 2 · 1 undefined" in page(summary=older).words


def test_predictions_that_could_not_be_read_are_named():
    unread = {"case": "c", "file": "c.nii", "code": "GRID_MISMATCH", "details": "moved", "how_to_fix": "redo"}
    found = page(unread=[unread], excluded=[])
    assert "could not be read and are scored as missing" in found.words and "GRID_MISMATCH" in found.words
    assert "excluded" in found.ids and "TRUNCATED" not in found.words


def test_the_score_table_and_the_cases_are_sorted_worst_first():
    assert [(r.case, r.class_name) for r in html.worst_first(ROWS)] == [
        ("lost", "GM"),
        ("lost", "WM"),
        ("fair", "GM"),
        ("good", "GM"),
        ("good", "WM"),
        ("fair", "WM"),
    ]
    cases = [i for i in page().ids if i.startswith("case-")]
    assert cases == ["case-lost", "case-fair", "case-good", "case-new"]


def test_equal_dice_is_sorted_by_distance():
    rows = [row("near", "GM", 0.5, 1.0), row("far", "GM", 0.5, 9.0)]
    assert [r.case for r in html.worst_first(rows)] == ["far", "near"]


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_text_is_escaped(evil):
    plain = page()
    found = page(
        title=evil,
        lead=evil,
        recipe=evil,
        command=evil,
        facts={evil: {evil: evil}},
        scores=[row(evil, evil, 0.5)],
        excluded=[dict.fromkeys(("case", "file", "code", "details", "how_to_fix"), evil)],
        tiles=[html.Tile(evil, evil, evil)],
        training=[html.Chart(evil, SVG, evil)],
        cases=[html.CaseView(evil, evil, PNG, evil)],
    )
    assert found.tags.count("script") == plain.tags.count("script") == 1
    assert all(reference.startswith(("data:", "#")) for reference in found.references)
    assert found.words.count(evil) > 10


def test_a_run_without_labels_training_or_pictures():
    nothing = dict.fromkeys(("scores", "excluded", "tiles", "training", "spread", "times", "cases"), ())
    found = page(summary=summary.summarise([], {}), **nothing)
    assert "No case with a reference was scored." in found.words
    assert "img" not in found.tags
    assert {r[1:] for r in found.references if r.startswith("#")} <= set(found.ids)


def image_rows(case: str, ious: dict[str, float | None]) -> list[ScoreRow]:
    return [
        replace(row(case, name, iou), length_unit="px", size_unit="px", bf=iou) for name, iou in ious.items()
    ]


IMAGES = [
    *image_rows("rare", {"sky": 0.95, "car": 0.2, "sign": None}),
    *image_rows("plain", {"sky": 0.6, "car": 0.5, "sign": 0.7}),
]


def image_page(rows: list[ScoreRow] = IMAGES, **changes) -> Page:
    matrices = {"test": np.array([[5, 1], [0, 9]])}
    told = summary.summarise(rows, matrices, background=False, names=("sky", "car"))
    cases = [html.CaseView(case, "test", PNG) for case in ("plain", "rare")]
    return page(unit="px", scores=rows, summary=told, cases=cases, **changes)


def test_a_page_about_images_speaks_of_images_pixels_and_iou():
    words = " ".join(image_page().words.split())
    for text in ("test · 2 images", "mean IoU 0.575", "weighted error (pixels)", "boundary F1", "1,300"):
        assert text in words
    for text in ("patient", "scan's", "ml)", "(mm)", "1,300.00", "subjects"):
        assert text not in words.replace("over subjects, where several", "")


def test_images_are_ordered_by_mean_iou_and_their_columns_begin_with_it():
    assert html.case_order(IMAGES) == {"rare": pytest.approx(0.575), "plain": pytest.approx(0.6)}
    assert [i for i in image_page().ids if i.startswith("case-")] == ["case-rare", "case-plain"]
    assert html._metrics("px")[:3] == ("iou", "bf", "dice")
    assert html._metrics("mm")[0] == "dice"


def test_of_many_classes_a_card_names_the_worst():
    rows = image_rows("a", {f"c{k}": k / 20 for k in range(20)})
    card = html._card(html.CaseView("a", "test", PNG), html.case_order(rows), rows)
    assert card.worst
    assert [name for name, _ in card.classes] == ["c0", "c1", "c2"]


def test_a_table_of_very_many_rows_shows_the_worst_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(html, "_MOST_ROWS", 2)
    assert "The worst 2 of 6 rows" in image_page().words
    assert "The worst" not in page(scores=ROWS[:2]).words


def test_a_photograph_is_embedded_as_what_it_is():
    photograph = b"\xff\xd8\xff\xe0rest"
    found = image_page(spread=[], training=[], times=[], tiles=[])
    assert not any(r.startswith("data:image/jpeg") for r in found.references)
    assert html._data_uri(photograph).startswith("data:image/jpeg;base64,")


def test_charts_stand_side_by_side_where_two_fit_and_the_command_wraps():
    wide = charts.box_plots(ROWS)
    text = html.render(report(spread=[html.Chart("A", SVG), html.Chart("B", SVG), html.Chart("C", wide)]))
    _, _, below = text.partition('<div class="charts">')
    small, same, large = (
        int(px) for px in re.findall(r'card chart(?: wide)?" style="flex-basis: (\d+)px', below)[:3]
    )
    column = 72 * 16 - 2 * 24  # CSS pixels
    assert small == same and 2 * small + 1.1 * 16 <= column < 2 * large
    assert "white-space: pre-wrap" in re.search(r"pre\.command \{[^}]*\}", text)[0]
    assert '<pre class="command">medseg run a</pre>' in text
    assert '<div class="charts">' not in html.render(report(spread=[]))


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (None, "dice", "–"),
        (0.90333, "dice", "0.903"),
        (2.345, "hd95", "2.35"),
        (-5.04, "size_error_percent", "-5.0"),
        (1.25, "size_error_percent", "+1.2"),
        (-0.04, "size_error_percent", "0.0"),
        (0.04, "size_error_percent", "0.0"),
        (10.04, "size_error_percent", "+10.0"),
        (1234.5, "size", "1,234.50"),
        (1234.0, "pixels", "1,234"),
        (58720.0, "weighted_error", "58,720"),
    ],
)
def test_number(value, metric, text):
    assert html.number(value, metric) == text


def test_the_file_is_written_whole(tmp_path: Path):
    html.write(tmp_path / "report" / "report.html", report())
    assert (tmp_path / "report" / "report.html").read_text(encoding="utf-8") == html.render(report())
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["report.html"]
