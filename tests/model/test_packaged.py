"""Models that ship with medseg: found by name, whole, one network with several class lists."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from medseg import files, networks
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.infer.predictor import JoinedClasses, NetworkPredictor, Spec
from medseg.model import folder as model_folder
from medseg.model import packaged
from tests.helpers.model_folders import describe

FOUR = tuple(ClassList.from_names({0: "background", 1: "inner", 2: "gm", 3: "outer"}).to_json())
TWO = tuple(ClassList.from_names({0: "background", 1: "csf", 2: "gm"}).to_json())
LARGEST_MB = 5


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packaged models with one model, `tiny`, and its convention `joined`."""
    state = networks.build("usegnet", 3, 4, seed=0, width=2).state_dict()
    model_folder.export(tmp_path / "tiny", {"one": state}, describe(classes=FOUR))
    tree = files.read_json(tmp_path / "tiny/model.json")
    tree["members"][0]["shared"] = True
    tree["description"] = describe(classes=TWO, outputs=(0, 1, 2, 1)).model_dump(mode="json")
    files.write_json(tmp_path / "tiny/joined/model.json", tree)
    monkeypatch.setattr(packaged, "MODELS", tmp_path)
    return tmp_path


def test_a_name_finds_a_model_and_its_conventions(models: Path) -> None:
    assert packaged.names() == ["tiny"]
    assert packaged.find("tiny") == models / "tiny"
    assert packaged.find("tiny/joined") == models / "tiny/joined"
    assert packaged.conventions(models / "tiny") == ["joined"]
    assert packaged.with_convention(models / "tiny", "joined") == models / "tiny/joined"
    assert model_folder.locate(Path("tiny")) == models / "tiny"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "tin", "tiny/other", "tiny/joined/deeper", "../tiny", "/tiny"]
)
def test_other_names_find_none(models: Path, name: str) -> None:
    assert packaged.find(name) is None


def test_a_folder_of_that_name_comes_first(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert model_folder.locate(Path("tiny")) == Path("tiny")


def test_unknown_conventions_and_absent_models_are_refused(models: Path) -> None:
    with pytest.raises(MedsegError) as unknown:
        packaged.with_convention(models / "tiny", "joind")
    assert (unknown.value.code, "joined" in str(unknown.value)) == (Code.USAGE, True)
    with pytest.raises(MedsegError) as none:
        packaged.with_convention(models / "tiny/joined", "x")
    assert "leave it out" in str(none.value)
    with pytest.raises(MedsegError) as absent:
        packaged.default()
    assert (absent.value.code, "--model" in str(absent.value)) == (Code.USAGE, True)


def test_a_convention_adds_probabilities_of_the_same_weights(models: Path) -> None:
    slabs = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = loading.load(models / "tiny").predictor
    joined = loading.load(models / "tiny/joined").predictor
    assert isinstance(plain, NetworkPredictor) and isinstance(joined, JoinedClasses)
    p = plain(slabs).softmax(dim=1)
    expected = torch.stack([p[:, 0], p[:, 1] + p[:, 3], p[:, 2]], dim=1)
    torch.testing.assert_close(joined(slabs).softmax(dim=1), expected)
    assert (plain.spec.classes, joined.spec.classes) == (4, 3)
    assert isinstance(joined.spec, Spec)


def test_a_shared_file_is_checked_too(models: Path) -> None:
    (models / "tiny/one.safetensors").write_bytes(b"other")
    with pytest.raises(MedsegError) as refused:
        loading.load(models / "tiny/joined")
    assert refused.value.code is Code.MODEL_TAMPERED


@pytest.mark.parametrize("outputs", [(0, 1), (0, 1, 3), (0, 2, 2)])
def test_outputs_must_fill_the_classes(outputs: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="outputs"):
        describe(classes=TWO, outputs=outputs)


@pytest.mark.skipif(not packaged.names(), reason="no model ships with this checkout")
@pytest.mark.parametrize("name", packaged.names())
def test_what_ships_is_whole_small_and_kept_by_git(name: str) -> None:
    folder = packaged.MODELS / name
    for one in (folder, *(folder / convention for convention in packaged.conventions(folder))):
        assert loading.load(one).parameters > 0
    weights = list(folder.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) < LARGEST_MB * 1e6
    assert (folder / model_folder.CARD).is_file()
    ignored = subprocess.run(
        ["git", "check-ignore", *weights], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not ignored.stdout, "a wheel leaves out what git ignores"
    assert json.loads((folder / model_folder.MODEL_JSON).read_text())["description"]["name"] == name
