from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.classes import ClassList
from medseg.ingest import class_names

FILES = {
    "labels.tsv": "index\tname\tabbreviation\n0\tbackground\tBG\n1\tliver\tL\n2\tleft kidney\tLK\n",
    "structures.csv": "Name,LabelValue,Color_R\nliver,1,255\nleft kidney,2,0\n",
    "FreeSurferColorLUT.txt": "#No. Name: RGBA\n0 Unknown 0 0 0 0\n1 liver 1 2 3 0\n2 left kidney 4 5 6 0\n",
    "itk.label": '# IDX R G B A VIS MSH LABEL\n0 0 0 0 0 0 0 "Clear Label"\n1 9 0 0 1 1 1 "liver"\n'
    '2 0 9 0 0.5 1 0 "left kidney"\n',
    "colours.ctbl": "# Color table\n1 liver 128 174 128 255\n2 left kidney 241 214 145 255\n",
    "dataset.json": json.dumps({"labels": {"background": 0, "liver": 1, "left kidney": 2}}),
    "labels.json": json.dumps([{"value": 1, "name": "liver"}, {"value": 2, "name": "left kidney"}]),
    "label_names.json": json.dumps({"1": "liver", "2": "left kidney"}),
    "classes.txt": "1: liver\n2: left kidney\n",
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_names_the_values(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    (table,) = class_names.tables(tmp_path, [name])
    assert (table.names[1], table.names[2]) == ("liver", "left kidney")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("participants.tsv", "participant_id\tage\nsub-1\t7\n"),
        ("patients.csv", "id,name\n1,Anna Huber\n"),
        ("list.csv", "id,name\n1,Anna Huber\n"),
        ("README.txt", "1 is the number of\n2 people\n"),
        ("scan.json", json.dumps({"EchoTime": 1})),
        ("values.csv", "1,2,3\n4,5,6\n"),
        ("labels.tsv", "index\tname\nx\tliver\n"),
        ("broken.json", "{"),
    ],
)
def test_other_files_name_nothing(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert class_names.tables(tmp_path, [name]) == []


def test_the_table_that_names_most_values_counts_and_others_are_named() -> None:
    tables = [
        class_names.Table("a/labels.tsv", {1: "x"}),
        class_names.Table("b/lut.txt", {1: "liver", 2: "spleen"}),
        class_names.Table("c/lut.txt", {8: "eye"}),
    ]
    table, remarks = class_names.best(tables, [0, 1, 2, 3], "b/{case}.nii")
    assert table is tables[1]
    assert remarks == (
        "b/lut.txt names no value 3",
        "names of classes come from b/lut.txt; a/labels.tsv gives others",
    )
    assert class_names.best(tables, [5], "b/{case}.nii") == (None, ())


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("{case}/{case}_lesion_mask.nii.gz", "lesion"),
        ("{case}_brainmask.nii.gz", "brain"),
        ("derivatives/x9/{subject}/anat/{subject}_{case}_label-tumor_mask.nii.gz", "tumor"),
        ("labels/liver/{case}.nii.gz", "liver"),
        ("{case}_manual_final.nii.gz", None),
        ("{case}/rois/*_final.nii.gz", None),
        ("{case}_T1w_seg.nii.gz", None),
        ("hippocampus_left/{case}_gt.nii.gz", "hippocampus_left"),
        ("study/{case}_seg.nii.gz", None),
        ("{case}_lesionmask.nii.gz", "lesion"),
        ("ManualMask/leftMask/{case}.png", "leftMask"),
        ("{case}_seg_JM.nii.gz", None),
        ("{case}_seg_WM.nii.gz", "WM"),
        ("{case}/маска.nii.gz", None),
        ("{case}/maska guza.nii.gz", "guza"),
    ],
)
def test_the_name_of_a_single_class_is_in_its_files_names(label: str, name: str | None) -> None:
    assert class_names.of_file_name(label, ["study/{case}_t1.nii.gz"]) == name


def test_freesurfers_values_are_known_where_the_files_are_freesurfers() -> None:
    names = class_names.of_values([2, 17, 53], "{case}/mri/aseg.mgz")
    assert names == {2: "Left-Cerebral-White-Matter", 17: "Left-Hippocampus", 53: "Right-Hippocampus"}
    assert class_names.of_values([2, 17, 53], "{case}/seg.mgz") is None
    assert class_names.of_values([1, 6, 9], "{case}/aseg.mgz") is None


def test_names_are_such_as_class_lists_take() -> None:
    names = {0: "background", 1: "mean", 2: "Liver", 3: "liver", 4: "a\tb ", 5: "", 6: "Background"}
    usable = class_names.usable(names)
    assert usable == {
        0: "background",
        1: "mean_1",
        2: "Liver_2",
        3: "liver_3",
        4: "a b",
        5: "label_5",
        6: "Background_6",
    }
    assert len(ClassList.from_names(usable)) == 7
