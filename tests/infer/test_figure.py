"""The figure of a case: proportions, sides, outlines, legend, and nothing that tells who it is."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medseg.classes import ClassList
from medseg.grid import Array, Grid
from medseg.infer import figure
from medseg.infer.results import Result
from medseg.volume import Volume

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})
ORANGE, BLUE = CLASSES.classes[1].colour, CLASSES.classes[2].colour
SIZES = {"csf": 1.25, "gm": 620.5}
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def _scan(shape: tuple[int, int, int] = (60, 80, 20), affine: Array = AFFINE) -> Volume:
    inside = np.zeros(shape, bool)
    inside[tuple(slice(n // 6, n - n // 6) for n in shape)] = True
    array = np.where(inside, np.random.default_rng(0).normal(100, 10, shape), 0).astype(np.float32)
    return Volume(array[None], Grid(shape, affine))


def _masks(shape: tuple[int, int, int] = (60, 80, 20)) -> list[Array]:
    one, two = np.zeros(shape, bool), np.zeros(shape, bool)
    one[20:30, 30:50, 8:12], two[34:40, 30:50, 8:12] = True, True
    return [one, two]


def _draw(image: Volume, masks: list[Array]) -> Array:
    return np.asarray(Image.open(BytesIO(figure.draw(image, masks, CLASSES, SIZES))).convert("RGB"))


def _box(pixels: Array, colour: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the lower axial panel's pixels of one colour, above the legend."""
    at = np.argwhere((pixels == colour).all(axis=2)[: -2 * figure._LINE, : pixels.shape[1] // 3])
    height, width = np.ptp(at, axis=0) + 1
    return int(height), int(width)


def test_outlines_stand_in_the_proportion_of_millimetres() -> None:
    height, width = _box(_draw(_scan(), _masks()), ORANGE)  # 20 mm by 10 mm
    assert height / width == pytest.approx(2, abs=0.1)
    stretched = np.diag([3.0, 1.0, 4.0, 1.0])  # pixels of 3 mm by 1 mm
    height, width = _box(_draw(_scan(affine=stretched), _masks()), ORANGE)
    assert height / width == pytest.approx(20 / 30, abs=0.05)


def test_the_patients_right_is_on_the_left_however_the_scan_is_stored() -> None:
    right = _draw(_scan(), _masks())  # the class gm has the larger X, to the right in RAS
    columns = {
        c: np.argwhere((right == c).all(axis=2)[: -2 * figure._LINE])[:, 1].min() for c in (ORANGE, BLUE)
    }
    assert columns[BLUE] < columns[ORANGE]
    other_way = np.array([[-1.0, 0, 0, 59], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    stored = Volume(_scan().array[:, ::-1], Grid((60, 80, 20), other_way))
    np.testing.assert_array_equal(_draw(stored, [mask[::-1] for mask in _masks()]), right)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "R"),
        ((-1, 0, 0), "L"),
        ((0, 0.1, 0.995), "S"),
        ((0.6, -0.8, 0), "PR"),
        ((0, 0.8, -0.6), "AI"),
    ],
)
def test_letters_of_oblique_directions(direction: tuple[float, ...], letters: str) -> None:
    assert figure._letters(np.array(direction)) == letters


def test_each_plane_is_cut_where_most_is_labelled_and_in_the_middle_of_an_empty_one() -> None:
    masks = _masks()
    masks[0][25, 40, 3:16] = True
    cuts = figure._cuts(_scan(), masks)
    assert [cut.title for cut in cuts] == ["axial 9 / 20", "coronal 41 / 80", "sagittal 26 / 60"]
    empty = figure._cuts(_scan(), [np.zeros((60, 80, 20), bool)] * 2)
    assert [cut.title for cut in empty] == ["axial 11 / 20", "coronal 41 / 80", "sagittal 31 / 60"]
    assert [cut.sides for cut in empty] == [("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I")]


def test_the_same_case_gives_the_same_bytes_without_text_chunks() -> None:
    one, other = (figure.draw(_scan(), _masks(), CLASSES, SIZES) for _ in range(2))
    assert one == other
    chunks = {
        one[i : i + 4]
        for i in range(len(one))
        if one[i : i + 4] in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf")
    }
    assert not chunks and Image.open(BytesIO(one)).info == {}


def test_sizes_and_names_change_the_legend_alone() -> None:
    one = _draw(_scan(), _masks())
    other = np.asarray(
        Image.open(BytesIO(figure.draw(_scan(), _masks(), CLASSES, {"csf": 9.0}))).convert("RGB")
    )
    changed = np.argwhere((one != other).any(axis=2))
    assert len(changed) and changed[:, 0].min() >= one.shape[0] - 2 * figure._LINE


def test_constant_scans_thin_scans_and_many_classes_are_drawn() -> None:
    flat = Volume(np.zeros((1, 8, 8, 2), np.float32), Grid((8, 8, 2), np.diag([0.2, 0.2, 9.0, 1.0])))
    many = ClassList.from_names({k: f"class {k}" if k else "background" for k in range(30)})
    masks = [np.zeros((8, 8, 2), bool) for _ in range(29)]
    masks[0][2:4, 2:4, 1] = True
    assert figure.draw(flat, masks, many, {}).startswith(b"\x89PNG")


def test_a_result_without_its_scan_has_no_figure() -> None:
    labels = Volume(np.zeros((1, 2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)))
    result = Result(labels, None, {}, 1.0, "probability", {}, ())
    with pytest.raises(ValueError, match="needs the scan"):
        figure.draw_result(result, ClassList.from_names({0: "background", 1: "a"}))
