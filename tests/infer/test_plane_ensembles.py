"""Model folders of several planes: one network along all, or members of one plane each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg import files, networks
from medseg.errors import Code, MedsegError
from medseg.grid import Plane
from medseg.infer import loading
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble
from medseg.infer.predictor import NetworkPredictor
from medseg.model import folder as model_folder
from tests.helpers.model_folders import describe

BOTH: tuple[Plane, ...] = ("axial", "sagittal")


def states(*names: str) -> dict[str, Any]:
    return {
        name: networks.build("usegnet", 3, 3, seed=k, width=2).state_dict() for k, name in enumerate(names)
    }


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Two folds' networks, each for both planes."""
    model_folder.export(tmp_path / "shared", states("fold0", "fold1"), describe(plane=BOTH))
    return tmp_path / "shared"


@pytest.fixture
def separate(tmp_path: Path) -> Path:
    """Two folds' networks of each plane."""
    planes: dict[str, Plane] = {f"fold{k}_{plane}": plane for k in (0, 1) for plane in BOTH}
    about = describe(plane=BOTH, ensemble="vote")
    model_folder.export(tmp_path / "separate", states(*planes), about, planes)
    return tmp_path / "separate"


def edit(folder: Path, change: Any) -> None:
    path = folder / "model.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def along(predictor: Any) -> list[Plane]:
    return [one.spec.plane for one in predictor.predictors]


def test_one_network_is_used_along_each_plane(shared: Path) -> None:
    alone = loading.load(shared, members=["fold0"]).predictor
    assert isinstance(alone, MultiPlaneEnsemble)
    assert (along(alone), alone.ensemble) == ([*BOTH], "mean")
    axial, sagittal = alone.predictors
    assert isinstance(axial, NetworkPredictor)
    assert isinstance(sagittal, NetworkPredictor)
    assert axial._network is sagittal._network
    folds = loading.load(shared).predictor
    assert isinstance(folds, MultiPlaneEnsemble)
    assert all(isinstance(one, Ensemble) and one.ensemble == "mean" for one in folds.predictors)
    assert "axial, sagittal" in (shared / "card.md").read_text()
    assert "planes joined by mean" in (shared / "card.md").read_text()


def test_a_planes_member_is_used_along_it_alone(separate: Path) -> None:
    model = loading.load(separate, members=["fold1_axial", "fold1_sagittal"])
    planes = model.predictor
    assert isinstance(planes, MultiPlaneEnsemble)
    assert (along(planes), planes.ensemble) == ([*BOTH], "vote")
    slab = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for predictor, seed in zip(planes.predictors, (2, 3), strict=True):
        with torch.no_grad():
            expected = networks.build("usegnet", 3, 3, seed=seed, width=2).eval()(slab)
            assert torch.allclose(predictor(slab), expected, atol=1e-5)
    folds = loading.load(separate).predictor
    assert isinstance(folds, MultiPlaneEnsemble)
    assert all(isinstance(one, Ensemble) and one.ensemble == "vote" for one in folds.predictors)
    assert [m.plane for m in model_folder.read(separate).members] == [*BOTH, *BOTH]


def test_a_network_to_look_into_comes_with_one_plane(shared: Path, separate: Path) -> None:
    assert model_folder.load_network(shared, "fold1")[0].plane == "axial"
    assert model_folder.load_network(separate, "fold0_sagittal")[0].plane == "sagittal"


def test_planes_without_a_member_and_members_of_other_planes_are_refused(separate: Path) -> None:
    with pytest.raises(MedsegError, match="no member for the sagittal plane") as caught:
        loading.load(separate, members=["fold0_axial", "fold1_axial"])
    assert caught.value.code == Code.NOT_A_MODEL
    edit(separate, lambda tree: tree["description"].update(plane=["axial", "coronal"]))
    for read in (model_folder.read, loading.load):
        with pytest.raises(MedsegError, match="fold0_sagittal is for the sagittal plane") as caught:
            read(separate)
        assert caught.value.code == Code.NOT_A_MODEL


@pytest.mark.parametrize("plane", [["axial", "axial"], [], ["axial", "oblique"]])
def test_planes_of_the_wrong_form_are_refused(shared: Path, plane: list[str]) -> None:
    edit(shared, lambda tree: tree["description"].update(plane=plane))
    with pytest.raises(MedsegError, match="plane") as caught:
        loading.load(shared)
    assert caught.value.code == Code.NOT_A_MODEL


def test_a_model_of_one_plane_has_the_hash_that_it_always_had(tmp_path: Path) -> None:
    model_folder.export(tmp_path / "one", states("fold0"), describe())
    tree = files.read_json(tmp_path / "one/model.json")
    (row,) = tree["members"]
    assert row.keys() == {"name", "file", "sha256"}
    expected = files.sha256_of_value([tree["description"], [row]])
    assert loading.load(tmp_path / "one").sha256 == expected
