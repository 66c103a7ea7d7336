"""CT with a window in HU: the model folder scales new scans alike, and refuses what is no such CT."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import loading
from medseg.infer.segment import prepare_case, segment
from medseg.preprocess import store
from medseg.volume import Window
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.recipe_samples import RECIPES


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, sample = tmp_path_factory.mktemp("ct"), RECIPES["lits_unetpp"]
    sample.build(place / "data")
    request = Request("lits_unetpp", place / "data", place / "work", sample.settings)
    for stage in ("ingest", "preprocess", "train"):
        assert pipeline.run(request, Reporter(stream=io.StringIO()), only=stage) == ExitCode.DONE
    return place / "work"


def code(scan: Path, model: loading.Model) -> Code:
    with pytest.raises(MedsegError) as refused:
        segment({"ct": scan}, model)
    return refused.value.code


def test_segment_scales_by_the_window_and_guards_by_it(work: Path, tmp_path: Path) -> None:
    model = loading.load(work / "model")
    assert model.description.intensity == Window(window=(-200, 250))
    scan = work.parent / "data/batch/volume-1.nii"
    prepared = prepare_case({"ct": scan}, model.description)
    seen = prepared.volume.normalise(prepared.volume.array)
    assert (seen.min(), seen.max()) == pytest.approx((-1, 1), abs=1)
    assert prepared.volume.normalization.low == (-200,) and float(np.abs(seen).max()) <= 1
    stored = [store.open(path) for path in sorted((work / "prepared").glob("*/")) if path.is_dir()]
    assert {case.volume.normalization for case in stored} == {prepared.volume.normalization}
    assert 2 not in np.unique(segment({"ct": scan}, model).labels.array)

    image = nib.load(scan)
    values = np.asarray(image.dataobj)
    raw, other = tmp_path / "raw.nii", tmp_path / "other.nii"
    nib.Nifti1Image((values + 2000).astype(np.int16), image.affine).to_filename(raw)
    assert code(raw, model) is Code.OUTSIDE_WINDOW
    grey = (
        np.where(values < 0, 0, values.clip(0, 240)) - 120
    )  # all of it inside the window, and of other greys
    nib.Nifti1Image(grey.astype(np.int16), image.affine).to_filename(other)
    assert code(other, model) is Code.OUT_OF_DOMAIN
