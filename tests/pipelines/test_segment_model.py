"""What `medseg segment` makes of a model: members, domain, empty predictions, too little memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg import files, networks
from medseg.console import Reporter
from medseg.errors import ExitCode
from medseg.infer import batch, loading, predict
from medseg.infer.inferers import choose_inferer
from medseg.infer.segment import prepare_case
from medseg.ingest import checks
from medseg.model import folder as model_folder
from medseg.patches.slabs import read_slab
from medseg.patches.windows import mirrored
from medseg.preprocess import geometry, intensity
from medseg.volume import Volume
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from pipelines.execution.engines import Execution
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

MakeModel = Callable[..., Path]


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_members_of_several_folds_are_combined(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, rule: str
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    folder = make_model(members=3, ensemble=rule)
    assert segment.run([scan], tmp_path / "out", Settings(folder), say) == ExitCode.DONE
    made = np.asarray(nib.load(tmp_path / "out/a.nii.gz").dataobj)
    shares = [member_shares(folder, f"fold{k}", scan, rule) for k in range(3)]
    by_hand = np.argmax(shares[0] + shares[1] + shares[2], axis=0)  # the first of equals, as argmax does
    np.testing.assert_array_equal(made, by_hand)
    assert not any(np.array_equal(made, np.argmax(share, axis=0)) for share in shares)


def member_shares(folder: Path, member: str, scan: Path, rule: str) -> Any:
    """One member's probabilities, or its votes of 1 for the likeliest class: (K, X, Y, Z)."""
    model = loading.load(folder, members=[member])
    image, _ = checks.read_image({"t1": scan})
    assert image is not None
    prepared, record = geometry.apply(image, model.description.preprocessing().geometry)
    normalization = intensity.measure(prepared, "auto", "zscore")
    ready = intensity.NormalizedVolume(prepared.array, prepared.grid, normalization)
    slabs = [read_slab(ready, "axial", z, 3) for z in range(prepared.grid.shape[2])]
    height, width = slabs[0].shape[1:]
    padded = tuple(
        -(-size // model.predictor.spec.size_divisor) * model.predictor.spec.size_divisor
        for size in (height, width)
    )
    with torch.inference_mode():
        logits = model.predictor(torch.from_numpy(np.stack([mirrored(slab, padded) for slab in slabs])))
    shares = logits[..., :height, :width].softmax(dim=1).numpy()  # (Z, K, H, W)
    if rule == "vote":
        shares = np.eye(shares.shape[1], dtype=np.float32)[shares.argmax(axis=1)].transpose(0, 3, 1, 2)
    volume = np.zeros((shares.shape[1], *image.grid.shape), np.float32)
    volume[0] = 1  # what was cropped away is background
    for k, share in enumerate(shares.transpose(1, 2, 3, 0)):
        inside = (
            geometry.undo(Volume(np.ones_like(share, np.uint8)[None], prepared.grid), record).array[0] > 0
        )
        volume[k][inside] = share.ravel()
    return volume


@pytest.mark.parametrize("mode", ["dense", "vote"])
def test_a_resampled_scan_gets_labels_from_interpolated_scores(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, mode: str
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    folder = make_model(spacing_mm=(1.5, 1.6, 1.7))
    settings = Settings(folder, mode, confidence=True)
    assert segment.run([scan], tmp_path / "out", settings, say) == ExitCode.DONE
    made, confidence = (
        np.asarray(nib.load(tmp_path / f"out/{name}.nii.gz").dataobj) for name in ("a", "a_confidence")
    )
    model = loading.load(folder)
    prepared = prepare_case({"t1": scan}, model.description)
    inferer = choose_inferer(model.description, mode)
    scores = predict.label(prepared.volume, model.predictor, inferer, confidence=True, onto=prepared.record)
    np.testing.assert_array_equal(made, scores.labels)
    np.testing.assert_array_equal(confidence, scores.confidence)
    coarse = predict.label(prepared.volume, model.predictor, inferer).labels[None]
    nearest = geometry.undo(Volume(coarse, prepared.record.grid), prepared.record).array[0]
    assert 0 < np.count_nonzero(made != nearest) < made.size / 2
    assert segment.run([scan], tmp_path / "out", settings, say) == ExitCode.DONE
    assert files.read_csv(tmp_path / "out/summary.csv")[0]["status"] == "skipped"


@pytest.mark.parametrize(("workers", "asked", "each"), [(0, 0, None), (0, 6, 6), (2, 6, 3), (4, 2, 1)])
def test_threads_are_shared_among_workers(
    tmp_path: Path,
    make_model: MakeModel,
    say: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    asked: int,
    each: int | None,
) -> None:
    monkeypatch.setattr("medseg.process.cpu_quota", lambda: None)
    settings = Settings(make_model(), execution=Execution(workers), threads=asked)
    assert segment.asked_of(settings, tmp_path, say).threads == each
    monkeypatch.setattr("medseg.process.cpu_quota", lambda: 2.5)
    assert (segment.asked_of(settings, tmp_path, say).threads or 0) <= 2


def test_results_of_earlier_versions_are_made_anew_where_scans_are_resampled_and_nowhere_else() -> None:
    assert batch.version(describe()) == 3
    assert batch.version(describe(spacing_mm=(1.0, 1.0, 1.0))) == 4
    assert batch.version(describe(unit="px", channels=("grey",), spacing_px=(2.0, 2.0))) == 4


def test_a_scan_unlike_those_of_training_is_excluded_unless_accepted(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    domain = {"cases": 3, "spacing_min_mm": [1, 1, 2], "spacing_max_mm": [1, 1, 2]}
    save(tmp_path / "in/like.nii.gz", brain)
    save(tmp_path / "in/turned.nii.gz", brain, np.diag([2.0, 1.0, 1.0, 1.0]))  # a sagittal stack
    # the same axial stack, its file's first axis from foot to head
    along = np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
    save(tmp_path / "in/stored_otherwise.nii.gz", brain.transpose(2, 0, 1), along)
    save(tmp_path / "in/thick.nii.gz", brain, np.diag([1.0, 1.0, 3.1, 1.0]))
    model, out = make_model(domain=domain), tmp_path / "out"

    def rows_of(*, accept: bool) -> dict[str, dict[str, str]]:
        segment.run([tmp_path / "in"], out, Settings(model, accept_domain=accept), say)
        return {r["case"]: r for r in files.read_csv(out / "summary.csv")}

    rows = rows_of(accept=False)
    assert {name for name, row in rows.items() if row["status"] == "excluded"} == {"turned", "thick"}
    assert not (out / "thick.nii.gz").exists()
    assert "along R, A, S" in rows["thick"]["note"]
    rows = rows_of(accept=True)
    assert rows["like"]["status"] == "skipped"
    assert {name: row["code"] for name, row in rows.items()} == {
        "like": "",
        "stored_otherwise": "FLIPPED",
        "turned": "OUT_OF_DOMAIN",
        "thick": "OUT_OF_DOMAIN",
    }
    assert {name: row["needs_review"] for name, row in rows.items()} == {
        "like": "False",
        "stored_otherwise": "False",
        "turned": "True",
        "thick": "True",
    }
    assert rows["thick"]["status"] == "done with note"
    row = rows_of(accept=False)["thick"]  # no longer accepted: excluded again, what was made is kept
    assert (row["status"], row["code"]) == ("excluded", "OUT_OF_DOMAIN") and (out / "thick.nii.gz").exists()


def test_a_scan_without_any_foreground_found_needs_review(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    model = make_model()
    always_background(model)
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.DONE
    (row,) = files.read_csv(tmp_path / "out/summary.csv")
    assert (row["status"], row["code"]) == ("done with note", "EMPTY_PREDICTION")
    assert (row["needs_review"], row["quality"], row["gm_ml"]) == ("True", "0.0", "0.0")


def always_background(folder: Path) -> None:
    """Give the model's last layer weights that leave nothing but a bias for class 0."""
    about = model_folder.read(folder).description
    state = networks.build("usegnet", 3, len(about.classes), width=2).state_dict()
    *_, weight, bias = state
    state[weight] = torch.zeros_like(state[weight])
    state[bias] = torch.tensor([9.0] + [0.0] * (len(about.classes) - 1))
    model_folder.export(folder, {"fold0": state}, about)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=lambda error: str(error)[:12],
)
def test_a_scan_that_memory_is_too_small_for_is_excluded_with_how_to_fix_it(
    tmp_path: Path,
    brain: Any,
    make_model: MakeModel,
    say: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
) -> None:
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.nii.gz", brain)
    load = loading.load

    def load_failing(*args: Any, **keywords: Any) -> model_folder.Model:
        model = load(*args, **keywords)
        return replace(model, predictor=Failing(model.predictor, error))

    monkeypatch.setattr(loading, "load", load_failing)
    ended = segment.run([tmp_path / "in"], tmp_path / "out", Settings(make_model()), say)
    assert ended == ExitCode.SOME_EXCLUDED
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert (row["case"], row["code"]) == ("a", "OUT_OF_MEMORY")
    assert "batch" in row["how_to_fix"]


class Failing:
    """A predictor whose first batch raises."""

    def __init__(self, predictor: Any, error: Exception) -> None:
        self.spec, self._predictor, self._errors = predictor.spec, predictor, [error]

    def __call__(self, batch: torch.Tensor) -> Any:
        if self._errors:
            raise self._errors.pop()
        return self._predictor(batch)
