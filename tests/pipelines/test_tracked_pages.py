"""What MLflow's pages of a run are made of; tests/long/test_mlflow_pages.py looks at the pages themselves."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.metrics.table import ScoreRow
from medseg.tracking import experiments, store
from medseg.tracking.tracker import newest_model
from pipelines import registry, tracked_scores, tracked_texts
from pipelines.commands import export
from pipelines.workfolder import Work
from tests.helpers.box_runs import recipe_tree
from tests.helpers.tracked_runs import track


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder named `width-4`, with two epochs of training and two test cases."""
    return track(tmp_path_factory.mktemp("tracked"), "width-4")


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with two folds, whose recipe registers its model, and shares neither host nor images."""
    settings = ("tracking.register_as=boxes", "tracking.host=false", "tracking.overlays=false")
    splits = json.dumps(recipe_tree()["data"]["splits"])
    return track(tmp_path_factory.mktemp("folds"), "folds", f"data.splits={splits}", *settings, fold="all")


def of(work: Path) -> tuple[Any, Any]:
    """A client of a work folder's store, and its run."""
    client = store.client(store.local_uri(work))
    return client, client.get_run(files.read_json(Work(work).tracking)["run_id"])


def test_a_run_is_named_after_its_work_folder_and_its_tags_are_words(work: Path) -> None:
    _, run = of(work)
    assert run.info.run_name == "width-4"
    shown = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert shown.pop("version")
    assert shown == {"recipe": "boxes", "data set": "boxes", "network": "usegnet", "host": platform.node()}


def test_the_link_opens_a_view_whose_columns_the_run_has(work: Path) -> None:
    client, run = of(work)
    page = experiments.runs_page(client)
    assert page.endswith("&viewStateShareKey=scores")
    (experiment,) = client.search_experiments()
    view = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.scores"])["state"])
    shown = {name.split("`")[1] for name in view["selectedColumns"]}
    assert {
        "test_dice_mean",
        "test_hd95_mean",
        "val/dice_mean",
        "train/loss",
    } <= shown & run.data.metrics.keys()
    assert {"network", "data set"} <= shown & run.data.tags.keys()


def test_curves_sort_before_single_numbers_which_are_few_and_have_four_digits(work: Path) -> None:
    client, run = of(work)
    single = {
        key
        for key in run.data.metrics
        if not key.startswith("system/") and len(client.get_metric_history(run.info.run_id, key)) == 1
    }
    assert single == {
        f"test_{name}" for name in ("dice_mean", "hd95_mean", "nsd_mean", "dice_outer", "dice_inner")
    }
    for value in run.data.metrics.values():
        assert value == float(f"{value:.4g}")


def test_the_description_has_the_recipes_sentence_the_means_and_a_table(work: Path) -> None:
    _, run = of(work)
    text = run.data.tags["mlflow.note.content"]
    mean = run.data.metrics["test_dice_mean"]
    assert text.startswith(f"Two boxes, one in the other.\n\n**test**, 2 cases: Dice {mean:.4g}")
    assert "| outer |" in text and "**data**: boxes: t1 → outer, inner" in text


def test_scores_are_a_table_and_overlays_have_the_worst_case_first(work: Path) -> None:
    client, run = of(work)
    place = Path(client.download_artifacts(run.info.run_id, ""))
    rows = files.read_csv(place / "test_scores.csv")
    assert [row["class"] for row in rows] == ["mean (foreground)", "outer", "inner"]
    assert float(rows[0]["dice"]) == run.data.metrics["test_dice_mean"]
    names = sorted(path.name for path in (place / "test_cases").iterdir())
    assert [name.partition("_")[0] for name in names] == ["01", "02"]
    scores = [float(name.split("_")[1]) for name in names]
    assert scores == sorted(scores)


def test_each_step_has_one_image_beside_the_curves_of_validation(work: Path) -> None:
    client, run = of(work)
    names = [Path(entry.path).name for entry in client.list_artifacts(run.info.run_id, "images")]
    full = sorted(name.split("+")[2] for name in names if name.endswith(".png"))
    assert full == ["0", "1", "2"]
    assert all(name.startswith("val~s2+step+") for name in names)


def test_the_model_has_its_card_parameters_and_scores_with_their_data_set(work: Path) -> None:
    client, run = of(work)
    model = client.get_logged_model(newest_model(client, run.info.run_id))
    assert model.tags["mlflow.note.content"] == (work / "model/card.md").read_text()
    assert model.params["network"] == "usegnet"
    assert model.params["classes"] == "background, outer, inner"
    (data,) = run.inputs.dataset_inputs
    measured = {metric.key: metric for metric in model.metrics}
    assert measured["test_dice_mean"].value == run.data.metrics["test_dice_mean"]
    for metric in measured.values():
        assert (metric.dataset_name, metric.dataset_digest) == (data.dataset.name, data.dataset.digest)


def test_folds_have_scores_of_their_own_and_the_parent_their_mean_and_spread(folds: Path) -> None:
    client, parent = of(folds)
    listed = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    by_name = {run.info.run_name: run for run in listed}
    assert by_name.keys() == {"folds, fold 0", "folds, fold 1"}
    assert {run.info.status for run in listed} == {"FINISHED"}
    values = [run.data.metrics["test_dice_mean"] for run in listed]
    assert parent.data.metrics["folds_test_dice_mean"] == pytest.approx(sum(values) / 2, abs=1e-3)
    spread = abs(values[0] - values[1]) / 2**0.5
    assert parent.data.metrics["folds_test_dice_sd"] == pytest.approx(spread, abs=1e-3)
    (data,) = parent.inputs.dataset_inputs
    assert json.loads(data.dataset.profile)["test"] == 4
    assert all(run.data.tags["network"] == "usegnet" for run in listed)


def test_means_of_folds_by_hand() -> None:
    def row(fold: int, dice: float) -> ScoreRow:
        empty = dict.fromkeys(ScoreRow.__dataclass_fields__)
        named = {"fold": fold, "case": f"c{fold}", "subject": f"c{fold}", "role": "test", "class_name": "a"}
        return ScoreRow(
            **{**empty, **named, "length_unit": "mm", "size_unit": "ml", "dice": dice, "note": ""}
        )

    folds = tracked_scores.by_fold([row(0, 0.5), row(1, 0.9)])
    assert folds[0]["test_dice_mean"] == 0.5
    spread = tracked_scores.over_folds(folds)
    assert spread["folds_test_dice_mean"] == pytest.approx(0.7)
    assert spread["folds_test_dice_sd"] == pytest.approx(0.2828, abs=1e-4)
    assert tracked_scores.over_folds({0: folds[0]}) == {}


def test_an_exported_model_is_registered_once_with_an_alias_and_its_card(work: Path, tmp_path: Path) -> None:
    say = Reporter(quiet=True)
    for _ in range(2):
        export.run(work, tmp_path / "out", say, register="boxes", alias="best")
    client, run = of(work)
    (version,) = client.search_model_versions("name='boxes'")
    assert client.get_model_version_by_alias("boxes", "best").version == version.version
    assert version.description == (work / "model/card.md").read_text()
    assert version.run_id == run.info.run_id
    assert files.read_json(tmp_path / "out/model.json") == files.read_json(work / "model/model.json")


@pytest.mark.parametrize(("name", "alias"), [("a/b", "best"), ("", "best"), ("a", "latest"), ("a", "v3")])
def test_names_that_the_registry_refuses_are_refused_in_a_line(work: Path, name: str, alias: str) -> None:
    with pytest.raises(MedsegError) as refused:
        registry.register(Work(work), name, alias)
    assert refused.value.code == Code.USAGE


def test_a_training_that_was_not_tracked_cannot_be_registered(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refused:
        registry.register(Work(tmp_path), "boxes", "best")
    assert refused.value.code == Code.STAGE_MISSING


def test_a_recipe_can_register_and_keep_the_host_to_itself(folds: Path) -> None:
    client, run = of(folds)
    assert client.get_model_version_by_alias("boxes", "current").run_id == run.info.run_id
    assert "host" not in run.data.tags
    assert platform.node() not in json.dumps(run.data.tags)
    listed = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert not {"images", "test_cases"} & listed


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("# schema: x\n# a: b\nname: a\n# later\n", "schema: x\na: b"),
        ("# yaml-language-server: $schema=x\n# one\n#\n# two\n\nname: a\n", "one\n\ntwo"),
        ("name: a\n", ""),
        (
            "# Made by `medseg init '/x/Anna B'`: 5.\n# Read it once, then: medseg run a\n# Note: x\nname: a",
            "",
        ),
        ("# Brains of 2021\n# Made by `medseg init /x`: 5 cases, layout plain.\nname: a\n", "Brains of 2021"),
        ("# from http://anna:secret@host/x\nname: a\n", "from http://host/x"),
    ],
)
def test_the_comment_of_a_recipe_is_the_one_it_begins_with(tmp_path: Path, text: str, comment: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert tracked_texts.header(tmp_path / "a.yaml") == comment


@pytest.mark.parametrize(
    ("description", "comment", "first"),
    [
        ("Own.", "Of the file.", "Own."),
        ("", "Of\nfile", "Of  \nfile"),
        ("", "", "unet on brains: segments csf, gm, wm."),
    ],
)
def test_a_run_is_described_by_the_recipe_its_comment_or_what_it_is(
    description: str, comment: str, first: str
) -> None:
    recipe = load.load("demo", ("data.path=/x/brains", "network.name=unet"))
    recipe = recipe.model_copy(update={"description": description})
    assert tracked_texts.description(recipe, comment).split("\n\n")[0] == first


def test_the_comment_of_a_recipe_for_a_dicom_export_may_name_a_patient_and_is_left_out() -> None:
    recipe = load.load("demo", ("data.path=/x/DOE_JANE", "network.name=unet"))
    data = recipe.data.model_copy(update={"layout": "dicom"})
    recipe = recipe.model_copy(update={"description": "", "data": data})
    text = tracked_texts.description(recipe, "Made by `medseg init /x/DOE_JANE`: 3 cases, layout dicom.")
    assert text.startswith("unet on demo: segments csf, gm, wm.") and "DOE" not in text


@pytest.mark.parametrize(
    ("path", "name"), [("/x/ibsr18", "ibsr18"), ("/x/ibsr18/data", "demo"), ("/x/Subjects", "demo")]
)
def test_a_data_set_is_named_after_a_folder_that_says_something(path: str, name: str) -> None:
    assert tracked_texts.data_name(load.load("demo", (f"data.path={path}",))) == name
