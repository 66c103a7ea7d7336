from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import Code, MedsegError
from medseg.ingest import dataset_json, layouts
from tests.helpers.case_lists import pairs, strays

Touch = Callable[..., Path]


def with_dataset(root: Path, **content: Any) -> Path:
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_decathlon(touch: Touch) -> None:
    root = touch("imagesTr/h_1.nii.gz", "imagesTs/h_2.nii.gz", "labelsTr/h_1.nii.gz")
    with_dataset(root, modality={"0": "MRI"}, labels={"0": "background", "1": "Anterior"})
    guess = layouts.guess(root)
    assert (guess.layout, guess.channels) == ("decathlon", {"MRI": "imagesT*/{case}.nii.gz"})
    assert (guess.label, guess.classes) == ("labelsTr/{case}.nii.gz", {0: "background", 1: "Anterior"})
    assert (guess.n_cases, guess.n_labelled) == (2, 1)


def test_decathlon_with_several_modalities_is_one_file(touch: Touch) -> None:
    root = touch("imagesTr/b_1.nii.gz", "labelsTr/b_1.nii.gz")
    with_dataset(root, modality={"1": "T1w", "0": "FLAIR"})
    (case,) = layouts.find(root).cases
    assert case.channels == dict.fromkeys(["FLAIR", "T1w"], root / "imagesTr/b_1.nii.gz")
    assert list(case.channels) == ["FLAIR", "T1w"]


@pytest.mark.parametrize(
    "content",
    [{"channel_names": {"0": "T1", "1": "T2"}}, {"modality": {"0": "T1", "1": "T2"}}],
    ids=["channel_names", "modality"],
)
def test_numbered_files_are_channels(touch: Touch, content: dict[str, Any]) -> None:
    root = touch("imagesTr/b_1_0000.nii.gz", "imagesTr/b_1_0001.nii.gz", "labelsTr/b_1.nii.gz")
    with_dataset(root, **content, labels={"background": 0, "tumour": 1})
    found = layouts.find(root)
    assert pairs(found, root) == {
        "b_1": (["imagesTr/b_1_0000.nii.gz", "imagesTr/b_1_0001.nii.gz"], "labelsTr/b_1.nii.gz")
    }
    assert list(found.cases[0].channels) == ["T1", "T2"]
    assert layouts.guess(root).classes == {0: "background", 1: "tumour"}


def test_regions_and_the_ignored_label_of_nnunet_are_understood(touch: Touch) -> None:
    labels = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    guess = layouts.guess(with_dataset(touch("imagesTr/a.nii"), labels=labels))
    assert guess.classes == {0: "background", 1: "label_1", 2: "label_2", 3: "enhancing"}
    assert guess.regions == {"whole-tumour": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert guess.void == (4,)
    assert any("whole-tumour" in remark for remark in guess.remarks)
    assert any("4 is ignored" in remark for remark in guess.remarks)


@pytest.mark.parametrize(
    ("labels", "classes", "void"),
    [
        ({"background": 0, "liver": 1, "Ignore": 2}, {0: "background", 1: "liver"}, (2,)),
        ({"0": "background", "1": "liver", "255": "void"}, {0: "background", 1: "liver"}, (255,)),
        ({"background": 0, "liver": [1]}, {0: "background", 1: "liver"}, ()),
        ({"background": 0, "liver": "one"}, None, ()),
        ({"background": 0, "liver": True}, None, ()),
        ({"background": 0, "liver": []}, None, ()),
        ([], None, ()),
    ],
)
def test_forms_of_labels(labels: Any, classes: dict[int, str] | None, void: tuple[int, ...]) -> None:
    read = dataset_json.labels({"labels": labels})
    assert (read.classes, read.void, read.regions) == (classes, void, None)


def test_regions_that_cannot_be_masks_are_told_and_leave_their_values(touch: Touch) -> None:
    labels = {f"r{i}": [i, i + 1] for i in range(1, 10)}
    read = dataset_json.labels({"labels": {"background": 0, **labels}})
    assert read.regions is None and read.classes is not None and len(read.classes) == 11
    assert "cannot be used" in read.remarks[-1]


def test_images_of_nnunet_have_their_channels_in_one_file_or_several(touch: Touch) -> None:
    root = touch("imagesTr/a_0000.png", "imagesTr/b_0000.png", "labelsTr/a.png", "labelsTr/b.png")
    with_dataset(root, channel_names={"0": "R", "1": "G", "2": "B"}, labels={"background": 0, "road": 1})
    guess = layouts.guess(root)
    assert (guess.layout, guess.unit, guess.n_labelled) == ("decathlon", "px", 2)
    assert guess.channels == dict.fromkeys("RGB", "imagesTr/{case}_0000.png")
    assert guess.classes == {0: "background", 1: "road"}


def test_listed_files_that_are_absent_or_elsewhere(touch: Touch) -> None:
    root = touch("imagesTr/a.nii", "more/b.nii", "more/b_l.nii", "labelsTr/a.nii")
    with_dataset(
        root,
        training=[
            {"image": "./imagesTr/a.nii", "label": "./labelsTr/a.nii"},
            {"image": "./more/b.nii", "label": "./more/b_l.nii"},
            {"image": "./imagesTr/c.nii", "label": "./labelsTr/c.nii"},
        ],
        test=["./imagesTs/d.nii"],
    )
    found = layouts.find(root)
    assert pairs(found, root) == {
        "a": (["imagesTr/a.nii"], "labelsTr/a.nii"),
        "b": (["more/b.nii"], "more/b_l.nii"),
    }
    assert strays(found) == [("c", Code.FILE_MISSING), ("d", Code.FILE_MISSING)]
    assert found.ignored == []


def test_files_that_are_not_listed_count_all_the_same(touch: Touch) -> None:
    root = touch("imagesTr/a.nii", "imagesTr/b.nii", "labelsTr/a.nii", "labelsTr/c.nii")
    with_dataset(root, training=[{"image": "./imagesTr/a.nii", "label": "./labelsTr/a.nii"}])
    found = layouts.find(root)
    assert list(pairs(found, root)) == ["a", "b"]
    assert strays(found) == [("c", Code.LABEL_WITHOUT_IMAGE)]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_broken_dataset_json(touch: Touch, text: str) -> None:
    root = touch("imagesTr/a.nii")
    (root / "dataset.json").write_text(text)
    with pytest.raises(MedsegError) as caught:
        layouts.find(root)
    assert caught.value.code is Code.RECIPE_INVALID
    assert caught.value.finding.where.endswith("dataset.json")


@pytest.mark.parametrize(
    "labels",
    [
        {"background": "0", "liver": "1", "ignore": "2"},
        {"background": 0.0, "liver": 1.0, "ignore": 2.0},
        ["background", "liver", "ignore"],
    ],
    ids=["text", "with a point", "list"],
)
def test_numbers_of_labels_may_be_written_otherwise(labels: Any) -> None:
    found = dataset_json.labels({"labels": labels})
    assert (found.classes, found.void) == ({0: "background", 1: "liver"}, (2,))


@pytest.mark.parametrize("labels", [{"background": 0, "liver": [], "x": 1}, {"a": float("nan")}, "liver"])
def test_labels_that_are_not_understood_are_told(labels: Any) -> None:
    found = dataset_json.labels({"labels": labels})
    assert found.classes is None
    assert ["its labels are not understood" in remark for remark in found.remarks] == [True]
    assert dataset_json.labels({}).remarks == ()


@pytest.mark.parametrize(
    ("labels", "regions"),
    [
        ({"0": "background", "1": "lesion", "2": "lesion"}, {"lesion": (1, 2)}),
        ({"background": 0, "a": 1, "b": 1, "c": 2}, {"a": (1,), "b": (1,), "c": (2,)}),
        ({"a b": [1, 2], "a-b": 2}, {"a-b": (1, 2), "a-b-2": (2,)}),
    ],
    ids=["one name", "one value", "one name for files"],
)
def test_no_label_is_lost_where_names_or_values_repeat(labels: Any, regions: Any) -> None:
    assert dataset_json.labels({"labels": labels}).regions == regions


@pytest.mark.parametrize(
    "named",
    [{"T1": 0, "T2": "1"}, ["T1", "T2"], {"1": "T2", "0": "T1"}],
    ids=["by name", "list", "by number"],
)
def test_channels_by_name_or_in_a_list(named: Any) -> None:
    assert dataset_json.modalities({"channel_names": named}) == ["T1", "T2"]


@pytest.mark.parametrize("named", ["T1", {"T1": "T2"}, {"T1": 0, "T2": 0}, 7])
def test_channels_without_numbers_are_refused(named: Any) -> None:
    with pytest.raises(MedsegError, match="number the channels") as caught:
        dataset_json.modalities({"channel_names": named})
    assert caught.value.finding.code == Code.RECIPE_INVALID


@pytest.mark.parametrize("content", [5, "a.nii", [5], {"image": "a.nii"}])
def test_lists_of_cases_that_are_none_are_refused(touch: Touch, content: Any) -> None:
    root = with_dataset(touch("imagesTr/a.nii"), training=content)
    with pytest.raises(MedsegError, match="training: ") as caught:
        layouts.find(root)
    assert caught.value.finding.code == Code.RECIPE_INVALID
