"""The pages of the Python interface: the reference is the docstrings', and every example works."""

from __future__ import annotations

import base64
import doctest
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import medseg
from medseg.api import reference, runs, scores, segmentation
from tests.helpers import notebooks

ROOT = Path(__file__).parents[2]
SHORT = """
spacing_mm = 6.0
settings = ["train.epochs=2", "train.steps_per_epoch=20", "network.keywords={width: 8}", "train.device=cpu"]
settings += ["tracking.enabled=false"]
"""


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any], Any]]:
    """The folder in which the tour was run shortened, the notebook with its outputs, and the variables."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        notebook = notebooks.read(ROOT / "docs/tour.ipynb")
        variables = notebooks.execute(notebook, parameters=SHORT)
        yield folder, notebook, variables


def test_the_reference_is_the_docstrings_and_lists_every_name() -> None:
    text = (ROOT / "docs/api.md").read_text()
    assert text == reference.page(), "run `python -m medseg.api.reference`"
    listed = re.findall(r"^## `medseg\.(\w+)`$", text, re.M)
    assert {*listed, "__version__"} == set(medseg.__all__)
    for member in ("labels", "confidence", "volumes_ml", "quality", "notes", "save(path", "scores", "report"):
        assert f"### `{member}" in text


def test_the_tour_runs_and_shows_what_it_says(toured: Any) -> None:
    _, notebook, variables = toured
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    printed = ["".join(output["text"]) for output in shown if output["output_type"] == "stream"]
    assert printed[0].startswith("12 scans")
    assert sum(line.startswith("sub-1") for line in printed[1].splitlines()) == 6
    assert any("True\nNAN_OR_INF scan: 1 voxels, the first at (5, 5, 5)" in text for text in printed)
    (png,) = (output["data"]["image/png"] for output in shown if "image/png" in output.get("data", {}))
    assert Image.open(io.BytesIO(base64.b64decode(png))).width > 300
    assert variables["run"].complete
    assert variables["result"].volumes_ml["gm"] > 0


def test_the_saved_tour_was_run_in_full_without_an_error() -> None:
    notebook = notebooks.read(ROOT / "docs/tour.ipynb")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert {o["output_type"] for cell in code for o in cell["outputs"]} == {"stream", "execute_result"}
    assert str(Path.home()) not in (ROOT / "docs/tour.ipynb").read_text()


@pytest.mark.parametrize("module", [segmentation, scores, runs], ids=lambda module: module.__name__)
def test_examples_in_docstrings_work(toured: Any, module: Any) -> None:
    done = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 0
    assert done.failed == 0


def test_examples_of_the_page_work(toured: Any) -> None:
    done = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False, encoding="utf-8")
    assert done.attempted > 15
    assert done.failed == 0
