"""`medseg segment` on DICOM exports: kinds of SEG, maps, figures, failures that lose nothing, same bytes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, HiddenError, MedsegError
from medseg.infer import batch, figure, results
from medseg.io.dicom import pm, seg, sr
from medseg.io.dicom.series import read_export
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.dicom_files import write_series
from tests.helpers.programs import dicom_errors
from tests.helpers.scan_files import save

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, -2, 5], [0, 0, 0, 1]])
Rows = list[dict[str, str]]
Run = Callable[..., tuple[ExitCode, Rows]]


@pytest.fixture
def export(tmp_path: Path, brain: Any) -> Path:
    write_series(tmp_path / "in", brain.astype(np.uint16), AFFINE, PatientID="CANARY7", PatientSex="O")
    return tmp_path / "in"


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    return make_model()


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Run:
    def of(inputs: Path, out: Path | None = None, **options: Any) -> tuple[ExitCode, Rows]:
        folder = out or tmp_path / "out"
        say = Reporter(stream=io.StringIO(), results=io.StringIO(), log=folder / "medseg.log")
        ended = segment.run([inputs], folder, Settings(model, **options), say)
        return ended, files.read_csv(folder / "summary.csv")

    return of


def _one(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def _labels(out: Path) -> Any:
    return np.asarray(nib.load(_one(out, "mr-????????????.nii.gz")).dataobj)


def test_a_labelmap_holds_the_label_map_and_another_kind_redoes_the_case(
    export: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    assert run(export)[1][0]["status"] == "done"
    binary, report = _one(out, "*.seg.dcm").read_bytes(), _one(out, "*.sr.dcm").read_bytes()
    assert run(export, seg_type="labelmap")[1][0]["status"] == "done"
    read = pydicom.dcmread(_one(out, "*.seg.dcm"))
    assert read.SegmentationType == "LABELMAP"
    (volume,) = read_export(export).volumes
    assert volume.grid is not None
    masks = seg.read(_one(out, "*.seg.dcm"), volume.grid, 2)
    np.testing.assert_array_equal(masks[0] + 2 * masks[1], _labels(out))
    assert _one(out, "*.sr.dcm").read_bytes() != report
    assert run(export, seg_type="labelmap")[1][0]["status"] == "skipped"
    assert run(export)[1][0]["status"] == "done" and _one(out, "*.seg.dcm").read_bytes() == binary


def test_the_kind_of_seg_redoes_no_scan_in_a_file(tmp_path: Path, run: Run, brain: Any) -> None:
    save(tmp_path / "scans/a.nii.gz", brain)
    assert run(tmp_path / "scans")[1][0]["status"] == "done"
    assert run(tmp_path / "scans", seg_type="labelmap")[1][0]["status"] == "skipped"


def test_a_confidence_map_is_a_parametric_map_too(export: Path, tmp_path: Path, run: Run) -> None:
    run(export, confidence=True)
    out = tmp_path / "out"
    nifti = np.asarray(nib.load(_one(out, "*_confidence.nii.gz")).dataobj)
    (volume,) = read_export(export).volumes
    assert volume.grid is not None
    np.testing.assert_array_equal(pm.read(_one(out, "*.confidence.dcm"), volume.grid), nifti)
    theirs = highdicom.imread(_one(out, "*.confidence.dcm"))
    assert theirs.PatientID == "CANARY7" and theirs.SeriesInstanceUID != volume.header.series_uid
    assert [dicom_errors(path) for path in sorted(out.glob("*.dcm"))] == [[], [], []]
    run(export)
    assert not [*out.glob("*confidence*")]


def test_probabilities_are_a_series_of_parametric_maps(export: Path, tmp_path: Path, run: Run) -> None:
    run(export, probabilities=True)
    out = tmp_path / "out"
    nifti = np.asarray(nib.load(_one(out, "*_probabilities.nii.gz")).dataobj)
    (volume,) = read_export(export).volumes
    assert volume.grid is not None
    paths = sorted(out.glob("*.probability_*.dcm"))
    maps = np.stack([pm.read(path, volume.grid) for path in paths], axis=-1)
    np.testing.assert_allclose(maps, nifti, rtol=0, atol=1e-6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(maps.argmax(axis=-1), _labels(out))
    headers = [pydicom.dcmread(path) for path in paths]
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == len(paths) == 3
    assert [header.InstanceNumber for header in headers] == [1, 2, 3]
    names = [row["name"] for row in files.read_json(out / "labels.json")]
    assert [header.ContentDescription for header in headers] == [f"Probability of {n}" for n in names]
    assert [dicom_errors(path) for path in paths] == [[], [], []]
    assert run(export, probabilities=True)[1][0]["status"] == "skipped"
    paths[1].unlink()
    assert run(export, probabilities=True)[1][0]["status"] == "done" and paths[1].is_file()
    run(export)
    assert not [*out.glob("*probabilit*")]


def test_a_lost_map_or_figure_is_made_again(export: Path, tmp_path: Path, run: Run) -> None:
    for pattern in ("*.confidence.dcm", "*_figure.png", "*.sr.dcm"):
        run(export, confidence=True, figure=True)
        lost = _one(tmp_path / "out", pattern)
        before = lost.read_bytes()
        lost.unlink()
        assert run(export, confidence=True, figure=True)[1][0]["status"] == "done"
        assert lost.read_bytes() == before


def test_a_figure_of_files_and_of_series_on_request(
    export: Path, tmp_path: Path, run: Run, brain: Any
) -> None:
    save(export / "a.nii.gz", brain)
    out = tmp_path / "out"
    run(export)
    assert not [*out.glob("*.png")]
    assert {row["status"] for row in run(export, figure=True)[1]} == {"done"}
    assert len([*out.glob("*_figure.png")]) == 2
    for path in out.glob("*_figure.png"):
        content = path.read_bytes()
        assert b"CANARY" not in content and Image.open(io.BytesIO(content)).info == {}
    assert {row["status"] for row in run(export, figure=True)[1]} == {"skipped"}
    assert {row["status"] for row in run(export)[1]} == {"skipped"}  # more than was asked for is no reason


def test_no_figure_of_pixels_that_may_hold_text(tmp_path: Path, run: Run, brain: Any) -> None:
    write_series(tmp_path / "in", brain.astype(np.uint16), AFFINE, BurnedInAnnotation="YES")
    rows = run(tmp_path / "in", figure=True)[1]
    metadata = files.read_json(tmp_path / f"out/{rows[0]['case']}.json")
    assert metadata["figure"] == "none: text may be burned into the pixels"
    assert not [*(tmp_path / "out").glob("*.png")]
    assert run(tmp_path / "in", figure=True)[1][0]["status"] == "skipped"


def test_options_that_no_result_of_the_model_can_have_are_refused(
    export: Path, make_model: Callable[..., Path], run: Run, say: Reporter, tmp_path: Path
) -> None:
    rows = [{"value": 1, "name": name, "colour": [1, 2, 3], "multilabel": True} for name in ("a", "b")]
    masks = make_model("masks", classes=tuple(rows))
    with pytest.raises(MedsegError, match="overlap") as refused:
        segment.run([export], tmp_path / "out", Settings(masks, seg_type="labelmap"), say)
    assert refused.value.code is Code.USAGE


def test_an_image_has_no_figure_as_its_label_map_shows_colours(
    make_model: Callable[..., Path], say: Reporter, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "in/a.png")
    images = make_model("images", unit="px", depth=1, channels=("red", "green", "blue"))
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(images, figure=True, accept_domain=True), say)
    assert {path.name for path in (tmp_path / "out").glob("*.png")} <= {"a.png"}
    assert len(files.read_csv(tmp_path / "out/summary.csv")) == 1


def test_overlapping_masks_have_segments_and_outlines_of_their_own(
    export: Path, make_model: Callable[..., Path], say: Reporter, tmp_path: Path
) -> None:
    rows = [{"value": 1, "name": name, "colour": [1, 2, 3], "multilabel": True} for name in ("whole", "core")]
    rows[1] |= {"codes": {"type": {"value": "52988006", "meaning": "Lesion"}}}
    masks, out = make_model("masks", classes=tuple(rows)), tmp_path / "out"
    segment.run([export], out, Settings(masks, confidence=True, figure=True), say)
    assert [row["status"] for row in files.read_csv(out / "summary.csv")] == ["done"]
    (volume,) = read_export(export).volumes
    assert volume.grid is not None
    read = seg.read(_one(out, "*.seg.dcm"), volume.grid, 2)
    for name, mask in zip(("whole", "core"), read, strict=True):
        np.testing.assert_array_equal(mask, np.asarray(nib.load(_one(out, f"*_{name}.nii.gz")).dataobj) == 1)
    codes = pydicom.dcmread(_one(out, "*.seg.dcm")).SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    assert codes[0].CodeMeaning == "Lesion" and len([*out.glob("*_figure.png")]) == 1


def test_a_series_that_can_carry_no_seg_says_so_before_the_network_runs(
    tmp_path: Path, run: Run, brain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in write_series(tmp_path / "in", brain.astype(np.uint16), AFFINE, PatientID="CANARY7"):
        dataset = pydicom.dcmread(path)
        del dataset.SOPClassUID
        dataset.save_as(path)
    known: list[str] = []
    network, tried = batch.predict_case, seg.reason_against

    def reason(*arguments: Any, **keywords: Any) -> str:
        known.append(tried(*arguments, **keywords))
        return known[-1]

    def predict(*arguments: Any, **keywords: Any) -> Any:
        assert len(known) == 1
        return network(*arguments, **keywords)

    monkeypatch.setattr(seg, "reason_against", reason)
    monkeypatch.setattr(batch, "predict_case", predict)
    ended, rows = run(tmp_path / "in", confidence=True)
    assert ended == ExitCode.DONE and rows[0]["status"] == "done without SEG"
    assert rows[0]["seg"].startswith("SEG_IMPOSSIBLE") and "no SOPClassUID" in rows[0]["seg"]
    assert _labels(tmp_path / "out").any() and not [*(tmp_path / "out").glob("*.dcm")]
    monkeypatch.undo()
    again = run(tmp_path / "in", confidence=True)[1][0]
    assert (again["status"], again["seg"]) == ("skipped", rows[0]["seg"])


def _roll(read: Any) -> Any:
    return lambda *arguments: np.roll(read(*arguments), 1, axis=1)


def _full_disk(*_: object, **__: object) -> None:
    raise MedsegError(Code.DISK_FULL, "x", "no space is left", "free some")


def _no_memory(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("module", "name", "replacement", "said"),
    [
        (seg, "read", _roll(seg.read), "voxels differ when the segmentation is read back"),
        (pm, "read", _roll(pm.read), "voxels differ when the parametric map is read back"),
        (sr, "write", _full_disk, "DISK_FULL, no space is left"),
        (seg, "write", _no_memory, "ran out of memory"),
    ],
    ids=["seg read back", "map read back", "disk full", "no memory"],
)
def test_a_failed_seg_is_a_status_of_its_own_and_is_tried_again(
    module: Any, name: str, replacement: Any, said: str, export: Path, tmp_path: Path, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, name, replacement)
    ended, rows = run(export, confidence=True)
    assert ended == ExitCode.SOME_EXCLUDED and rows[0]["status"] == "SEG failed"
    assert rows[0]["seg"].startswith("SEG_FAILED: ") and said in rows[0]["seg"]
    out = tmp_path / "out"
    assert _labels(out).any() and len([*out.glob("*_confidence.nii.gz")]) == 1
    assert not [*out.glob("*.dcm")] and not files.read_csv(out / "quarantine.csv")
    monkeypatch.undo()
    ended, rows = run(export, confidence=True)
    assert ended == ExitCode.DONE and (rows[0]["status"], rows[0]["seg"]) == ("done", "done")
    assert len([*out.glob("*.dcm")]) == 3


def test_a_failed_seg_takes_the_place_of_no_earlier_one(
    export: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(export)
    monkeypatch.setattr(seg, "read", _roll(seg.read))
    assert run(export, seg_type="labelmap")[1][0]["status"] == "SEG failed"
    assert not [*(tmp_path / "out").glob("*.dcm")]  # an older one would not belong to its neighbours


def test_a_crash_while_writing_leaves_the_earlier_result_whole(
    export: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(export, figure=True)
    out = tmp_path / "out"
    before = {
        path.name: path.read_bytes() for path in out.iterdir() if path.suffix in {".dcm", ".gz", ".png"}
    }
    order: list[str] = []
    written = seg.write

    def note(labels: Any, volume: Any, classes: Any, path: Path, **keywords: Any) -> None:
        order.append(" ".join(sorted(file.name.split(".", 1)[1] for file in path.parent.iterdir())))
        written(labels, volume, classes, path, **keywords)

    def crash(*_: object, **__: object) -> bytes:
        raise RuntimeError("killed")

    monkeypatch.setattr(seg, "write", note)
    monkeypatch.setattr(figure, "draw_result", crash)
    with pytest.raises(HiddenError):
        run(export, figure=True, seg_type="labelmap")
    assert order == ["nii.gz"]  # the label map is there before the SEG
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in before} == before
    assert results.are_whole(out / "a.nii.gz", files.read_json(_one(out, "mr-*.json")))


def test_two_folders_hash_seeds_and_time_zones_give_the_same_bytes(
    export: Path, tmp_path: Path, model: Path
) -> None:
    (tmp_path / "key").write_bytes(b"0" * 32)
    written = []
    for name, seed, zone in (("one", "1", "Asia/Tokyo"), ("two", "2", "America/Lima")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "OMP_NUM_THREADS": "1"}
        call = [sys.executable, "-m", "medseg", "segment", export, tmp_path / name, "--model", model]
        call += ["--confidence-map", "--figure", "--key-file", tmp_path / "key", "--device", "cpu"]
        subprocess.run([*map(str, call)], env=environment, check=True, capture_output=True)
        paths = [path for path in (tmp_path / name).iterdir() if path.suffix in {".dcm", ".gz", ".png"}]
        written.append({path.name: path.read_bytes() for path in paths})
    assert len(written[0]) == 6 and written[0] == written[1]
