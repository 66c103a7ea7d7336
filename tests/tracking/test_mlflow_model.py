from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medseg import networks
from medseg.model import folder as model_folder
from medseg.model.description import Description
from medseg.tracking import pyfunc, store
from medseg.tracking.tracker import Tracker


def _export(folder: Path) -> None:
    names = ("background", "CSF", "GM")
    keywords = {"width": 4, "depth": 2}
    about = Description(
        name="demo",
        network="unet",
        keywords=keywords,
        channels=("T1",),
        plane="axial",
        depth=3,
        classes=tuple({"value": i, "name": n, "colour": [0, 0, 0]} for i, n in enumerate(names)),
        foreground="auto",
        spacing_mm=None,
        crop=False,
        crop_margin=8,
        n4=False,
        intensity="zscore",
        mode="dense",
        window=(40, 40),
        stride=(10, 10),
        batch=4,
        ensemble="mean",
        domain={},
        trained={},
    )
    network = networks.build("unet", in_channels=3, classes=3, **keywords)
    model_folder.export(folder, {"fold0": network.state_dict()}, about)


def test_a_real_model_folder_labels_a_real_file_through_mlflow(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _export(work / "model")
    run = Tracker(store.local_uri(work), work, "demo", warn=pytest.fail).start("fold 0")
    logged = pyfunc.log(run, work / "model", register="demo")
    assert logged is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.local_uri(work))
    scan = np.random.default_rng(0).random((16, 12, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.diag([1, 1, 2, 1])), tmp_path / "a.b.nii.gz")
    import mlflow

    table = pd.DataFrame({"image": [str(tmp_path / "a.b.nii.gz"), str(tmp_path / "notes.txt")]})
    made = mlflow.pyfunc.load_model(str(logged.registered_uri)).predict(
        table, params={"out": str(tmp_path / "out")}
    )
    first, refused = made.to_dict("records")
    assert Path(first["label_map"]).name == "a.b.nii.gz"
    labels = np.asarray(nib.load(first["label_map"]).dataobj)
    assert labels.shape == scan.shape
    assert first["size_GM"] == pytest.approx((labels == 2).sum() * 2 / 1000)
    assert (refused["label_map"], refused["code"]) == ("", "NOT_AN_IMAGE")
