"""`medseg segment` without `--model`: tissues of a brain at once; heads, images and CT are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg import files
from medseg.errors import Code, ExitCode
from medseg.io import nifti
from medseg.model import packaged
from medseg.synth import subject, tissues
from pipelines.commands import models
from tests.helpers.commands import Ended, run_command

pytestmark = pytest.mark.skipif(
    packaged.find(packaged.DEFAULT) is None, reason="no model ships with this checkout"
)
Command = Callable[..., Ended]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("MEDSEG_MODEL", raising=False)

    def run(*words: object) -> Ended:
        return run_command(["segment", *words, "--workers", "0", "--no-figure"], capfd, monkeypatch)

    return run


def dice(truth: Any, labels: Any, value: int) -> float:
    a, b = truth == value, labels == value
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_brain_gets_its_tissues_on_its_own_grid(command: Command, tmp_path: Path) -> None:
    """The brain is the demo's, whose maker knows nothing of the training; it lies in another orientation."""
    scan, truth = subject.make(tissues.load(3.0), 7, 1)
    scan = scan.with_array(scan.array * (truth.array > 0))
    file, labels_file = tmp_path / "in/a.nii.gz", tmp_path / "truth.nii.gz"
    for volume, path in ((scan, file), (truth, labels_file)):
        nifti.write(volume, path)
        turned = nib.load(path).as_reoriented(np.array([[1, -1], [2, 1], [0, 1]]))
        smaller = turned.affine * 0.9  # the template's brain is larger than most
        nib.Nifti1Image(np.asarray(turned.dataobj), smaller).to_filename(path)
    ended = command(file, tmp_path / "out", "--convention", "all-csf")
    assert ended.code == ExitCode.DONE
    assert "no --model: brain-tissue, trained on synthetic brains alone" in ended.text
    labels = nib.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_allclose(labels.affine, nib.load(file).affine)
    known, found = (np.asarray(nib.load(p).dataobj) for p in (labels_file, tmp_path / "out/a.nii.gz"))
    scores = {value: dice(known, found, value) for value in (1, 2, 3)}
    assert min(scores[2], scores[3]) > 0.75 and scores[1] > 0.3, scores  # of its sulci, thinner than 3 mm
    assert files.read_csv(tmp_path / "out/summary.csv")[0]["status"].startswith("done")


def test_a_whole_head_is_refused_with_what_to_do(command: Command, tmp_path: Path) -> None:
    place = np.indices((60, 60, 60)) - 29.5
    head = np.linalg.norm(place, axis=0) < 26  # of 4 mm: 4,700 ml
    rng = np.random.default_rng(0)
    image = (head * rng.integers(50, 200, head.shape)).astype(np.int16)
    nib.Nifti1Image(image, np.diag([4, 4, 4, 1])).to_filename(tmp_path / "head.nii.gz")
    assert command(tmp_path / "head.nii.gz", tmp_path / "out").code == ExitCode.NOTHING_USABLE
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert row["code"] == Code.OUT_OF_DOMAIN
    assert "whole head" in row["details"] and "--strip" in row["how_to_fix"]


def test_an_image_is_refused(command: Command, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        tmp_path / "photo.png"
    )
    ended = command(tmp_path / "photo.png", tmp_path / "out")
    assert ended.code != ExitCode.DONE
    assert "Traceback" not in ended.text


def test_an_unknown_convention_is_refused_before_anything_is_written(
    command: Command, tmp_path: Path
) -> None:
    ended = command(tmp_path, tmp_path / "out", "--convention", "ibrs")
    assert ended.code == ExitCode.USAGE and "ibsr" in ended.text
    assert not (tmp_path / "out").exists()


def test_models_are_listed_with_classes_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    models.run(as_json=False)
    printed = capsys.readouterr().out
    assert "brain-tissue: " in printed and "MB, the default" in printed
    assert "1 ventricles, 2 GM, 3 WM, 4 sulcal CSF" in printed
    assert "t1 scans of skull-stripped brains" in printed
    by_option = {line.split("  ")[1]: line for line in printed.splitlines() if "--convention" in line}
    assert "1 CSF (ventricles), 2 GM (GM and sulcal CSF), 3 WM" in by_option["--convention ibsr"]
    assert "1 CSF (ventricles and sulcal CSF), 2 GM, 3 WM" in by_option["--convention all-csf"]
