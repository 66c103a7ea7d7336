"""The site of docs/: it builds without a warning, holds every page, and needs no network."""

from __future__ import annotations

import functools
import re
import runpy
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.*") if path.suffix in {".md", ".ipynb"})


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, in a process of its own."""
    trees = str(site.parent / "doctrees")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", trees, str(docs), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx")
    folder: Path = tmp_path_factory.mktemp("site") / "html"
    built = build(ROOT / "docs", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_each_page_is_built_and_stands_in_the_navigation(site: Path) -> None:
    front = (site / "index.html").read_text()
    navigation = front.split('class="sidebar-tree"')[1].split("</aside>")[0]
    listed = re.findall(r'<li class="toctree-l1"><a class="[^"]*" href="([\w-]+)\.html"', navigation)
    assert sorted(listed) == [page for page in PAGES if page != "index"]
    assert {path.stem for path in site.glob("*.html")} >= set(PAGES)
    assert "data:image/png" in (site / "tour.html").read_text()  # an output of the notebook
    captions = re.findall(r'<span class="caption-text">([^<]+)</span>', navigation)
    assert captions == ["Start", "Train", "Segment", "Hospital", "Python"]


def test_the_front_page_ends_with_the_results_of_the_readme(site: Path) -> None:
    front = (site / "index.html").read_text()
    assert '<section id="results">' in front
    assert "hippocampus_quick" in front
    assert 'href="index.html#results"' in (site / "medical-device.html").read_text()


def test_pages_load_nothing_from_a_network(site: Path) -> None:
    loaded = re.compile(r'(?:<(?:script|img|iframe)[^>]* src|<link[^>]* href)="((?:https?:)?//[^"]*)"')
    assert [url for page in site.glob("*.html") for url in loaded.findall(page.read_text())] == []
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert len(styles) > 2
    assert [url for text in styles for url in re.findall(r"url\(['\"]?(https?:[^)]*)\)", text)] == []


def test_the_index_of_the_search_knows_every_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    for page in PAGES:
        assert f'"{page}"' in index
    for stem in ("quarantin", "domain", "conda"):
        assert re.search(rf'"?{stem}"?:', index), stem


def test_files_that_pages_link_to_lie_in_the_site(site: Path) -> None:
    for page in site.glob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#:?]+)[#?]?[^":]*"', page.read_text()):
            assert (site / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize(
    "line", ["[x](nothing.md)", "[x](install.md#no-such-heading)"], ids=["page", "heading"]
)
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, line: str) -> None:
    pytest.importorskip("sphinx")
    docs = tmp_path / "checkout/docs"
    docs.mkdir(parents=True)
    for name in ("docs/conf.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    shutil.copytree(ROOT / "docs/static", docs / "static")
    (tmp_path / "checkout/README.md").write_text("# r\n## Results\nnone\n## Contents\n")
    (docs / "index.md").write_text("# t\n\n## Start\n- [Install](install.md)\n")
    (docs / "install.md").write_text(f"# Install\n\n{line}\n")
    built = build(docs, tmp_path / "site")
    assert built.returncode != 0
    assert "install.md" in built.stderr


def test_navigation_is_the_list_of_the_front_page() -> None:
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    text = "# t\n\n## One\n- [A b](a.md): text\n- [C](c.md)\n\n## Two\nno pages\n"
    tree = "```{toctree}\n:hidden:\n:caption: One\n\nA b <a>\nC <c>\n```\n"
    assert conf["toctrees"](text) == [tree]


def test_a_browser_searches_the_site_on_a_file_server(site: Path) -> None:
    if (browser := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        pytest.skip("no Chromium here")
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/search.html?q=orthonormal"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
        command = [browser, *options, f"--user-data-dir={site.parent / 'browser'}", address]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        server.shutdown()
    results = shown.split('id="search-results"')[1]
    assert "faq.html" in results
    assert "Questions and answers" in results


class Quiet(SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, *_: object) -> None: ...
