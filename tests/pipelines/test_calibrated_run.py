"""`predict.calibrate`: a run on tiny subjects predicts Dice, its models say so, and no test case is used."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmarks import quality as benchmark
from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.model import folder as model_folder
from medseg.synth.corruptions import LADDER
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from pipelines.fold import calibration
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go
from tests.helpers.box_subjects import make_subjects

PARTS = {
    "train": {**TRAIN, "steps_per_epoch": 40, "batch": 4, "lr": 0.02},
    "network": {"name": "unet", "keywords": {"width": 4, "depth": 2}},
    "predict": {"calibrate": True},
}
SHORT = LADDER[::6]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The work folder of a calibrated run, and what the run said; the ladder has every sixth rung alone."""
    root = tmp_path_factory.mktemp("calibrated")
    make_subjects(root / "data", 5, noise=30.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "LADDER", SHORT)
        code, said = go(root / "data", root / "work", parts=PARTS)
    assert code == ExitCode.DONE
    return root / "work", said


def test_the_model_holds_numbers_from_validation_cases(trained: tuple[Path, str]) -> None:
    work, said = trained
    fitted = model_folder.read(work / "model").description.calibration
    assert fitted is not None and fitted.structures.keys() == {"outer", "inner"}
    assert (fitted.fitted["cases"], fitted.fitted["predictions"]) == (1, 1 + len(SHORT))
    assert "calibrated: a predicted Dice below" in said


def test_only_validation_cases_are_opened(trained: tuple[Path, str]) -> None:
    work = Work(trained[0])
    assert {trial.case.name for trial in calibration.plan(work)} == {"s2"}
    assert {trial.members for trial in calibration.plan(work)} == {("fold0",)}


def test_predictions_tables_and_report_show_it(trained: tuple[Path, str]) -> None:
    work, _ = trained
    metadata = files.read_json(work / "predictions" / "s3.json")
    assert metadata["predicted_dice_by_class"].keys() == {"outer", "inner"}
    mean = np.mean(list(metadata["predicted_dice_by_class"].values()))
    assert metadata["predicted_dice"] == pytest.approx(mean, abs=1e-3)
    row = files.read_csv(work / "predictions" / "volumes.csv")[0]
    assert float(row["predicted_dice"]) == metadata["predicted_dice"] and row["predicted_dice_inner"]
    assert "Predicted against true Dice" in (work / "report" / "report.html").read_text()


def segmented(model: Path, scan: Any, folder: Path) -> dict[str, str]:
    """The row of summary.csv of a scan (X, Y, Z) with the subjects' spacing."""
    (folder / "in").mkdir(parents=True)
    nib.Nifti1Image(scan, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(folder / "in" / "a.nii.gz")
    settings = Settings(model, accept_domain=True)
    segment.run([folder / "in"], folder / "out", settings, Reporter(stream=io.StringIO()))
    with (folder / "out" / "summary.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    return row


def test_segment_expects_less_of_a_ruined_scan_and_marks_it(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    model, scan = trained[0] / "model", trained[0].parent / "data" / "s3" / "s3.nii.gz"
    good = np.asarray(nib.load(scan).dataobj)
    ruined = np.random.default_rng(0).permutation(good.reshape(-1)).reshape(good.shape)
    rows = [segmented(model, one, tmp_path / name) for name, one in (("good", good), ("ruined", ruined))]
    assert float(rows[0]["predicted_dice"]) > float(rows[1]["predicted_dice"])
    assert rows[1]["needs_review"] == "True" and "IMPLAUSIBLE" in rows[1]["code"]
    page = (tmp_path / "ruined" / "out" / "summary.html").read_text()
    assert "predicted Dice" in page and "needs review" in page


def test_the_benchmark_prints_what_has_to_hold(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(calibration, "LADDER", SHORT)
    out = tmp_path / "quality.json"
    monkeypatch.setattr("sys.argv", ["quality", str(trained[0]), "--out", str(out), "--rounds", "2"])
    benchmark.main()
    said, content = capsys.readouterr().out, files.read_json(out)
    assert content["label_maps"] == 2 + 2 * len(SHORT) and content["cases"] == 2
    assert content["failed_flagged"] <= content["failed"] and len(content["by_corruption"]) == 1 + len(SHORT)
    for words in ("below Dice 0.7", "clean cases above Dice 0.8", "correlation", "before"):
        assert words in said


def test_the_benchmark_does_not_say_yes_where_nothing_failed_and_counts_refused_scans(
    trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "LADDER", SHORT)
    labelled = calibration.label_trial

    def refuse(trial: Any, model: Any) -> Any:
        return None if trial.step is not None else labelled(trial, model)

    monkeypatch.setattr(calibration, "label_trial", refuse)
    samples, refused = benchmark.measure(Work(trained[0]), "test", 2)
    assert (len(samples), refused) == (2, 2 * len(SHORT))
    good = [replace(sample, dice=dict.fromkeys(sample.dice, 0.75)) for sample in samples]
    said = benchmark.lines({"threshold": 0.8, "refused": refused, **benchmark.figures(good)})
    assert said[1] == "?:   flagged 0 of 0 label maps below Dice 0.7"
    assert said[2] == "?:   flagged 0 of 0 clean cases above Dice 0.8"
    assert said[3].startswith("NO:") and f"not labelled: {refused}" in said[4]


def test_the_benchmark_wants_a_calibrated_model(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = files.read_json(trained[0] / "model" / "model.json")
    tree["description"]["calibration"] = None
    files.write_json(tmp_path / "model" / "model.json", tree)
    monkeypatch.setattr("sys.argv", ["quality", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"predict\.calibrate"):
        benchmark.main()


@pytest.mark.parametrize(("splits", "code"), [({"train": ["s0", "s1"], "test": ["s3"]}, Code.SPLIT_INVALID)])
def test_a_split_without_validation_cases_is_refused_before_training(
    tmp_path: Path, splits: Any, code: Code
) -> None:
    make_subjects(tmp_path / "data", 5)
    with pytest.raises(MedsegError) as caught:
        go(tmp_path / "data", tmp_path / "work", f"data.splits={splits}", "predict.calibrate=true")
    assert caught.value.code is code and not (tmp_path / "work" / "train").exists()
