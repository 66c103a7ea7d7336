"""The viewer in a real browser: every control, and the colours on its canvases against the arrays."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.classes import VOID, VOID_COLOUR, ClassList
from medseg.grid import Array, Grid
from medseg.report import viewer
from medseg.report.colors import ERRORS, warm
from medseg.volume import Volume
from tests.helpers.browser import open_browser, open_page, wait

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})
MASKS = ClassList.of_masks({"whole": (1, 2), "core": (2,)})
ORIENTED = ("axial", "coronal", "sagittal")
EVIL = '<img src=x onerror=alert(1)>#?%41&"'
# Stored as (S, R, P) with edges of 3, 1, 1 mm, far from the origin.
AFFINE = np.array([[0, 1, 0, -20], [0, 0, -1, 15], [3, 0, 0, -30], [0, 0, 0, 1]], float)
SHAPE = (20, 40, 30)


@dataclass(frozen=True, eq=False)
class Stored:
    """A case as its files hold it."""

    image: Volume
    truth: Array
    prediction: Array
    confidence: Array

    def turned(self, array: Array) -> Array:
        """An array turned to RAS+ by nibabel."""
        out = nib.as_closest_canonical(nib.Nifti1Image(array, self.image.grid.affine)).dataobj
        return np.asarray(out)


def stored() -> Stored:
    generator = np.random.default_rng(1)
    grey = np.stack([80 + 20 * generator.random(SHAPE), 5 * generator.random(SHAPE)]).astype(np.float32)
    truth, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    truth[4:9, 22:37, 4:19] = 1  # 15 mm in every direction; right, anterior, inferior
    truth[12:16, 5:15, 5:15] = 2
    truth[17:19, 5:15, 5:15] = VOID
    prediction[4:9, 22:37, 4:19] = 1
    prediction[4:9, 22:25, 4:19] = 2
    prediction[12:14, 5:15, 5:15] = 2
    prediction[10:11, 20:30, 10:20] = 1
    confidence = generator.random(SHAPE).astype(np.float32)
    return Stored(Volume(grey, Grid(SHAPE, AFFINE)), truth, prediction, confidence)


CASE = stored()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


class Page:
    """A viewer's page in the browser."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser = browser
        open_page(browser, path)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        script = """const done = arguments[arguments.length - 1];
          const twice = () => requestAnimationFrame(() => requestAnimationFrame(done));
          const look = () => document.body.dataset.drawn ? twice() : setTimeout(look, 10);
          look();"""
        self.browser.execute_async_script(script)

    def set(self, selector: str, value: Any = None) -> None:
        """Click a control, or give a slider or list a value."""
        if value is None:
            self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)
        else:
            script = """const e = document.querySelector(arguments[0]); e.value = arguments[1];
              e.dispatchEvent(new Event("input", { bubbles: true }));"""
            self.browser.execute_script(script, selector, str(value))
        self.settle()

    def layer(self, name: str) -> None:
        self.set(f"input[name=layer][value={name}]")

    def canvas(self, plane: str, layer: str = "") -> Any:
        return self.browser.find_element(
            "css selector", f'#stage canvas[data-plane="{plane}"][data-layer="{layer}"]'
        )

    def pixels(self, canvas: Any) -> Array:
        """A canvas's pixels, (rows, columns, 3)."""
        script = """const c = arguments[0];
          const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          let text = "";
          for (let i = 0; i < d.length; i += 8192) text += String.fromCharCode(...d.subarray(i, i + 8192));
          return [c.width, c.height, btoa(text)];"""
        width, height, text = self.browser.execute_script(script, canvas)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(int)

    def points(self, canvas: Any, places: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
        """Move the mouse over pixels (row, column); give the voxels that the page names."""
        script = """const [c, places] = arguments, b = c.getBoundingClientRect();
          return places.map(([row, column]) => {
            const at = { clientX: b.left + column + 0.5, clientY: b.top + row + 0.5, bubbles: true };
            c.dispatchEvent(new PointerEvent("pointermove", at));
            return document.getElementById("readout").dataset.voxel.split(",").map(Number);
          });"""
        plain = [(int(row), int(column)) for row, column in places]
        return [tuple(voxel) for voxel in self.browser.execute_script(script, canvas, plain)]

    def point(self, canvas: Any, row: int, column: int) -> tuple[int, ...]:
        """Move the mouse to a pixel; give the voxel that the page names."""
        return self.points(canvas, [(row, column)])[0]

    @property
    def readout(self) -> str:
        return self.browser.find_element("id", "readout").text

    def slices(self) -> dict[str, int]:
        boxes = self.browser.find_elements("css selector", ".slice")
        return {
            b.get_attribute("data-plane"): int(
                b.find_element("tag name", "output").get_attribute("textContent")
            )
            for b in boxes
        }


def inner_pixels(pixels: Array) -> Array:
    """Rows and columns (N, 2) of the volume's pixels, away from the letters along the edges."""
    inner = np.zeros(pixels.shape[:2], bool)
    inner[32:-32, 24:-24] = pixels[32:-32, 24:-24].any(axis=2)
    return np.argwhere(inner)


def write(folder: Path, case: str = "case", **changes: Any) -> Path:
    arrays = {"truth": CASE.truth, "prediction": CASE.prediction, "confidence": CASE.confidence}
    arguments = {"image": CASE.image, "channels": ["t1", "t2"], "classes": CLASSES, **arrays, **changes}
    path = viewer.path_of(folder, case)
    path.write_text(viewer.render(viewer.Heading(case, "tests", ["test"]), **arguments), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Page:
    page = Page(browser, write(tmp_path))
    page.set("#cross")  # its lines would hide pixels
    return page


def test_pixels_have_the_classes_colours_where_the_page_says_which_voxel_it_is(page: Page) -> None:
    page.set("#opacity", 100)
    for layer, array in (("truth", CASE.truth), ("prediction", CASE.prediction)):
        page.layer(layer)
        turned = CASE.turned(array)
        colours = {1: CLASSES.classes[1].colour, 2: CLASSES.classes[2].colour, VOID: VOID_COLOUR}
        seen = set()
        for plane in ORIENTED:
            canvas = page.canvas(plane)
            pixels = page.pixels(canvas)
            places = inner_pixels(pixels)[::997]
            for place, voxel in zip(places, page.points(canvas, places), strict=True):
                value = int(turned[voxel])
                seen.add(value)
                if value:
                    assert tuple(pixels[tuple(place)]) == colours[value]
        assert seen >= {0, 1, 2}


def test_a_cube_is_square_in_every_plane_and_lies_on_the_patient_s_side(page: Page) -> None:
    page.set("#opacity", 100)
    page.layer("truth")
    page.set("input[name=class][value='2']")
    page.set("input[name=class][value='255']")
    inside = np.argwhere(CASE.turned(CASE.truth) == 1).mean(axis=0).round().astype(int)
    for plane, axis in zip(ORIENTED, (2, 1, 0), strict=True):
        page.set(f'.slice[data-plane="{plane}"] input', int(inside[axis]))
    for plane in ORIENTED:
        pixels = page.pixels(page.canvas(plane))
        rows, columns = np.nonzero((pixels == CLASSES.classes[1].colour).all(axis=2))
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2) and np.ptp(rows) > 50
        volume = np.nonzero(pixels.any(axis=2))[1]
        assert columns.mean() < volume.mean()  # right, in a sagittal plane anterior, is at the left
    world = AFFINE @ np.append(np.argwhere(CASE.truth == 1).mean(axis=0), 1)
    canvas = page.canvas("axial")
    pixels = page.pixels(canvas)
    rows, columns = np.nonzero((pixels == CLASSES.classes[1].colour).all(axis=2))
    page.point(canvas, int(rows.mean()), int(columns.mean()))
    right, anterior, superior = (float(v.split()[1]) for v in page.readout.split(" · ")[1][:-3].split(", "))
    assert page.readout.split(" · ")[1].replace(",", "").split()[::2][:3] == ["R", "A", "I"]
    assert (right, anterior, -superior) == pytest.approx(world[:3], abs=2)


def test_wheel_keys_click_and_sliders_move_through_the_slices(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.keys import Keys

    first = page.slices()
    canvas = page.canvas("axial")
    before = page.pixels(canvas)
    ActionChains(page.browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -120).perform()
    page.settle()
    assert page.slices() == {**first, "axial": first["axial"] + 1}
    assert (page.pixels(canvas) != before).any()
    page.canvas("coronal").send_keys(Keys.ARROW_DOWN)
    page.settle()
    assert page.slices()["coronal"] == first["coronal"] - 1
    page.set('.slice[data-plane="sagittal"] input', 3)
    assert page.slices()["sagittal"] == 3
    ActionChains(page.browser).move_to_element_with_offset(canvas, 20, 30).click().perform()
    page.settle()
    voxel = tuple(
        int(v) for v in page.browser.find_element("id", "readout").get_attribute("data-voxel").split(",")
    )
    assert page.slices() == dict(zip(("sagittal", "coronal", "axial"), voxel, strict=True))
    page.set('.slice[data-plane="axial"] input', 19)
    canvas.send_keys(Keys.PAGE_UP)
    page.settle()
    assert page.slices()["axial"] == 19  # the last


def test_errors_and_confidence_have_their_colours(page: Page) -> None:
    page.set("#opacity", 100)
    truth, prediction, confidence = map(CASE.turned, (CASE.truth, CASE.prediction, CASE.confidence))
    kinds = dict(enumerate(ERRORS.values(), start=1))
    seen = set()
    page.layer("errors")
    for k in (10, 5, 14, 18):
        page.set('.slice[data-plane="axial"] input', k)
        canvas = page.canvas("axial")
        pixels = page.pixels(canvas)
        places = inner_pixels(pixels)[::997]
        for place, voxel in zip(places, page.points(canvas, places), strict=True):
            t, p = int(truth[voxel]), int(prediction[voxel])
            kind = 0 if t in (p, VOID) else 1 if not t else 2 if not p else 3
            seen.add(kind)
            assert (tuple(pixels[tuple(place)]) == kinds.get(kind)) == (kind > 0), (voxel, t, p)
    assert seen == {0, 1, 2, 3}
    page.layer("confidence")
    pixels = page.pixels(canvas)
    row, column = (n // 2 for n in pixels.shape[:2])
    voxel = page.point(canvas, row, column)
    assert pixels[row, column] / 255 == pytest.approx(warm(np.array(confidence[voxel])), abs=0.01)
    assert float(page.readout.split()[-1]) == pytest.approx(confidence[voxel], abs=0.01)


def test_opacity_contrast_channels_and_smoothing_change_what_is_seen(page: Page) -> None:
    page.layer("truth")
    canvas = page.canvas("axial")
    page.set('.slice[data-plane="axial"] input', 6)
    looks = [page.pixels(canvas)]
    for selector, value in (
        ("#opacity", 20),
        ("#low", 300),
        ("#high", 500),
        ("#channel", 1),
        ("#smooth", None),
    ):
        page.set(selector, value)
        looks.append(page.pixels(canvas))
        assert (looks[-1] != looks[-2]).any(), selector
    page.set("#opacity", 0)
    bare = page.pixels(canvas)
    page.layer("none")
    assert (page.pixels(canvas) == bare).all()
    assert "t2 ≈" in page.readout


def test_grey_values_under_the_pointer_are_those_of_the_file(page: Page) -> None:
    grey = CASE.turned(CASE.image.array[0])
    canvas = page.canvas("coronal")
    for row, column in ((250, 200), (220, 150)):
        voxel = page.point(canvas, row, column)
        shown = next(part for part in page.readout.split(" · ") if part.startswith("t1"))
        assert float(shown.split()[-1]) == pytest.approx(grey[voxel], abs=0.5)


def test_outlines_are_the_border_of_a_class_and_hiding_it_takes_them_away(page: Page) -> None:
    page.layer("none")
    page.set('.slice[data-plane="axial"] input', 6)
    colour = CLASSES.classes[1].colour
    counts = []
    steps = (None, "#outline-truth", "#outline-prediction", "#outline-truth", "input[name=class][value='1']")
    for selector in steps:
        if selector:
            page.set(selector)
        counts.append(int((page.pixels(page.canvas("axial")) == colour).all(axis=2).sum()))
    nothing, truth, both, prediction, hidden = counts
    assert nothing == hidden == 0 < prediction < truth and both != truth
    page.set("input[name=class][value='1']")
    page.set("#opacity", 100)
    page.layer("truth")
    filled = int((page.pixels(page.canvas("axial")) == colour).all(axis=2).sum())
    assert truth < filled / 5


def test_planes_zoom_side_by_side_keys_and_the_worst_slices(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    canvases = "Array.from(document.querySelectorAll('#stage canvas'))"
    stage = f"return {canvases}.map(c => [c.dataset.plane, c.dataset.layer])"
    page.set("input[name=plane][value=coronal]")
    assert page.browser.execute_script(stage) == [["coronal", ""]]
    page.set("#side")
    layers = ["none", "truth", "prediction", "errors", "confidence"]
    assert page.browser.execute_script(stage) == [["coronal", layer] for layer in layers]
    page.set("#side")
    page.layer("none")
    wide = page.pixels(page.canvas("coronal"))
    page.set("#zoom", 4)
    assert (page.pixels(page.canvas("coronal")).any(axis=2)).sum() > wide.any(axis=2).sum()
    page.browser.find_element("tag name", "body").send_keys(Keys.NUMPAD2)
    page.settle()
    assert (
        page.browser.execute_script("return document.querySelector('input[name=layer]:checked').value")
        == "truth"
    )
    page.set("#worst")
    errors = (CASE.turned(CASE.truth) != CASE.turned(CASE.prediction)) & (CASE.turned(CASE.truth) != VOID)
    most = {
        p: int(errors.sum(axis=o).argmax()) for p, o in zip(ORIENTED, ((0, 1), (0, 2), (1, 2)), strict=True)
    }
    assert page.slices() == most


def test_nothing_is_fetched_and_a_hostile_name_is_a_name(browser: Any, tmp_path: Path) -> None:
    path = write(tmp_path, EVIL)
    page = Page(browser, path)
    assert browser.find_element("css selector", "header b").text == EVIL
    assert not browser.find_elements("css selector", "img")
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    (tmp_path / "cases").mkdir()
    path.rename(tmp_path / "cases" / path.name)
    report = tmp_path / "report.html"
    report.write_text(f'<a href="{viewer.address(tmp_path / "cases" / path.name)}">go</a>')
    open_page(browser, report)
    browser.find_element("tag name", "a").click()
    page.settle()
    assert wait(browser, "document.querySelector('header b').textContent") == EVIL


def test_an_image_is_one_panel_a_layer_in_its_own_colours(browser: Any, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 1)).astype(np.uint8)
    truth = np.zeros((12, 20, 1), np.uint8)
    truth[:6] = 1
    grid = Grid((12, 20, 1), np.eye(4), "px")
    classes = ClassList.from_names({0: "sky", 1: "road"}, background=False)
    changes = {"image": Volume(rgb, grid), "truth": truth, "prediction": 1 - truth, "confidence": None}
    page = Page(browser, write(tmp_path, classes=classes, **changes))
    page.set("#smooth")
    canvas = page.canvas("image", "none")
    pixels = page.pixels(canvas)
    for row, column in inner_pixels(pixels)[::4999].tolist():
        i, j, _ = page.point(canvas, row, column)
        assert tuple(pixels[row, column]) == tuple(rgb[:, i, j, 0])
        assert f"row {i}, column {j}" in page.readout and " ".join(map(str, rgb[:, i, j, 0])) in page.readout
    page.set("#opacity", 100)
    wrong = page.pixels(page.canvas("image", "errors"))
    inner = tuple(inner_pixels(pixels).T)
    assert (wrong[inner] == ERRORS["wrong class"]).all()


def test_masks_lie_over_one_another_and_can_be_hidden(browser: Any, tmp_path: Path) -> None:
    bits = np.where(CASE.truth == 1, 1, np.where(CASE.truth == 2, 3, 0)).astype(np.uint8)
    page = Page(browser, write(tmp_path, classes=MASKS, truth=bits, prediction=bits, confidence=None))
    page.set("#cross")
    page.set("#opacity", 100)
    page.layer("truth")
    page.set('.slice[data-plane="axial"] input', 14)
    core, whole = MASKS.classes[1].colour, MASKS.classes[0].colour
    count = lambda colour: int((page.pixels(page.canvas("axial")) == colour).all(axis=2).sum())  # noqa: E731
    assert count(core) > 100 and count(whole) == 0
    page.set("input[name=class][value='1']")
    assert count(core) == 0 and count(whole) > 100
    assert "truth: " in page.readout
