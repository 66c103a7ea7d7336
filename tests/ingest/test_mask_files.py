"""How label files write classes: values, colours, greys, one mask an object; and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medseg.classes import VOID, ClassList
from medseg.errors import Code, Finding
from medseg.grid import Array, Grid
from medseg.ingest import checks, mask_files
from tests.helpers.images import SIZE, draw, save, stripes, truncate

VALUES = ClassList.from_names({0: "other", 4: "cat", 7: "dog"}, void_values=(255,))
COLOURED = replace(
    ClassList.from_names(
        {0: "road", 1: "car"}, {0: (128, 64, 128), 1: (64, 0, 128)}, (255,), background=False
    ),
    label_form="colours",
    void_colours=((0, 0, 0),),
)
ABOVE = replace(ClassList.from_names({0: "background", 1: "polyp"}), label_form="above", threshold=128)
NUCLEI = ClassList.from_names({0: "background", 255: "nucleus"})
GRID = Grid((*SIZE, 1), np.eye(4), "px")


def indices(path: Path, classes: ClassList) -> Array:
    """The first row of a label that is read without a fault."""
    volume, findings = checks.read_label(path, classes, GRID)
    assert volume is not None, findings
    assert volume.array.dtype == np.uint8 and volume.array.shape == (1, *SIZE, 1)
    row: Array = volume.array[0, 0, :, 0]
    return row


def fault(path: Path, classes: ClassList) -> Finding:
    volume, findings = checks.read_label(path, classes, GRID)
    assert volume is None
    return next(finding for finding in findings if not finding.is_note)


def in_colour(*colours: tuple[int, int, int]) -> Array:
    return np.array(colours, np.uint8)[stripes(range(len(colours)))]


@pytest.mark.parametrize("palette", [(), [(9, 9, 9)] * 256])
def test_values_are_palette_indices_or_greys(tmp_path: Path, palette: list[tuple[int, int, int]]) -> None:
    path = save(tmp_path / "a.png", stripes([0, 4, 7, 255]), palette)
    assert indices(path, VALUES)[:4].tolist() == [0, 1, 2, VOID]


def test_greys_saved_in_colours_are_greys_and_colours_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.dstack([stripes([0, 4])] * 3))
    assert indices(path, VALUES)[:2].tolist() == [0, 1]
    found = fault(save(tmp_path / "b.png", draw()), VALUES)
    assert found.code is Code.NOT_SCALAR and "label_form: colours" in found.how_to_fix


def test_a_value_outside_the_list_is_named_with_its_file(tmp_path: Path) -> None:
    found = fault(save(tmp_path / "a.png", stripes([0, 5, 9])), VALUES)
    assert found.code is Code.LABEL_VALUE_UNKNOWN
    assert found.where.endswith("a.png") and found.details.startswith("value 5, 9")


def test_merged_values_count_as_their_class(tmp_path: Path) -> None:
    merged = replace(VALUES, merged=((5, 4), (9, 7)))
    assert indices(save(tmp_path / "a.png", stripes([0, 5, 9])), merged)[:3].tolist() == [0, 1, 2]
    for pair in ((4, 7), (255, 4), (5, 6)):
        with pytest.raises(ValueError, match="merged"):
            replace(VALUES, merged=(pair,))


@pytest.mark.parametrize("paletted", [False, True])
def test_colours_are_classes(tmp_path: Path, paletted: bool) -> None:
    colours = [(64, 0, 128), (128, 64, 128), (0, 0, 0)]
    array = stripes([0, 1, 2]) if paletted else in_colour(*colours)
    path = save(tmp_path / "a.png", array, colours if paletted else ())
    assert indices(path, COLOURED)[:3].tolist() == [1, 0, VOID]


def test_an_unknown_colour_is_named_with_the_count_of_its_pixels(tmp_path: Path) -> None:
    found = fault(save(tmp_path / "a.png", in_colour((64, 0, 128), (1, 2, 3))), COLOURED)
    assert found.code is Code.LABEL_VALUE_UNKNOWN
    assert found.details == "colour (1, 2, 3) in 96 pixels"
    many = fault(save(tmp_path / "b.png", draw()), COLOURED)
    assert "more" in many.details


def test_a_grey_mask_in_colours_is_looked_up_as_colours(tmp_path: Path) -> None:
    assert fault(save(tmp_path / "a.png", stripes([7])), COLOURED).details == "colour (7, 7, 7) in 192 pixels"
    assert set(indices(save(tmp_path / "b.png", stripes([0])), COLOURED)) == {VOID}


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_greys_above_the_threshold_are_the_second_class(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", stripes([0, 128, 129, 255]))
    assert indices(path, ABOVE)[:4].tolist() == [0, 0, 1, 1]
    in_three = save(tmp_path / f"b{suffix}", np.dstack([stripes([3, 250])] * 3))
    assert indices(in_three, ABOVE)[:2].tolist() == [0, 1]


def test_a_folder_of_masks_is_one_label_map(tmp_path: Path) -> None:
    parts = [np.zeros(SIZE, np.uint8) for _ in range(3)]
    for i, part in enumerate(parts):
        part[:, i * 2 : i * 2 + 3] = 255
        save(tmp_path / f"masks/{i}.png", part)
    (tmp_path / "masks/notes.txt").touch()
    assert indices(tmp_path / "masks", NUCLEI).tolist() == [1] * 7 + [0] * 9
    assert [p.name for p in mask_files.files_of(tmp_path / "masks")] == ["0.png", "1.png", "2.png"]


def test_what_is_wrong_with_one_of_many_masks_is_told_with_its_name(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"masks/{i}.png", stripes([0, 255]))
    save(tmp_path / "masks/2.png", stripes([0, 1]))
    found = fault(tmp_path / "masks", NUCLEI)
    assert found.code is Code.LABEL_VALUE_UNKNOWN and found.where.endswith("2.png")
    save(tmp_path / "masks/2.png", stripes([0, 255], (12, 12)))
    found = fault(tmp_path / "masks", NUCLEI)
    assert found.code is Code.GRID_MISMATCH and found.where.endswith("2.png")
    truncate(save(tmp_path / "masks/2.png", draw(size=(80, 80))))
    assert fault(tmp_path / "masks", NUCLEI).code is Code.TRUNCATED
    for path in mask_files.files_of(tmp_path / "masks"):
        path.unlink()
    assert fault(tmp_path / "masks", NUCLEI).code is Code.FILE_MISSING


def test_a_mask_of_another_size_lies_on_another_grid(tmp_path: Path) -> None:
    found = fault(save(tmp_path / "a.png", stripes([0], (12, 17))), VALUES)
    assert found.code is Code.GRID_MISMATCH and "(12, 17, 1)" in found.details


def test_a_scan_s_label_map_is_no_label_of_a_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", stripes([0, 4]))
    volume, findings = checks.read_label(path, VALUES, Grid((*SIZE, 1), np.eye(4)))
    assert volume is None
    assert (findings[-1].code, findings[-1].details) == (
        Code.GRID_MISMATCH,
        "a grid in px, the image's is in mm",
    )


def test_what_medseg_wrote_is_read_by_its_values(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", stripes([0, 1]))
    for classes in (COLOURED, ABOVE):
        assert indices(path, classes.as_written())[:2].tolist() == [0, 1]


def test_values_that_are_no_numbers_are_told_beside_a_constant_channel(tmp_path: Path) -> None:
    planes = np.zeros((*SIZE, 3), np.float32)
    planes[0, 0, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb")
    _, findings = checks.read_image(dict.fromkeys(("red", "green", "blue"), tmp_path / "a.tif"))
    assert [f.code for f in findings] == [Code.NAN_OR_INF]


def test_class_lists_that_cannot_be_told_apart_are_refused() -> None:
    three = ClassList.from_names({0: "a", 1: "b", 2: "c"})
    with pytest.raises(ValueError, match="two classes"):
        replace(three, label_form="above")
    with pytest.raises(ValueError, match="colours need one each"):
        replace(COLOURED, void_colours=((128, 64, 128),))
    with pytest.raises(ValueError, match="void value"):
        replace(COLOURED, void_values=())


def test_a_picture_without_one_colour_is_no_constant(tmp_path: Path) -> None:
    red = draw()
    red[..., 1:] = 0
    paths = dict.fromkeys(("red", "green", "blue"), save(tmp_path / "a.png", red))
    image, findings = checks.read_image(paths)
    assert image is not None and not findings
    black = dict.fromkeys(paths, save(tmp_path / "b.png", np.zeros_like(red)))
    image, findings = checks.read_image(black)
    assert image is None
    assert [(f.code, f.details) for f in findings] == [(Code.CONSTANT, "every pixel is (0, 0, 0)")]
    assert "image" in findings[0].how_to_fix and "scan" not in findings[0].how_to_fix
    _, findings = checks.read_image({"grey": tmp_path / "b.png"})
    assert [f.details for f in findings] == ["every pixel is 0"]
    image, findings = checks.read_image({"grey": tmp_path / "a.png"})
    assert image is not None and image.array.shape == (1, *SIZE, 1)
    image, findings = checks.read_image(dict.fromkeys(("a", "b"), tmp_path / "a.png"))
    assert image is None and findings[0].code is Code.CHANNEL_MISSING


def test_values_of_masks_are_told_for_a_recipe(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a.png", stripes([0, 4])), save(tmp_path / "b.png", draw()), tmp_path / "c.png"]
    assert checks.label_values(paths) == [0, 4]


@pytest.mark.parametrize("values", [[0, 1], [0, 127], [0, 128], [1]])
def test_a_mask_with_nothing_above_the_threshold_is_refused(tmp_path: Path, values: list[int]) -> None:
    found = fault(save(tmp_path / "a.png", stripes(values)), ABOVE)
    assert found.code is Code.MASK_BELOW_THRESHOLD
    assert f"up to {max(values)}, none above 128" in found.details and "above" in found.how_to_fix


def test_an_empty_mask_is_no_fault(tmp_path: Path) -> None:
    assert not indices(save(tmp_path / "a.png", stripes([0])), ABOVE).any()


def test_one_of_many_masks_below_the_threshold_is_named(tmp_path: Path) -> None:
    save(tmp_path / "masks/0.png", stripes([0, 255]))
    save(tmp_path / "masks/1.png", stripes([0, 1]))
    found = fault(tmp_path / "masks", ABOVE)
    assert found.code is Code.MASK_BELOW_THRESHOLD and found.where.endswith("1.png")


@pytest.mark.parametrize("names", [{0: "background", 9: "polyp"}, {9: "background", 0: "polyp"}])
def test_greys_above_are_the_class_of_the_higher_value(tmp_path: Path, names: dict[int, str]) -> None:
    classes = replace(ClassList.from_names(names), label_form="above", threshold=128)
    path = save(tmp_path / "a.png", stripes([0, 255]))
    assert classes.to_values(indices(path, classes)[:2]).tolist() == [0, 9]


def test_colours_of_sixteen_bits_are_those_of_eight_or_refused(tmp_path: Path) -> None:
    colours = in_colour((64, 0, 128), (128, 64, 128)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", colours * 257, photometric="rgb")
    assert indices(tmp_path / "a.tif", COLOURED)[:2].tolist() == [1, 0]
    wrong = np.zeros_like(colours)
    wrong[..., 1] = 256  # eight bits per colour would take it for (1, 0, 0)
    tifffile.imwrite(tmp_path / "b.tif", wrong, photometric="rgb")
    assert fault(tmp_path / "b.tif", COLOURED).code is Code.LABEL_VALUE_UNKNOWN
