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
from pipelines.commands.init_reading import Given
from pipelines.run import Request
from tests.helpers.everyday_folders import Folder, label, scan
from tests.helpers.known_sets import KNOWN
from tests.helpers.lone_folders import LONE
from tests.helpers.odd_folders import MASKS, ODD, roles_by_number
from tests.helpers.usual_troubles import TROUBLES
from tests.helpers.varied_folders import VARIED, placed
from tests.helpers.worldly_folders import WORLDLY

ALL = ODD | LONE | KNOWN | TROUBLES | WORLDLY | VARIED


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


def lesions(root: Path, *, are_apart: bool) -> None:
    """Write three patients with a file for each of one to three lesions, or the same lesion several times."""
    for place in range(3):
        scan(root / f"P{place}/flair.nii.gz", place)
        for number in range(1, 2 + place):
            values = (0,) * number if are_apart else (0,)
            label(root / f"P{place}/roi_{number}.nii.gz", *values, 1, place=place)


def test_a_file_for_each_lesion_gives_a_skeleton_and_files_of_raters_do_not(tmp_path: Path) -> None:
    lesions(tmp_path / "data", are_apart=True)
    out = tmp_path / "made.yaml"
    guess = init.run(tmp_path / "data", out, force=False, minutes=0.1)
    said = " ".join(guess.remarks)
    assert guess.n_labelled == 0 and "# NOT COMPLETE" in out.read_text()
    assert "*/roi_1, */roi_2, */roi_* differ in a number alone and share no voxel" in said
    assert "Merge those of a case into one file" in said
    one = init.run(tmp_path / "data", out, force=True, given=Given({}, "*roi_1*"), minutes=0.1)
    assert one.n_labelled == 3 and one.label == "{case}/roi_1.nii.gz"
    lesions(tmp_path / "raters", are_apart=False)
    guess = init.run(tmp_path / "raters", out, force=True, minutes=0.1)
    assert guess.n_labelled == 3 and "there are also {case}/roi_2 (2 cases)" in " ".join(guess.remarks)


def test_visits_as_channels_are_told(tmp_path: Path) -> None:
    for place in range(4):
        for visit in ("v1", "v2"):
            scan(tmp_path / f"data/P{place}/{visit}/t1.nii.gz", place)
        label(tmp_path / f"data/P{place}/roi.nii.gz", 1, place=place)
    said = " ".join(init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1).remarks)
    assert "t1_v1, t1_v2 seem to be one contrast at several visits" in said


def test_numbers_above_persons_may_be_sites_or_visits(tmp_path: Path) -> None:
    names = [(str(number), f"P{person:02}") for number in (1, 2) for person in range(1, 4)]
    placed(names, ("{0}/{1}/t1.nii.gz",), "{0}/{1}/seg.nii.gz")(tmp_path / "data")
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert "1, 2 are taken for sites, each with subjects P01, P02" in " ".join(guess.remarks)


def test_label_maps_of_another_word_than_a_role_are_told(tmp_path: Path) -> None:
    names = [("train", "1"), ("train", "2"), ("train", "3"), ("dev_in", "1"), ("eval_in", "1")]
    write = placed(names, ("{0}/t1/{1}_T1.nii.gz", "{0}/t2/{1}_T2.nii.gz"), "{0}/gt/{1}_gt.nii.gz")
    write(tmp_path / "data")
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert guess.n_labelled == 3
    assert "2 more lie in folders of another depth, or with another word" in " ".join(guess.remarks)


def test_label_maps_that_the_pattern_takes_are_not_called_further_ones(tmp_path: Path) -> None:
    names = [(folder, str(number)) for folder in ("train", "dev_in") for number in (1, 2, 3)]
    placed(names, ("{0}/t1/{1}_T1.nii.gz",), "{0}/gt/{1}_gt.nii.gz")(tmp_path / "data")
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert guess.n_labelled == 6 and "more lie" not in " ".join(guess.remarks)


@pytest.mark.parametrize(
    ("image", "mask"), [("{0}/a{0}.nii.gz", "{0}/b{1}.nii.gz"), ("{0}/{2}.nii.gz", "{0}/{1}.nii.gz")]
)
def test_names_that_no_pattern_tells_apart_give_a_skeleton_that_says_so(
    tmp_path: Path, image: str, mask: str
) -> None:
    names = [(str(number), str(number + 7), str(number + 1)) for number in range(1, 6)]
    placed(names, (image,), mask)(tmp_path / "data")
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    said = " ".join(guess.remarks)
    assert "another reading" not in said
    if image != "{0}/a{0}.nii.gz":
        assert guess.n_labelled == 0 and "no word in their names tells images from label maps" in said


def test_numbers_that_fit_two_images_pair_with_none(tmp_path: Path) -> None:
    for number in range(1, 4):
        scan(tmp_path / f"data/images/{number}.nii.gz", number)
        scan(tmp_path / f"data/images/{number:02}.nii.gz", number + 8)
        label(tmp_path / f"data/labels/{number:03}.nii.gz", 1, place=number)
    guess = init.run(tmp_path / "data", tmp_path / "made.yaml", force=False, minutes=0.1)
    assert guess.n_labelled == 0 and "no label map is called as one image alone" in " ".join(guess.remarks)
