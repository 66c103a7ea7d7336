"""The image, run without network, root, capabilities, home, /tmp and /dev/shm, segments what it is given."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from tests.container.conftest import UID, Image, write_model

pytestmark = [pytest.mark.container, pytest.mark.timeout(580)]
ONE_THREAD = ("--env=OMP_NUM_THREADS=1",)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A good scan, and one whose file ends early."""
    folder = tmp_path / "in"
    folder.mkdir()
    voxels = np.zeros((40, 48, 12), np.int16)
    voxels[8:32, 8:40, 2:10] = np.random.default_rng(0).integers(50, 200, (24, 32, 8))
    nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(folder / "good.nii.gz")
    (folder / "bad.nii.gz").write_bytes((folder / "good.nii.gz").read_bytes()[:-2000])
    return folder


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in folder.rglob("*")}


def test_good_and_bad_scans_end_with_3_and_the_users_own_files(
    image: Image, scans: Path, model: Path, out: Path, tmp_path: Path
) -> None:
    mounts = {"/in:ro": scans, "/out": out, "/model:ro": model}
    done = image.run("segment", "/in", "/out", mounts=mounts, flags=ONE_THREAD)
    assert done.code == 3, done.said
    rows = {row["case"]: row for row in files.read_csv(out / "summary.csv")}
    assert rows["good"]["status"].startswith("done")
    assert (rows["bad"]["status"], rows["bad"]["code"]) == ("excluded", "TRUNCATED")
    assert owners(out) == {UID}
    here = [sys.executable, "-m", "medseg", "segment", scans, tmp_path / "here", "--model", model]
    assert subprocess.run(here, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode == 3
    assert (out / "good.nii.gz").read_bytes() == (tmp_path / "here/good.nii.gz").read_bytes()
    assert listed(out) == listed(tmp_path / "here")

    again = image.run("segment", "/in", "/out", mounts=mounts, flags=ONE_THREAD)
    assert "1 skipped" in again.said


def test_several_planes_need_no_tmp_and_leave_nothing_behind(
    image: Image, scans: Path, out: Path, tmp_path: Path
) -> None:
    planes = write_model(tmp_path / "planes", plane=("axial", "coronal", "sagittal"))
    done = image.run(
        "segment", "/in/good.nii.gz", "/out", mounts={"/in:ro": scans, "/out": out, "/model:ro": planes}
    )
    assert done.code == 0, done.said
    assert [name for name in listed(out) if name.startswith(("tmp", ".part"))] == []


def test_without_the_lock_nothing_outside_out_is_written_either(
    image: Image, scans: Path, model: Path, out: Path
) -> None:
    name = f"medseg-diff-{os.getpid()}"
    command = [image.engine, "run", f"--name={name}", "--network=none", f"--user={UID}"]
    command += [f"--volume={scans}:/in:ro", f"--volume={out}:/out", f"--volume={model}:/model:ro", image.name]
    try:
        assert (
            subprocess.run([*command, "segment", "/in", "/out"], check=False, capture_output=True).returncode
            == 3
        )
        changes = subprocess.run(
            [image.engine, "diff", name], check=True, capture_output=True, text=True
        ).stdout
    finally:
        subprocess.run([image.engine, "rm", "--force", name], check=False, capture_output=True)
    engines_own = ("/in", "/out", "/model", "/etc", "/run", "/dev", "/proc", "/sys")
    assert [line for line in changes.splitlines() if not line.split()[1].startswith(engines_own)] == []


@pytest.mark.data
def test_a_hospitals_export_gets_label_maps_seg_and_reports(
    image: Image, model: Path, out: Path, data: Path
) -> None:
    mounts = {"/in:ro": data / "dicom/hospital_export", "/out": out, "/model:ro": model}
    done = image.run("segment", "/in", "/out", "--accept-domain", mounts=mounts)
    assert done.code == 3, done.said
    rows = files.read_csv(out / "summary.csv")
    made = [row["case"] for row in rows if row["status"].startswith("done")]
    assert (len(rows), len(made)) == (7, 6)
    assert {f"{case}{end}" for case in made for end in (".nii.gz", ".seg.dcm", ".sr.dcm")} <= listed(out)
    assert owners(out) == {UID}
    assert "CANARY" not in done.said


def test_without_a_model_the_one_that_ships_is_used(image: Image, scans: Path, out: Path) -> None:
    done = image.run("segment", "/in/good.nii.gz", "/out", mounts={"/in:ro": scans, "/out": out})
    assert "no --model: brain-tissue" in done.said
    assert (done.code, "Traceback" in done.said) in {(0, False), (4, False)}, "noise may be out of its domain"


def test_every_way_to_end_has_its_exit_code(
    image: Image, scans: Path, model: Path, out: Path, tmp_path: Path
) -> None:
    mounts = {"/in:ro": scans, "/out": out, "/model:ro": model}
    (tmp_path / "empty").mkdir()
    empty = {"/in:ro": scans, "/out": out, "/model:ro": tmp_path / "empty"}
    no_model = image.run("segment", "/in", "/out", mounts=empty)
    assert (no_model.code, "NOT_A_MODEL /model" in no_model.said) == (2, True)
    nothing = image.run("segment", "/in/bad.nii.gz", "/out", mounts=mounts)
    assert nothing.code == 4, nothing.said
    read_only = image.run(
        "segment", "/in/good.nii.gz", "/out", mounts={"/in:ro": scans, "/out:ro": out, "/model:ro": model}
    )
    assert read_only.code == 2, read_only.said
    assert "Traceback" not in no_model.said + nothing.said + read_only.said


def test_a_stopped_container_ends_at_once_and_says_so(
    image: Image, scans: Path, model: Path, out: Path
) -> None:
    name = f"medseg-stop-{os.getpid()}"
    for n in range(200):
        (scans / f"copy{n}.nii.gz").symlink_to("good.nii.gz")
    mounts = {"/in:ro": scans, "/out": out, "/model:ro": model}
    command = image.command(f"--name={name}", image.name, "segment", "/in", "/out", mounts=mounts)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 120
        while not list(out.glob("*.nii.gz")) and time.monotonic() < until:
            time.sleep(0.1)
        subprocess.run([image.engine, "kill", "--signal=TERM", name], check=True, capture_output=True)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 143
    assert "what is done is kept" in said
    assert not [path for path in out.iterdir() if path.name.startswith(".part")]
