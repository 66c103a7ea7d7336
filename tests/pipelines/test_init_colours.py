"""`medseg init` on photographs and masks in colours: pairs, classes, legends, palettes, masks that fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.config import load
from medseg.errors import ExitCode
from medseg.ingest.layouts import Guess
from pipelines.commands import init
from tests.helpers.commands import run_command
from tests.helpers.images import draw, save

NAMES = ("street one", "street two", "my photo 3", "Straße 4", "e f")
BLACK, RED, GREEN, YELLOW = (0, 0, 0), (128, 0, 0), (0, 128, 0), (255, 200, 0)
SIZE = (40, 48)


def in_colours(seed: int, *colours: tuple[int, int, int]) -> Any:
    """A mask (H, W, 3): the first colour, and a box of each of the others."""
    mask = np.empty((*SIZE, 3), np.uint8)
    mask[:] = colours[0]
    for i, colour in enumerate(colours[1:]):
        mask[5 + seed : 25 + seed, 2 + 15 * i : 14 + 15 * i] = colour
    return mask


def photographs(
    root: Path, colours: Sequence[tuple[int, int, int]], mask: str = "masks colour/{}.png"
) -> None:
    for i, name in enumerate(NAMES):
        save(root / "photos" / f"{name}.jpg", draw(i, SIZE))
        save(root / mask.format(name), in_colours(i, *colours))


def made(root: Path) -> tuple[Guess, Path]:
    out = root.parent / "made.yaml"
    return init.run(root, out, force=True, minutes=0.5), out


def spelt(out: Path) -> dict[int, tuple[str, Any]]:
    return {value: (spec.name, spec.colour) for value, spec in load.load(str(out)).data.classes.items()}


def test_photographs_and_masks_in_colours_are_paired_and_planned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path / "data", (BLACK, RED, GREEN, YELLOW))
    guess, out = made(tmp_path / "data")
    assert (guess.n_cases, guess.n_labelled, guess.n_other) == (5, 5, 0)
    assert guess.label == "masks colour/{case}.png" and set(guess.channels) == {"red", "green", "blue"}
    assert spelt(out) == {
        0: ("background", BLACK),
        1: ("colour_008000", GREEN),
        2: ("colour_800000", RED),
        3: ("colour_ffc800", YELLOW),
    }
    words = ["run", out, "--work", tmp_path / "w", "--dry-run", "--json", "--quiet"]
    planned = run_command(words, capfd, monkeypatch)
    plan = json.loads(planned.text)
    assert (
        planned.code == ExitCode.DONE
        and plan["labelled"] == 5
        and set(plan["classes"].values()) == {name for name, _ in spelt(out).values()}
    )


def test_a_legend_names_the_classes_in_its_order(tmp_path: Path) -> None:
    photographs(tmp_path / "data", (BLACK, RED, GREEN, YELLOW))
    (tmp_path / "data/legend.csv").write_text("name,r,g,b\nsign,255,200,0\nroad,128,0,0\nVoid,0,128,0\n")
    guess, out = made(tmp_path / "data")
    assert spelt(out) == {0: ("background", BLACK), 1: ("sign", YELLOW), 2: ("road", RED)}
    data = load.load(str(out)).data
    assert data.void == (255,) and data.void_colours == (GREEN,)
    assert "names of classes come from legend.csv" in guess.remarks


def test_without_black_every_colour_is_a_class(tmp_path: Path) -> None:
    photographs(tmp_path / "data", (RED, GREEN, YELLOW))
    guess, out = made(tmp_path / "data")
    assert not load.load(str(out)).data.background and len(spelt(out)) == 3
    assert any("every colour is a class" in remark for remark in guess.remarks)


def test_masks_beside_the_photographs_on_white(tmp_path: Path) -> None:
    for i in range(5):
        save(tmp_path / f"data/{i + 1} photo.png", draw(i, SIZE))
        save(tmp_path / f"data/{i + 1} photo_color_mask.png", in_colours(i, (255, 255, 255), RED))
    guess, out = made(tmp_path / "data")
    assert guess.n_labelled == guess.n_cases == 5
    assert spelt(out)[0] == ("background", (255, 255, 255)) and "white is taken" in " ".join(guess.remarks)


@pytest.mark.parametrize("kind", ["smoothed", "jpeg"])
def test_masks_whose_colours_ran_into_each_other_give_a_skeleton(tmp_path: Path, kind: str) -> None:
    suffix = "jpg" if kind == "jpeg" else "png"
    photographs(tmp_path / "data", (BLACK, RED, GREEN, YELLOW), f"masks colour/{{}}.{suffix}")
    for path in (tmp_path / "data/masks colour").glob("*.png"):
        small = Image.open(path).resize((18, 15), Image.Resampling.NEAREST)
        small.resize(SIZE[::-1], Image.Resampling.BILINEAR).save(path)
    guess, out = made(tmp_path / "data")
    assert (guess.n_cases, guess.n_labelled) == (5, 0) and "# NOT COMPLETE" in out.read_text()
    assert "export them again as PNG without smoothing" in " ".join(guess.remarks)


def test_an_outline_of_one_colour_is_a_class(tmp_path: Path) -> None:
    photographs(tmp_path / "data", (BLACK, RED))
    for path in (tmp_path / "data/masks colour").glob("*.png"):
        mask = np.array(Image.open(path))
        mask[30, 5:30] = (64, 0, 0)
        save(path, mask)
    assert {name for name, _ in spelt(made(tmp_path / "data")[1]).values()} >= {
        "colour_400000",
        "colour_800000",
    }


def test_a_colour_for_each_object_is_no_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(5):
        save(tmp_path / f"data/photos/{i}.jpg", draw(i, (64, 64)))
        blocks = rng.integers(0, 255, (4, 4, 3), np.uint8)
        save(tmp_path / f"data/masks colour/{i}.png", blocks.repeat(16, 0).repeat(16, 1))
    guess, _ = made(tmp_path / "data")
    assert guess.n_labelled == 0 and "is each object a colour of its own?" in " ".join(guess.remarks)


def test_a_legend_names_the_values_of_palette_masks(tmp_path: Path) -> None:
    for i in range(5):
        save(tmp_path / f"data/images/{i}.png", draw(i, SIZE))
        mask = (in_colours(i, BLACK, RED)[..., 0] > 0).astype(np.uint8)
        save(tmp_path / f"data/masks/{i}.png", mask, [BLACK, RED])
    (tmp_path / "data/labelmap.txt").write_text("background:0,0,0::\ntumour:128,0,0::\n")
    guess, out = made(tmp_path / "data")
    assert guess.n_labelled == 5 and spelt(out) == {0: ("background", BLACK), 1: ("tumour", RED)}
    assert load.load(str(out)).data.label_form == "values"
