"""Published weights from a file: what fits is copied, what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks import build
from medseg.networks.backbones import BackboneName, make_backbone
from medseg.networks.backbones.vgg import VGG16_NAMES, VGG16Classifier
from medseg.networks.deeplab import DeepLabLargeFOV
from medseg.networks.deeplab_v3 import DeepLabV3
from medseg.networks.fcn import FCN32s
from medseg.networks.segnet import SegNet
from medseg.networks.unet import UNet
from medseg.networks.usegnet import USegNet
from medseg.networks.weights.pretrained import fill, read_weights


def vgg16(width: int = 2, hidden: int = 4) -> dict[str, Tensor]:
    """A narrow VGG16's state dict in torchvision's names, with classifier."""
    return VGG16Classifier(3, 10, width=width, hidden=hidden).published()


def test_vgg16_has_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        published = VGG16Classifier().published()
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    shapes = {name: (channels[i + 1], channels[i], 3, 3) for i, name in enumerate(VGG16_NAMES)}
    full = {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}
    found = {name: tuple(tensor.shape) for name, tensor in published.items()}
    for name, shape in {**shapes, **full}.items():
        assert found.pop(f"{name}.weight") == shape
        assert found.pop(f"{name}.bias") == shape[:1]
    assert found == {}


def test_both_file_formats_give_the_same(tmp_path: Path) -> None:
    tensors = vgg16()
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        read = read_weights(tmp_path / name)
        assert all(torch.equal(read[key], tensor) for key, tensor in tensors.items())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the file was executed",)


@pytest.mark.parametrize("kind", ["evil", "nested", "garbage.pth", "garbage.safetensors", "text.md", "list"])
def test_files_of_anything_else_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / (kind if "." in kind else f"{kind}.pth")
    if kind == "evil":
        torch.save({"a": Evil()}, path)
    elif kind == "nested":
        torch.save({"weights": vgg16()}, path)
    elif kind == "list":
        torch.save([torch.zeros(1)], path)
    else:
        path.write_bytes(b"# medseg" if kind == "text.md" else b"\x00not weights")
    with pytest.raises(MedsegError) as refused:
        read_weights(path)
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
    assert "weights_only" not in str(refused.value)
    if kind not in ("nested", "list"):
        assert refused.value.finding.details == "it is damaged, or not a state dict of plain tensors"


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as refused:
        read_weights(tmp_path / "none.pth")
    assert refused.value.code is Code.PATH_MISSING


def test_vgg16_fills_fcn_with_its_fully_connected_layers() -> None:
    network, tensors = FCN32s(3, 4, width=2, hidden=4), vgg16()
    left = fill(network, tensors).fresh
    assert sorted(left) == ["score.bias", "score.weight"]
    assert torch.equal(network.backbone.stages[4][2][0].weight, tensors["features.28.weight"])
    window = torch.randn(1, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    full = nn.functional.linear(
        window.flatten(1), tensors["classifier.0.weight"], tensors["classifier.0.bias"]
    )
    torch.testing.assert_close(network.top[0](window)[:, :, 3, 3], full)


def test_fcn32s_filled_from_vgg16_gives_its_scores_at_the_windows_centre() -> None:
    classifier = VGG16Classifier(3, 10, width=2, hidden=4).double().eval()
    network = FCN32s(3, 10, width=2, hidden=4).double().eval()
    fill(network, classifier.published())
    network.score.weight.data = classifier.classifier[6].weight.data[:, :, None, None]
    network.score.bias.data = classifier.classifier[6].bias.data
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = network.score(network.top(network.backbone(x)[4]))  # (2, 10, 7, 7)
    torch.testing.assert_close(scores[:, :, 3, 3], classifier(x), rtol=0, atol=1e-12)
    assert classifier(x).abs().max() > 1e-3


def test_vgg16_fills_the_encoders_of_the_segnets_and_deeplab() -> None:
    tensors = vgg16()
    for network in (SegNet(3, 4, width=2), USegNet(3, 4, width=2), DeepLabLargeFOV(3, 4, width=2, hidden=4)):
        left = fill(network, tensors).fresh
        assert not any("encoders" in key and key.split(".")[-2] == "0" for key in left)
        assert not any(key.startswith("backbone") for key in left)


@pytest.mark.parametrize("channels", [1, 2, 5, 9])
def test_first_layer_answers_a_grey_image_alike_with_any_number_of_channels(channels: int) -> None:
    tensors, grey = vgg16(), torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = USegNet(channels, 4, width=2)
    fill(network, tensors)
    ours = network.encoders[0][0][0](grey.expand(1, channels, 8, 8))
    theirs = nn.functional.conv2d(
        grey.expand(1, 3, 8, 8), tensors["features.0.weight"], tensors["features.0.bias"], padding=1
    )
    torch.testing.assert_close(ours, theirs)


def test_misfit_names_keys_and_shapes_and_changes_nothing() -> None:
    network, tensors = USegNet(3, 4, width=2), vgg16(width=4)
    del tensors["features.2.bias"]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(MedsegError) as refused:
        fill(network, tensors)
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
    for words in (
        "features.2.bias is absent",
        "features.5.weight is (8, 4, 3, 3), encoders.1.0.0.weight needs (4, 2, 3, 3)",
    ):
        assert words in str(refused.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_network_without_published_weights_is_refused() -> None:
    with pytest.raises(MedsegError) as refused:
        fill(UNet(3, 4, width=2), vgg16())
    assert "no layers with published weights" in str(refused.value)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_backbones_fill_from_their_own_names_with_running_statistics(backbone: BackboneName) -> None:
    network = DeepLabV3(1, 4, backbone=backbone, width=8, hidden=4)
    published = {
        key: torch.rand_like(t)
        for key, t in make_backbone(backbone, 3, width=8).state_dict().items()
        if t.ndim
    }
    left = fill(network, published).fresh
    assert not any(key.startswith("backbone") and not key.endswith("tracked") for key in left)
    key = "layer4.1.bn2.running_var" if backbone == "resnet18" else "features.17.conv.3.running_var"
    assert torch.equal(network.backbone.state_dict()[key], published[key])


@given(st.binary(max_size=200), st.sampled_from([".safetensors", ".pth", ""]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_damaged_files_are_one_coded_line(tmp_path: Path, content: bytes, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"weights{suffix}"
    if zipped:
        content = b"PK\x03\x04" + content
    path.write_bytes(content)
    with pytest.raises(MedsegError) as refused:
        read_weights(path)
    assert refused.value.code is Code.WEIGHTS_DO_NOT_FIT
    assert "\n" not in str(refused.value)


def test_state_dicts_without_names_are_refused(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(MedsegError, match="more than a state dict"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.filterwarnings("ignore")  # MONAI's own, at import
@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        ("resnet34", {"conv1.weight": (64, 3, 7, 7), "layer3.5.bn2.running_var": (256,)}),
        ("xception", {"conv1.weight": (32, 3, 3, 3), "block12.rep.4.pointwise.weight": (1024, 728, 1, 1)}),
        (
            "densenet121",
            {
                "features.conv0.weight": (64, 3, 7, 7),
                "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
            },
        ),
        (
            "seresnext50",
            {
                "layer0.conv1.weight": (64, 3, 7, 7),
                "layer3.5.bn3.weight": (1024,),
                "layer4.0.downsample.1.bias": (2048,),
            },
        ),
        ("efficientnet-b0", {"_conv_stem.weight": (32, 3, 3, 3), "_blocks.15._bn2.running_mean": (320,)}),
        (
            "swin_t",
            {
                "patch_embed.proj.weight": (96, 3, 4, 4),
                "layers.3.blocks.1.mlp.fc2.bias": (768,),
                "layers.0.downsample.reduction.weight": (192, 384),
            },
        ),
    ],
)
def test_backbones_ask_for_the_names_of_the_published_files(
    backbone: BackboneName, published: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        network = build("upernet", 3, 4, backbone=backbone)
    own, names = network.state_dict(), network.pretrained_key_map()
    shapes = {theirs: tuple(own[ours].shape) for ours, theirs in names.items()}
    assert {name: shapes.get(name) for name in published} == published
    assert all(ours.startswith("backbone.") for ours in names)


def test_squeeze_and_excitation_of_the_file_are_convolutions() -> None:
    network = build("linknet", 2, 4, backbone="seresnet50")
    own, names = network.state_dict(), network.pretrained_key_map()
    file = {theirs: torch.rand(own[ours].shape) for ours, theirs in names.items()}
    file["layer0.conv1.weight"] = torch.rand(64, 3, 7, 7)
    file["layer1.0.se_module.fc1.weight"] = file["layer1.0.se_module.fc1.weight"][:, :, None, None]
    file |= {"last_linear.weight": torch.rand(10, 2048), "last_linear.bias": torch.rand(10)}
    taken = fill(network, file)
    assert not any(key.startswith("backbone") and not key.endswith("tracked") for key in taken.fresh)
    filled = network.state_dict()["backbone.layer1.0.se_layer.fc.0.weight"]
    assert torch.equal(filled, file["layer1.0.se_module.fc1.weight"][:, :, 0, 0])
    words = str(taken)
    assert words.startswith(f"{len(file) - 2} of its {len(file)} keys used (layer0 5, layer1 ")
    assert "; adapted: layer0.conv1.weight from 64×3×7×7 to 64×2×7×7, layer1.0.se_module.fc1.weight" in words
    assert "; not used: last_linear.weight, last_linear.bias; " in words


def test_all_keys_used_are_said_so() -> None:
    network = build("linknet", 3, 4, backbone="resnet18", width=4)
    names = network.pretrained_key_map()
    file = {theirs: network.state_dict()[ours] for ours, theirs in names.items()}
    assert "); all are used; " in str(fill(network, file))
