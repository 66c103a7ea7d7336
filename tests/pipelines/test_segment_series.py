"""The series of a study that `segment` takes: by the model's rules, one for each channel, with a reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.io.dicom.rules import SeriesRules
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.dicom_files import write_series

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, -2, 5], [0, 0, 0, 1]])
T1 = {"ScanningSequence": "SE", "EchoTime": 9, "RepetitionTime": 500}
FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": 90, "RepetitionTime": 9000, "InversionTime": 2500}
BOTH = {"t1": SeriesRules(contrast=("t1",)), "flair": SeriesRules(contrast=("flair",))}


@pytest.fixture
def study(tmp_path: Path, brain: Any) -> Path:
    """A study of a T1 series and a FLAIR series on one grid."""
    for name, tags in (("a", T1), ("b", FLAIR)):
        write_series(tmp_path / "in" / name, brain.astype(np.uint16), AFFINE, **tags)
    return tmp_path / "in"


def rows_of(study: Path, model: Path, series: tuple[str, ...] = ()) -> tuple[ExitCode, list[dict[str, str]]]:
    out = study.parent / "out"
    say = Reporter(stream=io.StringIO(), results=io.StringIO())
    ended = segment.run([study], out, Settings(model, accept_domain=True, series=series), say)
    return ended, files.read_csv(out / "summary.csv")


def test_the_rules_of_the_model_choose_and_say_why(study: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(channels=("t1",), series={"t1": SeriesRules(contrast=("t1", "t1ce"))})
    ended, rows = rows_of(study, model)
    assert ended == ExitCode.SOME_EXCLUDED
    by_status = {row["status"].split()[0]: row for row in rows}
    assert by_status["done"]["series"] == "MR, t1, axial, 8 slices, 1 × 1.5 × 2 mm"
    assert by_status["excluded"]["code"] == Code.SERIES_NOT_CHOSEN
    assert by_status["excluded"]["note"] == "contrast: flair; taken are t1, t1ce"
    assert by_status["excluded"]["series"].startswith("MR, flair, axial")


def test_a_rule_is_lifted_on_the_command_line(study: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(channels=("t1",), series={"t1": SeriesRules(contrast=("t1",))})
    ended, rows = rows_of(study, model, series=("contrast=any",))
    assert ended == ExitCode.DONE and {row["status"].split()[0] for row in rows} == {"done"}
    with pytest.raises(MedsegError) as refused:
        rows_of(study, model, series=("t2.contrast=t2",))
    assert refused.value.code == Code.USAGE and "channels are t1" in refused.value.finding.how_to_fix


def test_channels_are_the_series_of_one_study(study: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(channels=("t1", "flair"), series=BOTH)
    ended, rows = rows_of(study, model)
    assert ended == ExitCode.DONE and len(rows) == 1
    assert "t1: MR, t1" in rows[0]["series"] and "flair: MR, flair" in rows[0]["series"]
    assert rows[0]["seg"] == "done"


@pytest.mark.parametrize("uid", ["1.2.3", ""])
def test_series_of_two_patients_are_no_case_whatever_their_study_says(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path], uid: str
) -> None:
    for patient, tags in (("A", T1), ("B", FLAIR)):
        own = {**tags, "PatientID": patient, "StudyInstanceUID": uid}
        write_series(tmp_path / "in" / patient, brain.astype(np.uint16), AFFINE, **own)
    ended, rows = rows_of(tmp_path / "in", make_model(channels=("t1", "flair"), series=BOTH))
    assert ended == ExitCode.NOTHING_USABLE
    assert [row["code"] for row in rows] == [Code.CHANNEL_MISSING] * 2


def test_two_series_that_fit_one_channel_are_not_guessed_between(
    study: Path, brain: Any, make_model: Callable[..., Path]
) -> None:
    write_series(study / "c", brain.astype(np.uint16), AFFINE, SeriesDescription="repeated", **T1)
    model = make_model(channels=("t1", "flair"), series=BOTH)
    ended, rows = rows_of(study, model)
    assert ended == ExitCode.NOTHING_USABLE
    assert [row["code"] for row in rows] == [Code.SERIES_AMBIGUOUS] * 3
    assert "t1 2, flair 1" in rows[0]["note"]
    ended, rows = rows_of(study, model, series=("t1.description=rep*",))
    assert ended == ExitCode.SOME_EXCLUDED
    assert sorted(row["code"] for row in rows if row["status"] == "excluded") == [Code.SERIES_NOT_CHOSEN]


def test_a_study_without_one_channel_is_no_case(study: Path, make_model: Callable[..., Path]) -> None:
    t2 = {"t1": BOTH["t1"], "t2": SeriesRules(contrast=("t2",))}
    ended, rows = rows_of(study, make_model(channels=("t1", "t2"), series=t2))
    assert ended == ExitCode.NOTHING_USABLE
    assert {row["code"] for row in rows} == {Code.CHANNEL_MISSING, Code.SERIES_NOT_CHOSEN}
    assert any("none fits t2" in row["note"] for row in rows)


def test_a_series_of_another_modality_is_not_segmented_by_default(
    study: Path, brain: Any, make_model: Callable[..., Path]
) -> None:
    write_series(study / "ct", brain.astype(np.uint16), AFFINE, Modality="CT")
    _, rows = rows_of(study, make_model(channels=("t1",)))
    (excluded,) = (row for row in rows if row["status"] == "excluded")
    assert excluded["note"] == "modality: CT; taken are MR"
