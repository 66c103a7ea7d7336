"""Pictures through the stages: what ingest writes, and that scans and pictures are never mixed up."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.commands import check, init, segment, segment_inputs
from pipelines.commands.segment import Settings
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects
from tests.helpers.images import draw, save, stripes, truncate
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save as save_scan

OFF = {"tracking": {"enabled": False}}


def camvid(root: Path, train: int = 3, val: int = 2) -> Path:
    """SegNet's layout with its lists."""
    for part, count in (("train", train), ("val", val)):
        lines = []
        for n in range(count):
            name = f"{part}{n}.png"
            save(root / part / name, draw(n))
            save(root / f"{part}annot" / name, stripes([0, 3, 11]))
            lines.append(f"/SegNet/CamVid/{part}/{name} /SegNet/CamVid/{part}annot/{name}")
        (root / f"{part}.txt").write_text("\n".join(lines))
    return root


def ingest(place: Path, data: Path, section: dict[str, Any]) -> tuple[ExitCode, str]:
    (place / "r.yaml").write_text(yaml.safe_dump({"name": "r", "data": section, **OFF}))
    stream = io.StringIO()
    request = Request(str(place / "r.yaml"), data, place / "work", ())
    return pipeline.run(request, Reporter(stream=stream), only="ingest"), stream.getvalue()


LISTED = {"class_file": "camvid", "splits": "listed"}


def test_ingest_writes_cases_in_order_with_their_listed_roles(tmp_path: Path) -> None:
    assert ingest(tmp_path, camvid(tmp_path / "data"), LISTED)[0] == ExitCode.DONE
    rows = files.read_csv(tmp_path / "work/ingest/cases.csv")
    assert [row["case"] for row in rows] == ["train0", "train1", "train2", "val0", "val1"]
    assert {(row["shape"], row["spacing"], row["unit"]) for row in rows} == {("12 16 1", "1 1 1", "px")}
    roles = {row["case"]: row["role"] for row in files.read_csv(tmp_path / "work/ingest/splits.csv")}
    assert roles == {"train0": "train", "train1": "train", "train2": "train", "val0": "val", "val1": "val"}
    told = files.read_json(tmp_path / "work/ingest/dataset.json")
    assert (told["unit"], told["channels"]) == ("px", ["red", "green", "blue"])


def test_broken_files_are_rows_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = camvid(tmp_path / "data", train=6)
    truncate(root / "train/train0.png")
    save(root / "trainannot/train1.png", stripes([0, 77]))
    (root / "trainannot/train2.png").unlink()
    save(root / "trainannot/train3.png", stripes([0], (12, 15)))
    (root / "train.txt").write_text((root / "train.txt").read_text() + "\n/elsewhere/stranger.png x.png")
    ended, said = ingest(tmp_path, root, LISTED)
    assert ended == ExitCode.SOME_EXCLUDED
    rows = files.read_csv(tmp_path / "work/ingest/quarantine.csv")
    assert {row["case"]: (row["code"], row["file"]) for row in rows} == {
        "train0": ("TRUNCATED", "train/train0.png"),
        "train1": ("LABEL_VALUE_UNKNOWN", "trainannot/train1.png"),
        "train2": ("FILE_MISSING", "train.txt"),
        "train3": ("GRID_MISMATCH", "trainannot/train3.png"),
        "stranger": ("FILE_MISSING", "train.txt"),
    }
    assert "named by the splits but excluded" in said
    roles = {row["case"]: row["role"] for row in files.read_csv(tmp_path / "work/ingest/splits.csv")}
    assert roles == {"train4": "train", "train5": "train", "val0": "val", "val1": "val"}


def test_ingest_gives_the_same_rows_however_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = camvid(tmp_path / "data", train=12)
    truncate(root / "train/train7.png")
    told = []
    for cores in (1, 8):
        (tmp_path / f"p{cores}").mkdir()
        monkeypatch.setattr("pipelines.stages.ingest.most_threads", lambda cores=cores: cores)
        ingest(tmp_path / f"p{cores}", root, LISTED)
        folder = tmp_path / f"p{cores}/work/ingest"
        told.append([(folder / name).read_bytes() for name in ("cases.csv", "quarantine.csv", "splits.csv")])
    assert told[0] == told[1]


def test_a_mask_of_a_folder_that_changed_is_noticed(tmp_path: Path) -> None:
    for case in ("a", "b", "c"):
        save(tmp_path / f"data/{case}/images/{case}.png", draw())
        save(tmp_path / f"data/{case}/masks/1.png", stripes([0, 255]))
    section = {
        "layout": "masks",
        "classes": {0: "background", 255: "nucleus"},
        "splits": {"val": 0.5, "test": 0},
    }
    assert "ingest: done" in ingest(tmp_path, tmp_path / "data", section)[1]
    assert "ingest: done" not in ingest(tmp_path, tmp_path / "data", section)[1]
    save(tmp_path / "data/a/masks/1.png", stripes([0, 9]))
    ended, said = ingest(tmp_path, tmp_path / "data", section)
    assert (ended, "LABEL_VALUE_UNKNOWN" in said) == (ExitCode.SOME_EXCLUDED, True)


def test_a_recipe_of_scans_does_not_see_pictures_beside_them(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=4)
    for n in range(4):
        save(tmp_path / f"data/s{n}/s{n}.png", draw())
        save(tmp_path / f"data/s{n}/s{n}_seg.png", stripes([0, 1]))
    for section in (
        {"channels": {"t1": "{case}/{case}"}, "label": "{case}/{case}_seg"},
        {"layout": "subjects"},
        {},
    ):
        section |= {"classes": {0: "background", 1: "outer", 2: "inner"}}
        ended, said = ingest(tmp_path, tmp_path / "data", section)
        assert (ended, "4 cases usable (4 labelled), 0 excluded" in said) == (ExitCode.DONE, True)
        assert "no pattern" not in said
        assert files.read_json(tmp_path / "work/ingest/dataset.json")["unit"] == "mm"


def test_a_pattern_of_pictures_does_not_see_scans_beside_them(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=3)
    for n in range(3):
        save(tmp_path / f"data/s{n}/s{n}.png", draw())
        save(tmp_path / f"data/s{n}/s{n}_seg.png", stripes([0, 1]))
    section = {
        "channels": {"grey": "{case}/{case}.png"},
        "label": "{case}/{case}_seg",
        "classes": {0: "background", 1: "stripe"},
        "splits": {"train": ["s0"], "val": ["s1"], "test": ["s2"]},
    }
    assert ingest(tmp_path, tmp_path / "data", section)[0] == ExitCode.DONE
    assert files.read_json(tmp_path / "work/ingest/dataset.json")["unit"] == "px"


def test_a_table_that_mixes_scans_and_pictures_sets_the_few_aside(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=3)
    save(tmp_path / "data/odd.png", draw())
    rows = [f"s{n},s{n}/s{n}.nii.gz,s{n}/s{n}_seg.nii.gz" for n in range(3)]
    (tmp_path / "data/t.csv").write_text("case,image,label\n" + "\n".join([*rows, "odd,odd.png,"]) + "\n")
    section = {"layout": "csv", "table": "t.csv", "classes": {0: "background", 1: "outer", 2: "inner"}}
    assert ingest(tmp_path, tmp_path / "data", section)[0] == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "work/ingest/quarantine.csv")
    assert (row["case"], row["code"]) == ("odd", "UNIT_MISMATCH")


def test_a_model_of_scans_leaves_pictures_alone_and_refuses_one_that_is_named(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path], say: Reporter
) -> None:
    save_scan(tmp_path / "in/a.nii.gz", brain)
    picture = save(tmp_path / "in/report.png", draw())
    model = make_model()
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.DONE
    assert [row["case"] for row in files.read_csv(tmp_path / "out/summary.csv")] == ["a"]
    assert segment.run([picture], tmp_path / "out2", Settings(model), say) == ExitCode.NOTHING_USABLE
    (row,) = files.read_csv(tmp_path / "out2/quarantine.csv")
    assert row["code"] == Code.UNIT_MISMATCH


def test_a_model_of_pictures_takes_one_file_for_all_its_colours(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "b_mask.png", "scan.nii.gz"):
        (tmp_path / name).touch()
    colours = describe(channels=("red", "green"), unit="px")
    found = segment_inputs.find_inputs([tmp_path], colours, tmp_path / "out")
    assert {case.task.case: set(case.task.channels) for case in found.cases} == {
        "a": {"red", "green"},
        "b": {"red", "green"},
    }
    assert {path.name for path in found.left_out} == {"b_mask.png", "scan.nii.gz"}


def test_check_reads_pictures_with_and_without_a_recipe(tmp_path: Path) -> None:
    root = camvid(tmp_path / "data")
    truncate(root / "train/train0.png")
    stream = io.StringIO()
    assert check.run(root, None, Reporter(stream=stream)) == ExitCode.SOME_EXCLUDED
    assert "10 files: 9 usable, 1 would be excluded" in stream.getvalue()
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "r", "data": LISTED}))
    assert check.run(root, str(tmp_path / "r.yaml"), Reporter(stream=stream)) == ExitCode.SOME_EXCLUDED
    assert "5 inputs: 4 usable, 1 would be excluded" in stream.getvalue()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedsegError) as caught:
        check.run(tmp_path / "empty", None, Reporter(stream=stream))
    assert caught.value.exit_code == ExitCode.NOTHING_USABLE


def grey(root: Path) -> None:
    for n in range(3):
        save(root / f"image/{n}.png", draw(n)[..., 0])
        save(root / f"label/{n}.png", stripes([0, 255]))


def jpeg_masks(root: Path) -> None:
    for n in range(3):
        save(root / f"images/{n}.jpg", draw(n))
        save(root / f"masks/{n}.jpg", stripes([0] * 8 + [255] * 8))


def objects(root: Path) -> None:
    for case in ("a", "b", "c"):
        save(root / f"{case}/images/{case}.png", draw())
        save(root / f"{case}/masks/1.png", stripes([0, 255]))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (camvid, {"layout": "camvid", "channels": 3, "classes": 11, "form": "values"}),
        (grey, {"layout": "plain", "channels": 1, "classes": 2, "form": "values"}),
        (jpeg_masks, {"layout": "plain", "channels": 3, "classes": 2, "form": 128.0}),
        (objects, {"layout": "masks", "channels": 3, "classes": 2, "form": "values"}),
    ],
)
def test_init_guesses_pictures_so_that_they_are_ingested(
    tmp_path: Path, make: Callable[[Path], Any], expected: dict[str, Any]
) -> None:
    make(tmp_path / "data")
    init.run(tmp_path / "data", tmp_path / "made.yaml", force=False)
    data = load.load(str(tmp_path / "made.yaml")).data
    assert {
        "layout": data.layout,
        "channels": len(data.channels),
        "classes": len(data.classes),
        "form": data.label_form,
    } == expected
    request = Request(str(tmp_path / "made.yaml"), None, tmp_path / "w", ("tracking.enabled=false",))
    assert pipeline.run(request, Reporter(stream=io.StringIO()), only="ingest") == ExitCode.DONE
    rows = files.read_csv(tmp_path / "w/ingest/cases.csv")
    assert {row["labelled"] for row in rows} == {"yes"}


def in_colours(root: Path) -> dict[str, Any]:
    """Colour-coded masks with void; roles by folder."""
    colours = np.array([(255, 0, 255), (255, 0, 0), (0, 0, 0)], np.uint8)
    for n in range(4):
        save(root / f"training/image_2/um_{n}.png", draw(n, (32, 48)))
        save(root / f"training/gt_image_2/um_road_{n}.png", colours[stripes([0, 1, 2], (32, 48))])
    return {
        "class_file": "kitti_road",
        "splits": {"train": ["um_0", "um_1"], "val": ["um_2"], "test": ["um_3"]},
    }


def of_greys(root: Path) -> dict[str, Any]:
    """One mask an object, in greys."""
    for case in "abcd":
        save(root / f"{case}/images/{case}.png", draw(ord(case), (32, 48)))
        for n in range(2):
            save(root / f"{case}/masks/{n}.png", stripes([9, 9, 240, 9] if n else [250, 9, 9, 9], (32, 48)))
    return {
        "layout": "masks",
        "channels": {"grey": "**/{case}/images/*"},
        "label_form": {"above": 128},
        "classes": {0: "background", 1: "object"},
        "splits": {"train": ["a", "b"], "val": ["c"], "test": ["d"]},
    }


@pytest.mark.parametrize(("make", "foreground"), [(in_colours, 512), (of_greys, 768)])
def test_all_stages_on_masks_of_other_forms_than_values(
    tmp_path: Path, make: Callable[[Path], dict[str, Any]], foreground: int
) -> None:
    """Label files are read by their form, what medseg predicted by its values."""
    tree = {
        "name": "r",
        "data": make(tmp_path / "data"),
        "preprocess": {"crop": False, "foreground": "all"},
        "sampling": {"depth": 1, "window": [16, 16]},
        "network": {"name": "usegnet", "keywords": {"width": 2}},
        "train": {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "threads": 1, "precision": "fp32"},
        **OFF,
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    request = Request(str(tmp_path / "r.yaml"), tmp_path / "data", tmp_path / "work", ())
    assert pipeline.run(request, Reporter(stream=io.StringIO())) == ExitCode.DONE
    rows = files.read_csv(tmp_path / "work/evaluation/scores.csv")
    sizes = {row["class"]: float(row["reference_size"]) for row in rows if row["set"] == "test"}
    assert sizes[list(sizes)[-1]] == foreground
    assert (tmp_path / "work/report/report.html").is_file()
    assert "done" not in "".join(
        line for line in again(tmp_path).splitlines() if line.startswith(("ingest", "preprocess", "evaluate"))
    )


def again(place: Path) -> str:
    stream = io.StringIO()
    request = Request(str(place / "r.yaml"), place / "data", place / "work", ())
    pipeline.run(request, Reporter(stream=stream))
    return stream.getvalue()
