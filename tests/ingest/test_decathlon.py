from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import Code, MedsegError
from medseg.ingest import layouts
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


def test_labels_as_regions_are_not_guessed(touch: Touch) -> None:
    root = with_dataset(touch("imagesTr/a.nii"), labels={"background": 0, "whole": [1, 2]})
    assert layouts.guess(root).classes is None


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
