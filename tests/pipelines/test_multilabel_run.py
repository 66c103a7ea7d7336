"""Overlapping masks from files to scores: as regions of one label map, and as a file each."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import loading
from medseg.metrics import table
from pipelines import run as pipeline
from pipelines.commands import check, score_folders, segment
from pipelines.commands.segment import Settings
from pipelines.job import STAGES
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects
from tests.pipelines.test_run import OFF, tree

REGIONS = {"whole": [1, 2], "inner": [2]}


def value(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def recipe(**data: Any) -> dict[str, Any]:
    made = tree(loss={"name": "bce_dice"}, predict={"thresholds": {"whole": 0.45}, "confidence_map": True})
    kept = {k: v for k, v in made["data"].items() if k not in data.get("without", ())}
    made["data"] = {**kept, **{k: v for k, v in data.items() if k != "without"}}
    return made


def go(
    place: Path, given: dict[str, Any], *settings: str, work: str = "work", overwrite: bool = False
) -> str:
    (place / "boxes.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    stream = io.StringIO()
    asked = Request(str(place / "boxes.yaml"), place / "data", place / work, (OFF, *settings))
    assert pipeline.run(asked, Reporter(stream=stream), overwrite=overwrite) == ExitCode.DONE
    return stream.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    return tmp_path


def split_labels(place: Path) -> None:
    """Each label map as two masks instead."""
    for path in sorted(place.glob("data/s*/s*_seg.nii.gz")):
        image = nib.load(path)
        for name, values in REGIONS.items():
            mask = np.isin(value(path), values).astype(np.uint8)
            out = path.with_name(path.name.replace("_seg", f"_{name}"))
            nib.Nifti1Image(mask, image.affine).to_filename(out)
        path.unlink()


def test_regions_from_files_to_scores_and_segment_gives_the_same(place: Path) -> None:
    said = go(place, recipe(regions=REGIONS))
    work = place / "work"
    assert "whole" in said
    names = sorted(path.name for path in (work / "predictions").glob("s3*"))
    assert names == ["s3.json", "s3_confidence.nii.gz", "s3_inner.nii.gz", "s3_whole.nii.gz"]
    masks = {name: value(work / f"predictions/s3_{name}.nii.gz") for name in REGIONS}
    assert all(set(np.unique(mask)) <= {0, 1} for mask in masks.values())
    told = files.read_json(work / "predictions/s3.json")
    assert told["sizes"] == {
        name: pytest.approx(mask.sum() * 0.002, abs=1e-4) for name, mask in masks.items()
    }
    rows = table.read(work / "evaluation/scores.csv")
    assert {(r.case, r.class_name) for r in rows} == {(c, n) for c in ("s3", "s4") for n in REGIONS}
    truth = np.isin(value(place / "data/s3/s3_seg.nii.gz"), REGIONS["whole"])
    both = 2 * (truth & (masks["whole"] == 1)).sum() / (truth.sum() + masks["whole"].sum())
    assert next(r.dice for r in rows if (r.case, r.class_name) == ("s3", "whole")) == pytest.approx(both)
    assert list(files.read_json(work / "evaluation/summary.json")["sets"]["test"]["over_masks"]) == [*REGIONS]
    page = (work / "report/report.html").read_text()
    assert "Confusion, test, whole" in page
    assert "whole 0.45, inner 0.5" in page
    assert "folds and planes joined by" not in page
    about = loading.load(work / "model").description
    assert about.mask_thresholds() == {"whole": 0.45, "inner": 0.5}

    ended = segment.run(
        [place / "data/s3/s3.nii.gz"],
        place / "out",
        Settings(work / "model", device="cpu"),
        Reporter(quiet=True),
    )
    assert ended == ExitCode.DONE
    for name in REGIONS:
        theirs = (place / f"out/s3_{name}.nii.gz").read_bytes()
        assert theirs == (work / f"predictions/s3_{name}.nii.gz").read_bytes()
    assert not (place / "out/s3.nii.gz").exists()
    assert [row["name"] for row in files.read_json(place / "out/labels.json")] == [*REGIONS]
    again = io.StringIO()
    segment.run(
        [place / "data/s3/s3.nii.gz"],
        place / "out",
        Settings(work / "model", device="cpu"),
        Reporter(stream=again),
    )
    assert "skipped: s3" in again.getvalue()

    score_mask_folders(place)


def score_mask_folders(place: Path) -> None:
    """Two folders of masks are scored without a recipe."""
    split_labels(place)
    truth = place / "truth"
    truth.mkdir()
    for path in place.glob("data/s3/s3_*.nii.gz"):
        path.rename(truth / path.name)
    predicted = place / "work/predictions"

    def score() -> tuple[ExitCode, list[table.ScoreRow], dict[str, list[str]]]:
        """How it ended, its rows, and case → codes of what was excluded."""
        ended = score_folders.run(truth, predicted, place / "scored", Reporter(quiet=True))
        excluded: dict[str, list[str]] = {}
        for row in files.read_csv(place / "scored/quarantine.csv"):
            excluded.setdefault(row["case"], []).append(row["code"])
        return ended, table.read(place / "scored/scores.csv"), excluded

    ended, ours, excluded = score()
    stage = [r for r in table.read(place / "work/evaluation/scores.csv") if r.case == "s3"]
    assert [(r.subject, r.class_name, r.dice, r.hd95) for r in ours] == [
        ("s3", r.class_name, r.dice, r.hd95) for r in stage
    ]
    assert ended == ExitCode.SOME_EXCLUDED
    assert excluded == {name: ["REFERENCE_MISSING"] for name in ("s4", "s5")}
    told = files.read_json(place / "scored/summary.json")["sets"]["test"]
    assert (told["cases"], list(told["over_masks"])) == (1, [*REGIONS])

    # a mask that was not predicted makes its case a missing one; a truth that lacks one is excluded
    (predicted / "s3_inner.nii.gz").rename(truth / "s9_inner.nii.gz")
    _, ours, excluded = score()
    assert {(r.case, r.dice) for r in ours} == {("s3", 0.0)}
    assert (excluded["s3"], excluded["s9"]) == (["MASK_MISSING"], ["MASK_MISSING"])
    for given in (0, 1):
        with pytest.raises(MedsegError) as refused:
            score_folders.run(
                truth,
                predicted,
                place / "scored",
                Reporter(quiet=True),
                written=score_folders.Written((given,)),
            )
        assert refused.value.code is Code.USAGE


def test_masks_in_files_train_the_same_network_as_their_regions(place: Path) -> None:
    go(place, recipe(regions=REGIONS))
    before = (place / "work/model/fold0.safetensors").read_bytes()
    split_labels(place)
    masks = {name: f"{{case}}/{{case}}_{name}.nii.gz" for name in REGIONS}
    given = recipe(without=("label", "classes"), masks=masks)
    said = go(place, given, work="other")
    assert (place / "other/model/fold0.safetensors").read_bytes() == before
    assert "6 cases usable (5 labelled), 0 excluded" in said
    row = files.read_csv(place / "other/ingest/cases.csv")[0]
    assert list(json.loads(row["label"])) == [*REGIONS]
    for name in ("scores.csv", "confusion.csv"):
        ours, theirs = (place / work / "evaluation" / name for work in ("work", "other"))
        assert ours.read_bytes() == theirs.read_bytes()
    assert go(place, given, work="other").count("up to date") == len(STAGES)

    # a mask's file that is gone sets its case aside
    (place / "data/s2/s2_inner.nii.gz").unlink()
    say = Reporter(stream=(stream := io.StringIO()))
    assert check.run(place / "data", str(place / "boxes.yaml"), say) == ExitCode.SOME_EXCLUDED
    assert "MASK_MISSING: no inner" in stream.getvalue()


def test_every_way_of_predicting_works_mask_by_mask(place: Path) -> None:
    predict = "predict={mode: vote, stride: [8, 8], ensemble: vote}"
    settings = (predict, "sampling.plane=[axial, coronal]", "report.explain=[inner]", "network.name=unetpp")
    go(place, recipe(regions=REGIONS), *settings, "network.keywords={width: 2, depth: 2}")
    assert (place / "work/report/explain_s3_inner.png").is_file()
    told = files.read_json(place / "work/predictions/s3.json")
    assert told["quality_kind"] == "vote share"
    scan = place / "data/s3/s3.nii.gz"
    for mode in ("gaussian", "dense"):
        how = Settings(place / "work/model", mode=mode, device="cpu")
        assert segment.run([scan], place / mode, how, Reporter(quiet=True)) == ExitCode.DONE
        assert len(list((place / mode).glob("s3_*.nii.gz"))) == 2


def test_what_another_kind_of_label_map_left_is_removed(place: Path) -> None:
    go(place, tree())
    assert (place / "work/predictions/s3.nii.gz").is_file()
    go(place, recipe(regions=REGIONS), overwrite=True)
    assert sorted(p.name for p in (place / "work/predictions").glob("s3*.nii.gz")) == [
        "s3_confidence.nii.gz",
        "s3_inner.nii.gz",
        "s3_whole.nii.gz",
    ]
    assert (place / "work/predictions/s3.json").is_file()


def test_masks_of_images_as_greys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(4):
        folder = tmp_path / f"data/i{n}"
        folder.mkdir(parents=True)
        whole = np.zeros((24, 20), np.uint8)
        whole[4:20, 3:17] = 1
        inner = np.zeros_like(whole)
        inner[8:14, 7:12] = 1
        grey = whole * 80 + inner * 80 + rng.integers(0, 20, whole.shape)
        for name, array in {"photo": grey, "whole": whole * 255, "inner": inner * 250}.items():
            Image.fromarray(array.astype(np.uint8)).save(folder / f"{name}.png")
    data = {
        "layout": "patterns",
        "channels": {"grey": "{case}/photo.png"},
        "label_form": {"above": 128},
        "splits": [{"train": ["i0", "i1"], "val": ["i2"], "test": ["i3"]}],
    }
    masks = {name: f"{{case}}/{name}.png" for name in REGIONS}
    given = recipe(without=("label", "classes"), masks=masks, **data)
    given |= {"sampling": {"depth": 1, "window": [16, 16]}, "preprocess": {"crop": False}}
    go(tmp_path, given)
    work = tmp_path / "work"
    for name in REGIONS:
        assert set(np.unique(np.asarray(Image.open(work / f"predictions/i3_{name}.png")))) <= {0, 1}
    told = files.read_json(work / "evaluation/summary.json")["sets"]["test"]
    assert list(told["over_set"]["iou_by_class"]) == [*REGIONS]
    assert (work / "report/report.html").is_file()
