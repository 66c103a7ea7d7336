"""Trainings that start from published weights or another model, through whole runs on tiny subjects."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from medseg import files
from medseg.config.load import RecipeError, load, locate
from medseg.config.sections import Network
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.networks.backbones.vgg import VGG16Classifier
from medseg.networks.weights import download
from medseg.train import state
from pipelines import run as pipeline
from pipelines.fold import initial_weights
from pipelines.fold.fold import FoldTraining
from pipelines.job import STAGES
from pipelines.run import Request
from pipelines.workfolder import Work
from tests.helpers.box_subjects import make_subjects


def tree(**network: Any) -> dict[str, Any]:
    return {
        "name": "boxes",
        "data": {
            "layout": "patterns",
            "channels": {"t1": "{case}/{case}.nii.gz"},
            "label": "{case}/{case}_seg.nii.gz",
            "classes": {0: "background", 1: "outer", 2: "inner"},
            "splits": {"train": ["s0"], "val": ["s1"], "test": ["s2"]},
        },
        "sampling": {"window": [16, 16]},
        "network": {"name": "usegnet", "keywords": {"width": 2}, **network},
        "train": {"epochs": 1, "steps_per_epoch": 1, "batch": 2, "threads": 1, "precision": "fp32"},
        "tracking": {"enabled": False},
    }


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subjects")
    make_subjects(folder, labelled=3)
    return folder


@pytest.fixture
def vgg(tmp_path: Path) -> Iterator[Path]:
    """A narrow VGG16 in torchvision's names."""
    with torch.random.fork_rng(devices=[]):
        safetensors.torch.save_file(
            VGG16Classifier(3, 5, width=2, hidden=3).published(), tmp_path / "vgg.safetensors"
        )
    yield tmp_path / "vgg.safetensors"


def go(place: Path, data: Path, work: str, only: str | None = None, **network: Any) -> str:
    """Run the recipe with this network in `place/<work>`; what was said."""
    (place / "boxes.yaml").write_text(yaml.safe_dump(tree(**network)))
    stream = io.StringIO()
    request = Request(str(place / "boxes.yaml"), data, place / work)
    pipeline.run(request, Reporter(stream=stream), only=only)
    return stream.getvalue()


def first_network(place: Path, work: str, **network: Any) -> dict[str, torch.Tensor]:
    """The state dict that the first step of such a training would find."""
    (place / "boxes.yaml").write_text(yaml.safe_dump(tree(**network)))
    folder = Work(place / work)
    for name in ("last.ckpt", "best.ckpt"):
        (folder.train(0) / name).unlink()
    return dict(FoldTraining(load(str(place / "boxes.yaml")), folder, 0).initial_network()[0].state_dict())


def test_published_weights_fill_the_body_and_belong_to_the_training(
    tmp_path: Path, subjects: Path, vgg: Path
) -> None:
    go(tmp_path, subjects, "drawn")
    said = go(tmp_path, subjects, "work", weights={"file": "vgg.safetensors"})
    assert (
        "starts from vgg.safetensors: 14 of its 32 keys used (features 14); not used: classifier.0.b" in said
    )
    record = files.read_json(tmp_path / "work/train/0/initial_weights.json")
    assert record["source"] == "vgg.safetensors" and len(record["used"]) == 14
    assert "classifier.6.bias" in record["not_used"] and "head.weight" in record["fresh"]
    assert "up to date" in go(tmp_path, subjects, "work", weights={"file": "vgg.safetensors"})
    card = (tmp_path / "work/model/card.md").read_text()
    assert f"started from vgg.safetensors, sha256 {files.sha256(vgg)[:12]}" in card
    page = (tmp_path / "work/report/report.html").read_text()
    assert f"vgg.safetensors, sha256 {files.sha256(vgg)[:12]}" in page
    assert "started from" not in (tmp_path / "drawn/report/report.html").read_text()
    weights = state.read_network(tmp_path / "work/train/0/best.ckpt")
    assert not torch.equal(
        weights["encoders.0.0.0.weight"],
        state.read_network(tmp_path / "drawn/train/0/best.ckpt")["encoders.0.0.0.weight"],
    )
    init_source = first_network(tmp_path, "work", weights={"file": "vgg.safetensors"})
    published = safetensors.torch.load_file(vgg)
    assert torch.equal(init_source["encoders.1.0.0.weight"], published["features.5.weight"])
    vgg.rename(tmp_path / "gone.safetensors")
    assert "predict: " in go(tmp_path, subjects, "work", "predict", weights={"file": "vgg.safetensors"})


def test_the_training_key_follows_the_content_and_not_the_place(
    tmp_path: Path, subjects: Path, vgg: Path
) -> None:
    go(tmp_path, subjects, "work", weights={"file": "vgg.safetensors"})
    vgg.rename(tmp_path / "elsewhere.safetensors")
    moved = {"file": "elsewhere.safetensors", "sha256": files.sha256(tmp_path / "elsewhere.safetensors")}
    assert "train: up to date" in go(tmp_path, subjects, "work", weights=moved)
    other = {k: v + 1 for k, v in safetensors.torch.load_file(tmp_path / "elsewhere.safetensors").items()}
    safetensors.torch.save_file(other, vgg)
    with pytest.raises(MedsegError) as refused:
        go(tmp_path, subjects, "work", weights={"file": "vgg.safetensors"})
    assert refused.value.code is Code.SETTINGS_CHANGED
    assert "network.weights sha256 " in refused.value.finding.details


def test_a_checkpoint_goes_on_without_the_file(tmp_path: Path, subjects: Path, vgg: Path) -> None:
    init_source = {"file": "vgg.safetensors", "sha256": files.sha256(vgg)}
    go(tmp_path, subjects, "work", weights=init_source)
    vgg.unlink()
    recipe = load(str(tmp_path / "boxes.yaml"))
    network, told = FoldTraining(recipe, Work(tmp_path / "work"), 0).initial_network()
    assert told is None
    assert network.state_dict().keys() == state.read_network(tmp_path / "work/train/0/last.ckpt").keys()


def test_weights_by_url_are_downloaded_once_into_the_work_folder(
    tmp_path: Path, subjects: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def open_here(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(vgg.read_bytes())

    monkeypatch.setattr(download.urllib.request, "urlopen", open_here)
    url = "https://example.org/bodies/vgg.safetensors"
    init_source = {"url": url, "sha256": files.sha256(vgg)}
    said = go(tmp_path, subjects, "work", weights=init_source)
    assert f"downloading {url}" in said
    assert (tmp_path / "work/weights/vgg.safetensors").read_bytes() == vgg.read_bytes()
    go(tmp_path, subjects, "work", weights=init_source)
    assert asked == [url]
    with pytest.raises(MedsegError) as refused:
        go(tmp_path, subjects, "other", weights={**init_source, "sha256": "0" * 64})
    assert refused.value.code is Code.SHA256_DIFFERS
    assert not list((tmp_path / "other/weights").iterdir())
    assert not (tmp_path / "other/train/0/last.ckpt").exists()


def test_a_model_starts_another_and_is_not_needed_afterwards(tmp_path: Path, subjects: Path) -> None:
    go(tmp_path, subjects, "first", name="segnet_small")
    said = go(tmp_path, subjects, "second", init_from="first/model", reinit_layers=["decoders.0.*"])
    assert f"starts from {tmp_path}/first/model: " in said
    assert "keys used (encoders " in said and "; not used: decoders.0." in said
    given = safetensors.torch.load_file(tmp_path / "first/model/fold0.safetensors")
    init_source = first_network(tmp_path, "second", init_from="first/model", reinit_layers=["decoders.0.*"])
    assert torch.equal(init_source["head.weight"], given["head.weight"])
    assert not torch.equal(init_source["decoders.0.0.0.weight"], given["decoders.0.0.0.weight"])
    (tmp_path / "first/model/model.json").unlink()
    go(tmp_path, subjects, "second", "predict", init_from="first/model", reinit_layers=["decoders.0.*"])
    with pytest.raises(MedsegError) as refused:
        go(tmp_path, subjects, "third", init_from="first/model")
    assert refused.value.code is Code.PATH_MISSING
    assert "--set network.init_from=" in refused.value.finding.how_to_fix
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("source", ["first/model", "vgg.safetensors"])
def test_a_finished_training_needs_its_source_no_more(
    tmp_path: Path, subjects: Path, vgg: Path, source: str
) -> None:
    init_source: dict[str, Any] = {"weights": {"file": source}}
    if source != vgg.name:
        go(tmp_path, subjects, "first")
        init_source = {"init_from": source}
    go(tmp_path, subjects, "work", **init_source)
    (tmp_path / source).rename(tmp_path / "gone")
    assert go(tmp_path, subjects, "work", **init_source).count("up to date") == len(STAGES)
    # one that was interrupted goes on, and its export still says what it began as
    for made in ("train/0/done.json", "model/model.json"):
        (tmp_path / "work" / made).unlink()
    assert "going on from the last checkpoint" in go(tmp_path, subjects, "work", **init_source)
    assert "started from " in (tmp_path / "work/model/card.md").read_text()

    kept = (tmp_path / "work/train/0/best.ckpt").read_bytes()
    for changed in (
        {"keywords": {"width": 3}},
        {key: other_place(value) for key, value in init_source.items()},
    ):
        with pytest.raises(MedsegError) as refused:
            go(tmp_path, subjects, "work", **{**init_source, **changed})
        assert refused.value.code is Code.PATH_MISSING
    request = Request(str(tmp_path / "boxes.yaml"), subjects, tmp_path / "work")
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree(**init_source)))
    with pytest.raises(MedsegError) as refused:
        pipeline.run(request, Reporter(quiet=True), start="train")
    assert refused.value.code is Code.PATH_MISSING
    # what only the stage can tell is refused before the finished training is moved aside
    for overwrite, code in ((False, Code.SETTINGS_CHANGED), (True, Code.PATH_MISSING)):
        with pytest.raises(MedsegError) as refused:
            other = replace(request, settings=("train.lr=0.5",))
            pipeline.run(other, Reporter(quiet=True), overwrite=overwrite)
        assert refused.value.code is code
    assert (tmp_path / "work/train/0/best.ckpt").read_bytes() == kept


def other_place(source: Any) -> Any:
    """A place where nothing lies."""
    return {"file": "nowhere.pth"} if isinstance(source, dict) else "nowhere"


def test_of_several_members_the_folds_own_is_taken(tmp_path: Path, subjects: Path, make_model: Any) -> None:
    make_model("two", members=2)
    go(tmp_path, subjects, "work", init_from="two")
    made = {"init_from": str(tmp_path / "two")}
    model = files.read_json(tmp_path / "two/model.json")
    (tmp_path / "two/model.json").write_text(
        (tmp_path / "two/model.json").read_text().replace('"fold0"', '"fold7"')
    )
    with pytest.raises(MedsegError) as refused:
        go(tmp_path, subjects, "other", **made)
    assert refused.value.code is Code.NOT_A_MODEL
    assert "fold7, fold1" in str(refused.value)
    assert model["members"][0]["name"] == "fold0"


def test_a_planes_network_starts_from_that_of_its_plane_or_its_folds(make_model: Any, tmp_path: Path) -> None:
    make_model("two", members=2)
    path = tmp_path / "two/model.json"
    shared = Network(init_from=tmp_path / "two")
    assert str(initial_weights.init_source(shared, "fold1_axial", tmp_path)).startswith(
        "tiny (fold1), sha256"
    )
    path.write_text(path.read_text().replace('"fold1"', '"fold0_axial"'))
    assert "(fold0_axial)" in str(initial_weights.init_source(shared, "fold0_axial", tmp_path))
    assert "(fold0)" in str(initial_weights.init_source(shared, "fold0_coronal", tmp_path))
    ours, theirs = (initial_weights.settings(shared, name, tmp_path) for name in ("fold0", "fold0_axial"))
    assert ours != theirs


@pytest.mark.parametrize(
    ("network", "code", "words"),
    [
        ({"weights": {"file": "none.pth"}}, Code.PATH_MISSING, "none.pth"),
        ({"weights": {"file": "vgg.safetensors", "sha256": "0" * 64}}, Code.SHA256_DIFFERS, "0" * 64),
        (
            {"weights": {"file": "vgg.safetensors"}, "keywords": {"width": 3}},
            Code.WEIGHTS_DO_NOT_FIT,
            "features.0.weight is (2, 3, 3, 3), encoders.0.0.0.weight needs (3, 3, 3, 3)",
        ),
        ({"weights": {"file": "vgg.safetensors"}, "name": "unet"}, Code.WEIGHTS_DO_NOT_FIT, "no layers"),
        ({"init_from": "model", "reinit_layers": ["nowhere"]}, Code.KEYWORD_INVALID, "'nowhere'"),
        (
            {"init_from": "model", "name": "unet", "keywords": {"width": 3}},
            Code.WEIGHTS_DO_NOT_FIT,
            "no layer of USegNet",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_refused_before_anything_runs(
    tmp_path: Path,
    subjects: Path,
    vgg: Path,
    make_model: Any,
    network: dict[str, Any],
    code: Code,
    words: str,
) -> None:
    make_model()
    with pytest.raises(MedsegError) as refused:
        go(tmp_path, subjects, "work", **network)
    assert refused.value.code is code
    assert words in str(refused.value)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"weights": {}}, "give either file or url"),
        ({"weights": {"file": "a", "url": "https://a/b", "sha256": "0" * 64}}, "give either file or url"),
        ({"weights": {"url": "https://a/b"}}, "needs the sha256"),
        ({"weights": {"url": "ftp://a/b", "sha256": "0" * 64}}, "https://"),
        ({"weights": {"url": "https://a/b", "sha256": "ABC"}}, "match pattern"),
        ({"weights": {"file": "a"}, "init_from": "b"}, "network.weights: init_from also says"),
        (
            {"reinit_layers": ["head.*"]},
            "network.reinit_layers: there is no network.init_from",
        ),
    ],
)
def test_a_recipe_that_does_not_say_clearly_where_from_is_refused(
    tmp_path: Path, subjects: Path, network: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        go(tmp_path, subjects, "work", **network)
    assert any(words in str(problem) for problem in refused.value.problems)


def test_the_transfer_recipe_without_its_model_ends_in_one_line_that_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes/transfer.yaml"
    recipe.write_text(locate("ibsr18_usegnet_transfer").read_text(encoding="utf-8"))
    with pytest.raises(MedsegError) as refused:
        pipeline.run(Request(str(recipe), tmp_path, tmp_path / "w"), Reporter(quiet=True))
    assert refused.value.code is Code.PATH_MISSING
    line = str(refused.value)
    assert line.count("\n") == 0 and "network.init_from" in line
    assert "--set network.init_from=MODEL_DIR" in line
    assert not (tmp_path / "w").exists()


def test_paths_of_the_network_are_seen_from_the_recipe_and_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree(init_from="models/a")))
    assert load(str(tmp_path / "boxes.yaml")).network.init_from == tmp_path / "models/a"
    given = load(str(tmp_path / "boxes.yaml"), ["network.init_from=b"]).network.init_from
    assert given == tmp_path / "here/b"
    weights = load(
        str(tmp_path / "boxes.yaml"), ["network.init_from=null", "network.weights.file=c.pth"]
    ).network.weights
    assert weights is not None
    assert weights.file == tmp_path / "here/c.pth"
