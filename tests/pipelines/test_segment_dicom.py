"""`medseg segment` on DICOM exports: label map, SEG and SR under a pseudonym, reasons for all the rest."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.io.dicom import seg, sr
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.dicom_files import write_series
from tests.helpers.scan_files import save

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, -2, 5], [0, 0, 0, 1]])
CANARY = {"PatientName": "CANARY^ANNA", "PatientID": "CANARY7", "SeriesDescription": "CANARY"}


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    """A series, a screen save and a page beside them, as hospitals export them."""
    root = tmp_path / "CANARY export"
    write_series(root / "a", brain.astype(np.uint16), AFFINE, **CANARY)
    write_series(root / "b", brain.astype(np.uint16), AFFINE, slices=[2], Modality="SR", **CANARY)
    (root / "index.htm").write_text("CANARY")
    return root


@pytest.fixture
def run(make_model: Callable[..., Path]) -> Callable[..., tuple[ExitCode, list[dict[str, str]]]]:
    model = make_model()

    def of(inputs: list[Path], out: Path) -> tuple[ExitCode, list[dict[str, str]]]:
        say = Reporter(stream=io.StringIO(), results=io.StringIO(), log=out / "medseg.log")
        return segment.run(inputs, out, Settings(model), say), files.read_csv(out / "summary.csv")

    return of


def test_a_series_becomes_a_label_map_a_segmentation_and_a_report(
    export: Path, tmp_path: Path, run: Any
) -> None:
    ended, rows = run([export], out := tmp_path / "out")
    assert ended == ExitCode.SOME_EXCLUDED
    assert [(row["status"], row["code"], row["seg"]) for row in rows] == [
        ("done", "", "done"),
        ("excluded", "NOT_A_SCAN", ""),
    ]
    case = rows[0]["case"]
    label = nib.load(out / f"{case}.nii.gz")
    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-4)
    segmentation = highdicom.seg.segread(out / f"{case}.seg.dcm")
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=True)
        lps = np.diag([-1.0, -1, 1, 1])
        indices = np.argwhere(np.asarray(volume.array) > 0)
        places = nib.affines.apply_affine(lps @ volume.affine, indices)
        expected = nib.affines.apply_affine(label.affine, np.argwhere(np.asarray(label.dataobj) == number))
        assert sorted(map(tuple, places.round(3))) == sorted(map(tuple, expected.round(3)))
    assert segmentation.PatientID == "CANARY7"  # a SEG goes back to the patient's study
    report = pydicom.dcmread(out / f"{case}.sr.dcm")
    assert float(rows[0]["gm_ml"]) == pytest.approx(_volumes_ml(report)[2], abs=1e-3)


def _volumes_ml(report: pydicom.Dataset) -> dict[int, float]:
    """Class → ml of every measurement group of a report (TID 1411)."""
    groups = [
        item
        for container in report.ContentSequence
        if container.ConceptNameCodeSequence[0].CodeValue == "126010"
        for item in container.ContentSequence
    ]
    found = {}
    for number, group in enumerate(groups, 1):
        values = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        measured = values[0].MeasuredValueSequence[0]
        scale = {"mm3": 1e-3, "ml": 1.0, "cm3": 1.0}[measured.MeasurementUnitsCodeSequence[0].CodeValue]
        found[number] = float(measured.NumericValue) * scale
    return found


def test_a_second_run_skips_what_is_whole_and_makes_a_lost_segmentation_again(
    export: Path, tmp_path: Path, run: Any
) -> None:
    _, rows = run([export], out := tmp_path / "out")
    segmentation = out / f"{rows[0]['case']}.seg.dcm"
    before = segmentation.read_bytes()
    assert [row["status"] for row in run([export], out)[1]] == ["skipped", "excluded"]
    segmentation.write_bytes(before[:-1])
    assert [row["status"] for row in run([export], out)[1]] == ["done", "excluded"]
    assert segmentation.read_bytes() == before


def test_an_export_given_twice_is_segmented_once(export: Path, tmp_path: Path, run: Any) -> None:
    with zipfile.ZipFile(archive := tmp_path / "same.zip", "w") as packed:
        for path in sorted((export / "a").iterdir()):
            packed.write(path, path.name)
    _, rows = run([export, archive, export / "a"], tmp_path / "out")
    assert sorted(row["status"] for row in rows if row["code"] != "NOT_A_SCAN") == ["done with note"]
    assert [row["code"] for row in rows if row["status"] == "done with note"] == ["DUPLICATE_INSTANCE"]


def test_nifti_files_beside_an_export_are_segmented_too(
    export: Path, tmp_path: Path, run: Any, brain: Any
) -> None:
    save(export / "plain.nii.gz", brain)
    _, rows = run([export], tmp_path / "out")
    (beside,) = [row for row in rows if row["case"].startswith("scan-")]  # its name may name a patient, too
    assert (beside["status"], beside["seg"]) == ("done", "")
    assert sorted(row["status"] for row in rows) == ["done", "done", "excluded"]


def test_a_series_that_cannot_carry_a_segmentation_keeps_its_label_map(
    export: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MedsegError(Code.NO_POSITION, "x", "a frame has no position", "export it again")

    monkeypatch.setattr(seg, "write", refuse)
    _, rows = run([export], out := tmp_path / "out")
    assert rows[0]["status"] == "SEG failed"
    assert rows[0]["seg"] == "SEG_FAILED: NO_POSITION, a frame has no position"
    assert (out / f"{rows[0]['case']}.nii.gz").is_file() and not [*out.glob("*.dcm")]


@pytest.mark.parametrize("writer", [(seg, "_segmentation"), (sr, "_report")], ids=["seg", "sr"])
def test_a_library_that_quotes_a_name_leaks_none(
    writer: tuple[Any, str], export: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("invalid value 'CANARY^ANNA'")

    monkeypatch.setattr(*writer, refuse)
    _, rows = run([export], out := tmp_path / "out")
    assert rows[0]["status"] in ("done without SEG", "SEG failed") and rows[0]["seg"].startswith("SEG_")
    for path in (out / "summary.csv", out / f"{rows[0]['case']}.json", out / "medseg.log"):
        assert not path.exists() or "CANARY" not in path.read_text()


def test_no_identity_leaves_private_but_in_dicom(export: Path, tmp_path: Path, run: Any) -> None:
    run([export], out := tmp_path / "out")
    private = out / "private"
    assert b"CANARY7" in (private / "index.csv").read_bytes()
    assert (private.stat().st_mode & 0o777, (private / "index.csv").stat().st_mode & 0o777) == (0o700, 0o600)
    shutil.rmtree(private)
    texts = [path for path in out.rglob("*") if path.is_file() and path.suffix in {".csv", ".json", ".log"}]
    assert {path.name for path in texts} >= {"summary.csv", "quarantine.csv", "run.json"}
    assert not [path.name for path in texts if b"CANARY" in path.read_bytes().upper()]
    assert not [path.name for path in out.rglob("*") if "CANARY" in path.name]


def test_without_the_packages_of_dicom_one_line_says_what_to_install(
    export: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MedsegError) as caught:
        run([export], tmp_path / "out")
    assert caught.value.code is Code.EXTRA_MISSING and "medseg[dicom]" in caught.value.finding.how_to_fix


def test_a_model_of_several_channels_says_which_are_missing(
    export: Path, tmp_path: Path, make_model: Callable[..., Path], say: Reporter
) -> None:
    model = make_model("two", channels=("t1", "t2"))
    ended = segment.run([export], tmp_path / "out", Settings(model), say)
    rows = files.read_csv(tmp_path / "out/summary.csv")
    assert ended == ExitCode.NOTHING_USABLE and rows[0]["code"] == "CHANNEL_MISSING"
