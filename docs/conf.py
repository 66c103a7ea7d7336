"""The site of these pages, which Sphinx builds offline: `make docs`.

The pages are written for any viewer of Markdown, so this file alone knows Sphinx: the navigation is the list
of pages in index.md, and the front page ends with the README's results.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser

ROOT = Path(__file__).parents[1]

project = "medseg"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_parser"]
highlight_language = "none"
myst_heading_anchors = 4
smartquotes = False

html_theme = "furo"
html_title = f"medseg {version}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]

_GROUP = re.compile(r"^## (.+)\n((?:(?!##).*\n)*)", re.MULTILINE)
_PAGE = re.compile(r"^- \[(.+?)\]\((\S+)\.(?:md|ipynb)\)", re.MULTILINE)


def front_page(text: str) -> str:
    """Add to the text of index.md its navigation, and the README's results."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = re.split(r"^## (?:Results|Contents)\n", readme, flags=re.MULTILINE)[1]
    return "\n".join([text, "## Results\n", results.replace("](docs/", "]("), *toctrees(text)])


def toctrees(text: str) -> list[str]:
    """Make a hidden toctree of each group of pages in the text of index.md."""
    groups = [(caption, _PAGE.findall(lines)) for caption, lines in _GROUP.findall(text)]
    return [
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        + "".join(f"{title} <{page}>\n" for title, page in pages)
        + "```\n"
        for caption, pages in groups
        if pages
    ]


class NotebookParser(MystParser):
    """Parse an executed notebook as Markdown with its code and outputs."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Fill the document from the notebook's JSON."""
        cells = json.loads(inputstring)["cells"]
        super().parse("\n\n".join(part for cell in cells for part in cell_parts(cell)), document)


def cell_parts(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of a cell as Markdown: text, or code and what it put out."""
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![Output of the cell](data:image/png;base64,{''.join(data['image/png']).strip()})"
        elif text := "".join(output.get("text", data.get("text/plain", []))).rstrip():
            yield f"```text\n{text}\n```"


def _read(_app: object, page: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed."""
    if page == "index":
        source[0] = front_page(source[0])
    source[0] = source[0].replace("](../README.md", "](index.md")


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("source-read", _read)
