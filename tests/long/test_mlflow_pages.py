"""MLflow's pages of two runs as a user sees them: served by `medseg ui`, clicked through in Chromium.

The pictures go to the folder that MEDSEG_SCREENSHOTS names, or stay with pytest's other files. What the pages
are made of is tested without a browser in tests/pipelines/test_tracked_pages.py.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tracked_runs import two_runs

PATIENCE_S = 90.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@dataclass
class Pages:
    """A browser at MLflow's pages."""

    browser: Any
    address: str
    pictures: Path

    def until(self, condition: Callable[[], Any], wanted: str) -> Any:
        """Wait until something is true, and give its value; elements may go stale while a page is drawn."""
        from selenium.common.exceptions import WebDriverException

        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except WebDriverException:
                pass
            time.sleep(0.1)
        self.picture("failed")
        return pytest.fail(f"waited in vain for {wanted}; see {self.pictures / 'failed.png'}")

    def find(self, path: str) -> Any:
        """Wait for a visible element by its XPath."""
        return self.until(
            lambda: next((e for e in self.browser.find_elements("xpath", path) if e.is_displayed()), None),
            path,
        )

    def click(self, path: str) -> None:
        """Click an element once it is there, wherever the page has it by then."""

        def clicked() -> bool:
            element = next(e for e in self.browser.find_elements("xpath", path) if e.is_displayed())
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.until(lambda: bool(self.browser.find_elements("xpath", path)) and clicked(), path)

    def reads(self, *texts: str) -> None:
        """Wait until the page shows all of the texts, however their words are spaced."""

        def shown(text: str) -> bool:
            return "".join(text.split()) in "".join(
                self.browser.find_element("tag name", "body").text.split()
            )

        for text in texts:
            self.until(lambda text=text: shown(text), text)

    def picture(self, name: str) -> None:
        """Keep a picture of the window."""
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that `medseg ui` says for a folder with two work folders."""
    folder = two_runs(tmp_path_factory.mktemp("runs"))
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = str(tried.getsockname()[1])
    command = [sys.executable, "-m", "medseg", "ui", str(folder), "--port", port, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if line.startswith("open "):
                    yield line.split()[1]
                    break
            else:
                pytest.fail("".join(said))
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def pages(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--window-size=1500,1100", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
    ):
        options.add_argument(argument)
    named = os.environ.get("MEDSEG_SCREENSHOTS")
    pictures = Path(named) if named else tmp_path_factory.mktemp("pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield Pages(browser, address, pictures)
    finally:
        browser.quit()


def test_the_pages_from_experiment_to_comparison(pages: Pages) -> None:
    experiment(pages)
    run(pages)
    charts(pages)
    artifacts(pages)
    model(pages)
    comparison(pages)
    names = ("experiment", "run", "charts", "images", "table", "overlay", "model", "comparison")
    assert all((pages.pictures / f"{name}.png").stat().st_size > 20_000 for name in names)


def experiment(pages: Pages) -> None:
    """The link opens with the score columns and all runs, named after their work folders."""
    pages.browser.get(pages.address)
    pages.reads("test_dice_mean", "first", "second", "usegnet")
    assert "Ask questions about your" not in pages.browser.find_element("tag name", "body").text
    pages.picture("experiment")


def run(pages: Pages) -> None:
    """A run has words as tags, a description with its scores, and metrics of four digits."""
    pages.click("//a[normalize-space()='first']")
    pages.reads("About this run", "Model training", "version: ", "host: ", "recipe: boxes", "data set: boxes")
    pages.reads("Two boxes, one in the other.", "test, 2 cases: Dice")
    pages.picture("run")


def charts(pages: Pages) -> None:
    """Curves come first, then the images of validation with a slider, then single numbers."""
    pages.click("//*[@role='tab' and contains(., 'Model metrics')]")
    headers = "//*[contains(@class, 'collapse-header') and contains(., 'Add chart')]"
    pages.reads("Model metrics (")
    titles = dict.fromkeys(e.text.split("\n")[0] for e in pages.browser.find_elements("xpath", headers))
    assert [title for title in titles if title] == ["train", "val", "Model metrics"]
    pages.find("//*[contains(@class, 'js-plotly-plot')]")
    pages.picture("charts")
    last = pages.browser.find_elements("xpath", headers)[-1]
    pages.browser.execute_script("arguments[0].scrollIntoView({block: 'end'})", last)
    slider = pages.find("//*[@role='slider']")
    image = "//img[contains(@src, 'images')]"
    first = pages.find(image).get_attribute("src")
    slider.send_keys("\ue014")  # the right arrow
    pages.until(lambda: pages.find(image).get_attribute("src") != first, "the image of the next step")
    width = "return arguments[0].naturalWidth"
    assert pages.until(lambda: pages.browser.execute_script(width, pages.find(image)), "the image") > 100
    pages.picture("images")


def artifacts(pages: Pages) -> None:
    """The scores are a table; the overlays of test cases begin with the worst."""
    pages.click("//*[@role='tab' and contains(., 'Artifacts')]")
    pages.click("//*[normalize-space(text())='test_scores.csv']")
    pages.reads("mean (foreground)", "hd95")
    pages.picture("table")
    pages.click("//*[normalize-space(text())='test_cases']")
    pages.click("//*[starts-with(normalize-space(text()), '01_')]")
    pages.find("//img[contains(@src, 'blob:') or contains(@src, 'test_cases')]")
    pages.picture("overlay")


def model(pages: Pages) -> None:
    """The model's page has its card, its scores with their data set, and its parameters."""
    pages.click("//*[@role='tab' and contains(., 'Overview')]")
    pages.reads("About this run")
    links = "//a[contains(@href, '/models/m-')]"
    pages.until(lambda: pages.browser.find_elements("xpath", links), "a link to the model")
    pages.browser.get(pages.browser.find_element("xpath", links).get_attribute("href"))
    pages.reads(
        "About this logged model", "Labels outer, inner", "test_dice_mean", "prediction mode", "boxes (#"
    )
    pages.picture("model")


def comparison(pages: Pages) -> None:
    """Two runs, chosen in the experiment, stand side by side on MLflow's own page."""
    pages.browser.get("about:blank")
    pages.browser.get(pages.address)
    pages.find("//a[normalize-space()='second']")
    boxes = "//*[contains(@class, 'ag-row')]//input[@type='checkbox']"
    compare = "//button[contains(., 'Compare') and not(@disabled)]"

    def chosen() -> bool:
        for box in pages.browser.find_elements("xpath", boxes):
            if not box.is_selected():
                pages.browser.execute_script("arguments[0].click()", box)
                return False
        return bool(pages.browser.find_elements("xpath", compare))

    pages.until(chosen, "two chosen runs")
    pages.click(compare)
    pages.reads("Comparing 2 Runs from 1 Experiment", "first", "second", "train.lr", "0.02000", "Metrics")
    pages.picture("comparison")
