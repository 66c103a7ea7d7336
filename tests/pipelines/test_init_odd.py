"""`medseg init` on folders that are odd in a way of their own: what ingest finds with the recipe."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.ingest.layouts import Guess
from pipelines import run as pipeline
from pipelines.commands import init
from pipelines.run import Request
from tests.helpers.everyday_folders import Folder, label, scan
from tests.helpers.known_sets import KNOWN
from tests.helpers.lone_folders import LONE
from tests.helpers.odd_folders import MASKS, ODD, roles_by_number
from tests.helpers.usual_troubles import TROUBLES
from tests.helpers.worldly_folders import WORLDLY

ALL = ODD | LONE | KNOWN | TROUBLES | WORLDLY


def made(root: Path, meant: Folder) -> tuple[Guess, Recipe, list[dict[str, str]]]:
    root.mkdir()
    meant.build(root)
    out = root.parent / "made.yaml"
    guess = init.run(root, out, force=False, minutes=0.1)
    request = Request(str(out), None, root.parent / "work", ("tracking.enabled=false", "data.splits.val=0"))
    if load.load(str(out)).data.splits == "listed" or meant.subjects == 1:
        request = Request(str(out), None, root.parent / "work", ("tracking.enabled=false",))
    ended = pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest")
    assert ended == ExitCode.DONE, files.read_csv(root.parent / "work/ingest/quarantine.csv")
    return guess, load.load(str(out)), files.read_csv(root.parent / "work/ingest/cases.csv")


@pytest.mark.parametrize("name", ALL)
def test_channels_labels_subjects_and_classes_are_its_owners(name: str, tmp_path: Path) -> None:
    meant = ALL[name]
    _, recipe, rows = made(tmp_path / "data", meant)
    assert set(recipe.data.channels) == meant.channels
    assert (len(rows), sum(row["labelled"] == "yes" for row in rows)) == (meant.cases, meant.labelled)
    assert len({row["subject"] for row in rows}) == meant.subjects
    assert {value: spec.name for value, spec in recipe.data.classes.items()} == meant.classes
    assert ("train" in name) == (recipe.data.splits == "listed")


@pytest.mark.parametrize("name", MASKS)
def test_structures_of_any_value_are_masks(name: str, tmp_path: Path) -> None:
    meant, names, above = MASKS[name]
    _, recipe, rows = made(tmp_path / "data", meant)
    assert tuple(recipe.data.masks) == names and set(recipe.data.channels) == meant.channels
    assert recipe.data.label_form == ("values" if above is None else above)
    assert len(rows) == meant.cases and all(row["labelled"] == "yes" for row in rows)


def test_what_could_be_sessions_or_subjects_is_told(tmp_path: Path) -> None:
    said = " ".join(made(tmp_path / "data", LONE["dates alone"])[0].remarks)
    assert "look like sessions of one subject, data" in said and "leave out data.subject" in said
    tmp_path.joinpath("one").mkdir()
    said = " ".join(made(tmp_path / "one/data", LONE["one site"])[0].remarks)
    assert "001, 002 and 1 more are taken for subjects; if they are sessions of Oslo, write {subject}" in said


def test_another_raters_label_maps_are_ignored_by_name(tmp_path: Path) -> None:
    guess, recipe, _ = made(tmp_path / "data", ODD["two raters beside the scans"])
    assert recipe.data.ignore == ("*-raterB.*",) and guess.n_other == 5
    assert "but there are also {case}-raterB (5 cases)" in " ".join(guess.remarks)


def test_copies_in_train_and_val_stay_duplicates(tmp_path: Path) -> None:
    roles_by_number(tmp_path / "data")
    for i in range(2):
        original = (tmp_path / f"data/train/images/{i}.jpg").read_bytes()
        (tmp_path / f"data/val/images/{i}.jpg").write_bytes(original)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert guess.n_cases == 2
    assert re.search(r"2 cases .* DUPLICATE_CASE", " ".join(guess.remarks))


@pytest.mark.parametrize("n_labels", [1, 3])
def test_files_that_nothing_pairs_give_a_skeleton_that_says_what_to_do(tmp_path: Path, n_labels: int) -> None:
    for i in range(3):
        scan(tmp_path / f"data/A/{i}.nii.gz", i)
    for i in range(n_labels):
        label(tmp_path / f"data/B/{i + 100}.nii.gz", 1, place=i)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False)
    advice = "name the folder above" if n_labels == 1 else "list them in a table"
    assert guess.n_labelled == 0 and advice in " ".join(guess.remarks)


def test_numbers_that_could_pair_in_two_ways_give_a_skeleton(tmp_path: Path) -> None:
    for place in range(1, 5):
        for number in (1, 2, 3):
            scan(tmp_path / f"data/{place}/{number}.nii.gz", place)
            label(tmp_path / f"data/{place}/{number + 3}.nii.gz", 1, place=place)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False)
    assert guess.n_labelled == 0 and "12 images and 12 label maps" in " ".join(guess.remarks)


def test_structures_that_all_share_voxels_give_a_skeleton_with_the_reason(tmp_path: Path) -> None:
    for place in range(4):
        scan(tmp_path / f"data/P{place}/ct.nii.gz", place)
        for name in ("GTV", "CTV", "Cord", "Parotid", "Chiasm", "Mandible", "Larynx", "Lens"):
            label(tmp_path / f"data/P{place}/structures/{name}.nii.gz", 1, place=place)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    text = (tmp_path / "made.yaml").read_text()
    assert guess.n_labelled == 0 and "no label map can be used as it is" in text
    assert "SEGMENTS_OVERLAP" in text and "data.overlap: later" in text


def test_parts_of_a_segmentation_and_visits_as_channels_are_told(tmp_path: Path) -> None:
    for place in range(4):
        for visit in ("v1", "v2"):
            scan(tmp_path / f"data/P{place}/{visit}/t1.nii.gz", place)
        for lesion in range(1 + place % 2):
            label(tmp_path / f"data/P{place}/roi_{lesion + 1}.nii.gz", 1, place=place)
    said = " ".join(init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1).remarks)
    assert "t1_v1, t1_v2 seem to be one contrast at several visits" in said
    assert "may be parts of one segmentation" in said
