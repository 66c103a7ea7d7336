"""`medseg benchmark`: published tables beside measured figures, and scores from runs and files of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg import files, networks
from medseg.config import load
from medseg.errors import ExitCode
from pipelines import saved_recipe
from pipelines.commands import benchmark_runs, benchmark_tables
from pipelines.commands.benchmark_text import PUBLISHED, PUBLISHED_ONLY
from pipelines.workfolder import Work
from tests.helpers.commands import run_command

TABLES = {"fcn-1", "segnet-1", "segnet-3", "unetpp-3", "unetpp-fig3", "usegnet-1"}


def printed(words: list[Any], capfd: Any, monkeypatch: Any) -> dict[str, Any]:
    ended = run_command(["benchmark", *words, "--json", "--quiet"], capfd, monkeypatch)
    assert ended.code == ExitCode.DONE, ended.text
    tree: dict[str, Any] = json.loads(ended.text)
    return tree


def rows_of(tree: dict[str, Any], table: str = "") -> dict[tuple[str, str], dict[str, Any]]:
    """(network, from) → the row of a table."""
    (found,) = [t for t in tree["tables"] if t["name"] == table or not table]
    return {(row["network"], row["from"]): row for row in found["rows"]}


def test_every_row_has_a_network_that_builds_and_its_keys_are_keywords() -> None:
    tables = benchmark_tables.tables()
    assert set(tables) == TABLES
    for table in tables.values():
        for row in table.rows:
            assert row.published.keys() <= {
                *("parameters", "conv_layers", "receptive_field", "max_stride", "storage_multiplier"),
                *("forward_ms", "relative_time", *table.scores),
            }
            if row.network is not None:
                known = networks.keywords_of(row.network)
                assert row.keywords.keys() <= known.keys()
                assert row.only.keys() <= {*known, benchmark_tables.CRF, "learned"}
                assert row.fits(row.network, row.keywords, crf=row.only.get("crf", False))


def test_counts_stand_beside_the_printed_ones(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_of(printed(["--table", "fcn-1", "--seconds", 0], capfd, monkeypatch))
    for network in ("FCN-AlexNet", "FCN-VGG16", "FCN-GoogLeNet"):
        here, paper = rows[network, "here"], rows[network, PUBLISHED]
        for column in ("conv_layers", "receptive_field", "max_stride"):
            assert here[column] == paper[column]
        assert round(here["parameters"]) == paper["parameters"]
        assert here["mIoU"] == here["forward_ms"] == PUBLISHED_ONLY


def test_a_network_is_timed_and_has_memory_layer_by_layer(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "tables.md"
    words = ["ibsr18_usegnet", "--seconds", 0.01, "-o", out]
    tree = printed(words, capfd, monkeypatch)
    row = rows_of(tree)["ibsr18_usegnet", "here"]
    assert row["forward_ms"] > 0 and row["frames_per_second"] == pytest.approx(1000 / row["forward_ms"])
    paper = rows_of(tree)["ibsr18_usegnet", "U-SegNet Table 1: U-SegNet"]
    assert paper["weighted Dice"] == 89.64
    layers = tree["tables"][0]["layers"]["ibsr18_usegnet"]
    assert sum(layer["mib"] for layer in layers) == pytest.approx(row["all_layers_mib"])
    assert "memory per layer" in out.read_text() and "| 3.484 |" in out.read_text()


def work_folder(root: Path, recipe: str, *settings: str) -> Work:
    """A scored work folder of a recipe, with made-up numbers over its set of images, and of a kept step."""
    work = Work(root)
    saved_recipe.save(load.load(recipe, [*settings, "data.path=/nowhere"]), work)
    over_set = {"G": 0.9, "C": 0.8, "mIoU": 0.7, "BF": 0.6}
    files.write_json(
        work.evaluation / "summary.json", {"sets": {"test": {"classes": {}, "over_set": over_set}}}
    )
    return work


def test_runs_give_the_scores_of_the_rows_that_they_belong_to(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = work_folder(tmp_path / "work/full", "camvid_segnet_basic", "network.keywords={decoder: single}")
    files.write_json(full.model / "model.json", {"parameters": 625_803})
    narrow = work_folder(tmp_path / "work/narrow", "camvid_segnet_basic", "network.keywords={width: 8}")
    files.write_json(narrow.model / "model.json", {"parameters": 99})
    monkeypatch.chdir(tmp_path)  # ./work is where runs are looked for
    rows = rows_of(printed(["--table", "segnet-1", "--seconds", 0], capfd, monkeypatch))
    assert rows["SegNet-Basic-SingleChannelDecoder", "here: full"]["BF"] == 60
    assert rows["SegNet-Basic", "here"]["BF"] == PUBLISHED_ONLY
    assert (rows["SegNet-Basic", "narrow"]["G"], rows["SegNet-Basic", "narrow"]["parameters"]) == (90, 99e-6)
    assert ("FCN-Basic", "narrow") not in rows


def test_kept_steps_and_a_crf_choose_the_row(tmp_path: Path) -> None:
    table = benchmark_tables.tables()["segnet-3"]
    plain = work_folder(tmp_path / "a", "camvid_segnet_basic", "network.name=deeplab_largefov")
    numbers = files.read_json(plain.evaluation / "summary.json")
    files.write_json(plain.evaluation / "steps.json", {"40000": numbers, "7": numbers})
    crf = work_folder(
        tmp_path / "b", "camvid_segnet_basic", "network.name=deeplab_largefov", "predict.crf={}"
    )
    names = [
        row and row.name
        for work in (plain, crf)
        for run in benchmark_runs.find([work.root])
        for row in [run.row_in(table)]
    ]
    expected = ["DeepLab-LargeFOV, 140K", "DeepLab-LargeFOV, 40K", None, "DeepLab-LargeFOV-denseCRF, 140K"]
    assert names == expected


def test_rows_of_the_results_page_and_levels_are_read(tmp_path: Path) -> None:
    dice = {name: {"dice": {"mean": value}} for name, value in (("csf", 0.1), ("gm", 0.7), ("wm", 0.8))}
    scores = {"classes": dice, "over_set": {"size_weighted_dice": 0.75}}
    row = {"row": "paper_fcm", "scores": scores, "recipe": {"name": "ibsr18_usegnet_quick"}}
    files.write_json(tmp_path / "paper_fcm.json", row)
    of_set = {"classes": {"nucleus": {}}, "over_set": {"iou_by_class": {"background": 1.0, "nucleus": 0.8}}}
    levels = [
        {"level": 2, "parameters": 5, "scores": of_set},
        {"level": None, "parameters": 6, "scores": of_set},
    ]
    tree = {"recipe": "dsb2018_unetpp_quick", "network": "unetpp", "levels": levels}
    files.write_json(tmp_path / "levels.json", tree)
    level, whole, fcm = benchmark_runs.find([tmp_path])
    tables = benchmark_tables.tables()
    found = fcm.row_in(tables["usegnet-1"])
    assert found is not None and found.name == "fuzzy c-means"
    assert fcm.cells(tables["usegnet-1"])["Dice gm"] == pytest.approx(70)
    assert fcm.cells(tables["usegnet-1"])["weighted Dice"] == pytest.approx(75)
    found = level.row_in(tables["unetpp-fig3"])
    assert found is not None and found.name == "UNet++ L2"
    assert level.row_in(tables["unetpp-3"]) is None
    found = whole.row_in(tables["unetpp-3"])
    assert found is not None and found.name == "UNet++ with deep supervision"
    assert level.cells(tables["unetpp-fig3"]) == {"IoU nuclei": pytest.approx(80), "Dice brain": None}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--table", "segnet1"], "did you mean segnet-1"),
        (["--scores", "nowhere"], "no such file or folder"),
        (["--scores", "."], "no scores of test cases here"),
        (["ibsr18_usegnt"], "did you mean ibsr18_usegnet"),
        (["demo", "--table", "fcn-1"], "recipes have a table of their own"),
        (["--device", "cuda:99"], "there is no 'cuda:99'"),
        (["--seconds", "-1"], "--seconds"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(
    words: list[object],
    answer: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run_command(["benchmark", *words], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE and answer in " ".join(ended.text.split())
