"""`medseg convert`: volumes as NIfTI, reasons for the others, no identity outside `private/`."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.io import scans
from pipelines.commands import convert
from pipelines.commands.convert import Settings
from tests.helpers.dicom_files import write_series

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
PIXELS = np.random.default_rng(0).integers(0, 4000, (5, 4, 6)).astype(np.uint16)
CANARY = {"PatientName": "CANARY^ANNA", "PatientID": "CANARY7", "InstitutionName": "CANARY GENERAL"}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    root = tmp_path / "CANARYFOLDER"
    write_series(root / "a", PIXELS, AFFINE, **CANARY)
    write_series(root / "b", PIXELS, AFFINE, slices=[0, 1, 3], SeriesDescription="CANARY series", **CANARY)
    write_series(root / "c", PIXELS, AFFINE, slices=[2], Modality="SR", **CANARY)
    (root / "cut.gz").write_bytes(gzip.compress(b"\0" * 128 + b"DICM")[:-9])
    (root / "index.htm").write_text("CANARY")
    return root


def run(export: Path, out: Path, **settings: object) -> tuple[ExitCode, list[dict[str, str]]]:
    stream = io.StringIO()
    say = Reporter(stream=stream, results=stream, log=out / "medseg.log")
    ended = convert.run([export], out, Settings(**settings), say)  # type: ignore[arg-type]
    return ended, files.read_csv(out / "summary.csv")


def test_volumes_are_written_and_everything_else_has_a_reason(export: Path, tmp_path: Path) -> None:
    ended, rows = run(export, tmp_path / "out")
    assert ended == ExitCode.SOME_EXCLUDED
    by_status = {row["status"]: row for row in rows}
    assert sorted(row["code"] for row in rows) == ["", "NOT_A_SCAN", "SLICES_MISSING", "TRUNCATED"]
    volume = scans.read(tmp_path / "out" / f"{by_status['done']['case']}.nii.gz")
    np.testing.assert_array_equal(volume.array[0], PIXELS)
    np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-5)
    excluded = files.read_csv(tmp_path / "out/quarantine.csv")
    assert [row["code"] for row in excluded] == ["SLICES_MISSING", "NOT_A_SCAN", "TRUNCATED"]
    assert all(row["how_to_fix"] for row in excluded)


def _leaks(out: Path) -> list[str]:
    """Files outside `private/` that hold a canary, compressed ones looked into."""
    found = []
    for path in out.rglob("*"):
        if path.is_file() and "private" not in path.relative_to(out).parts:
            content = path.read_bytes()
            content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            if re.search(rb"CANARY", content + path.name.encode(), re.IGNORECASE):
                found.append(path.name)
    return found


def test_no_identity_leaves_private(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(export, tmp_path / "out")
    assert not _leaks(tmp_path / "out")
    private = tmp_path / "out/private"
    assert b"CANARY7" in (private / "index.csv").read_bytes()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (private, *private.iterdir())}
    assert modes == {"private": 0o700, "index.csv": 0o600, "key": 0o600}
    monkeypatch.setattr(convert, "_unnamed", lambda finding: finding)  # the check can fail
    monkeypatch.setattr(convert.Pseudonyms, "of_file", lambda self, file: str(file))
    run(export, tmp_path / "leaky")
    assert _leaks(tmp_path / "leaky")


def test_run_again_nothing_is_done_twice_and_a_lost_file_comes_back_the_same(
    export: Path, tmp_path: Path
) -> None:
    run(export, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    _, rows = run(export, tmp_path / "out")
    assert {row["status"] for row in rows} == {"skipped", "excluded"} and path.stat().st_mtime_ns == written
    path.write_bytes(before[:-5])
    run(export, tmp_path / "out")
    assert path.read_bytes() == before


def test_overwrite_writes_every_volume_again(export: Path, tmp_path: Path) -> None:
    run(export, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    _, rows = run(export, tmp_path / "out", overwrite=True)
    assert {row["status"] for row in rows} == {"done", "excluded"}
    assert path.read_bytes() == before and path.stat().st_mtime_ns > written


def test_a_file_of_others_is_not_overwritten_unasked(export: Path, tmp_path: Path) -> None:
    run(export, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    before = path.read_bytes()
    path.write_bytes(b"somebody's own")
    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    with pytest.raises(MedsegError, match="no result of convert") as refused:
        run(export, tmp_path / "out")
    assert refused.value.finding.code == Code.USAGE and path.read_bytes() == b"somebody's own"
    run(export, tmp_path / "out", overwrite=True)
    assert path.read_bytes() == before


def test_names_depend_on_the_key_alone(export: Path, tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("k" * 32)
    other.write_text("o" * 32)
    one, two, three = (
        {row["case"] for row in run(export, tmp_path / name, key_file=file)[1] if row["status"] == "done"}
        for name, file in (("1", key), ("2", key), ("3", other))
    )
    assert one == two and not one & three
    assert not (tmp_path / "1/private/key").exists()


def test_without_an_index_nobody_can_tell_whom_the_names_stand_for(export: Path, tmp_path: Path) -> None:
    run(export, tmp_path / "out", index=False)
    assert not (tmp_path / "out/private/index.csv").exists()


def test_a_weak_or_absent_key_and_an_absent_input_are_refused(export: Path, tmp_path: Path) -> None:
    weak = tmp_path / "weak"
    weak.write_text("short")
    for file, code in ((weak, Code.USAGE), (tmp_path / "none", Code.PATH_MISSING)):
        with pytest.raises(MedsegError) as refused:
            run(export, tmp_path / "out", key_file=file)
        assert refused.value.code == code
    with pytest.raises(MedsegError) as refused:
        run(tmp_path / "nowhere", tmp_path / "out")
    assert refused.value.code == Code.PATH_MISSING


def test_a_folder_without_dicom_gives_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("x")
    assert run(tmp_path / "in", tmp_path / "out")[0] == ExitCode.NOTHING_USABLE


def test_a_slightly_sheared_stack_reads_back_where_it_lies(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.02  # 0.4° over a slice of 3 mm: within the tolerance, kept in the affine
    pixels = np.random.default_rng(1).integers(0, 99, (5, 4, 40)).astype(np.uint16)
    write_series(tmp_path / "in", pixels, sheared)
    _, (row,) = run(tmp_path / "in", tmp_path / "out")
    path = tmp_path / f"out/{row['case']}.nii.gz"
    np.testing.assert_allclose(scans.read(path).grid.affine, sheared, atol=1e-5)
    np.testing.assert_allclose(nib.load(path).affine, sheared, atol=1e-5)


@pytest.mark.data
def test_a_real_export(data: Path, tmp_path: Path) -> None:
    ended, rows = run(data / "dicom/hospital_export", tmp_path / "out")
    assert ended == ExitCode.SOME_EXCLUDED
    assert sorted(row["code"] for row in rows) == [*[""] * 5, "DUPLICATE_INSTANCE", "NO_POSITION"]
    assert not _leaks(tmp_path / "out")
