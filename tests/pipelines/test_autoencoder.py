"""An auto-encoder in whole runs: scans without labels, a model that only starts others, exact resumes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import loading
from medseg.model import folder as model_folder
from medseg.patches.slabs import read_slab, slices
from pipelines.commands import compare, dry_run, export
from pipelines.fold import reconstruction
from pipelines.fold.data import PreparedCases
from pipelines.fold.fold import FoldTraining
from pipelines.fold.reconstruction import Tally
from pipelines.run import Request
from pipelines.stages import train
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go, recipe_tree
from tests.helpers.box_subjects import make_subjects

SHAPE = {"width": 2, "depth": 2}
PARTS = {
    "data": {
        "layout": "patterns",
        "channels": {"t1": "{case}/{case}.nii.gz"},
        "splits": {"train": ["s0", "s1", "s4"], "val": ["s2", "s5"]},
    },
    "network": {"name": "autoencoder", "keywords": SHAPE},
    "loss": {"name": "reconstruction"},
    "train": {
        **TRAIN,
        "epochs": 3,
        "steps_per_epoch": 4,
        "lr": 0.01,
        "precision": "fp32",
        "augment": {"flip": ["left_right"], "rotate_degrees": 10, "noise": 0.1, "coarse_dropout": 0.3},
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subjects, the last three without labels, and the work folder of an auto-encoder of them."""
    place = tmp_path_factory.mktemp("auto")
    make_subjects(place / "data", labelled=3, unlabelled=3)
    ended, said = go(place / "data", place / "work", parts=PARTS)
    assert ended == ExitCode.DONE
    (place / "said.txt").write_text(said)
    return place


def test_a_run_ends_with_its_training_and_says_what_comes_next(place: Path) -> None:
    said, work = (place / "said.txt").read_text(), place / "work"
    assert "6 cases usable (0 labelled)" in said
    assert "cases in no role: s3" in said and "labelled cases in no role" not in said
    assert "explained_variance" in said and "Dice" not in said
    assert said.rstrip().endswith(f"--set network.init_from={work / 'model'}")
    assert not (work / "predictions").exists() and not (work / "report").exists()
    assert {path.name for path in (work / "prepared").iterdir() if path.is_dir()} == {
        *("s0", "s1", "s2", "s4", "s5")
    }
    ended, said = go(place / "data", work, parts=PARTS)
    assert ended == ExitCode.DONE and "train: up to date" in said


def test_the_best_weights_have_the_lowest_loss_on_whole_held_out_scans(place: Path) -> None:
    rows = files.read_csv(place / "work/train/0/history.csv")
    losses = [float(row["val/loss"]) for row in rows]
    explained = [float(row["val/explained_variance"]) for row in rows]
    assert np.argsort(losses).tolist() == np.argsort(explained)[::-1].tolist()
    best = max(n for n, row in enumerate(rows) if row["is_best"] == "1")
    assert losses[best] == min(losses)
    # The same loss by hand, from the exported weights
    training = training_in(place / "work")
    network = model_folder.load_network(place / "work/model", "fold0")[1]
    differences = []
    for case in training.cases.validation:
        for index in range(slices(case.volume.grid.shape, "axial")):
            slab = torch.from_numpy(read_slab(case.volume, "axial", index, 3))
            with torch.inference_mode():
                padded = torch.nn.functional.pad(slab[None], (0, 0, 0, -slab.shape[1] % 4), "reflect")
                output = network(padded)[0, :, : slab.shape[1], : slab.shape[2]]
            differences.append((output - slab).square())
    assert {case.name for case in training.cases.validation} == {"s2", "s5"}
    by_hand = torch.cat([part.flatten() for part in differences]).double().mean().item()
    assert losses[best] == pytest.approx(by_hand, rel=1e-4)


def test_a_figure_shows_the_input_beside_its_reconstruction(place: Path) -> None:
    with Image.open(place / "work/train/0/overlay.png") as figure:
        assert figure.width > 2 * figure.height


def training_in(work: Path, **parts: Any) -> FoldTraining:
    from medseg.config.recipe import Recipe

    recipe = Recipe.model_validate(recipe_tree(**{**PARTS, **parts}))
    return FoldTraining(recipe, Work(work), 0, prepared=PreparedCases(Work(work)))


def test_an_interrupted_training_goes_on_to_the_same_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = train._report

    def stop(*arguments: Any) -> None:
        report(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "_report", stop)
        with pytest.raises(KeyboardInterrupt):
            go(place / "data", place / "again", parts=PARTS)
    assert len(files.read_csv(place / "again/train/0/history.csv")) == 1
    _, said = go(place / "data", place / "again", parts=PARTS)
    assert "going on from the last checkpoint" in said
    one, other = (load_file(place / work / "model/fold0.safetensors") for work in ("work", "again"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_unet_starts_from_the_encoder(place: Path) -> None:
    network = {"name": "unet", "keywords": SHAPE, "init_from": str(place / "work/model")}
    folds = {"train": ["s0"], "val": ["s1"], "test": ["s2"]}
    data = {**recipe_tree()["data"], "splits": folds}
    for stage in ("ingest", "preprocess", "train"):
        unet = {"network": network, "data": data}
        ended, said = go(place / "data", place / "unet", parts=unet, only=stage)
        assert ended == ExitCode.DONE
    assert "(encoders 28, bottom 14)" in said
    used = files.read_json(place / "unet/train/0/initial_weights.json")["used"]
    assert used and all(name.startswith(("encoders.", "bottom.")) for name in used)


@pytest.mark.parametrize(
    ("label", "splits"),
    [
        ("{case}/{case}_seg.nii.gz", {"val": 0.3, "test": 0.2}),
        (None, "all"),
    ],
)
def test_labels_are_not_looked_at_and_any_split_will_do(
    place: Path, tmp_path: Path, label: str | None, splits: Any
) -> None:
    classes = recipe_tree()["data"]["classes"]
    data = {**PARTS["data"], "splits": splits, "label": label, "classes": classes}
    planes = {"plane": ["axial", "coronal"], "depth": 1, "window": [16, 16]}
    parts = {**PARTS, "data": data, "sampling": planes, "train": {**TRAIN, "draw_from": "device"}}
    (tmp_path / "run").mkdir()
    ended, said = go(place / "data", tmp_path / "run/work", parts=parts)
    assert ended == ExitCode.DONE
    rows = files.read_csv(tmp_path / "run/work/ingest/splits.csv")
    assert len(rows) == 6 and all(row["role"] != "unlabelled" for row in rows)
    assert ("every case is trained on" in said) == (splits == "all")


def test_cases_get_other_roles_when_a_segmentations_recipe_becomes_an_auto_encoders(
    place: Path, tmp_path: Path
) -> None:
    data = {**recipe_tree()["data"], "splits": "all"}
    roles = []
    for parts in ({"data": data}, {**PARTS, "data": data}):
        go(place / "data", tmp_path / "work", parts=parts, only="ingest")
        roles.append([row["role"] for row in files.read_csv(tmp_path / "work/ingest/splits.csv")])
    assert roles == [["train"] * 3 + ["unlabelled"] * 3, ["train"] * 6]


def test_the_model_segments_nothing(place: Path, tmp_path: Path, say: Reporter) -> None:
    folder = place / "work/model"
    with pytest.raises(MedsegError) as loaded:
        loading.load(folder)
    with pytest.raises(MedsegError) as exported:
        export.run(place / "work", tmp_path / "out", say)
    with pytest.raises(MedsegError) as compared:
        compare.run([place / "work"], ["dice"], "test", None)
    for refused in (loaded, exported, compared):
        assert refused.value.code is Code.SEGMENTS_NOTHING
        assert "network.init_from" in refused.value.finding.how_to_fix
    card = (folder / "card.md").read_text()
    assert "segments nothing" in card and "medseg segment" not in card


@pytest.mark.parametrize("stage", ["predict", "evaluate", "report"])
def test_later_stages_are_refused_before_anything_is_written(place: Path, tmp_path: Path, stage: str) -> None:
    with pytest.raises(MedsegError) as refused:
        go(place / "data", tmp_path / "work", parts=PARTS, only=stage)
    assert refused.value.code is Code.SEGMENTS_NOTHING
    assert not (tmp_path / "work").exists()


def test_a_dry_run_plans_no_prediction(place: Path) -> None:
    go(place / "data", place / "work", parts=PARTS)
    request = Request(str(place / "boxes.yaml"), place / "data", place / "dry")
    stream = io.StringIO()
    assert dry_run.run(request, Reporter(stream=stream, results=stream)) == ExitCode.DONE
    said = stream.getvalue()
    assert "an auto-encoder looks at no label" in said and "prediction by" not in said


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), parts=st.integers(1, 4), spread=st.floats(0.1, 10), mean=st.floats(-100, 100)
)
def test_sums_of_parts_are_the_loss_and_variance_of_all(
    seed: int, parts: int, spread: float, mean: float
) -> None:
    generator = np.random.default_rng(seed)
    values, outputs = generator.normal(mean, spread, (2, parts, 3, 5)).astype(np.float32)
    tally = Tally()
    for value, output in zip(values, outputs, strict=True):
        tally.add(value, output)
    exact = values.astype(np.float64)
    loss = ((exact - outputs) ** 2).mean()
    assert tally.loss == pytest.approx(loss)
    assert tally.explained == pytest.approx(1 - loss / exact.var(), rel=1e-6)


def test_scans_of_one_value_explain_nothing() -> None:
    tally = Tally()
    tally.add(np.ones((1, 2, 2)), np.zeros((1, 2, 2)))
    assert tally.loss == 1
    assert np.isnan(tally.explained)
    assert reconstruction.EXPLAINED == "explained_variance"
