"""Legends of masks in colours: the forms in which people write a name and a colour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.ingest import legends

ROAD, SKY = (128, 64, 128), (70, 130, 180)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("legend.csv", "name,r,g,b\nroad,128,64,128\nsky,70,130,180\n"),
        ("legend2.csv", "id;class;rgb\n1;road;128 64 128\n2;sky;70 130 180\n"),
        ("quoted.csv", 'class,colour\nroad,"128, 64, 128"\n"sky","#4682B4"\n'),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:70,130,180::\n"),
        ("label_colors.txt", "128 64 128\troad\n70 130 180\tsky\n"),
        ("notes.txt", "128,64,128 : road\nsky = #4682b4\nnothing else\n"),
        ("lut.txt", '1 road 128 64 128 255\n2 "sky" 70 130 180 255\n'),
        ("snap.label", '1  128 64 128  1 1 1 "road"\n2  70 130 180  1 1 1 "sky"\n'),
        ("README.md", "| road | 128, 64, 128 |\n- sky: (70, 130, 180)\n"),
        ("classes.yaml", "road: [128, 64, 128]\nsky: rgb(70, 130, 180)\n"),
        ("meta.json", json.dumps({"classes": [{"title": "road", "color": "#804080", "id": 1}, {"x": 0}]})),
        ("names.json", json.dumps({"road": [128, 64, 128], "sky": "70, 130, 180"})),
        ("turned.json", json.dumps({"128,64,128": "road", "#4682B4": "sky"})),
    ],
)
def test_names_of_colours_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    legend = legends.best(tmp_path, [name], [ROAD, SKY])
    assert legend is not None and legend.names[ROAD] == "road"
    assert legend.names == {ROAD: "road"} or legend.names == {ROAD: "road", SKY: "sky"}
    assert name == "meta.json" or SKY in legend.names


@pytest.mark.parametrize(
    "text", ["", "road,300,64,128\n", f"road{' ' * 100_000}128,64,128", "\0\1", "[[[", "128 64 128\n"]
)
@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_files_that_name_no_colour_are_no_legends(tmp_path: Path, text: str, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_text(text)
    assert legends.best(tmp_path, [f"a{suffix}", "missing.txt"], [ROAD]) is None


def test_the_legend_that_names_most_of_the_colours_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("road 128 64 128\n")
    (tmp_path / "b.txt").write_text("street 128 64 128\nsky 70 130 180\n")
    (tmp_path / "c.txt").write_text("grass 1 2 3\n")
    legend = legends.best(tmp_path, ["a.txt", "b.txt", "c.txt"], [ROAD, SKY])
    assert legend is not None and legend.path == "b.txt"
