"""Whatever the first training step would stumble over is refused before anything runs, naming the key."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files, losses, networks
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.config.recipe import Recipe
from medseg.errors import Code, ExitCode, MedsegError
from medseg.preprocess import store
from pipelines.fold import network
from pipelines.fold.validation import absent_classes
from tests.helpers.box_runs import TRAIN, go, recipe_tree
from tests.helpers.box_subjects import make_subjects

PYRAMID = {"name": "deeplab_v3", "keywords": {"width": 4, "hidden": 8}}


def recipe(**parts: Any) -> Recipe:
    return Recipe.model_validate(recipe_tree(**parts))


def train(**values: Any) -> dict[str, Any]:
    return {**TRAIN, **values}


@pytest.mark.parametrize(
    ("values", "code", "where", "words"),
    [
        ({"batch": 1}, Code.SIZE_IMPOSSIBLE, "train.batch", "set train.batch to 2 or more"),
        ({"batch": 2, "processes": 2}, Code.SIZE_IMPOSSIBLE, "train.batch", "set train.batch to 4 or more"),
        ({"batch": 3, "processes": 2}, Code.KEYWORD_INVALID, "train.batch", "multiple of train.processes"),
        (
            {"batch": 1, "epochs": 2, "resizing": [{"epochs": 1, "scale": s} for s in (0.5, 1)]},
            Code.SIZE_IMPOSSIBLE,
            "train.batch",
            "has one value",
        ),
    ],
)
def test_a_batch_too_small_for_batch_normalisation(
    values: dict[str, Any], code: Code, where: str, words: str
) -> None:
    parts = recipe(network=PYRAMID, sampling={"window": [48, 48]}, train=train(**values))
    with pytest.raises(MedsegError) as caught:
        network.check_training_step(parts, 1)
    assert (caught.value.code, caught.value.finding.where) == (code, where)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("norm", "batch", "where", "words"),
    [
        ("BATCH", 1, "train.batch", "set train.batch to 2 or more"),
        ("INSTANCE", 2, "sampling.window", "enlarge sampling.window"),
    ],
)
def test_monai_networks_name_the_key_too(norm: str, batch: int, where: str, words: str) -> None:
    keywords = {"channels": [4] * 6, "strides": [2] * 5, "norm": norm}
    parts = recipe(
        network={"name": "monai.networks.nets:UNet", "keywords": keywords},
        sampling={"window": [32, 32]},
        train=train(batch=batch),
    )
    with pytest.raises(MedsegError) as caught:
        network.check_training_step(parts, 1)
    assert caught.value.code is Code.SIZE_IMPOSSIBLE
    assert caught.value.finding.where == where
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        {"network": PYRAMID, "sampling": {"window": [48, 48]}, "train": train(batch=2)},
        {"network": PYRAMID, "sampling": {"window": [48, 48]}, "train": train(batch=4, processes=2)},
        {"sampling": {"window": [16, 16]}, "train": train(batch=1)},
        {
            "network": PYRAMID,  # its batch normalisation is frozen: no statistics are taken
            "sampling": {"window": [48, 48]},
            "train": train(batch=1, phases=[{"layers": ["head.*"], "lr": 0.1, "epochs": 1}]),
        },
        {"loss": {"weight_map": {"sigma_px": 3.0}}},
        {"loss": {"class_weights": "median_frequency"}},
        {"network": {"name": "unetpp", "keywords": {"width": 2, "depth": 2}}, "loss": {"name": "unetpp"}},
    ],
)
def test_steps_that_are_possible_are_not_refused(parts: dict[str, Any]) -> None:
    possible = recipe(**parts)
    if possible.train.phases:
        names = [name for name, _ in network.network_without_weights(possible, 1).named_parameters()]
        last = names[-1].rpartition(".")[0]
        phases = [{"layers": [f"{last}.*"], "lr": 0.1, "epochs": 1}]
        possible = recipe(**{**parts, "train": train(batch=1, phases=phases)})
    heads = network.check_training_step(possible, 1)
    network.check_loss(possible, heads)


@pytest.mark.parametrize("name", ["train", "run"])
def test_it_is_known_before_the_work_folder_is_touched(tmp_path: Path, name: str) -> None:
    make_subjects(tmp_path / "data", labelled=5)
    parts = {"network": PYRAMID, "sampling": {"window": [48, 48]}, "train": train(batch=1)}
    with pytest.raises(RecipeError) as caught:
        go(tmp_path / "data", tmp_path / "work", parts=parts, only=None if name == "run" else name)
    assert [p.where for p in caught.value.problems] == ["train.batch"]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore"), "mat1 and mat2 shapes cannot"),
        (IndexError("tuple index out of range"), "tuple index out of range"),
        (AssertionError(), "AssertionError"),
        (ValueError("Expected more than 1 spatial element when training"), "enlarge sampling.window"),
    ],
)
def test_what_a_network_raises_for_a_shape_is_a_coded_refusal(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def forward(*_: object) -> None:
        raise error

    monkeypatch.setattr("medseg.networks.usegnet.USegNet.forward", forward)
    with pytest.raises(MedsegError) as caught:
        network.check_training_step(recipe(), 1)
    assert caught.value.code in (Code.KEYWORD_INVALID, Code.SIZE_IMPOSSIBLE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_the_meta_device_does_not_know_is_tried_for_real(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from medseg.networks.usegnet import USegNet

    real = USegNet.forward

    def forward(self: Any, x: Any) -> Any:
        if x.device.type == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return real(self, x)

    monkeypatch.setattr(USegNet, "forward", forward)
    assert network.check_training_step(recipe(), 1) == 1


def test_a_loss_that_fails_on_its_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> Any:
        return lambda *_: 1 / 0

    monkeypatch.setattr(losses, "build", build)
    with pytest.raises(MedsegError) as caught:
        network.check_loss(recipe(), 1)
    assert caught.value.code is Code.KEYWORD_INVALID


def test_every_packaged_recipes_first_step_is_possible() -> None:
    for path in load.packaged().glob("*.yaml"):
        packaged = load.load(path.stem)
        heads = network.check_training_step(packaged, len(packaged.data.channel_names()))
        network.check_loss(packaged, heads)


def relabel(data: Path, cases: list[str], change: Any) -> None:
    for case in cases:
        path = data / f"{case}/{case}_seg.nii.gz"
        image = nib.load(path)
        labels = change(np.asarray(image.dataobj).copy())
        nib.Nifti1Image(labels, image.affine).to_filename(path)


def without(*values: int) -> Any:
    return lambda labels: np.where(np.isin(labels, values), 0, labels).astype(np.uint8)


def test_a_class_in_no_training_case_is_said_before_training(tmp_path: Path) -> None:
    make_subjects(tmp_path / "data", labelled=5)
    relabel(tmp_path / "data", ["s0", "s1"], without(2))
    ended, said = go(tmp_path / "data", tmp_path / "work", only=None)
    assert ended == ExitCode.DONE
    line = "fold 0: class inner is in no training case, so it cannot be learnt"
    assert said.index(line) < said.index("epoch 1")
    assert "class outer" not in said


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ((2,), "no validation case holds inner: validation says nothing about it"),
        ((1, 2), "no validation case holds outer, inner: validation says nothing about them"),
    ],
)
def test_a_class_in_no_validation_case_is_said_before_training(
    tmp_path: Path, gone: tuple[int, ...], line: str
) -> None:
    make_subjects(tmp_path / "data", labelled=5)
    relabel(tmp_path / "data", ["s2"], without(*gone))
    for stage in ("ingest", "preprocess"):
        go(tmp_path / "data", tmp_path / "work", only=stage)
    said = go(tmp_path / "data", tmp_path / "work", only="train")[1]
    assert said.index(line) < said.index("epoch 1")


@pytest.mark.parametrize("change", [without(1, 2), lambda labels: np.full_like(labels, 255)])
def test_training_without_a_labelled_voxel_is_refused(tmp_path: Path, change: Any) -> None:
    make_subjects(tmp_path / "data", labelled=5)
    relabel(tmp_path / "data", ["s0", "s1"], change)
    parts = {"data": {**recipe_tree()["data"], "void": 255}}
    with pytest.raises(MedsegError) as caught:
        go(tmp_path / "data", tmp_path / "work", parts=parts)
    assert caught.value.code is Code.NOTHING_USABLE
    assert caught.value.exit_code == ExitCode.NOTHING_USABLE
    assert "outer, inner" in caught.value.finding.details
    assert "data.splits" in caught.value.finding.how_to_fix
    assert not (tmp_path / "work/train/0/last.ckpt").exists()


def test_absent_classes_by_hand() -> None:
    classes = recipe().data.class_list()

    class Case:
        def __init__(self, **counts: int) -> None:
            self.counts = {int(key[1:]): n for key, n in counts.items()}

    cases: Any = [Case(k0=9, k1=3), Case(k0=9, k2=0)]
    assert absent_classes(cases, classes) == ["inner"]
    assert absent_classes([], classes) == ["outer", "inner"]


def test_a_small_run_builds_few_networks_and_opens_each_case_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ten networks and 21 hashes of three records; `record.json` is read and hashed by opening it."""
    make_subjects(tmp_path / "data", labelled=5)
    counts: Counter[str] = Counter()
    build, open_case, sha256 = networks.build, store.open, files.sha256

    def counted_build(*arguments: Any, **keywords: Any) -> Any:
        counts["networks"] += 1
        return build(*arguments, **keywords)

    def counted_open(case: Path) -> Any:
        counts[f"opened {case.name}"] += 1
        return open_case(case)

    def counted_sha256(path: Path) -> str:
        counts[f"hashed {path.name}"] += path.name == "record.json"
        return sha256(path)

    network._on_meta.cache_clear()
    go(tmp_path / "data", tmp_path / "work", only="ingest")
    go(tmp_path / "data", tmp_path / "work", only="preprocess")
    network._on_meta.cache_clear()
    monkeypatch.setattr(networks, "build", counted_build)
    monkeypatch.setattr(store, "open", counted_open)
    monkeypatch.setattr(files, "sha256", counted_sha256)
    go(tmp_path / "data", tmp_path / "work", only="train")
    assert counts["networks"] <= 3  # one without memory, the one that is trained, one for the model's size
    assert {key: n for key, n in counts.items() if key.startswith("opened")} == {
        "opened s0": 1,
        "opened s1": 1,
        "opened s2": 1,
    }
    assert counts["hashed record.json"] == 0

    counts.clear()
    shutil.rmtree(tmp_path / "work/train")
    go(tmp_path / "data", tmp_path / "work", only="train", fold="all")
    assert counts["networks"] <= 2 * 3
    assert all(n == 1 for key, n in counts.items() if key.startswith("opened"))
