"""Files under their publishers' names: which keys are used, adapted and left, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.networks import build
from medseg.networks.contract import Network
from medseg.networks.weights.pretrained import fill, fitted, read_weights
from tests.helpers import published_files


def on_meta(channels: int, backbone: str, name: str = "unet") -> Network:
    with torch.device("meta"):
        return build(name, channels, 3, backbone=backbone)


@pytest.fixture(scope="module")
def resnet34() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        return published_files.resnet()


def test_resnet34_has_torchvisions_entries_and_parameters(resnet34: dict[str, Tensor]) -> None:
    assert len(resnet34) == 218
    assert published_files.parameters(resnet34) == 21_797_672


@pytest.mark.parametrize("channels", [1, 3, 15])
def test_unet_on_resnet34_says_what_it_uses_adapts_and_leaves(
    channels: int, resnet34: dict[str, Tensor]
) -> None:
    taken = fitted(on_meta(channels, "resnet34"), resnet34)
    own = published_files.parameters({k: t for k, t in resnet34.items() if not k.startswith("fc")})
    adapted = 64 * 49 * (channels - 3)
    body = [t for name, t in taken.tensors.items() if "running" not in name]
    assert sum(t.numel() for t in body) == own + adapted
    assert str(taken).startswith("180 of its 218 keys used (conv1 1, bn1 4, layer1 30, layer2 45, layer3 65,")
    assert "not used: fc.weight, fc.bias and 36 counters of batches" in str(taken)
    said = f"adapted: conv1.weight from 64×3×7×7 to 64×{channels}×7×7"
    assert (said in str(taken)) == (channels != 3)
    record = taken.record()
    assert len(record["used"]) == 180 and record["used"]["conv1.weight"] == "backbone.conv1.weight"
    assert {*record["used"], *record["not_used"]} == resnet34.keys()
    assert list(record["adapted"]) == ([] if channels == 3 else ["conv1.weight"])
    assert not {*record["used"].values()} & {*record["fresh"]}
    first = taken.tensors["backbone.conv1.weight"]
    torch.testing.assert_close(first.sum(1), resnet34["conv1.weight"].sum(1))


@pytest.mark.filterwarnings("ignore")  # MONAI's own, at import
def test_densenets_file_of_2017_fills_it(tmp_path: Path) -> None:
    published = published_files.densenet121_of_2017()
    assert published_files.parameters(published) == 7_978_856
    taken = fitted(on_meta(3, "densenet121", "fpn"), published)
    assert taken.keys["backbone.features.denseblock1.denselayer1.layers.norm1.weight"] == (
        "features.denseblock1.denselayer1.norm.1.weight"
    )
    assert "classifier.weight" in taken.unused
    assert {key.partition(".")[0] for key in taken.unused} == {"classifier"}


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_files_of_a_parallel_training_are_opened(tmp_path: Path, wrapper: str) -> None:
    plain = published_files.resnet((2, 2, 2, 2), width=4, classes=2)
    parallel = {f"module.{key}": tensor for key, tensor in plain.items()}
    torch.save({"epoch": 3, wrapper: parallel}, tmp_path / "a.pth")
    network = build("linknet", 3, 4, backbone="resnet18", width=4)
    taken = fill(network, read_weights(tmp_path / "a.pth"))
    assert taken.keys["backbone.conv1.weight"] == "module.conv1.weight"
    assert torch.equal(network.state_dict()["backbone.conv1.weight"], plain["conv1.weight"])
    assert "module.fc.bias" in taken.unused


def refusal(network: Network, tensors: dict[str, Tensor]) -> str:
    with pytest.raises(MedsegError) as refused:
        fitted(network, tensors, "the.file")
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 700
    assert "the.file" in str(refused.value)
    return refused.value.finding.details


def test_a_deeper_networks_file_is_refused_though_all_keys_are_there(resnet34: dict[str, Tensor]) -> None:
    assert "it has blocks that the network has not, layer1.2, layer2.2, " in refusal(
        on_meta(3, "resnet18"), resnet34
    )


def test_a_shallower_networks_file_is_refused(resnet34: dict[str, Tensor]) -> None:
    shallower = {k: t for k, t in resnet34.items() if not k.startswith("layer3.5")}
    assert "layer3.5.conv1.weight is absent" in refusal(on_meta(3, "resnet34"), shallower)


def test_a_network_with_fewer_stages_takes_the_whole_file(resnet34: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        network = build("unet", 3, 3, backbone="resnet34", depth=3)
    unused = fitted(network, resnet34).unused
    assert "layer4.0.conv1.weight" in unused and "layer1.2.conv1.weight" not in unused


def test_another_networks_file_is_refused_in_a_short_line(resnet34: dict[str, Tensor]) -> None:
    assert "none of its 218 keys (conv1.weight, " in refusal(on_meta(3, "vgg16"), resnet34)
    assert "layer1.0.conv1.weight is (64, 64, 3, 3)" in refusal(on_meta(3, "resnet50"), resnet34)
    assert "none of its 0 keys (none, …)" in refusal(on_meta(3, "resnet34"), {})


def test_values_that_are_no_numbers_are_refused(resnet34: dict[str, Tensor]) -> None:
    broken = {**resnet34, "layer2.0.bn1.bias": torch.full((128,), torch.nan)}
    assert "layer2.0.bn1.bias has values that are not finite" in refusal(on_meta(3, "resnet34"), broken)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_damaged(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    path, tensors = tmp_path / f"a{suffix}", published_files.resnet((1, 1, 1, 1), width=4, classes=2)
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MedsegError, match="damaged, or not a state dict") as refused:
        read_weights(path)
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
