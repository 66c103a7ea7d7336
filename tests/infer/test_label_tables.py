from __future__ import annotations

from pathlib import Path

from medseg.classes import ClassList
from medseg.infer import label_tables, results
from medseg.ingest import class_names

CLASSES = ClassList.from_names({0: "background", 1: "left lung", 7: 'so-called "node"'}, {1: (255, 0, 9)})


def test_itk_snap_reads_value_colour_visibility_and_name() -> None:
    assert label_tables.itk_snap(CLASSES).splitlines()[1:3] == [
        '0 0 0 0 0 0 0 "background"',
        '1 255 0 9 1 1 1 "left lung"',
    ]


def test_slicer_reads_names_without_spaces() -> None:
    assert label_tables.slicer(CLASSES).splitlines()[1:3] == [
        "0 background 0 0 0 0",
        "1 left_lung 255 0 9 255",
    ]


def test_both_lie_beside_labels_json_and_name_the_values_again(tmp_path: Path) -> None:
    results.write_label_names(tmp_path, CLASSES)
    tables = {t.path: t.names for t in class_names.tables(tmp_path, (p.name for p in tmp_path.iterdir()))}
    assert tables["labels.json"][7] == 'so-called "node"'
    assert tables[label_tables.ITK_SNAP][1] == tables["labels.json"][1] == "left lung"
    assert tables[label_tables.SLICER][1] == "left_lung"


def test_overlapping_masks_have_no_table() -> None:
    assert label_tables.tables(ClassList.of_masks({"whole": [1, 2], "core": [2]})) == {}
