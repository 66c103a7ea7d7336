from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.files import write_csv, write_json
from medseg.metrics import compare, folder_pairs, table
from medseg.metrics.table import ScoreRow


def row(case: str, class_name: str, dice: float | None, role: str = "test") -> ScoreRow:
    return ScoreRow(
        fold=0,
        case=case,
        subject=case,
        role=role,
        class_name=class_name,
        dice=dice,
        iou=None,
        precision=None,
        recall=None,
        hd95=None,
        assd=None,
        nsd=None,
        length_unit="mm",
        size=1.0,
        reference_size=1.0,
        size_unit="ml",
        size_error_percent=None,
    )


def work(folder: Path, rows: list[ScoreRow]) -> Path:
    table.write(folder / "evaluation" / "scores.csv", rows)
    return folder


FIRST = [row("a", "GM", 0.5), row("a", "WM", 0.6), row("b", "GM", 0.7), row("b", "WM", None)]
OTHER = [row("a", "GM", 0.6), row("a", "WM", 0.9), row("b", "GM", 0.7), row("b", "WM", 0.8)]


def test_paired_differences_by_hand(tmp_path: Path):
    found = compare.compare([work(tmp_path / "w1", FIRST), work(tmp_path / "w2", OTHER)]).differences
    by_class = {d.class_name: d for d in found}
    assert [d.metric for d in found] == ["dice"] * 3  # what nobody has is not compared
    assert by_class["GM"].difference == pytest.approx(0.05)
    assert (by_class["GM"].mean_first, by_class["GM"].mean_other) == pytest.approx((0.6, 0.65))
    assert (by_class["GM"].pairs, by_class["GM"].unpaired) == (2, 0)
    assert by_class["WM"].difference == pytest.approx(0.3)
    assert (by_class["WM"].pairs, by_class["WM"].unpaired) == (1, 1)
    assert by_class[compare.MEAN].unpaired == 0  # both have GM of both cases
    # Case b is compared by GM alone, which both have: (0.2 + 0.0) / 2.
    assert by_class[compare.MEAN].difference == pytest.approx(0.1)
    assert (by_class["GM"].first, by_class["GM"].other, by_class["GM"].ci95) == ("w1", "w2", None)


def test_cases_of_one_folder_alone_are_counted_once_over_classes():
    classes = ("GM", "WM", "CSF")
    first = [row(f"c{i}", name, 0.5) for i in range(10) for name in classes]
    other = [row(f"d{i}" if i > 6 else f"c{i}", name, 0.5) for i in range(9) for name in classes]
    found = {d.class_name: d for d in compare.differences(("x", first), ("y", other))}
    assert {name: (d.pairs, d.unpaired) for name, d in found.items()} == {
        **dict.fromkeys(classes, (7, 5)),  # c7 to c9 of the first, d7 and d8 of the other
        compare.MEAN: (7, 5),
    }


def test_a_missed_class_is_paired_by_its_penalised_distance():
    first = [replace(row("a", "GM", 0.9), hd95=2.0, hd95_penalised=2.0),
             replace(row("b", "GM", 0.0), hd95_penalised=80.0)]  # fmt: skip
    other = [replace(r, hd95=4.0, hd95_penalised=4.0) for r in first]
    found = {d.metric: d for d in compare.differences(("x", first), ("y", other)) if d.class_name == "GM"}
    assert (found["hd95"].pairs, found["hd95"].unpaired, found["hd95"].difference) == (1, 1, 2.0)
    penalised = found["hd95_penalised"]
    assert (penalised.pairs, penalised.unpaired, penalised.difference) == (2, 0, pytest.approx(-37.0))


def test_a_class_named_as_the_mean_row_keeps_its_own_values():
    first = [row("a", compare.MEAN, 0.5), row("a", "WM", 0.7)]
    found = compare.differences(("x", first), ("y", first))
    assert [(d.class_name, d.mean_first) for d in found] == [
        (compare.MEAN, 0.5),
        ("WM", 0.7),
        (compare.MEAN, pytest.approx(0.6)),
    ]


def test_five_subjects_give_an_interval():
    first = [row(f"c{i}", "GM", 0.5 + i / 100) for i in range(6)]
    other = [replace(r, dice=r.dice + 0.1 + i / 1000) for i, r in enumerate(first) if r.dice is not None]
    found = compare.differences(("x", first), ("y", other))[0]
    assert found.ci95 is not None
    low, high = found.ci95
    assert 0.1 <= low < found.difference < high <= 0.105


def test_only_the_named_roles_are_paired(tmp_path: Path):
    rows = [row("a", "GM", 0.5), row("b", "GM", 0.1, role="val")]
    folders = [work(tmp_path / name, rows) for name in ("w1", "w2")]
    assert {d.pairs for d in compare.compare(folders).differences} == {1}
    both = compare.compare(folders, roles=("test", "val")).differences
    assert [d.role for d in both if d.class_name == "GM"] == ["test", "val"]


def test_every_further_folder_is_held_against_the_first(tmp_path: Path):
    folders = [work(tmp_path / name, FIRST) for name in ("w1", "w2", "w3")]
    found = compare.compare(folders).differences
    assert {(d.first, d.other) for d in found} == {("w1", "w2"), ("w1", "w3")}
    assert {d.difference for d in found} == {0.0}


def test_equal_names_are_told_apart_by_their_paths(tmp_path: Path):
    folders = [work(tmp_path / name / "run", FIRST) for name in ("x", "y")]
    assert [c.folder for c in compare.compare(folders).costs] == [str(folder) for folder in folders]


def test_costs_are_read_where_they_stand(tmp_path: Path):
    write_csv(tmp_path / "train" / "0" / "history.csv", ("epoch", "seconds"), [
        {"epoch": 0, "seconds": 2.0}, {"epoch": 1, "seconds": 4.0},
    ])  # fmt: skip
    write_json(tmp_path / "predictions" / "a.json", {"seconds": {"read": 1.0, "predict": 3.0}})
    write_json(tmp_path / "predictions" / "fold1" / "b.json", {"seconds": {"read": 2.0, "predict": 4.0}})
    write_json(tmp_path / "predictions" / "labels.json", [{"value": 0}])
    write_json(tmp_path / "model" / "model.json", {"parameters": 3_483_652})
    assert compare.cost(tmp_path, "w") == compare.Cost("w", 2, 3.0, 5.0, 3_483_652)


def test_an_empty_folder_has_no_costs(tmp_path: Path):
    assert compare.cost(tmp_path, "w") == compare.Cost("w", None, None, None, None)


def test_one_folder_is_refused(tmp_path: Path):
    with pytest.raises(MedsegError) as refusal:
        compare.compare([tmp_path])
    assert refusal.value.code is Code.USAGE


def test_a_folder_without_scores_is_refused(tmp_path: Path):
    with pytest.raises(MedsegError) as refusal:
        compare.compare([work(tmp_path / "w1", FIRST), tmp_path / "w2"])
    assert refusal.value.code is Code.PATH_MISSING
    (tmp_path / "w2").mkdir()
    with pytest.raises(MedsegError) as refusal:
        compare.compare([work(tmp_path / "w1", FIRST), tmp_path / "w2"])
    assert refusal.value.code is Code.STAGE_MISSING
    assert "w2" in refusal.value.finding.where


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_matched_by_case(tmp_path: Path):
    truth, guess = tmp_path / "truth", tmp_path / "guess"
    touch(truth / "a" / "a.nii.gz", truth / "a" / "a_seg.nii.gz", truth / "b_label.nii", truth / "c.mha")
    touch(truth / "notes.txt", truth / ".hidden.nii.gz")
    touch(
        guess / "a.nii.gz",
        guess / "a_confidence.nii.gz",
        guess / "a_probabilities.nii.gz",
        guess / "a_figure.png",
        guess / "a.json",
        guess / "c.nii.gz",
        guess / "d.nii",
    )
    pairs, extra = folder_pairs.folder_pairs(truth, guess)
    assert pairs == [
        folder_pairs.Pair("a", truth / "a" / "a_seg.nii.gz", guess / "a.nii.gz"),
        folder_pairs.Pair("b", truth / "b_label.nii", None),
        folder_pairs.Pair("c", truth / "c.mha", guess / "c.nii.gz"),
    ]
    assert extra == {"d": guess / "d.nii"}


def test_a_file_belongs_to_the_longest_mask_that_its_name_ends_with(tmp_path: Path):
    names = ("core", "whole_core")
    touch(tmp_path / "a_core.nii.gz", tmp_path / "a_whole_core.nii.gz", tmp_path / "b_whole_core_seg.nii.gz")
    pairs, _ = folder_pairs.mask_pairs(tmp_path, tmp_path, names)
    assert {pair.case: sorted(pair.truth) for pair in pairs} == {
        "a": ["core", "whole_core"],
        "b": ["whole_core"],
    }


def test_masks_are_gathered_by_case(tmp_path: Path):
    truth, guess = tmp_path / "truth", tmp_path / "guess"
    touch(truth / "a_b_whole.nii.gz", truth / "x" / "a_b_lesion_seg.nii.gz", truth / "stray_seg.nii.gz")
    touch(
        guess / "a_b_whole.nii", guess / "a_b_confidence.nii", guess / "c_whole.nii", guess / "c_lesion.nii"
    )
    pairs, extra = folder_pairs.mask_pairs(truth, guess, ("whole", "lesion"))
    reference = {"whole": truth / "a_b_whole.nii.gz", "lesion": truth / "x" / "a_b_lesion_seg.nii.gz"}
    assert pairs == [
        folder_pairs.Pair("a_b", reference, {"whole": guess / "a_b_whole.nii"}),
        folder_pairs.Pair("stray", {"": truth / "stray_seg.nii.gz"}, None),
    ]
    assert extra == {"c": guess / "c_lesion.nii"}
    touch(guess / "x" / "c_whole.mha")
    with pytest.raises(MedsegError) as refusal:
        folder_pairs.mask_pairs(truth, guess, ("whole", "lesion"))
    assert refusal.value.code is Code.DUPLICATE_CASE
    with pytest.raises(MedsegError) as refusal:
        folder_pairs.mask_pairs(tmp_path / "guess" / "x" / "none", guess, ("whole",))
    assert refusal.value.code is Code.PATH_MISSING
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedsegError) as refusal:
        folder_pairs.mask_pairs(tmp_path / "empty", truth, ())
    assert refusal.value.code is Code.NOTHING_USABLE


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nhdr", ".mgz", ".PNG", ".tiff", ".bmp"])
def test_a_label_map_has_any_suffix_that_is_read(tmp_path: Path, suffix: str):
    touch(tmp_path / "truth" / f"a{suffix}", tmp_path / "guess" / f"a{suffix}")
    pairs, extra = folder_pairs.folder_pairs(tmp_path / "truth", tmp_path / "guess")
    assert [(p.case, p.prediction) for p in pairs] == [("a", tmp_path / "guess" / f"a{suffix}")]
    assert not extra


def test_a_photograph_beside_its_mask_and_a_folder_are_no_label_maps(tmp_path: Path):
    touch(
        tmp_path / "truth" / "a.png", tmp_path / "truth" / "a.jpg", tmp_path / "truth" / "b.nii" / "b.nii.gz"
    )
    pairs, _ = folder_pairs.folder_pairs(tmp_path / "truth", tmp_path / "truth")
    assert [p.case for p in pairs] == ["a", "b"]
    assert pairs[1].truth == tmp_path / "truth" / "b.nii" / "b.nii.gz"


def test_names_are_compared_in_one_form_of_unicode(tmp_path: Path):
    composed, decomposed = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    touch(tmp_path / "truth" / f"{composed}.nii", tmp_path / "guess" / f"{decomposed}.nii")
    pairs, extra = folder_pairs.folder_pairs(tmp_path / "truth", tmp_path / "guess")
    assert [p.case for p in pairs] == [composed] and pairs[0].prediction is not None
    assert not extra


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ((), Code.NOTHING_USABLE),
        (("a.nii", "a.nii.gz"), Code.DUPLICATE_CASE),
        (("a_seg.nii", "x/a_label.nii"), Code.DUPLICATE_CASE),
    ],
)
def test_folders_that_cannot_be_matched_are_refused(tmp_path: Path, names, code):
    (tmp_path / "truth").mkdir()
    (tmp_path / "guess").mkdir()
    touch(*(tmp_path / "truth" / name for name in names))
    with pytest.raises(MedsegError) as refusal:
        folder_pairs.folder_pairs(tmp_path / "truth", tmp_path / "guess")
    assert refusal.value.code is code


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(MedsegError) as refusal:
        folder_pairs.folder_pairs(tmp_path / "nowhere", tmp_path)
    assert refusal.value.code is Code.PATH_MISSING
