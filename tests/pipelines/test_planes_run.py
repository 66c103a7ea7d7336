"""Several planes through the recipe: one network for all, or one a plane; trained, used, scored, shown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config import load
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import inferers, loading, predict
from medseg.model import folder as model_folder
from medseg.preprocess import store
from medseg.tracking import store as runs
from pipelines import explanations
from pipelines import run as pipeline
from pipelines.commands import segment
from pipelines.fold.fold import FoldTraining
from pipelines.job import STAGES
from pipelines.run import Request
from pipelines.workfolder import Work
from tests.helpers.box_subjects import make_subjects
from tests.pipelines.test_run import tree

BOTH = ["axial", "sagittal"]
OFF = "tracking.enabled=false"
SEPARATE = "sampling.plane_networks=separate"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    several = {"window": [16, 16], "plane": BOTH}
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree(sampling=several)))
    return tmp_path


def go(place: Path, *settings: str, work: str = "work", fold: str | None = None) -> str:
    """Run the recipe; what was said."""
    return run(place, None, settings, work, fold)


def train(
    place: Path, *settings: str, work: str = "work", fold: str | None = None, overwrite: bool = False
) -> str:
    """Run the recipe up to training; what was said."""
    said = "".join(run(place, stage, settings, work, fold) for stage in STAGES[:2])
    return said + run(place, STAGES[2], settings, work, fold, overwrite=overwrite)


def run(
    place: Path,
    only: str | None,
    settings: tuple[str, ...],
    work: str,
    fold: str | None,
    *,
    overwrite: bool = False,
) -> str:
    stream = io.StringIO()
    request = Request(str(place / "boxes.yaml"), place / "data", place / work, settings, fold)
    say = Reporter(stream=stream)
    assert pipeline.run(request, say, only=only, overwrite=overwrite) == ExitCode.DONE
    return stream.getvalue()


def labels(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def test_one_network_is_trained_on_both_planes_and_used_along_both(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(place, OFF)
    work = Work(place / "work")
    held = model_folder.read(work.model)
    assert ([m.name for m in held.members], held.description.planes) == (["fold0"], ("axial", "sagittal"))
    assert "adjacent slices (2.5D), axial, sagittal" in (work.report / "report.html").read_text()
    recipe = load.load(str(work.recipe))
    training = FoldTraining(recipe, work, 0)
    assert {p.plane for t in range(4) for p in training.batches.sampler.places(t)} == {"axial", "sagittal"}

    # validation is the prediction: the best checkpoint's Dice is that of the model folder along both planes
    case = store.open(work.prepared / "s2")
    made = predict.label(
        case.volume, loading.load(work.model).predictor, inferers.choose_inferer(held.description)
    )
    (row,) = files.read_csv(work.train(0) / "history.csv")
    for index, name in enumerate(("outer", "inner"), 1):
        both = [(np.asarray(array) == index) for array in (case.label, made.labels)]
        dice = 2 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum())
        assert float(row[f"val/dice_{name}"]) == pytest.approx(dice)

    # the command gives the stage's label map, in any mode
    say, scan = Reporter(stream=io.StringIO()), place / "data/s3/s3.nii.gz"
    assert segment.run([scan], place / "out", segment.Settings(work.model), say) == ExitCode.DONE
    np.testing.assert_array_equal(labels(place / "out/s3.nii.gz"), labels(work.predictions / "s3.nii.gz"))
    votes = segment.Settings(work.model, mode="vote", confidence=True)
    assert segment.run([scan], place / "voted", votes, say) == ExitCode.DONE
    assert files.read_json(place / "voted/s3.json")["quality_kind"] == "vote share"
    assert labels(place / "voted/s3_confidence.nii.gz").max() <= 1

    # how planes are joined is no matter of training
    before = (work.train(0) / "best.ckpt").stat().st_mtime_ns
    go(place, OFF, "predict.ensemble=vote")
    assert (work.train(0) / "best.ckpt").stat().st_mtime_ns == before
    assert files.read_json(work.predictions / "s3.json")["quality_kind"] == "vote share"
    titles: list[str] = []
    draw = explanations.gradcam_figure
    monkeypatch.setattr(explanations, "gradcam_figure", lambda t, s: titles.append(t) or draw(t, s))
    pictures = explanations.draw(work, "s3", ["outer"], device="cpu")
    assert pictures["outer"].is_file()
    assert titles[0].endswith("axial plane alone")


def weights(work: Path, name: str) -> bytes:
    return (work / f"model/{name}.safetensors").read_bytes()


def test_a_network_a_plane_is_the_one_of_that_plane_alone(place: Path) -> None:
    said = go(place, OFF, SEPARATE, fold="all")
    assert "fold 1, sagittal: trained" in said
    work = Work(place / "work")
    held = model_folder.read(work.model)
    names = [f"fold{k}_{plane}" for k in (0, 1) for plane in BOTH]
    assert [m.name for m in held.members] == [*held.description.trained] == names
    told = files.read_json(work.predictions / "fold0/s3.json")
    assert told["members"] == ["fold0_axial", "fold0_sagittal"]
    assert files.read_json(work.predictions / "s5.json")["members"] == names
    rows = {(r["fold"], r["case"]) for r in files.read_csv(work.evaluation / "scores.csv")}
    assert rows == {("0", "s3"), ("0", "s4"), ("1", "s0"), ("1", "s1")}
    page = (work.report / "report.html").read_text()
    assert "folds and planes joined by" in page
    assert "mean probability" in page
    assert "Fold 0, axial" in page
    assert "Fold 1, sagittal" in page
    assert explanations.draw(work, "s3", ["inner"], device="cpu")["inner"].is_file()

    train(place, OFF, "sampling.plane=sagittal", work="alone")
    assert weights(place / "alone", "fold0") == weights(place / "work", "fold0_sagittal")

    assert go(place, OFF, SEPARATE, fold="all").count("up to date") == len(STAGES)


def test_only_the_plane_that_was_not_finished_is_trained_again(place: Path) -> None:
    train(place, OFF, SEPARATE)
    work = Work(place / "work")
    axial, sagittal = (work.train(0, plane) / "done.json" for plane in ("axial", "sagittal"))
    before, kept = axial.stat().st_mtime_ns, weights(place / "work", "fold0_sagittal")
    for path in (sagittal, work.model / "model.json"):
        path.unlink()
    train(place, OFF, SEPARATE)
    assert axial.stat().st_mtime_ns == before
    assert weights(place / "work", "fold0_sagittal") == kept

    # other planes: those that stay are not trained anew, what is left over is moved aside
    said = train(place, OFF, SEPARATE, "sampling.plane=[sagittal, coronal]")
    assert "fold 0, coronal: trained" in said
    assert "fold 0, sagittal: trained" not in said
    assert sorted(p.name for p in work.train(0).iterdir()) == ["coronal", "sagittal"]
    assert weights(place / "work", "fold0_sagittal") == kept

    # from a network a plane to one for all, and back
    with pytest.raises(MedsegError) as refused:
        train(place, OFF)
    assert refused.value.code is Code.SETTINGS_CHANGED
    assert "sampling.plane_networks separate → shared" in refused.value.finding.details
    assert "earlier training is kept in" in train(place, OFF, overwrite=True)
    assert not (work.train(0) / "sagittal").exists()
    assert [m.name for m in model_folder.read(work.model).members] == ["fold0"]
    with pytest.raises(MedsegError) as refused:
        train(place, OFF, SEPARATE)
    assert "sampling.plane_networks shared → separate" in refused.value.finding.details
    assert "earlier training is kept in" in train(place, OFF, SEPARATE, overwrite=True)
    assert sorted(p.name for p in (place / "work/train_old").iterdir()) == ["0-1", "0-2", "0_axial-1"]
    assert sorted(p.name for p in work.train(0).iterdir()) == BOTH
    assert weights(place / "work", "fold0_sagittal") == kept


def test_a_fold_whose_planes_are_not_all_finished_is_no_member(place: Path) -> None:
    train(place, OFF, SEPARATE, fold="0")
    work = Work(place / "work")
    (work.train(0, "sagittal") / "done.json").unlink()
    train(place, OFF, SEPARATE, fold="1")
    assert [m.name for m in model_folder.read(work.model).members] == ["fold1_axial", "fold1_sagittal"]


def test_each_planes_training_has_a_run_of_its_own(place: Path) -> None:
    (place / "boxes.yaml").write_text(
        yaml.safe_dump(
            tree(
                sampling={"window": [16, 16], "plane": BOTH, "plane_networks": "separate"},
                data={**tree()["data"], "splits": {"train": ["s0"], "val": ["s1"], "test": ["s2"]}},
            )
        )
    )
    go(place)
    known = files.read_json(place / "work/tracking.json")
    client = runs.client(runs.prepare(place / "work"))
    found = client.search_runs([known["experiment_id"]])
    children = {r.info.run_name: r for r in found if "mlflow.parentRunId" in r.data.tags}
    assert sorted(children) == ["work, fold 0, axial", "work, fold 0, sagittal"]
    for child in children.values():
        assert child.info.status == "FINISHED"
        assert [m.step for m in client.get_metric_history(child.info.run_id, "train/loss")] == [1]
    assert "test_dice_mean" in client.get_run(known["run_id"]).data.metrics
    go(place)
    assert files.read_json(place / "work/tracking.json") == known
