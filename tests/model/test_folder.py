"""A model folder is used only if it is whole, known and unchanged; nothing it names is ever imported."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from medseg import files, networks
from medseg.classes import ClassList
from medseg.errors import Code, MedsegError
from medseg.infer import loading
from medseg.limits import MAX_MEMBERS, MAX_WEIGHTS_BYTES
from medseg.model import domain
from medseg.model import folder as model_folder
from medseg.model.card import card
from tests.helpers.graphs import ACCEPTED
from tests.helpers.model_folders import describe

CLASSES = ClassList.from_names({0: "background", 2: "lesion"})
ABOUT = describe(
    classes=tuple(CLASSES.to_json()),
    spacing_mm=(1.0, 1.0, 2.0),
    mode="vote",
    batch=7,
    trained={"fold0": {"epochs": 3}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    states = {f"fold{k}": networks.build("usegnet", 3, 2, seed=k, width=2).state_dict() for k in (0, 1)}
    model_folder.export(tmp_path / "model", states, ABOUT)
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    tree = json.loads(path.read_text())
    tree["description"].update(changes)
    path.write_text(json.dumps(tree))


def test_a_folder_comes_back_as_it_was_written(folder: Path) -> None:
    model = loading.load(folder)
    assert model.description == ABOUT
    assert model.description.class_list() == CLASSES
    assert model.parameters == sum(p.numel() for p in networks.build("usegnet", 3, 2, width=2).parameters())
    assert model.predictor(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)
    assert "tiny" in (folder / "card.md").read_text()


def test_one_member_can_be_picked_and_has_its_own_hash(folder: Path) -> None:
    alone, both = loading.load(folder, members=["fold1"]), loading.load(folder)
    assert alone.sha256 != both.sha256
    slab = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(alone.predictor(slab), both.predictor(slab))
    with pytest.raises(MedsegError) as caught:
        loading.load(folder, members=["fold7"])
    assert caught.value.code == Code.NOT_A_MODEL


def test_exporting_fewer_members_removes_the_others(folder: Path) -> None:
    state = networks.build("usegnet", 3, 2, seed=0, width=2).state_dict()
    model_folder.export(folder, {"fold0": state}, ABOUT)
    assert [p.name for p in folder.glob("*.safetensors")] == ["fold0.safetensors"]


@pytest.mark.parametrize("name", ["subprocess:Popen", "os:system", "builtins:exec", "medseg.files:sha256"])
def test_a_name_outside_the_table_is_never_imported(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, network=name, keywords={"args": "touch /tmp/never"})
    asked: list[str] = []
    monkeypatch.setattr(networks, "import_module", asked.append)
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.NETWORK_UNKNOWN
    assert asked == []


def test_weights_that_were_changed_are_refused(folder: Path) -> None:
    path = folder / "fold0.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.MODEL_TAMPERED
    path.unlink()
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.MODEL_TAMPERED


def test_a_member_outside_the_folder_is_not_reached(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, outside)
    tree = json.loads((folder / "model.json").read_text())
    tree["members"][0]["file"] = "../other.safetensors"
    (folder / "model.json").write_text(json.dumps(tree))
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.NAME_INVALID


@pytest.mark.parametrize("key", ["name", "file"])
@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/hosts", "a/b", "..", "", ".hidden", "a\nb"])
def test_names_that_lead_out_of_the_folder_are_refused(folder: Path, key: str, name: str) -> None:
    tree = json.loads((folder / "model.json").read_text())
    tree["members"][1][key] = name
    (folder / "model.json").write_text(json.dumps(tree))
    for read in (loading.load, model_folder.read, lambda f: model_folder.load_network(f, "fold0")):
        with pytest.raises(MedsegError) as caught:
            read(folder)
        assert caught.value.code == Code.NAME_INVALID
    with pytest.raises(MedsegError) as caught:
        model_folder.export(folder, {name: {}}, ABOUT)
    assert caught.value.code == Code.NAME_INVALID


@pytest.mark.parametrize("data", [b"", b"PK", b"\x08" + b"\0" * 7 + b"not json", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_refused_with_a_code(folder: Path, data: bytes) -> None:
    (folder / "fold1.safetensors").write_bytes(data)
    tree = json.loads((folder / "model.json").read_text())
    tree["members"][1]["sha256"] = files.sha256(folder / "fold1.safetensors")
    (folder / "model.json").write_text(json.dumps(tree))
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.MODEL_TAMPERED
    assert "fold1" in caught.value.finding.where


def test_a_model_that_cannot_be_written_leaves_the_one_that_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    states = {f"fold{k}": networks.build("usegnet", 3, 2, seed=k, width=2).state_dict() for k in (2, 3)}
    save_file = safetensors.torch.save_file

    def failing(state: Any, path: Path) -> None:
        if "fold3" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(state, path)

    monkeypatch.setattr(safetensors.torch, "save_file", failing)
    with pytest.raises(MedsegError) as caught:
        model_folder.export(folder, states, ABOUT)
    assert caught.value.code == Code.DISK_FULL
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_masks_of_a_model_are_parts_of_file_names(folder: Path) -> None:
    row = {"value": 1, "colour": [0, 0, 0], "multilabel": True}
    for name in ("../x", "a/b", "confidence", ""):
        edit(folder, classes=[{**row, "name": name}])
        with pytest.raises(MedsegError) as caught:
            loading.load(folder)
        assert caught.value.code == Code.NOT_A_MODEL


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    edit(folder, keywords={"width": 3})
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.WEIGHTS_DO_NOT_FIT


@pytest.mark.parametrize(
    "changes",
    [
        *({"surprise": 1}, {"depth": "three"}, {"depth": 0}, {"plane": "diagonal"}, {"mode": None}),
        *(
            {"stride": [1]},
            {"window": [0, 8]},
            {"window": [8, 2**17]},
            {"batch": 10**30},
            {"domain": {"spacing_min_mm": "fine"}},
        ),
        *({"classes": [{"a": 1}]}, {"classes": [3, 4]}, {"classes": [CLASSES.to_json()[0]] * 2}),
    ],
)
def test_a_description_of_the_wrong_form_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    edit(folder, **changes)
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.NOT_A_MODEL
    assert next(iter(changes)) in caught.value.finding.details


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("members", [{"name": "fold0", "sha256": "0"}]),
        ("members", [{"name": "fold0", "file": 3, "sha256": "0"}]),
        ("members", ["fold0"]),
        ("members", []),
        ("members", None),
        ("parameters", "many"),
        ("description", None),
    ],
)
def test_rows_of_the_wrong_form_are_refused(folder: Path, key: str, value: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    for read in (loading.load, model_folder.read):
        with pytest.raises(MedsegError) as caught:
            read(folder)
        assert caught.value.code == Code.NOT_A_MODEL
        assert key in caught.value.finding.details


def test_domains_are_merged_to_one_that_holds_all_members_scans() -> None:
    a = {"cases": 4, "spacing_min_mm": [1, 1, 2], "spacing_max_mm": [1, 1, 3]}
    b = {"cases": 5, "spacing_min_mm": [0.9, 1.1, 2], "spacing_max_mm": [1, 1.2, 2]}
    merged = {"cases": 5, "spacing_min_mm": [0.9, 1, 2], "spacing_max_mm": [1, 1.2, 3]}
    assert domain.merged([a, b]) == domain.merged([b, a]) == merged
    assert domain.merged([a]) == a
    assert domain.merged([a, {"cases": 2}]) == {"cases": 4}
    assert domain.merged([{}]) == {}


def test_the_card_is_written_in_words() -> None:
    domain = {"cases": 5, "spacing_min_mm": [0.9375, 1.0, 1.5], "spacing_max_mm": [1.0, 1.0, 3.1]}
    trained = {"fold0": {"cases": 5, "epochs": 20, "best validation Dice": 0.91234567, "stopped": None}}
    about = describe(domain=domain, trained=trained, keywords={"width": 2, "levels": [1, 2]})
    text = card(about, 1234, 1)
    for line in (
        "- network: usegnet (width 2, levels 1 × 2), 1,234 parameters, 1 member",
        "- fold0: cases 5, epochs 20, best validation Dice 0.9123, stopped unknown",
        "- 5 training cases",
        "- voxels from 0.9375 × 1 × 1.5 to 1 × 1 × 3.1 mm",
    ):
        assert line in text.splitlines()
    assert "- voxels of 1 × 1 × 1 mm" in card(
        describe(domain={"spacing_min_mm": [1, 1, 1], "spacing_max_mm": [1, 1, 1.0]}), 1, 3
    )
    bare = card(describe(keywords={}), 1, 3)
    assert "- network: usegnet, 1 parameters, 3 members" in bare
    assert "- not recorded" in bare


def test_a_model_of_images_says_so_in_its_card() -> None:
    seen = {"cases": 6, "size_min_px": [300, 400], "size_max_px": [360, 480]}
    about = describe(unit="px", channels=("red", "green", "blue"), depth=1, domain=seen)
    text = card(about, 1, 1)
    assert "in images (red + green + blue)." in text
    assert "medseg segment IMAGES OUT" in text
    assert "- rows and columns from 300 × 400 to 360 × 480 px" in text.splitlines()
    assert "scan" not in text and "anterior" not in text


def test_sizes_of_images_are_merged_as_voxel_edges_are() -> None:
    a = {"cases": 6, "size_min_px": [300, 400], "size_max_px": [360, 480]}
    b = {"cases": 5, "size_min_px": [200, 500], "size_max_px": [400, 500]}
    assert domain.merged([a, b]) == {"cases": 6, "size_min_px": [200, 400], "size_max_px": [400, 500]}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99, "members": [], "description": {}}'])
def test_a_file_that_is_no_model_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(MedsegError) as caught:
        loading.load(tmp_path)
    assert caught.value.code == Code.NOT_A_MODEL


def test_a_folder_without_model_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        loading.load(tmp_path)
    assert caught.value.code == Code.NOT_A_MODEL


def test_weights_beyond_all_bounds_are_refused_before_they_are_hashed(folder: Path) -> None:
    with (folder / "fold0.safetensors").open("r+b") as file:
        file.truncate(MAX_WEIGHTS_BYTES + 1)  # sparse: it takes no space
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.TOO_LARGE


@pytest.mark.parametrize("key", ["members", "graphs"])
def test_more_members_or_graphs_than_a_model_may_have_are_refused(folder: Path, key: str) -> None:
    tree = files.read_json(folder / "model.json")
    row = {"member": "fold0", "runtime": "onnx", "precision": "fp32", "file": "a.onnx", "sha256": "0"}
    rows = tree["members"] if key == "members" else [{**row, "accepted": ACCEPTED}]
    files.write_json(folder / "model.json", {**tree, key: rows * (MAX_MEMBERS + 1)})
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code == Code.NOT_A_MODEL and key in caught.value.finding.details


@pytest.mark.parametrize(
    ("width", "code"), [(2**17, Code.WEIGHTS_DO_NOT_FIT), (10**30, Code.NOT_A_MODEL), (-1, Code.NOT_A_MODEL)]
)
def test_a_network_that_its_file_cannot_fill_is_refused_before_memory_is_taken(
    folder: Path, width: int, code: Code
) -> None:
    edit(folder, keywords={"width": width})
    with pytest.raises(MedsegError) as caught:
        loading.load(folder)
    assert caught.value.code in {code, Code.KEYWORD_INVALID}
