"""What comes beside the network, through whole runs: dense CRF, Grad-CAM, fuzzy c-means."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import files
from medseg.config.load import RecipeError
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import loading
from medseg.metrics import compare
from medseg.model.description import CRFSettings
from pipelines import explanations
from pipelines import run as pipeline
from pipelines.commands import baseline, segment
from pipelines.commands.segment import Settings
from pipelines.run import Request
from pipelines.workfolder import Work
from tests.helpers.box_subjects import make_subjects
from tests.pipelines.test_run import OFF, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_subjects(tmp_path / "data", labelled=5, unlabelled=1)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    return tmp_path


def request(place: Path, *settings: str, work: str = "work", fold: str | None = None) -> Request:
    return Request(str(place / "boxes.yaml"), place / "data", place / work, settings, fold)


def go(asked: Request, **keywords: str) -> str:
    stream = io.StringIO()
    pipeline.run(asked, Reporter(stream=stream), **keywords)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_crf_is_in_the_model_folder_and_segment_does_what_predict_does(place: Path) -> None:
    go(request(place, OFF))
    plain = (place / "work/predictions/s3.nii.gz").read_bytes()
    said = go(request(place, OFF, "predict.crf={w1: 5, sigma_alpha: 10}"))
    assert "train: up to date" not in said  # exported anew, not trained anew
    assert "trained in" not in said
    crf = loading.load(place / "work/model").description.crf
    assert crf == CRFSettings(w1=5, sigma_alpha=10)
    assert "dense CRF" in (place / "work/model/card.md").read_text()
    refined = (place / "work/predictions/s3.nii.gz").read_bytes()
    assert refined != plain
    settings = Settings(place / "work/model", device="cpu")
    segment.run([place / "data/s3/s3.nii.gz"], place / "out", settings, Reporter(quiet=True))
    assert (place / "out/s3.nii.gz").read_bytes() == refined


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("predict={mode: vote, crf: {}}", "set predict.mode to dense"),
        ("predict.crf={w3: 1}", "predict.crf.w3"),
        ("predict.crf={sigma_beta: 0}", "predict.crf.sigma_beta"),
        ("report.explain=[inner, core]", "no class core; name some of background, outer, inner"),
    ],
)
def test_keys_that_make_no_sense_are_refused(place: Path, setting: str, told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        go(request(place, OFF, setting))
    assert told in str(refused.value.problems[0])


def test_the_report_shows_grad_cam_when_asked_and_the_command_draws_it(place: Path) -> None:
    go(request(place, OFF, "report.explain=[inner]"))
    report = place / "work/report"
    drawn = sorted(p.name for p in report.glob("explain_*.png"))
    assert drawn == ["explain_s3_inner.png", "explain_s4_inner.png", "explain_s5_inner.png"]
    assert (report / "report.html").read_text().count("Grad-CAM, inner</summary>") == 3
    work = Work(place / "work")
    made = explanations.draw(work, "s0", ["outer", "background"], "encoders.1", "cpu")
    assert made["outer"] == report / "explain_s0_outer.png"
    assert made["outer"].read_bytes().startswith(b"\x89PNG")
    assert made["outer"].read_bytes() != made["background"].read_bytes()


def test_an_unknown_case_class_or_layer_lists_the_names(place: Path) -> None:
    work = Work(place / "work")
    with pytest.raises(MedsegError) as untrained:
        explanations.draw(work, "s0", ["inner"])
    assert untrained.value.code is Code.STAGE_MISSING
    go(request(place, OFF))
    for arguments, code, names in (
        (("s9", ["inner"]), Code.USAGE, "s0, s1, s2, s3, s4, s5"),
        (("s0", ["core"]), Code.USAGE, "background, outer, inner"),
        (("s0", ["inner"], "nowhere"), Code.KEYWORD_INVALID, "encoders.0"),
    ):
        with pytest.raises(MedsegError) as refused:
            explanations.draw(work, *arguments)  # type: ignore[arg-type]
        assert refused.value.code is code
        assert names in str(refused.value)


def test_fuzzy_c_means_is_scored_beside_the_network(place: Path) -> None:
    go(request(place, OFF))
    asked = request(place, work="fcm")
    said = io.StringIO()
    assert baseline.run(asked, Reporter(stream=said)) == ExitCode.DONE
    assert "from the darkest, outer, inner" in said.getvalue()
    rows = files.read_csv(place / "fcm/evaluation/scores.csv")
    assert {(r["case"], r["class"]) for r in rows} == {
        (c, k) for c in ("s3", "s4") for k in ("outer", "inner")
    }
    assert all(float(r["dice"]) > 0.99 for r in rows)  # grey values alone tell these boxes apart
    told = files.read_json(place / "fcm/predictions/s3.json")
    assert told["quality_kind"] == "membership" and told["sizes"]["inner"] > 0
    found = compare.compare([place / "work", place / "fcm"])
    assert any(d.metric == "dice" and d.pairs == 2 and d.difference > 0 for d in found.differences)
    assert found.costs[1].parameters is None and found.costs[1].seconds_per_scan is not None
    again = io.StringIO()
    baseline.run(asked, Reporter(stream=again))
    assert again.getvalue().count("up to date") == 3


def test_brightness_is_learnt_from_the_training_cases(place: Path) -> None:
    for path in (place / "data").glob("*/s?.nii.gz"):
        image = nib.load(path)
        values = np.asarray(image.dataobj).astype(np.int16)
        nib.Nifti1Image(np.where(values > 0, 400 - values, 0).astype(np.int16), image.affine).to_filename(
            path
        )
    said = io.StringIO()
    baseline.run(request(place, work="fcm", fold="all"), Reporter(stream=said))
    assert "fold 1: from the darkest, inner, outer" in said.getvalue()
    rows = files.read_csv(place / "fcm/evaluation/scores.csv")
    assert {(r["fold"], r["case"]) for r in rows} == {("0", "s3"), ("0", "s4"), ("1", "s0"), ("1", "s1")}
    assert all(float(r["dice"]) > 0.99 for r in rows)


def test_a_case_that_cannot_be_clustered_counts_as_a_missing_prediction(place: Path) -> None:
    path = place / "data/s3/s3.nii.gz"
    image = nib.load(path)
    two_values = (np.asarray(image.dataobj) > 0).astype(np.int16)
    nib.Nifti1Image(two_values, image.affine).to_filename(path)
    said = io.StringIO()
    baseline.run(request(place, work="fcm"), Reporter(stream=said))
    assert "s3: no prediction: CONSTANT" in said.getvalue()
    rows = files.read_csv(place / "fcm/evaluation/scores.csv")
    assert {r["dice"] for r in rows if r["case"] == "s3"} == {"0.0"}


def test_a_network_s_folder_and_a_class_never_seen_are_refused(place: Path) -> None:
    (place / "work/model").mkdir(parents=True)
    with pytest.raises(MedsegError) as folder:
        baseline.run(request(place), Reporter(quiet=True))
    assert folder.value.code is Code.USAGE
    more = "data.classes={0: background, 1: outer, 2: inner, 3: core}"
    with pytest.raises(MedsegError, match="none holds core") as unseen:
        baseline.run(request(place, more, work="fcm"), Reporter(quiet=True))
    assert unseen.value.code is Code.NOTHING_USABLE
    shutil.rmtree(place / "fcm")


def test_its_folder_is_named_after_the_recipe(place: Path) -> None:
    assert baseline.work_folder(Request(str(place / "boxes.yaml"))) == Path("work/boxes_fcm")
    assert baseline.work_folder(request(place)) == place / "work"
