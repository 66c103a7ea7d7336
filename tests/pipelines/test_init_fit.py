"""`medseg init` fits the recipe to the folder: what it writes loads, is ingested, and trains."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from medseg import files
from medseg.classes import ClassList
from medseg.config import load
from medseg.config.fitted.training import Candidate
from medseg.console import Reporter
from medseg.errors import ExitCode
from pipelines import run as pipeline
from pipelines.commands import init, init_fit, init_speed
from pipelines.run import Request
from tests.helpers.everyday_folders import FOLDERS, PATIENTS, label, scan

TWO_STEPS = ("tracking.enabled=false", "tracking.overlays=false", "train.epochs=1", "train.steps_per_epoch=2")


def trained(out: Path, work: Path) -> list[dict[str, str]]:
    """The history of two steps by a written recipe."""
    settings = (*TWO_STEPS, "train.validate_every=1")
    for stage in ("ingest", "preprocess", "train"):
        ended = pipeline.run(
            Request(str(out), None, work, settings), Reporter(stream=io.StringIO()), only=stage
        )
        assert ended in (ExitCode.DONE, ExitCode.SOME_EXCLUDED)
    return files.read_csv(work / "train/0/history.csv")


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_written_trains(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    FOLDERS[name].build(root)
    out = tmp_path / "made.yaml"
    init.run(root, out, force=False, minutes=0.2)
    assert int(trained(out, tmp_path / "w")[-1]["step"]) >= 1
    text = out.read_text()
    keys = [
        line
        for line in text.splitlines()
        if line.startswith("  ") and text.index(line) > text.index("\npreprocess:")
    ]
    assert all(" # " in line or line.rstrip().endswith(":") for line in keys)


@pytest.mark.parametrize(("subjects", "roles"), [(2, {"train", "test"}), (3, {"train", "val", "test"})])
def test_few_subjects_are_split_as_far_as_they_reach(tmp_path: Path, subjects: int, roles: set[str]) -> None:
    for i, name in enumerate(PATIENTS[:subjects]):
        for visit in ("v1", "v2"):
            scan(tmp_path / f"data/{name}/{visit}/t1.nii.gz", i)
            label(tmp_path / f"data/{name}/{visit}/manual.nii.gz", 1, place=i)
    init.run(tmp_path / "data", tmp_path / "r.yaml", force=False, minutes=0.1)
    trained(tmp_path / "r.yaml", tmp_path / "w")
    assert {row["role"] for row in files.read_csv(tmp_path / "w/ingest/splits.csv")} == roles


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_speed_is_that_of_a_step(multilabel: bool) -> None:
    names = {0: "background", 1: "a"}
    classes = (
        ClassList.of_masks({"a": (), "b": ()}, (), {}) if multilabel else ClassList.from_names(names, {}, ())
    )
    narrow, wide = (Candidate(width, 1, (32, 32), 3, 4) for width in (8, 64))
    seconds = [init_speed.seconds_of_step(2, classes, one, time.process_time) for one in (narrow, wide)]
    assert 0 < seconds[0] < seconds[1] < 10
    kind, memory = init_speed.device_kind()
    assert kind in ("cpu", "gpu") and (memory is None or memory > 0)


def test_splits_that_cannot_be_made_leave_the_usual_values(tmp_path: Path) -> None:
    FOLDERS["flat with suffixes"].build(tmp_path / "data")
    init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    recipe = load.load(str(tmp_path / "r.yaml"), ("data.splits={train: [nobody]}",))
    fitted = init_fit.fit(recipe, 1.0, "given")
    assert "nothing is fitted" in fitted.remarks[0] and fitted.choices["train.epochs"].value == 20


def test_test_cases_have_no_part_in_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FOLDERS["flat with suffixes"].build(tmp_path / "data")
    read: list[str] = []
    read_case = init_fit.checks.read_case

    def noted(paths: object, *rest: object) -> object:
        read.append(paths.name)  # type: ignore[attr-defined]
        return read_case(paths, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(init_fit.checks, "read_case", noted)
    init.run(tmp_path / "data", tmp_path / "r.yaml", force=False, minutes=0.1)
    monkeypatch.undo()
    trained(tmp_path / "r.yaml", tmp_path / "w")
    rows = files.read_csv(tmp_path / "w/ingest/splits.csv")
    assert sorted(read) == sorted(row["case"] for row in rows if row["role"] == "train")


def test_cases_that_cannot_be_read_leave_the_usual_values(tmp_path: Path) -> None:
    for i, name in enumerate(PATIENTS):
        scan(tmp_path / f"data/images/{name}.nii.gz", i)
        label(tmp_path / f"data/labels/{name}.nii.gz", 1, place=i)
    for path in (tmp_path / "data/images").iterdir():
        path.write_bytes(path.read_bytes()[:-60])
    guess = init.run(tmp_path / "data", tmp_path / "r.yaml", force=False)
    if guess.n_labelled:
        assert "nothing is fitted to the data" in " ".join(guess.remarks)
    assert load.load(str(tmp_path / "r.yaml")).sampling.window == (64, 64)
