from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medseg import files
from medseg.classes import ClassList
from medseg.errors import Code, Finding, MedsegError
from medseg.grid import Grid
from medseg.infer import batch, loading
from medseg.infer.results import Result
from medseg.tracking import pyfunc, store
from medseg.tracking.tracker import Tracker
from medseg.volume import Volume


@dataclass
class _Description:
    channels: tuple[str, ...]
    unit: str = "mm"
    spacing_mm: None = None
    spacing_px: None = None

    def class_list(self) -> ClassList:
        return ClassList.from_names({0: "background", 1: "CSF", 2: "GM"})


@dataclass
class _Model:
    folder: Path
    device: str
    description: _Description
    sha256: str = "0"


def _load(folder: Path, device: str = "cpu") -> _Model:
    about = json.loads((folder / "model.json").read_text())["description"]
    return _Model(folder, device, _Description(tuple(about["channels"])))


def _prepare(channels: Mapping[str, Path], description: _Description, **_: Any) -> tuple[Path, int]:
    first = next(iter(channels.values()))
    if "broken" in first.name:
        raise MedsegError(Code.TRUNCATED, first, "gzip stream ends early", "copy the file again")
    return first, len(channels)


def _predict(prepared: tuple[Path, int], model: _Model, **_: Any) -> tuple[Path, int, str]:
    return (*prepared, model.device)


def _finish(predicted: tuple[Path, int, str], description: _Description) -> Result:
    first, channels, device = predicted
    labels = Volume(np.full((1, 2, 2, 2), channels, np.uint8), Grid((2, 2, 2), np.eye(4)))
    notes = (Finding(Code.OBLIQUE, str(first), f"10°, seen by {device}", "nothing to do"),)
    return Result(labels, None, {"CSF": 1.5, "GM": 700.25}, 0.75, "probability", {}, notes)


@pytest.fixture(autouse=True)
def stand_ins(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that cost nothing, and a user whose MLflow looks into this work folder."""
    monkeypatch.setattr(loading, "load", _load)
    monkeypatch.setattr(batch, "prepare_case", _prepare)
    monkeypatch.setattr(batch, "predict_case", _predict)
    monkeypatch.setattr(batch, "finish_case", _finish)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.local_uri(work))


def _scan(path: Path) -> str:
    """A file that nothing reads."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a scan")
    return str(path)


def _folder(where: Path, channels: list[str]) -> Path:
    where.mkdir()
    classes = ClassList.from_names({0: "background", 1: "CSF", 2: "GM"}).to_json()
    text = json.dumps({"description": {"channels": channels, "classes": classes}})
    (where / "model.json").write_text(text)
    (where / "fold0.safetensors").write_bytes(b"weights")
    return where


def _log(work: Path, channels: list[str], register: str | None = None) -> pyfunc.Logged:
    run = Tracker(store.local_uri(work), work, "demo", warn=pytest.fail).start("fold 0")
    logged = pyfunc.log(run, _folder(work / "model", channels), register=register)
    assert logged is not None
    return logged


@pytest.mark.parametrize("which", ["uri", "run_uri", "registered_uri"])
def test_a_logged_model_labels_scans_loaded_by_any_of_its_uris(
    work: Path, tmp_path: Path, which: str
) -> None:
    import mlflow

    logged = _log(work, ["T1"], register="demo")
    model = mlflow.pyfunc.load_model(getattr(logged, which))
    paths = [_scan(tmp_path / name) for name in ("a/x.nii.gz", "b/y.nii.gz", "a/broken.nii.gz")]
    table = pd.DataFrame({"image": paths})
    made = model.predict(table, params={"out": str(tmp_path / "out"), "device": "cuda:1"})
    first, second, broken = made.to_dict("records")
    assert first["label_map"] == str(tmp_path / "out" / "x.nii.gz")
    assert second["label_map"] == str(tmp_path / "out" / "y.nii.gz")
    assert "cuda:1" in files.read_json(tmp_path / "out" / "x.json")["notes"][0]["details"]
    assert (first["size_GM"], first["size_unit"], first["quality"], first["note"]) == (
        700.25,
        "ml",
        0.75,
        "OBLIQUE",
    )
    assert (broken["label_map"], broken["code"], broken["note"]) == (
        "",
        "TRUNCATED",
        "gzip stream ends early",
    )


def test_several_channels_are_several_columns(work: Path, tmp_path: Path) -> None:
    import mlflow

    model = mlflow.pyfunc.load_model(_log(work, ["T1", "FLAIR"]).uri)
    row = {"T1": _scan(tmp_path / "x_t1.nii.gz"), "FLAIR": _scan(tmp_path / "x_flair.nii.gz")}
    made = model.predict(pd.DataFrame([row]), params={"out": str(tmp_path / "out")})
    assert np.asarray(nib.load(made["label_map"][0]).dataobj).max() == 2


def test_the_table_must_have_the_signatures_columns(work: Path) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    model = mlflow.pyfunc.load_model(_log(work, ["T1"]).uri)
    with pytest.raises(MlflowException, match="image"):
        model.predict(pd.DataFrame({"path": ["x.nii.gz"]}))


def test_the_model_holds_code_signature_example_and_said_requirements_but_no_pickle(work: Path) -> None:
    import mlflow

    import medseg

    logged = _log(work, ["T1"])
    place = Path(mlflow.artifacts.download_artifacts(logged.uri))
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {"MLmodel", "mlflow_model.py", "input_example.json", "artifacts/model/fold0.safetensors"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]
    asked = (place / "requirements.txt").read_text().split()
    assert asked == [f"medseg=={medseg.__version__}", f"mlflow=={mlflow.__version__}"]
    about = mlflow.models.get_model_info(logged.uri).signature
    assert about.inputs.input_names() == ["image", "case"]
    assert about.inputs.required_input_names() == ["image"]
    assert {"label_map", "size_CSF", "size_GM", "quality"} <= set(about.outputs.input_names())


def test_registering_again_makes_the_next_version(work: Path) -> None:
    first = _log(work, ["T1"], register="demo")
    shutil.rmtree(work / "model")
    second = _log(work, ["T1"], register="demo")
    assert (first.version, second.version) == (1, 2)
    assert second.registered_uri == "models:/demo/2"


def test_a_model_of_a_copied_folder_still_loads(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    logged = _log(work, ["T1"], register="demo")
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    shutil.rmtree(work)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.prepare(copy))
    for uri in (logged.uri, logged.run_uri, str(logged.registered_uri)):
        assert mlflow.pyfunc.load_model(uri).metadata.signature is not None


def test_logging_uses_no_active_run_and_no_global_store(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    _log(work, ["T1"], register="demo")
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == "http://127.0.0.1:9"


def test_an_untracked_run_logs_no_model(tmp_path: Path) -> None:
    run = Tracker(None, tmp_path, "demo", warn=pytest.fail).start("fold 0")
    assert pyfunc.log(run, _folder(tmp_path / "model", ["T1"])) is None
