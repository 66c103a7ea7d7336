"""What is written is what any reader of PNG reads: indices are class values, the palette their colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.classes import VOID_COLOUR, ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.io import images, png
from medseg.volume import Volume

STREET = ClassList.from_names(
    {7: "road", 11: "building", 200: "sky"}, {7: (128, 64, 128), 11: (70, 70, 70)}, (255,), background=False
)
MAP = np.array([[7, 11, 11], [200, 7, 255]], np.uint8)


def volume(pixels: np.ndarray) -> Volume:
    return Volume(pixels[None, ..., None], Grid((*pixels.shape, 1), np.eye(4), "px"))


def test_indices_are_values_and_the_palette_holds_the_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    png.write_labels(volume(MAP), STREET, path)
    with Image.open(path) as image:
        assert (image.mode, image.size) == ("P", (3, 2))
        np.testing.assert_array_equal(np.asarray(image), MAP)
        colours = np.asarray(image.convert("RGB"))
    assert tuple(colours[0, 0]) == (128, 64, 128)
    assert tuple(colours[0, 1]) == (70, 70, 70)
    assert tuple(colours[1, 0]) == STREET.classes[2].colour
    assert tuple(colours[1, 2]) == VOID_COLOUR
    np.testing.assert_array_equal(images.read_values(path).array[0, :, :, 0], MAP)


def test_void_has_the_colour_that_its_list_gives_and_unknown_values_are_black(tmp_path: Path) -> None:
    listed = replace(STREET, void_values=(255, 300, -1), void_colours=((1, 2, 3),))
    png.write_labels(volume(np.where(MAP == 11, 12, MAP)), listed, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        colours = np.asarray(image.convert("RGB"))
    assert tuple(colours[1, 2]) == (1, 2, 3)
    assert tuple(colours[0, 1]) == (0, 0, 0)


def test_the_same_map_gives_the_same_bytes_however_it_lies_in_memory(tmp_path: Path) -> None:
    for name, pixels in (("a", MAP), ("b", np.asfortranarray(MAP)), ("c", MAP.astype(np.int16))):
        png.write_labels(volume(pixels), STREET, tmp_path / f"{name}.png")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_values_above_a_byte_are_grey_of_16_bits(tmp_path: Path) -> None:
    classes = ClassList.from_names({0: "background", 1000: "cell", 65535: "edge"})
    pixels = np.array([[0, 1000], [65535, 0]], np.int32)
    png.write_labels(volume(pixels), classes, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_that_no_png_holds_are_refused(tmp_path: Path, value: int) -> None:
    classes = ClassList.from_names({0: "background", value: "other"})
    with pytest.raises(MedsegError) as caught:
        png.write_labels(volume(np.zeros((2, 2), np.int32)), classes, tmp_path / "a.png")
    assert caught.value.code == Code.KEYWORD_INVALID
    assert not list(tmp_path.iterdir())


def test_shares_are_told_in_65535ths(tmp_path: Path) -> None:
    shares = np.array([[0, 0.5], [1, 1.2]], np.float32)
    png.write_share(volume(shares), tmp_path / "a.png")
    read = images.read(tmp_path / "a.png")
    assert read.array.dtype == np.uint16
    assert read.array[0, :, :, 0].tolist() == [[0, 32768], [65535, 65535]]


def test_only_one_slice_of_one_channel_is_an_image(tmp_path: Path) -> None:
    thick = Volume(np.zeros((1, 2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4), "px"))
    with pytest.raises(ValueError, match="one slice"):
        png.write_labels(thick, STREET, tmp_path / "a.png")
