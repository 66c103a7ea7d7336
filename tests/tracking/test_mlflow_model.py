from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.infer import batch
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


def test_rows_of_one_name_are_refused_unless_a_column_names_them(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _export(work / "model")
    run = Tracker(store.local_uri(work), work, "demo", warn=pytest.fail).start("fold 0")
    logged = pyfunc.log(run, work / "model", register="demo")
    assert logged is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.local_uri(work))
    import mlflow

    paths = []
    for folder in ("one", "two"):
        scan = np.random.default_rng(len(folder)).random((16, 12, 5)).astype(np.float32)
        paths.append(tmp_path / folder / "T1.nii.gz")
        paths[-1].parent.mkdir()
        nib.save(nib.Nifti1Image(scan, np.diag([1, 1, 2, 1])), paths[-1])
    model, out = mlflow.pyfunc.load_model(str(logged.registered_uri)), tmp_path / "out"
    table = pd.DataFrame({"image": [str(path) for path in paths]})
    made = model.predict(table, params={"out": str(out)})
    assert list(made["code"]) == ["DUPLICATE_CASE"] * 2
    named = table.assign(case=["one", "two"])
    for _ in range(2):
        made = model.predict(named, params={"out": str(out)})
        assert [Path(path).name for path in made["label_map"]] == ["one.nii.gz", "two.nii.gz"]
    paths[0].write_bytes(b"")
    made = model.predict(named, params={"out": str(out)})
    assert made["code"][0] and not made["code"][1]
    assert (out / "one.nii.gz").is_file()
    assert "is kept" in made["note"][0]
    with batch.lock(out), pytest.raises(MedsegError) as refused:
        model.predict(named, params={"out": str(out)})
    assert refused.value.code == Code.WORK_IN_USE
