"""Every class of MONAI's networks, by name: it works under the contract or is refused in one coded line."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.config.sections import Network as NetworkSection
from medseg.errors import Code, MedsegError
from medseg.model.folder import build_network
from medseg.networks import MONAI_PREFIX, build, check_keywords
from medseg.networks.monai_adapter import MonaiNetwork
from tests.helpers.model_folders import describe

KEYWORDS: dict[str, dict[str, Any]] = {
    "AttentionUnet": {"channels": (4, 8), "strides": (2,)},
    "AutoEncoder": {"channels": (4, 8), "strides": (2, 2)},
    "UNet": {"channels": (4, 8), "strides": (2,)},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 16],
    },
    "FlexUNet": {"backbone": "resnet18"},
    "LocalNet": {"num_channel_initial": 4, "extract_levels": (0, 1)},
    "RegUNet": {"num_channel_initial": 4, "depth": 1},
    "MultiScalePatchDiscriminator": {"num_d": 1, "num_layers_d": 1, "channels": 4},
    "PatchDiscriminator": {"channels": 4},
    "SPADEAutoencoderKL": {"label_nc": 3},
    "SPADEDiffusionModelUNet": {"label_nc": 3},
    "SPADENet": {"label_nc": 3, "input_shape": [32, 32], "channels": [4, 8]},
    "SegResNetVAE": {"input_image_size": (32, 32)},
    "UNETR": {"img_size": (128, 160)},
    "ViTAutoEnc": {"img_size": (32, 32), "patch_size": (16, 16)},
    "SwinUNETR": {"feature_size": 12},
}
"""What a class needs beyond the three numbers of every network."""

WORKS = {
    *("AHNet", "AttentionUnet", "AutoEncoder", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "FlexUNet"),
    *("HighResBlock", "HighResNet", "LocalNet", "MedNeXt", "Quicknat", "RegUNet", "SegResNet"),
    *("SegResNetDS", "SegResNetDS2", "SwinUNETR", "UNETR", "UNet"),
}
"""The classes that segment 128×160 px with the keywords above; all others are refused in one line."""

SAMPLE = (
    "BasicUNet",
    "Quicknat",
    "SwinUNETR",
    "DenseNet121",
    "VQVAE",
    "DiffusionModelUNet",
    "Transchex",
    "PatchMerging",
)


def classes() -> Iterator[str]:
    """Names of all of MONAI's classes, each once: of several spellings the first."""
    from monai.networks import nets

    known: set[int] = set()
    for name in sorted(dir(nets)):
        kind = getattr(nets, name)
        if inspect.isclass(kind) and issubclass(kind, nn.Module) and id(kind) not in known:
            known.add(id(kind))
            yield name


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def outcome(name: str, keywords: dict[str, Any], device: str = "meta") -> str:
    """`works`, or the code of the refusal; any other exception passes."""
    try:
        with torch.device(device):
            network = build(MONAI_PREFIX + name, 3, 4, **keywords)
            x = torch.zeros(2, 3, 128, 160)
        with torch.no_grad():
            heads = network(x)
            assert all(h.shape == (2, 4, 128, 160) for h in ([heads] if isinstance(heads, Tensor) else heads))
            assert network.eval()(x).shape == (2, 4, 128, 160)
    except MedsegError as refusal:
        assert "\n" not in str(refusal)
        return str(refusal.code)
    return "works"


def every_outcome(names: Iterator[str] | tuple[str, ...]) -> dict[str, str]:
    return {name: outcome(name, keywords) for name in names for keywords in ({}, KEYWORDS.get(name, {}))}


@pytest.mark.filterwarnings("ignore")  # MONAI's own, at import and call
def test_a_sample_of_classes_works_or_is_refused() -> None:
    found = every_outcome(SAMPLE)
    assert found["BasicUNet"] == found["Quicknat"] == "works"
    assert found["SwinUNETR"] in ("works", "EXTRA_MISSING")  # as einops is there or not
    assert found["DenseNet121"] == found["Transchex"] == found["PatchMerging"] == "NETWORK_UNKNOWN"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_every_class_works_or_is_refused() -> None:
    found = every_outcome(classes())
    assert len(found) > 50
    assert set(found.values()) <= {
        "works",
        *("NETWORK_UNKNOWN", "KEYWORD_INVALID", "EXTRA_MISSING", "SIZE_IMPOSSIBLE"),
    }
    assert {name for name, result in found.items() if result == "works"} == WORKS


def train_two_steps(name: str) -> list[float]:
    """Losses of two steps of SGD on noise and random labels."""
    torch.manual_seed(0)
    network = build(MONAI_PREFIX + name, 3, 4, seed=0, **KEYWORDS.get(name, {}))
    optimiser = torch.optim.SGD(network.parameters(), 1e-2)
    x, labels = torch.randn(2, 3, 128, 160), torch.randint(0, 4, (2, 128, 160))
    losses = []
    for _ in range(2):
        output = network(x)
        heads = [output] if isinstance(output, Tensor) else output
        loss = torch.stack([nn.functional.cross_entropy(head, labels) for head in heads]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(
    "name", ["UNet", "LocalNet", *(pytest.param(name, marks=pytest.mark.long) for name in sorted(WORKS))]
)
@pytest.mark.filterwarnings("ignore")
def test_a_network_that_works_learns_in_two_steps(name: str) -> None:
    first, second = train_two_steps(name)
    assert first != second and second < 10


def test_keywords_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks import nets

    class Turning(nn.Module):
        def __init__(
            self, spatial_dims: int, in_channels: int, out_channels: int, channels: list[int]
        ) -> None:
            super().__init__()
            channels.reverse()

    monkeypatch.setattr(nets, "Turning", Turning, raising=False)
    channels = [4, 8]
    build(MONAI_PREFIX + "Turning", 1, 2, channels=channels)
    assert channels == [4, 8]


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("FlexibleUNet", {"backbone": "efficientnet-b0", "pretrained": True}),
        ("FlexibleUNet", {"backbone": "efficientnet-b0", "pretrained": False}),
        ("AHNet", {"pretrained": True}),
        ("AHNet", {"progress": True}),
        ("DenseNet121", {"pretrained": 1, "progress": False}),
        ("BasicUNet", {"pretrained_url": "https://example.org/a.pt"}),
        ("BasicUNet", {"Pretrained": True}),
        ("BasicUNet", {"path_or_repo_id": "a/b"}),
        ("BasicUNet", {"model_url": "a"}),
    ],
)
def test_keywords_that_download_are_refused_before_the_class_is_called(
    name: str, keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MonaiNetwork, "__init__", lambda *_, **__: pytest.fail("it was called"))
    with pytest.raises(MedsegError) as refused:
        build(MONAI_PREFIX + name, 3, 4, **keywords)
    assert refused.value.code is Code.KEYWORD_INVALID
    assert "download" in str(refused.value)
    with pytest.raises(ValueError, match="download"):
        NetworkSection.model_validate({"name": MONAI_PREFIX + name, "keywords": keywords})


@pytest.mark.parametrize("key", ["pretrained", "progress"])
def test_keywords_that_download_are_refused_in_model_folders(key: str) -> None:
    description = describe(network=MONAI_PREFIX + "AHNet", keywords={key: True})
    with pytest.raises(MedsegError) as refused:
        build_network(description)
    assert refused.value.code is Code.KEYWORD_INVALID and "download" in str(refused.value)


def test_weights_that_a_class_would_fetch_by_default_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks import nets

    class Eager(nn.Module):
        def __init__(
            self, spatial_dims: int, in_channels: int, out_channels: int, pretrained: bool = True
        ) -> None:
            super().__init__()
            assert pretrained is False
            self.layer = nn.Conv2d(in_channels, out_channels, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)  # type: ignore[no-any-return]

    monkeypatch.setattr(nets, "Eager", Eager, raising=False)
    assert build(MONAI_PREFIX + "Eager", 3, 4)(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)


def test_keywords_that_only_sound_alike_are_allowed() -> None:
    check_keywords(MONAI_PREFIX + "SwinUNETR", ["dropout_path_rate", "use_checkpoint", "feature_size"])


@pytest.mark.parametrize("key", ["in_channels", "classes", "seed", "multilabel", "name", "spatial_dims"])
@pytest.mark.parametrize("name", ["unet", MONAI_PREFIX + "BasicUNet"])
def test_keywords_that_medseg_sets_are_refused_in_recipes(name: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"sets the keyword '{key}' itself"):
        NetworkSection.model_validate({"name": name, "keywords": {key: 2}})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks import nets

    class Needy(nn.Module):
        def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
            raise ImportError("from einops.layers.torch import Rearrange (No module named 'einops').")

    monkeypatch.setattr(nets, "Needy", Needy, raising=False)
    with pytest.raises(MedsegError) as refused:
        build(MONAI_PREFIX + "Needy", 1, 2)
    assert refused.value.code is Code.EXTRA_MISSING
    assert refused.value.finding.how_to_fix == "install medseg[train]"


class Odd(nn.Module):
    """What a class of MONAI may do: any exception, any output."""

    result: Any = None

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (RuntimeError("Calculated output size: (124x0x48)\nand more"), Code.SIZE_IMPOSSIBLE),
        (IndexError(), Code.SIZE_IMPOSSIBLE),
        (KeyError("x"), Code.SIZE_IMPOSSIBLE),
        (ImportError("import einops (No module named 'einops')"), Code.EXTRA_MISSING),
        (TypeError("missing 1 required positional argument: 'timesteps'"), Code.NETWORK_UNKNOWN),
        (None, Code.NETWORK_UNKNOWN),
        ([], Code.NETWORK_UNKNOWN),
        ({"out": 1}, Code.NETWORK_UNKNOWN),
        (torch.zeros(1, 7, 32, 32), Code.NETWORK_UNKNOWN),
        (torch.zeros(1, 2), Code.NETWORK_UNKNOWN),
        (torch.zeros(()), Code.NETWORK_UNKNOWN),
    ],
)
def test_whatever_a_network_does_is_one_coded_line(
    result: Any, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "result", result)
    with pytest.raises(MedsegError) as refused:
        MonaiNetwork(Odd, 1, 2)(torch.zeros(1, 1, 32, 32))
    assert refused.value.code is code
    assert "\n" not in str(refused.value)


def test_full_memory_is_not_taken_for_the_networks_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "result", MemoryError())
    with pytest.raises(MemoryError):
        MonaiNetwork(Odd, 1, 2)(torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("size_divisor", [0, -8, 2.5, "a", True, None])
def test_size_divisor_must_be_a_count(size_divisor: Any) -> None:
    with pytest.raises(MedsegError) as refused:
        build(MONAI_PREFIX + "BasicUNet", 1, 2, size_divisor=size_divisor)
    assert refused.value.code is Code.KEYWORD_INVALID


def test_a_class_that_computes_while_it_is_built_is_built_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks import nets

    class Computing(nn.Module):
        def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
            super().__init__()
            self.rate = torch.linspace(0, 1, 3)[1].item()
            self.layer = nn.Conv2d(in_channels, out_channels, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)  # type: ignore[no-any-return]

    monkeypatch.setattr(nets, "Computing", Computing, raising=False)
    before = torch.random.get_rng_state()
    with torch.device("meta"):
        network = build(MONAI_PREFIX + "Computing", 3, 4)
    assert next(network.parameters()).is_meta
    assert torch.equal(before, torch.random.get_rng_state())
    assert build(MONAI_PREFIX + "Computing", 3, 4)(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)
