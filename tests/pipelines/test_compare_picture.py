"""`medseg compare --picture` and `medseg explain --crf`: a case by several models, and step by step."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medseg import files
from medseg.classes import ClassList
from medseg.errors import ExitCode
from medseg.grid import Grid
from medseg.report import volume_overlay
from medseg.report.image_overlay import overlay
from medseg.volume import Volume
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go
from tests.helpers.box_subjects import make_subjects
from tests.helpers.commands import run_command

CRF = {"predict": {"crf": {"sigma_alpha": 3, "iterations": 2}}}


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the work folders `first`, and `refined` with a CRF on the same weights."""
    root = tmp_path_factory.mktemp("compared")
    make_subjects(root / "data", 5)
    assert go(root / "data", root / "first", parts={"train": TRAIN})[0] == ExitCode.DONE
    shutil.copytree(root / "first", root / "refined")
    assert go(root / "data", root / "refined", parts={"train": TRAIN, **CRF})[0] == ExitCode.DONE
    return root


def test_a_picture_has_each_model_and_the_label_map_before_a_crf(
    works: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(works)
    two = run_command(["compare", "first", "refined", "--picture", "s3"], capfd, monkeypatch)
    assert two.code == ExitCode.DONE and two.text.splitlines()[-1] == "compare_s3.png"
    one = run_command(["compare", "first", "--picture", "s3", "-o", "one.png"], capfd, monkeypatch)
    assert one.code == ExitCode.DONE
    with Image.open("compare_s3.png") as wide, Image.open("one.png") as narrow:
        assert (wide.format, narrow.format) == ("PNG", "PNG")
        # image, truth, first, refined before and after its CRF; and image, truth, first
        assert wide.width / narrow.width == pytest.approx(5 / 3, abs=0.05)


def test_a_case_that_was_not_predicted_is_labelled_now(
    works: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(works)
    assert run_command(["compare", "first", "--picture", "s2"], capfd, monkeypatch).code == ExitCode.DONE
    assert Path("compare_s2.png").is_file() and not list(Work(works / "first").predictions.glob("s2*"))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["first", "--picture", "s9"], "first has no case 's9'"),
        (["first", "nowhere", "--picture", "s3"], "no such folder"),
        (["first", "data", "--picture", "s3"], "no trained model"),
        (["first", "other", "--picture", "s3"], "compare models with the same classes"),
        (["first", "refined", "--out", "x.png"], "it is the file of a picture"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    works: Path,
    words: list[object],
    answer: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(works)
    if "other" in words:
        shutil.copytree("first", "other")
        model = files.read_json(Path("other/model/model.json"))
        model["description"]["classes"][1]["name"] = "shell"
        files.write_json(Path("other/model/model.json"), model)
    ended = run_command(["compare", *words], capfd, monkeypatch)
    assert ended.code in (ExitCode.USAGE, ExitCode.NOTHING_USABLE)
    assert answer in " ".join(ended.text.split())


def test_the_steps_of_a_crf_are_drawn(
    works: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_command(["explain", works / "refined", "s3", "--class", "outer", "--crf"], capfd, monkeypatch)
    assert ended.code == ExitCode.DONE
    path = Work(works / "refined").report / "crf_s3_outer.png"
    with Image.open(path) as two_steps:
        width = two_steps.width
    words = ["explain", works / "first", "s3", "--class", "outer", "--crf"]  # ten steps, by the defaults
    assert run_command(words, capfd, monkeypatch).code == ExitCode.DONE
    with Image.open(Work(works / "first").report / "crf_s3_outer.png") as ten_steps:
        assert ten_steps.width / width == pytest.approx(7 / 4, abs=0.05)  # image and steps 0 to 5; 0 to 2
    ended = run_command([*words, "--layer", "head"], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE and "a CRF has no layers" in " ".join(ended.text.split())


@pytest.mark.parametrize("unit", ["mm", "px"])
def test_the_picture_names_its_case(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = ClassList.from_names({0: "background", 1: "cell"})
    image = Volume(np.zeros((1, 16, 16, 1), np.uint8), Grid((16, 16, 1), np.eye(4), unit))
    labels = np.ones((16, 16, 1), np.uint8)
    written: list[str] = []
    text = Figure.text
    monkeypatch.setattr(Figure, "text", lambda *a, **k: (written.append(a[3]), text(*a, **k))[1])
    volume_overlay.overlay(image, classes, truth=labels, models={"first": labels}, case="patient $7_")
    assert any(one.startswith("image\n") and "patient" in one and "7_" in one for one in written)
    assert "truth" in written and "first" in written


def test_images_stand_five_in_a_row() -> None:
    classes = ClassList.from_names({0: "background", 1: "cell"})
    image = Volume(np.zeros((3, 32, 32, 1), np.uint8), Grid((32, 32, 1), np.eye(4), "px"))
    truth = np.zeros((32, 32, 1), np.uint8)
    truth[8:20, 8:20] = 1

    def size(models: int) -> tuple[int, int]:
        named = {f"model {n}\nIoU 0.5": truth for n in range(models)}
        with Image.open(BytesIO(overlay(image, classes, truth, None, None, named))) as drawn:
            return drawn.size

    three, five = size(3), size(5)
    assert three[0] == five[0] and five[1] > 1.7 * three[1]
