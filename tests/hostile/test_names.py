"""Hostile names at every place where a name from an input becomes part of a path."""

from __future__ import annotations

import ast
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg.classes import ClassListError
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import results
from medseg.ingest import dataset_json, identity, layouts, tables
from medseg.io.dicom.series import read_export
from medseg.model import folder as model_folder
from medseg.networks.weights import download
from pipelines.commands import convert
from tests.helpers.dicom_files import write_series
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "../evil", "../../evil", "..", ".", "/etc/evil", "a/b", "a\\b", "..\\evil", "a\nb", "\x1b[31mred", "\x7f",
    ".hidden", " a", "a ", "x" * 300, "left\u202etfel", "a\u2028b",
]  # fmt: skip
REFUSED = {Code.NAME_INVALID, Code.RECIPE_INVALID, Code.NOT_A_MODEL}


def of_csv_case(name: str, root: Path) -> Any:
    save(root / "a.nii", np.zeros((3, 3, 3), np.int16))
    (root / "cases.csv").write_text(f'case,image\n"{name}",a.nii\n', encoding="utf-8", newline="")
    return tables.find(root, "cases.csv").strays[0]


def of_csv_path(name: str, root: Path) -> Any:
    (root.parent / "evil").write_bytes(b"")
    (root / "cases.csv").write_text(f'image,case\n"../{name}",a\n', encoding="utf-8", newline="")
    return tables.find(root, "cases.csv").strays[0]


def of_dataset_entry(name: str, root: Path) -> Any:
    save(root / "imagesTr/a.nii", np.zeros((3, 3, 3), np.int16))
    save(root / "labelsTr/a.nii", np.zeros((3, 3, 3), np.int16))
    tree = {"labels": {"0": "background", "1": "b"}, "training": [{"image": f"imagesTr/{name}/.."}]}
    (root / "dataset.json").write_text(json.dumps(tree))
    return layouts.find(root, "decathlon").strays[0]


def of_dataset_channel(name: str, root: Path) -> Any:
    return dataset_json.modalities({"modality": {"0": name}})


def of_pattern(name: str, root: Path) -> Any:
    return identity.name_of(identity.Identity(None, None, name), subject_in_name=False, where=root)


def of_result(name: str, root: Path) -> Any:
    return results.label_map(root, name, "mm")


def of_member_written(name: str, root: Path) -> Any:
    model_folder.export(root / "model", {name: {}}, describe())


def of_recipe(change: Callable[[dict[str, Any], str], None]) -> Callable[[str, Path], Any]:
    def entry(name: str, root: Path) -> Any:
        tree = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
        change(tree, name)
        (root / "recipe.yaml").write_text(yaml.safe_dump(tree))
        load.load(str(root / "recipe.yaml"))

    return entry


def of_model(change: Callable[[dict[str, Any], str], None]) -> Callable[[str, Path], Any]:
    def entry(name: str, root: Path) -> Any:
        member = {"name": "fold0", "file": "fold0.safetensors", "sha256": "0" * 64}
        description = describe().model_dump(mode="json")
        tree = {"format": 1, "parameters": 1, "members": [member], "description": description}
        change(tree, name)
        (root / "model.json").write_text(json.dumps(tree))
        model_folder.read(root)

    return entry


def of_weights(name: str, root: Path) -> Any:
    from urllib.parse import quote

    return download.place(f"https://host/{quote(name, safe='')}", root)


def masks_of(tree: dict[str, Any], name: str) -> None:
    tree["data"] = {
        "path": ".",
        "layout": "patterns",
        "channels": {"t1": "{case}.nii"},
        "masks": {name: "{case}_a.nii"},
    }


ENTRIES: dict[str, Callable[[str, Path], Any]] = {
    "case of a table": of_csv_case,
    "path in a table": of_csv_path,
    "case of a dataset.json": of_dataset_entry,
    "channel of a dataset.json": of_dataset_channel,
    "case of a pattern": of_pattern,
    "case of a result": of_result,
    "member that is written": of_member_written,
    "name of a recipe": of_recipe(lambda tree, name: tree.update(name=name)),
    "channel of a recipe": of_recipe(lambda tree, name: tree["data"].update(channels={name: "{case}.nii"})),
    "mask of a recipe": of_recipe(masks_of),
    "name of a model": of_model(lambda tree, name: tree["description"].update(name=name)),
    "channel of a model": of_model(lambda tree, name: tree["description"].update(channels=[name])),
    "member of a model": of_model(lambda tree, name: tree["members"][0].update(name=name)),
    "file of a model": of_model(lambda tree, name: tree["members"][0].update(file=name)),
    "file of weights": of_weights,
}
LAST_PART_COUNTS = {"file of weights"}
"""Places that take the last part of a path and check that: a slash before it does no harm."""


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("place", ENTRIES)
def test_a_hostile_name_is_refused(place: str, name: str, tmp_path: Path) -> None:
    root = tmp_path / "in" / "data"
    root.mkdir(parents=True)
    if place in LAST_PART_COUNTS and ("/" in name or name == "."):
        assert ENTRIES[place](name, root).parent == root
        return
    try:
        result = ENTRIES[place](name, root)
    except MedsegError as error:
        problems = [getattr(p, "code", None) for p in getattr(error, "problems", (error.finding,))]
        assert REFUSED & set(problems), problems
        assert str(error).isprintable()
    except ClassListError as error:
        assert error.part == "classes"
    else:
        assert getattr(result, "code", None) in {*REFUSED, Code.FILE_MISSING}
        assert result.code is not Code.FILE_MISSING or place == "path in a table"
    assert not (tmp_path / "in" / "evil").exists() or place == "path in a table"


def test_entries_of_archives_never_become_paths(tmp_path: Path) -> None:
    pixels, out = np.arange(60, dtype=np.uint16).reshape(5, 4, 3), tmp_path / "out"
    slices = write_series(tmp_path / "slices", pixels, np.eye(4))
    archive = tmp_path / "in" / "export.zip"
    archive.parent.mkdir()
    names = ["../../evil", "/etc/evil", "C:\\evil\n<script>"]
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in zip(names, slices, strict=True):
            file.write(path, name)
    assert read_export(archive.parent).volumes[0].grid is not None
    say = Reporter(stream=io.StringIO(), results=io.StringIO(), log=out / "medseg.log")
    assert convert.run([archive.parent], out, convert.Settings(), say) == ExitCode.DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "slices"]
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))


def test_a_file_whose_name_is_no_utf8_is_listed_and_does_not_stop_the_others(tmp_path: Path) -> None:
    from medseg import files

    name = os.fsdecode(b"bad\xff.nii")
    files.write_csv(tmp_path / "a.csv", ["file"], [{"file": name}])
    files.write_json(tmp_path / "a.json", {"file": name})
    assert files.read_csv(tmp_path / "a.csv") == [{"file": "bad\\udcff.nii"}]
    assert files.read_json(tmp_path / "a.json") == {"file": name}


JOINS = {
    "medseg/config/class_file.py": 1,  # a bare word, by is_path: no folder, no suffix
    "medseg/config/load.py": 1,  # the same
    "medseg/files.py": 1,  # a number, beside a file that has its name
    "medseg/infer/results.py": 1,  # check_name
    "medseg/ingest/dicom_labels.py": 1,  # a pseudonym, and a word of ours
    "medseg/io/dicom/dicomweb.py": 1,  # a hash
    "medseg/model/folder.py": 1,  # check_name
    "medseg/preprocess/store.py": 3,  # check_name of each
    "medseg/report/viewer.py": 1,  # check_name
    "medseg/synth/folder.py": 2,  # numbers
    "pipelines/case_overlays.py": 1,  # a number, and a case of ingest, by check_name
    "medseg/tracking/empty_store.py": 1,  # a version and a hash
    "pipelines/commands/convert.py": 1,  # check_name of a pseudonym
    "pipelines/commands/export.py": 1,  # a member, by check_name in model.json
    "pipelines/commands/export_graphs.py": 2,  # the same
    "pipelines/commands/segment_inputs.py": 1,  # a constant
    "pipelines/commands/segment_tables.py": 1,  # numbers
    "pipelines/explanations.py": 2,  # percent-escaped
    "pipelines/fold/best_weights.py": 1,  # a member, made by medseg
    "pipelines/fold/whole_volumes.py": 1,  # a constant
    "pipelines/stages/train.py": 1,  # a member, made by medseg
    "pipelines/workfolder.py": 4,  # numbers
}
"""Files that make a path of a folder and a formatted name, how often, and what makes the name harmless."""


def test_every_place_that_makes_a_path_of_a_name_is_known() -> None:
    joins: Counter[str] = Counter()
    for path in (*(ROOT / "medseg").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.BinOp)
                and isinstance(node.op, ast.Div)
                and isinstance(node.right, ast.JoinedStr)
            ):
                joins[path.relative_to(ROOT).as_posix()] += 1
    assert dict(joins) == JOINS, (
        "a new place: pass its name through medseg.names.check_name, and list it here"
    )
