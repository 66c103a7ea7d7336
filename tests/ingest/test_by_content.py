"""Folders read by content: patterns that the words of paths give, whatever the label maps are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.ingest import by_content, freesurfer_names, layouts
from medseg.ingest.looks import Looks
from medseg.ingest.tree import tree_of
from tests.helpers.everyday_folders import PATIENTS, label, scan

ROWS: list[tuple[str, list[str], list[str], dict[str, str], str, int]] = [
    (
        "patients called by name",
        ["{name}/t1.nii", "{name}/t2.nii"],
        ["{name}/final.nii"],
        {"t1": "{case}/t1.nii", "t2": "{case}/t2.nii"},
        "{case}/final.nii",
        5,
    ),
    (
        "a folder for each contrast",
        ["T1/{n}.nii", "FLAIR/{n}.nii"],
        ["drawn/{n}.nii"],
        {"FLAIR": "FLAIR/{case}.nii", "T1": "T1/{case}.nii"},
        "drawn/{case}.nii",
        5,
    ),
    ("contrast before", ["t1_{n}.nii"], ["roi_{n}.nii"], {"t1": "t1_{case}.nii"}, "roi_{case}.nii", 5),
    ("nothing between", ["{n}T1.nii"], ["{n}seg.nii"], {"T1": "{case}T1.nii"}, "{case}seg.nii", 5),
    ("names that say nothing", ["{n}_a.nii"], ["{n}_x.nii"], {"image": "{case}_a.nii"}, "{case}_x.nii", 5),
    (
        "dates that differ",
        ["{n}/2020-01-0{i}/t1.nii"],
        ["masks/{n}.nii"],
        {"t1": "{case}/*/t1.nii"},
        "masks/{case}.nii",
        5,
    ),
    (
        "raters that differ",
        ["{n}/t1.nii"],
        ["{n}/rois/{rater}_final.nii"],
        {"t1": "{case}/t1.nii"},
        "{case}/rois/*_final.nii",
        5,
    ),
    (
        "series numbers",
        ["{n}/00{i}_t1_mprage/{i}.nii", "{n}/01{i}_flair/{i}.nii"],
        ["{n}/mask/lesion_{n}.nii"],
        {"flair": "{case}/*_flair/*.nii", "t1_mprage": "{case}/*_t1_mprage/*.nii"},
        "{case}/mask/lesion_{case}.nii",
        5,
    ),
    (
        "words with spaces",
        ["Patient {i}/MR T1 post.nii", "Patient {i}/MR T1.nii"],
        ["Patient {i}/Kontur.nii"],
        {"T1": "{case}/MR T1.nii", "T1_post": "{case}/MR T1 post.nii"},
        "{case}/Kontur.nii",
        5,
    ),
    (
        "visits before patients",
        ["baseline/{n}_t1.nii", "month6/{n}_t1.nii"],
        ["baseline/{n}_m.nii", "month6/{n}_m.nii"],
        {"t1": "{case}/{subject}_t1.nii"},
        "{case}/{subject}_m.nii",
        5,
    ),
    (
        "sites, patients and visits",
        [f"{site}/0{{i}}/{visit}/t1.nii" for site in ("Oslo", "Bergen") for visit in ("v1", "v2")],
        [f"{site}/0{{i}}/{visit}/les.nii" for site in ("Oslo", "Bergen") for visit in ("v1", "v2")],
        {"t1": "{part}/{subject}/{case}/t1.nii"},
        "{part}/{subject}/{case}/les.nii",
        10,
    ),
    (
        "time points that are called as contrasts",
        ["{n}_T0_flair.nii", "{n}_T1_flair.nii"],
        ["{n}_T0_m.nii", "{n}_T1_m.nii"],
        {"flair": "{subject}_{case}_flair.nii"},
        "{subject}_{case}_m.nii",
        5,
    ),
    (
        "sites, and patients and visits in one name",
        [f"{site}/images/{{n}}_{visit}.nii" for site in ("Oslo", "Bergen") for visit in ("1", "2")],
        [f"{site}/labels/{{n}}_{visit}.nii" for site in ("Oslo", "Bergen") for visit in ("1", "2")],
        {"image": "{part}/images/{subject}_{case}.nii"},
        "{part}/labels/{subject}_{case}.nii",
        10,
    ),
    (
        "numbered folders",
        ["Patient_{i}/Visit_1/t1.nii", "Patient_{i}/Visit_2/t1.nii"],
        ["Patient_{i}/Visit_1/m.nii", "Patient_{i}/Visit_2/m.nii"],
        {"t1": "{subject}/{case}/t1.nii"},
        "{subject}/{case}/m.nii",
        5,
    ),
    (
        "roles",
        ["train/{n}/t1.nii", "test/X{n}/t1.nii"],
        ["train/{n}/m.nii", "test/X{n}/m.nii"],
        {"t1": "{role}/{case}/t1.nii"},
        "{role}/{case}/m.nii",
        10,
    ),
    (
        "runs of bids",
        ["sub-0{i}/anat/sub-0{i}_run-1_T1w.nii", "sub-0{i}/anat/sub-0{i}_run-2_T1w.nii"],
        ["derivatives/m/sub-0{i}/anat/sub-0{i}_dseg.nii"],
        {
            "run-1": "{case}/anat/{case}_run-1_T1w.nii",
            "run-2": "{case}/anat/{case}_run-2_T1w.nii",
        },
        "derivatives/m/{case}/anat/{case}_dseg.nii",
        5,
    ),
    (
        "lesions rather than brains, raw rather than processed",
        ["{n}/flair.nii", "{n}/flair_n4.nii"],
        ["{n}/brain_mask.nii", "{n}/wmh.nii"],
        {"flair": "{case}/flair.nii"},
        "{case}/wmh.nii",
        5,
    ),
]
"""Name, images, label maps, channels, label pattern, subjects."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_patterns_of_everyday_names(tmp_path: Path, row: tuple) -> None:
    _, images, labels, channels, label_pattern, subjects = row
    names = ("anna", "bert", "carl", "dora", "emil")
    for i, (n, name) in enumerate(zip(PATIENTS, names, strict=True)):
        words = {"n": n, "i": i, "name": name, "rater": "CD" if i % 2 else "AB"}
        for path in images:
            scan(tmp_path / path.format(**words), i)
        for path in labels:
            label(tmp_path / path.format(**words), 1, 2, place=i)
    patterns = by_content.read(tree_of(tmp_path).files, Looks(tmp_path)).patterns
    assert patterns is not None
    assert (patterns.channels, patterns.label) == (channels, label_pattern)
    contents = layouts.find(tmp_path, "patterns", patterns.channels, patterns.label)
    assert contents.strays == [] and len(contents.cases) * len(images) >= len(names) * len(channels)
    assert all(case.label for case in contents.cases)
    assert len({case.subject for case in contents.cases}) == subjects


def test_label_maps_in_folders_of_another_depth_are_named_by_an_example(tmp_path: Path) -> None:
    for n in range(1, 6):
        for folder in (f"P{n}", f"P{n}/followup1/new"):
            scan(tmp_path / folder / "T1.nii")
            label(tmp_path / folder / "seg.nii", 1, 2)
    reading = by_content.read(list(tree_of(tmp_path).files), Looks(tmp_path))
    said = " ".join(reading.remarks)
    assert "5 more lie in folders of another depth" in said and "as P1/followup1/new/seg.nii" in said
    assert "{1}" not in said


def test_one_of_freesurfers_volumes_is_the_channel(tmp_path: Path) -> None:
    for n in range(1, 6):
        for name in ("T1", "nu", "orig"):
            scan(tmp_path / f"sub{n}/mri/{name}.nii")
        label(tmp_path / f"sub{n}/mri/aseg.nii", 2, 41)
    reading = by_content.read(list(tree_of(tmp_path).files), Looks(tmp_path))
    assert reading.patterns and reading.patterns.channels == {"image": "{case}/mri/orig.nii"}
    assert not freesurfer_names.is_made_from_another(
        "T1", {name: {frozenset("a"): f"{name}.nii"} for name in ("T1", "orig")}
    )


def test_cases_without_a_label_map_are_cases_too(tmp_path: Path) -> None:
    for i, name in enumerate(PATIENTS):
        scan(tmp_path / f"{name}_t1.nii", i)
    for i, name in enumerate(PATIENTS[:2]):
        label(tmp_path / f"{name}_roi.nii", 1, place=i)
    patterns = by_content.read(tree_of(tmp_path).files, Looks(tmp_path)).patterns
    assert patterns is not None
    contents = layouts.find(tmp_path, "patterns", patterns.channels, patterns.label)
    assert [case.label is not None for case in contents.cases] == [True, True, False, False, False]


def test_a_session_without_a_label_map_is_not_given_its_neighbours(tmp_path: Path) -> None:
    for i, name in enumerate(PATIENTS):
        for session in ("ses-1", "ses-2"):
            scan(tmp_path / name / session / "t1.nii", i)
            if session == "ses-1" or i < 2:
                label(tmp_path / name / session / "m.nii", 1, place=i)
    patterns = by_content.read(tree_of(tmp_path).files, Looks(tmp_path)).patterns
    assert patterns is not None and patterns.label == "{subject}/{case}/m.nii"
    contents = layouts.find(tmp_path, "patterns", patterns.channels, patterns.label)
    assert len(contents.cases) == 10 and sum(case.label is not None for case in contents.cases) == 7


def test_names_of_several_words_beside_names_of_one_are_cases_of_one_pattern(tmp_path: Path) -> None:
    names = ("Müller", "Jäger", "Groß", "Weiß A", "Å Berg")
    for place, name in enumerate(names):
        scan(tmp_path / f"{name} Größe.nii.gz", float(place))
        label(tmp_path / f"{name} Größe Läsion.nii.gz", 1, place=float(place))
    reading = by_content.read(tree_of(tmp_path).files, Looks(tmp_path))
    assert reading.patterns is not None and reading.patterns.label == "{case} Größe Läsion.nii.gz"
    assert reading.remarks == ()
    contents = layouts.find(tmp_path, "patterns", reading.patterns.channels, reading.patterns.label)
    assert sum(case.label is not None for case in contents.cases) == 5
