"""A real browser without a screen, for tests of pages: Chromium with its own driver."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 10.0  # seconds


@contextmanager
def open_browser(width: int = 1200, height: int = 800) -> Iterator[Any]:
    """Open a browser window; the test is skipped where Chromium, its driver or selenium is missing.

    Raises AssertionError at the end if a page reported an error.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors, errors
    finally:
        browser.quit()


def wait(browser: Any, script: str, *arguments: Any) -> Any:
    """Wait until a JavaScript expression is true, and give its value."""
    return until(lambda: browser.execute_script(f"return {script}", *arguments), script)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and give its value; the test fails after ten seconds."""
    end = time.monotonic() + _PATIENCE
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.02)
    return value


def open_page(browser: Any, path: Path) -> None:
    """Open a page from a file."""
    browser.get(path.absolute().as_uri())
