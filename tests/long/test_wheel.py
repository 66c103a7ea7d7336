"""The wheel in empty virtual environments outside the checkout: the core segments, [train] runs the demo."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import files, networks
from medseg.config import reference
from medseg.model import folder as model_folder
from medseg.synth import subject, tissues
from tests.helpers.model_folders import describe

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
NEED_TRAIN = (
    ["demo"],
    ["run", "demo"],
    ["ingest", "demo"],
    ["preprocess", "demo"],
    ["train", "demo"],
    ["predict", "demo"],
    ["evaluate", "demo"],
    ["report", "demo"],
    ["compare", "a", "b"],
    ["export", "a", "b"],
    ["ui", "a"],
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)], folder)
    (made,) = folder.glob("medseg-*.whl")
    return made


def run(command: list[str], cwd: Path, expected: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == expected, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def installed(folder: Path, what: str) -> Path:
    """A fresh environment with `what`; the path of its `medseg`."""
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv/bin/pip"), "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    run([*pip, what], folder)
    return folder / "venv/bin/medseg"


def test_the_core_alone_segments_and_every_other_command_names_the_extra(wheel: Path, tmp_path: Path) -> None:
    medseg = installed(tmp_path, str(wheel))
    state = networks.build("usegnet", 3, 3, seed=0, width=2).state_dict()
    model_folder.export(tmp_path / "model", {"fold0": state}, describe())
    scan = np.random.default_rng(0).integers(0, 99, (24, 24, 6)).astype(np.int16)
    nib.Nifti1Image(scan, np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    run([str(medseg), "segment", "scan.nii.gz", "out", "--model", "model"], tmp_path)
    assert (tmp_path / "out/scan.nii.gz").is_file()
    (row,) = files.read_csv(tmp_path / "out/summary.csv")
    assert row["status"].startswith("done")
    for command in NEED_TRAIN:
        said = run([str(medseg), *command], tmp_path, expected=2)
        assert "EXTRA_MISSING" in said, command
        assert "medseg[train]" in said, command
    assert "demo" in run([str(medseg), "info"], tmp_path)
    (schema,) = (tmp_path / "venv").rglob("medseg/configs/recipe.schema.json")
    assert schema.read_text(encoding="utf-8") == reference.schema()


def test_the_core_alone_labels_a_brain_without_a_network(wheel: Path, tmp_path: Path) -> None:
    medseg = installed(tmp_path, str(wheel))
    scan, truth = subject.make(tissues.load(3.0), 7, 1)
    (tmp_path / "empty").mkdir()
    brain = scan.array[0] * (truth.array[0] > 0)
    smaller = scan.grid.affine * 0.9  # the template's brain is larger than most
    nib.Nifti1Image(brain, smaller).to_filename(tmp_path / "empty/scan.nii.gz")
    said = run([*cut_off(), str(medseg), "segment", "scan.nii.gz", "out"], tmp_path / "empty")
    assert "no --model: brain-tissue" in said
    assert set(np.unique(nib.load(tmp_path / "empty/out/scan.nii.gz").dataobj)) == {0, 1, 2, 3, 4}
    assert "brain-tissue" in run([str(medseg), "models"], tmp_path / "empty")


def cut_off() -> list[str]:
    """The words that run a command without any network interface, where this user may."""
    words = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which(words[0]) and subprocess.run([*words, "true"], check=False).returncode == 0:
        return words
    return []


def test_the_train_extra_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    medseg = installed(tmp_path, f"medseg[train] @ {wheel.as_uri()}")
    said = run([str(medseg), "demo", "--set", "train.epochs=1", "--set", "train.steps_per_epoch=5"], tmp_path)
    assert "report" in said
    assert (tmp_path / "work/demo/report/report.html").is_file()
