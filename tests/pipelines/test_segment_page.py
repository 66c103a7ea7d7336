"""`summary.html` holds everything, worst first, in one file that runs nothing and loads nothing."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.commands import segment_page


def row(case: str, status: str = "done", **more: Any) -> dict[str, Any]:
    return {"case": case, "status": status, "code": "", "note": "", "gm_ml": 700.25, "quality": 0.9, **more}


def test_cases_that_need_review_come_first_then_the_worst(tmp_path: Path) -> None:
    rows = [
        row("good", quality=0.95),
        row("poor", quality=0.2),
        row("unsure", quality=0.99, needs_review=True),
        row("nothing", quality=None),
        row("gone", "excluded", code="TRUNCATED", note="ends early", how_to_fix="copy it again"),
    ]
    text = segment_page.page(rows, ["gm_ml"], ["model m"], tmp_path)
    places = [text.index(f"<td>{case}<") for case in ("gone", "unsure", "nothing", "poor", "good")]
    assert places == sorted(places)
    assert "TRUNCATED" in text and "copy it again" in text
    assert "<b>1</b>need review" in text and "gm (ml)" in text and "700.2" in text


def test_names_are_text_and_never_code(tmp_path: Path) -> None:
    hostile = '<script>alert("x")'
    rows = [row(hostile, note=hostile), row("b", "excluded", code=hostile, note=hostile)]
    text = segment_page.page(rows, ["gm_ml"], [hostile], tmp_path)
    assert "<script" not in text and text.count("&lt;script&gt;") == 5


def test_figures_are_inside_the_page_up_to_a_number(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(segment_page, "MOST_FIGURES", 1)
    for case in "ab":
        Image.new("RGB", (2, 2)).save(tmp_path / f"{case}_figure.png")
    text = segment_page.page([row("a", quality=0.8), row("b", quality=0.3), row("c")], [], [], tmp_path)
    assert re.findall(r'alt="(\w)"', text) == ["b"]
    data = re.findall(r"base64,([^\"]*)\"", text)
    assert base64.b64decode(data[0]) == (tmp_path / "b_figure.png").read_bytes()
    assert not re.search("[A-Za-z]{3}", data[0])  # no name by chance
    assert (
        "better cases lie beside this page: 1." in text
        and "http" not in text
        and 'src="data:image/png' in text
    )


def test_columns_of_volumes_have_the_classes_colours(tmp_path: Path) -> None:
    colours = {"gm": [86, 180, 233], "<b>": [1, 2, 3]}
    text = segment_page.page([row("a")], ["gm_ml", "<b>_ml", "other_ml"], [], tmp_path, colours)
    cells = re.findall('<th class="number">([^\n]*?)(?=<th)', text + "<th")
    assert [("rgb(" in cell, cell.rpartition(">")[2]) for cell in cells] == [
        (False, "quality"),
        (True, "gm (ml)"),
        (True, "&lt;b&gt; (ml)"),
        (False, "other (ml)"),
    ]
    assert "rgb(86, 180, 233)" in text


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100])
def test_figures_stand_in_lines_of_two_characters(length: int) -> None:
    text = base64.b64encode(bytes(range(length)))
    pairs = [text.decode()[at : at + 2] for at in range(0, len(text), 2)]
    assert segment_page._in_pairs(text).split("\n") == (pairs or [""])
